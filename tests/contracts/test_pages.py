"""The runner of documentation pages finds what a page claims wrongly."""

from pathlib import Path

import pytest

from tests.support import pages

PAGE = """# A page
```yaml title="a.yaml"
engine: choice-model
```

```console
$ cat a.yaml
engine: choice-model
$ export NAME=value
$ echo $NAME \\
>   more
value more
```

<!-- run: exit 3 -->
```console
$ echo broker localhost:9092; exit 3
broker localhost:9092
```

<!-- run: no, needs a GPU -->
```console
$ nvidia-smi
```

```sh
not ours
```
"""


def written(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    pages.check(written(tmp_path, PAGE), "127.0.0.1:1234")


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("\nvalue more\n", "\nvalue\n", "page.md:7: $ echo $NAME \\\\\n  more: printed something else"),
        ("exit 3 -->", "exit 4 -->", "page.md:17: $ echo broker localhost:9092; exit 3: exit status 3, want 4"),
        ("cat a.yaml", "cat b.yaml", "page.md:7: $ cat b.yaml: exit status 1, want 0"),
        (
            "engine: choice-model\n```\n\n```console",
            "engine: vllm\n```\n\n```console",
            "-engine: choice-model\n+engine",
        ),
    ],
)
def test_a_page_that_is_wrong_fails(tmp_path: Path, right: str, wrong: str, problem: str) -> None:
    assert right in PAGE
    with pytest.raises(pages.PageFailed) as failed:
        pages.check(written(tmp_path, PAGE.replace(right, wrong)), "127.0.0.1:1234")
    assert problem.replace("\\\\", "\\") in str(failed.value)


STAYS = """import pathlib, signal, time

def end(*_):
    pathlib.Path("{folder}/ended").touch()
    raise SystemExit

signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""


def test_a_command_in_the_background_is_waited_for_and_ended(tmp_path: Path) -> None:
    (tmp_path / "stays.py").write_text(STAYS.replace("{folder}", str(tmp_path)), encoding="utf-8")
    fence = f"```console\n$ python {tmp_path}/stays.py\nup\n```\n"
    pages.check(written(tmp_path, f"<!-- run: background -->\n{fence}"), "127.0.0.1:1234")
    assert (tmp_path / "ended").exists()
