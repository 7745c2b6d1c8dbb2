"""A real Apache Kafka on this machine, for the claims that a fake broker cannot test.

librdkafka's mock cluster applies no transactional offsets and fences nobody, so exactly-once is tested here:

    with KafkaCluster(brokers=3) as kafka:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": "t"})
        kafka.kill(1)
        kafka.restart(1)
        rows = kafka.console_consumer("responses")  # read by Kafka's own client, not by ours

Every broker is a JVM in KRaft mode and its own controller, so any one of three may die.  Broker `i` has node
id `i`, listens on 127.0.0.1 alone, and dies with this process.  The jars come from `tests/support/pom.xml` through
Maven, once; afterwards no network is needed.  Topics are the tests' to create.

To try things out, one broker runs until Ctrl-C, and is then gone with all that it stored:

    $ python -m tests.support.kafka_broker --port 9092
"""

import argparse
import contextlib
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, Self

from tests.support.java import ProgramFailed, jars, java, run
from tests.support.patience import patience

POM = Path(__file__).parent / "pom.xml"
READY_TIMEOUT_S = 90.0  # measured alone on two cores, 2026-11: 3 s for one broker, 7 s for three
END_TIMEOUT_S = 30.0  # a polite end hands the leaderships over first
RUN_TIMEOUT_S = 60.0  # a console consumer may take this on top of its own time-out
READY_LINE = b"Kafka Server started"  # logged after the controller has admitted the broker
PORTS = range(20_000, 32_768)  # below Linux' ephemeral ports, see `free_ports`

SHORT_WAITS: Mapping[str, str] = {  # what production needs and a test would only wait for
    "broker.session.timeout.ms": "3000",  # a killed broker is let in again after this; 9 s by default
    "broker.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "6000",  # with the new protocol not the client's to set; 45 s by default
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",  # retention is looked at from the start and often, so that what it would
    "log.retention.check.interval.ms": "500",  # delete is missing in every run and not in one of twenty
}


@dataclass(frozen=True, slots=True)
class ConsoleRow:
    """One record as Kafka's own console consumer printed it."""

    partition: int
    offset: int
    headers: tuple[tuple[str, bytes | None], ...]
    key: bytes | None
    value: bytes | None


class KafkaCluster:
    """Brokers that start with the `with` block and are killed, with all they stored, at its end."""

    def __init__(
        self,
        brokers: int = 1,
        *,
        settings: Mapping[str, str] = SHORT_WAITS,
        proxies: Sequence[int] = (),
        port: int | None = None,
    ) -> None:
        """Write the brokers' configurations; nothing runs before the `with` block.

        `settings` win over this module's own.  An empty mapping gives Kafka's default waits, for measurements.
        `port` is the first broker's; None for any free one.
        `proxies` are ports, one a broker, that clients of a second listener are told instead of the broker's own,
        which is in `proxied`.
        """
        self._temporary = tempfile.TemporaryDirectory(prefix="mirrorstream-kafka-", ignore_cleanup_errors=True)
        folder = Path(self._temporary.name)
        ports = free_ports(2 * brokers + len(proxies))
        clients, controllers, self.proxied = ports[:brokers], ports[brokers : 2 * brokers], ports[2 * brokers :]
        if port is not None:
            clients[0] = port
        self.bootstrap_servers = ",".join(f"127.0.0.1:{port}" for port in clients)
        properties = [_properties(i, clients, controllers) for i in range(brokers)]
        for own, proxied, told in zip(properties, self.proxied, proxies, strict=False):
            own.update(_second_listener(own, proxied, told))
        self._brokers = [_Broker(folder / f"broker-{i}", own | dict(settings)) for i, own in enumerate(properties)]
        # A child's death signal is tied to the thread that started it.  One thread that lives as long as the
        # cluster starts them all, so that `restart` may be called from a test's short-lived thread.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-starter")

    def __enter__(self) -> Self:
        """Format the storage and start all brokers at once, since it takes two of three to elect a controller."""
        try:
            self._format()
            for broker in self._brokers:
                self._launch(broker)
            for broker in self._brokers:
                broker.await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill every broker."""
        self.stop()

    def stop(self) -> None:
        """Kill all brokers and remove their storage; a polite end would only save what is removed here."""
        self._starter.shutdown()
        for broker in self._brokers:
            broker.end(signal.SIGKILL)
        self._temporary.cleanup()

    @property
    def log(self) -> str:
        """What the brokers have said since each was last started."""
        return "".join(broker.log.read_text(errors="replace") for broker in self._brokers)

    def segment(self, topic: str, partition: int) -> Path:
        """Return the first file of a partition's records, as its only broker stores it."""
        (broker,) = self._brokers
        return broker.data / f"{topic}-{partition}" / f"{0:020}.log"

    def kill(self, i: int) -> None:
        """End broker `i` without warning; its data stays for `restart`."""
        self._brokers[i].end(signal.SIGKILL)

    def restart(self, i: int) -> None:
        """Start broker `i` again on its ports and data, and wait; one that still runs is ended politely first."""
        self._brokers[i].end(signal.SIGTERM)
        self._launch(self._brokers[i])
        self._brokers[i].await_ready()

    def console_consumer(
        self,
        topic: str,
        *,
        from_beginning: bool = True,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
        max_messages: int | None = None,
        timeout_ms: int = 5_000,
    ) -> list[ConsoleRow]:
        """Read `topic` with Kafka's own console consumer; within a partition the rows are in offset order.

        It ends after `max_messages`, or when nothing came for `timeout_ms` of a quiet machine, which is not an error.
        """
        token, silent_ms = secrets.token_hex(16), round(patience(timeout_ms / 1000) * 1000)
        command = [*_java("org.apache.kafka.tools.consumer.ConsoleConsumer"), *_row_format(token)]
        command += ["--bootstrap-server", self.bootstrap_servers, "--topic", topic, "--isolation-level", isolation]
        command += ["--timeout-ms", str(silent_ms), *(["--from-beginning"] if from_beginning else [])]
        command += [] if max_messages is None else ["--max-messages", str(max_messages)]
        output = run(command, timeout_s=patience(RUN_TIMEOUT_S) + silent_ms / 1000)
        return [_row(line, token.encode()) for line in output.split(f"{token}L".encode())[:-1]]

    def _format(self) -> None:
        """Give all storage one new cluster id, so that a client of an earlier cluster is turned away."""
        cluster_id = f"{secrets.token_hex(10)}AA"  # like Kafka's own: a UUID in base64, 22 characters
        command = [*_java("kafka.tools.StorageTool"), "format", "--cluster-id", cluster_id, "--config"]
        with ThreadPoolExecutor() as pool:
            list(pool.map(run, ([*command, str(broker.config)] for broker in self._brokers)))

    def _launch(self, broker: "_Broker") -> None:
        self._starter.submit(broker.launch, _java("kafka.Kafka")).result()


class _Broker:
    """One broker's folder and, while it runs, its process."""

    def __init__(self, folder: Path, properties: Mapping[str, str]) -> None:
        folder.mkdir()
        self.config, self.data = folder / "server.properties", folder / "data"
        lines = [f"{key}={value}\n" for key, value in {**properties, "log.dirs": str(self.data)}.items()]
        self.config.write_text("".join(lines))
        self.log = folder / "broker.log"  # of the latest start
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, java: list[str]) -> None:
        command = [*java, str(self.config)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def await_ready(self) -> None:
        limit_s = patience(READY_TIMEOUT_S)
        deadline_s = time.monotonic() + limit_s
        while READY_LINE not in (log := self.log.read_bytes()):
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > deadline_s:
                problem = "the broker ended" if ended else f"the broker is not ready after {limit_s:.0f} s"
                raise ProgramFailed(str(self.log), f"{problem}, want `{READY_LINE.decode()}`", log)
            time.sleep(0.05)

    def end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(patience(END_TIMEOUT_S))
            self._process = None


def _properties(i: int, client_ports: list[int], controller_ports: list[int]) -> dict[str, str]:
    """Return broker `i`'s settings: three copies where there are three brokers, and one of the three may be away."""
    copies = min(len(client_ports), 3)
    in_sync = max(copies - 1, 1)
    return {
        "node.id": str(i),
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://127.0.0.1:{client_ports[i]},CONTROLLER://127.0.0.1:{controller_ports[i]}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{j}@127.0.0.1:{port}" for j, port in enumerate(controller_ports)),
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.num.partitions": "5",  # a first transaction waits for both topics, 50 partitions by default
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.num.partitions": "5",
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        # Tests date records back, and Kafka would delete what is older than a week.
        "log.retention.ms": "-1",
        "log.cleaner.dedupe.buffer.size": "2097152",  # the default of 128 MiB is a quarter of the heap
    }


def _second_listener(own: Mapping[str, str], port: int, told: int) -> dict[str, str]:
    """Return settings that add a listener whose clients are told another port: brokers go on without the proxy."""
    first = own["listeners"].partition(",")[0]
    return {
        "listeners": f"{own['listeners']},PROXIED://127.0.0.1:{port}",
        "advertised.listeners": f"{first},PROXIED://127.0.0.1:{told}",
        "listener.security.protocol.map": f"{own['listener.security.protocol.map']},PROXIED:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
    }


def free_ports(count: int) -> list[int]:
    """Return ports that no outgoing connection takes while a killed broker is away.

    A client that dials a closed port among Linux' ephemeral ones can even get it for itself, and be connected.
    The system's chance, because Hypothesis seeds Python's and parallel sessions would pick the same ports.
    """
    return list(islice(filter(_is_free, secrets.SystemRandom().sample(PORTS, len(PORTS))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _java(main: str) -> list[str]:
    """Return a command that runs the class `main` and logs to stderr."""
    [version] = re.findall(r"<kafka.version>(.+)</kafka.version>", POM.read_text())
    return java(jars(POM, f"kafka-{version}"), main)


def _row_format(token: str) -> list[str]:
    """Return options that print every part of a record between marks that no record holds, as MIME does.

    Without a deserializer the console consumer writes bytes as they are, so binary values come out whole.
    """
    marks = {"key.separator": "F", "headers.separator": "H", "line.separator": "L", "null.literal": "N"}
    parts = [f"print.{part}=true" for part in ("partition", "offset", "headers", "key", "value")]
    parts += [f"{name}={token}{mark}" for name, mark in marks.items()]
    return [word for part in parts for word in ("--formatter-property", part)]


def _row(line: bytes, token: bytes) -> ConsoleRow:
    partition, offset, headers, key, value = line.split(token + b"F")
    pairs = [] if headers == b"NO_HEADERS" else [pair.split(b":", 1) for pair in headers.split(token + b"H")]
    null = {token + b"N": None}
    names = tuple((name.decode(), null.get(text, text)) for name, text in pairs)
    where = int(partition.removeprefix(b"Partition:")), int(offset.removeprefix(b"Offset:"))
    return ConsoleRow(*where, names, null.get(key, key), null.get(value, value))


def main() -> None:
    """Run one broker until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.kafka_broker", description=main.__doc__)
    parser.add_argument("--port", type=int, default=9092, help="port on 127.0.0.1 (9092)")
    port = parser.parse_args().port
    if not _is_free(port):
        parser.error(f"--port: {port} is in use; want a free one")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), KafkaCluster(port=port) as kafka:
        print(f"Kafka at {kafka.bootstrap_servers} (Ctrl-C stops it, and deletes what it stored)", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
