"""`python -m tests.faults --kills 100 --seed 1`: kills workers on a real Kafka, counts; exits 0 if all rules hold."""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.support.harness import Stage
from tests.support.kafka_broker import KafkaCluster

from .report import MEANINGS, Report
from .runner import Protocol, Run, plan, run, say

PROTOCOLS: dict[str, list[Protocol]] = {
    "classic": ["classic"],
    "consumer": ["consumer"],
    "both": ["classic", "consumer"],
}


def kill_all(kafka: KafkaCluster, folder: Path, options: argparse.Namespace) -> Report:
    """Do what the command does on a cluster that is there."""
    start_s = time.monotonic()
    protocols = PROTOCOLS[options.protocol]
    faults = plan(options.kills, options.seed)
    runs: list[Run] = []
    for i, protocol in enumerate(protocols):
        share = faults[i * len(faults) // len(protocols) : (i + 1) * len(faults) // len(protocols)]
        own = folder / protocol
        own.mkdir()
        stage = Stage(kafka.bootstrap_servers, f"{protocol}-{folder.name}", own)
        runs.append(run(stage, protocol, share, rate=options.rate, events=-(-options.events // len(protocols))))
    return Report(options.seed, options.kills, options.events, time.monotonic() - start_s, runs)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        epilog=f"figures:\n{MEANINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100, help="workers to kill (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the order and the transactions in which they die (1)")
    parser.add_argument("--events", type=int, default=20_000, help="impressions to send at least (20000)")
    parser.add_argument("--rate", type=float, default=80.0, help="impressions a second while workers die (80)")
    parser.add_argument("--protocol", choices=[*PROTOCOLS], default="both", help="of the group (both)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    return parser.parse_args(words)


def main() -> int:
    """Run the command; return its exit status."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="mirrorstream-faults-") as folder, KafkaCluster(brokers=3) as kafka:
        report = kill_all(kafka, Path(folder), options)
    print(json.dumps(report.figures(), indent=2) if options.json else report.table())
    for problem in report.problems():
        say(f"broken: {problem}")
    return 1 if report.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
