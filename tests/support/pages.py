"""Run the commands of a documentation page as they are written, and hold what they print against the page.

    $ python -m tests.support.pages docs/how-to/own-kafka.md [--update]

A fence of the kind `console` has commands (`$ command`, continued by `> `) and their output.  `...` on a line of its
own stands for any lines, and within a line for any text.  All blocks of a page run in order, in one shell and one
folder that is empty at first.  A fence with a title is a file of that name.  A comment right before a fence says how
it runs:

    <!-- run: long -->           only in the long suite, and with it the rest of the page
    <!-- run: background -->     the command stays; what is shown is waited for; it gets SIGTERM when the page ends
    <!-- run: exit 2 -->         the last command's exit status; 0 if nothing is said
    <!-- run: no, needs a GPU --> not run, for the reason given

A page with the line `<!-- needs: a cluster -->` is not run by itself: a test of its own has the cluster.

A page is typed in a clone: what it may build is there, a copy of `recipes/`.

Pages say `localhost:9092`; the broker of the test takes its place, in what is typed and in what is shown.
"""

import argparse
import contextlib
import difflib
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.harness import environment
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]
BROKER = "localhost:9092"  # as pages write it
FENCE = re.compile(
    r"(?:^<!-- run: (?P<how>[^\n]*?) -->\n)?^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
CLUSTER = "<!-- needs: a cluster -->"
COMMAND_TIMEOUT_S = 300.0
SHOWN_TIMEOUT_S = 120.0  # until a command in the background has printed what the page shows
END_TIMEOUT_S = 60.0  # from SIGTERM to the end of such a command


class PageFailed(AssertionError):
    """A page does not show what its commands do."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a block and the output that the page shows for it."""

    text: str
    shown: str


@dataclass(frozen=True, slots=True)
class Block:
    """One fence of a page; `line` is 1-based and `span` is where its body stands in the page's text."""

    line: int
    span: tuple[int, int]
    how: str
    title: str | None
    body: str

    def commands(self) -> list[Command]:
        """Return the commands of a console block, in order."""
        found: list[Command] = []
        for part in re.split(r"^\$ ", self.body, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            more = next((i for i, line in enumerate(lines[1:], 1) if not line.startswith("> ")), len(lines))
            text = "\n".join([lines[0], *(line[2:] for line in lines[1:more])])
            found.append(Command(text, "\n".join(lines[more:])))
        return found


@dataclass(slots=True)
class Shell:
    """One bash in one folder: what is exported stays, and commands in the background end with it."""

    folder: Path
    bootstrap_servers: str
    _behind: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take this process's environment, without settings of the product, and a terminal as pages show it."""
        kept = environment() | {"MIRRORSTREAM_LOG_FORMAT": "console"}  # as on a terminal, where readers are
        self._environment = kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "COLUMNS": "100"}

    def run(self, text: str) -> tuple[str, int]:
        """Return what a command printed, on both streams, and its exit status."""
        end = f"end-{secrets.token_hex(8)}"
        script = f"{self._typed(text)}\nstatus=$?\necho\necho {end}\nenv -0\nexit $status\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            timeout=patience(COMMAND_TIMEOUT_S),
            check=False,
        )
        printed, _, after = done.stdout.partition(f"\n{end}\n".encode())
        pairs = (line.split("=", 1) for line in after.decode(errors="replace").split("\0") if "=" in line)
        self._environment.update({name: value for name, value in pairs if name not in {"_", "SHLVL", "status"}})
        return self._as_shown(printed.decode(errors="replace")), done.returncode

    def start(self, command: Command) -> str:
        """Start a command that stays, and return what it had printed when all that is shown was there."""
        log = self.folder / f".background-{len(self._behind)}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self._typed(command.text)}"],
                cwd=self.folder,
                env=self._environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        self._behind.append(process)
        until = time.monotonic() + patience(SHOWN_TIMEOUT_S)
        while True:
            printed = self._as_shown(log.read_text(encoding="utf-8", errors="replace"))
            if fits(f"{command.shown}\n...", printed) or process.poll() is not None or time.monotonic() > until:
                return printed
            time.sleep(0.1)

    def end(self) -> None:
        """End what still runs."""
        for process in self._behind:
            process.send_signal(signal.SIGTERM)
        for process in self._behind:
            try:
                process.wait(patience(END_TIMEOUT_S))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _typed(self, text: str) -> str:
        return text.replace(BROKER, self.bootstrap_servers)

    def _as_shown(self, printed: str) -> str:
        return printed.replace(self.bootstrap_servers, BROKER)


def blocks(text: str) -> list[Block]:
    """Return the console blocks and the files of a page, in order."""
    found = []
    for match in FENCE.finditer(text):
        if match["language"] != "console" and match["title"] is None:
            continue
        line = text.count("\n", 0, match.start("body")) + 1
        title = match["title"] if match["language"] != "console" else None
        found.append(Block(line, match.span("body"), match["how"] or "", title, match["body"]))
    return found


def is_long(text: str) -> bool:
    """Return True if the page has a block for the long suite."""
    return any(block.how == "long" for block in blocks(text))


def runs(text: str) -> bool:
    """Return True if the page has a command that runs by itself."""
    return CLUSTER not in text and any(block.title is None and not block.how.startswith("no") for block in blocks(text))


def fits(shown: str, printed: str) -> bool:
    """Return True if the output is what a page shows, where `...` stands for anything.

    >>> fits("made ...\\n...\\nready", "made responses\\na\\nb\\nready\\n")
    True
    >>> fits("made", "made responses")
    False
    """
    lines = []
    for line in _lines(shown):
        any_text = r"[^\n]*".join(re.escape(part.replace("\0", "...")) for part in line.split("..."))
        lines.append(r"(?:[^\n]*\n)*" if line.strip() == "..." else f"{any_text}\n")
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in _lines(printed))) is not None


def run_page(page: Path, bootstrap_servers: str) -> Iterator[tuple[Block, Command, str, str]]:
    """Run a page's commands; yield each with what it printed and what is wrong with it, "" if nothing is."""
    with tempfile.TemporaryDirectory(prefix="page-") as name:
        shell = Shell(Path(name), bootstrap_servers)
        shutil.copytree(ROOT / "recipes", shell.folder / "recipes", ignore=shutil.ignore_patterns("target"))
        try:
            for block in blocks(page.read_text(encoding="utf-8")):
                if block.title is not None:
                    (shell.folder / block.title).write_text(
                        block.body.replace(BROKER, bootstrap_servers), encoding="utf-8"
                    )
                elif not block.how.startswith("no"):
                    yield from _run_block(shell, block)
        finally:
            shell.end()


def check(page: Path, bootstrap_servers: str) -> None:
    """Raise `PageFailed`, with a difference to read, at the first command that is not as the page shows it."""
    for block, command, printed, problem in run_page(page, bootstrap_servers):
        if problem:
            raise PageFailed(told(page, block, command, printed, problem))


def told(page: Path, block: Block, command: Command, printed: str, problem: str) -> str:
    """Return where a page is wrong, what it shows and what was seen."""
    difference = difflib.unified_diff(
        list(_lines(command.shown)), list(_lines(printed)), "shown", "printed", lineterm="", n=3
    )
    place = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    return "\n".join([f"{place}:{block.line}: $ {command.text}: {problem}", *difference])


def _run_block(shell: Shell, block: Block) -> Iterator[tuple[Block, Command, str, str]]:
    commands = block.commands()
    wanted = int(block.how.removeprefix("exit ")) if block.how.startswith("exit ") else 0
    for number, command in enumerate(commands, 1):
        if block.how == "background":
            printed, status, expected = shell.start(command), 0, 0
            fine = fits(f"{command.shown}\n...", printed)
        else:
            printed, status = shell.run(command.text)
            expected = wanted if number == len(commands) else 0
            fine = fits(command.shown, printed)
        problem = "" if fine else "printed something else"
        if status != expected:
            problem = f"exit status {status}, want {expected}"
        yield block, command, printed, problem


def _lines(text: str) -> Iterator[str]:
    """Yield lines without blanks at their end, and no empty ones at the end of all."""
    return (line.rstrip() for line in text.rstrip().splitlines())


def _update(page: Path, printed: dict[int, list[str]]) -> None:
    """Write what the commands of each block (by its line) printed into the page."""
    text = page.read_text(encoding="utf-8")
    for block in reversed(blocks(text)):
        if block.line in printed:
            prompts = (f"$ {command.text.replace(chr(10), chr(10) + '> ')}\n" for command in block.commands())
            body = "".join(
                prompt + "".join(f"{line}\n" for line in _lines(output))
                for prompt, output in zip(prompts, printed[block.line], strict=True)
            )
            text = text[: block.span[0]] + body + text[block.span[1] :]
    page.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run pages by hand."""
    parser = argparse.ArgumentParser(description="Run the commands of documentation pages.")
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--update", action="store_true", help="write what was printed into the page")
    parser.add_argument("--bootstrap", help="a Kafka that is there, instead of a new one")
    asked = parser.parse_args(arguments)
    with contextlib.nullcontext() if asked.bootstrap else KafkaCluster() as cluster:
        address = cluster.bootstrap_servers if cluster else asked.bootstrap
        return 1 if sum([_by_hand(page.resolve(), address, update=asked.update) for page in asked.pages]) else 0


def _by_hand(page: Path, address: str, *, update: bool) -> int:
    """Run one page, tell how it goes, and return how many blocks were wrong."""
    printed: dict[int, list[str]] = {}
    wrong = set()
    for block, command, output, problem in run_page(page, address):
        sys.stdout.write(f"{page.name}:{block.line}: $ {shlex.quote(command.text)[:100]}\n")
        printed.setdefault(block.line, []).append(output if problem else command.shown)
        if problem:
            wrong.add(block.line)
            sys.stdout.write(told(page, block, command, output, problem) + "\n")
    if update:
        _update(page, {line: outputs for line, outputs in printed.items() if line in wrong})
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
