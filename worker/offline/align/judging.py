"""Step 4, judge: both models are asked about choices of users and days that were not trained on.

    base, candidate  ->  before.jsonl, after.jsonl  ->  verdict.json  ->  promoted/ with its card, or why not

The answers are those of `mirrorstream evaluate`, by the same interview, with the settings of the command.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from worker.core.errors import BadSettings
from worker.core.simulation.prepare import Asking
from worker.offline.align.files import Growing, read
from worker.offline.evaluate.answers import Answered, answers_of
from worker.offline.evaluate.asking import AskingLimits, Interview
from worker.offline.evaluate.scene import RealChoice
from worker.offline.evaluate.table import AnswerTable, table
from worker.pipeline.ports import Engine


async def ask(
    engine: Engine,
    asking: Asking,
    choices: Iterable[RealChoice],
    path: Path,
    *,
    header: dict[str, object],
    limits: AskingLimits,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Complete a file of answers with a started engine.  Raises `BadSettings` for a file of something else."""
    with Growing(path, header) as file:
        if file.is_done:
            return
        left = _left(choices, (str(one["digest"]) for one in file.kept()), path)
        number = file.num_kept

        def on_answer(answer: Answered) -> None:
            nonlocal number
            file.append([asdict(answer)])
            number += 1
            tell(number)

        await Interview(engine, asking, limits, on_answer).ask(left)
        file.finish()


def answers(path: Path) -> AnswerTable:
    """Return what a model said, as the verdict reads it."""
    return table(answers_of(read(path, "judge")[1]))


def users_and_times(path: Path) -> list[tuple[str, int]]:
    """Return the user's hash and the time of each choice."""
    return [(str(line["user"]), int(line["at"])) for line in read(path, "judge")[1]]


def _left(choices: Iterable[RealChoice], kept: Iterable[str], path: Path) -> Iterator[RealChoice]:
    """Yield the choices without an answer.  Raises `BadSettings` if those before are not what was asked."""
    found = iter(choices)
    for digest in kept:
        one = next(found, None)
        if one is None or one.digest != digest:
            raise BadSettings(f"{path}: has answers to other choices; want another --work folder, or delete it")
    yield from found
