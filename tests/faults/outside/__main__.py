"""`python -m tests.faults.outside --runs 200 --seed 1`: the outside changes; exits 0 if nothing is lost or unsaid."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from . import judge
from .kinds import KINDS
from .play import PATIENCE_S
from .runner import Brokers, plan, run_all, say


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.outside",
        description=__doc__,
        epilog=f"counts:\n{(judge.__doc__ or '').partition('Pure.')[2]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=200, help="scenarios to play (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next (1)")
    parser.add_argument("--only", choices=list(KINDS), action="append", default=[], help="kind of scenario; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios side by side (1)")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds to wait for an answer (40)")
    parser.add_argument("--bootstrap", default="", help="a Kafka that runs already, in place of one that this starts")
    parser.add_argument("--keep", type=Path, help="empty folder for the workers' logs, which stay there")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parse(words)
    plans = plan(options.runs, options.seed, options.only)
    with tempfile.TemporaryDirectory(prefix="mirrorstream-outside-") as scratch, Brokers(options.bootstrap) as brokers:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = run_all(plans, brokers, folder, seed=options.seed, jobs=options.jobs, patience_s=options.patience)
    print(json.dumps(report.figures(), indent=2) if options.json else report.table())
    for problem in report.problems():
        say(f"broken: {problem}")
    return 1 if report.problems() else 0


if __name__ == "__main__":
    sys.exit(main())
