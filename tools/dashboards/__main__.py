"""Write the dashboards of the chart anew; `--check` only says which are stale."""

import sys
from pathlib import Path

from tools.dashboards.grafana import text_of
from tools.dashboards.panels import DASHBOARDS
from tools.stale import ROOT, main

FOLDER = ROOT / "helm" / "mirrorstream" / "dashboards"


def stale(*, write: bool) -> list[Path]:
    """Return the files that differ from the table; with `write`, write them."""
    wanted = {FOLDER / name: text_of(one) for name, one in DASHBOARDS.items()}
    found = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in found if write else ():
        path.write_text(wanted[path], encoding="utf-8")
    return found


if __name__ == "__main__":
    sys.exit(main(lambda write: stale(write=write)))
