"""A broker that needs nothing but Python: librdkafka's built-in test cluster, in a process of its own.

It serves plumbing, not proof: it does not apply offsets that are sent in a transaction and does not hide aborted
records, so nothing about delivery is shown on it.  `demo --bootstrap` runs the same on a real Kafka.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from worker.demo.children import child

_SERVE = """
import sys
from confluent_kafka import Producer
broker = Producer({"test.mock.num.brokers": 1, "log_level": 0})
found = next(iter(broker.list_topics(timeout=10).brokers.values()))
print(f"{found.host}:{found.port}", flush=True)
sys.stdin.read()
"""


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run the broker and give its address; it ends with this process, whose pipe it reads."""
    command = [sys.executable, "-c", _SERVE]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
