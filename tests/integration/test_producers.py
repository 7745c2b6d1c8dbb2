"""The producers of the page "Write a producer", run as they stand there, write what a worker reads."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.java import jars, java
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from worker.core.codec import avro_schemas, framing, impression as codec

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-producer.md"
POM = Path(__file__).parents[1] / "golden" / "java" / "pom.xml"


@pytest.mark.parametrize(("file", "user"), [("produce.py", "u1"), ("Produce.java", "u2")])
def test_a_producer_of_the_page_writes_what_a_worker_reads(
    kafka: KafkaCluster, tmp_path: Path, file: str, user: str
) -> None:
    topic = f"produced-{user}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    [created] = admin.create_topics([NewTopic(topic, 1)]).values()
    created.result(patience(30))
    [text] = re.findall(rf'title="{file}"\n(.*?)^```$', PAGE.read_text(), re.DOTALL | re.MULTILINE)
    text = text.replace("localhost:9092", kafka.bootstrap_servers).replace('"impressions"', f'"{topic}"')
    (tmp_path / file).write_text(text)
    schema = avro_schemas.schema_text("RecommendationImpression")
    (tmp_path / "RecommendationImpression.avsc").write_text(schema)
    command = [sys.executable, file] if file.endswith(".py") else java(jars(POM, "avro"), file)
    subprocess.run(command, cwd=tmp_path, check=True, timeout=patience(120))
    message = first(kafka, topic)
    value = message.value()
    assert isinstance(value, bytes)
    ref, payload = framing.split(value, ())
    assert ref.value == avro_schemas.schema_fingerprint(schema).hex()
    found = codec.decode(payload, avro_schemas.own_schema("RecommendationImpression"))
    assert (found.user.user_id, message.key()) == (user, user.encode())
    assert [item.text for item in found.slates[0].items] == ["Heat (1995)", "Antz (1998)"]


def first(kafka: KafkaCluster, topic: str) -> Message:
    options = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer(options)
    try:
        consumer.subscribe([topic])
        [message] = consumer.consume(1, timeout=patience(60))
        return message
    finally:
        consumer.close()
