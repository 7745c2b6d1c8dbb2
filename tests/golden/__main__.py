"""Keep the working tree's schemas as a released version: `python -m tests.golden 0.2.0`, once, at the release."""

import sys

from tests.golden.versions import keep

if __name__ == "__main__":
    [version] = sys.argv[1:] or sys.exit("want one argument, the version")
    keep(version)
