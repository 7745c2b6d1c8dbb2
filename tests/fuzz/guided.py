"""Let coverage choose the inputs: atheris, which is libFuzzer and takes its options.

    python -m tests.fuzz.guided -max_total_time=3600 FOUND tests/fuzz/corpus    # an hour; FOUND is any folder
    python -m tests.fuzz.guided --form json -max_total_time=3600 FOUND          # or protobuf; Avro by default
    python -m tests.fuzz.guided -merge=1 tests/fuzz/corpus FOUND                # keep what reaches new code

An input that raises anything but `Poison`, takes more than a second or more than 2 GiB ends it with an exit code that
is not 0, and is written beside the current folder (`-artifact_prefix`).
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["worker.core"]):
    from tests.fuzz.chain import Chain
    from tests.fuzz.forms import FORMS

CORPUS = Path(__file__).parent / "corpus"
LIMITS = ("-max_len=4096", "-timeout=1", "-rss_limit_mb=2048")  # larger inputs reach the same code, more slowly


def main() -> None:
    """Fuzz as libFuzzer's options say; it ends the process."""
    options, form = sys.argv[1:], ""
    if options[:1] == ["--form"]:
        form, options = options[1], options[2:]
    chain = Chain(FORMS[form].reader if form else None)
    again = f"{sys.executable} -m tests.fuzz.guided{' --form ' * bool(form)}{form}"  # what a merge starts in a shell
    atheris.Setup([again, *LIMITS, *options], lambda data: chain.play(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
