"""Step 1, collect: what a strong and a weak engine say to scenes of which the real choice is known.

    choices of the training part  ->  one prompt each  ->  `draws` rationales with letters  ->  strong.jsonl, weak.jsonl

All draws of a scene have one order of the options, which a hash of the event decides: a preferred and a rejected
rationale are answers to the same text.  A scene of the reference keeps its own order.

Scenes are asked in chunks with a barrier between them: a run that was killed asks the chunk again that it was in, as
it was asked before, so the file has the same bytes as long as the engine gives the same answer to the same chunk.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import fsum
from pathlib import Path

from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Prompt
from worker.core.records import Impression, Partition, Record
from worker.core.seeding import digest, unit
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.prepare import Asking, Prepared, prepare
from worker.core.simulation.questions import Status
from worker.core.simulation.uncertainty import sample
from worker.offline.align.files import Growing, read
from worker.offline.evaluate.scene import RealChoice
from worker.pipeline.ports import Engine

STRONG, WEAK = "strong", "weak"
CHUNK = 64  # scenes that are asked together
_SOURCE = Partition("align", 0)
Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class CollectLimits:
    """How long one draw may take, seconds, and how many scenes are asked together."""

    timeout_s: float
    chunk: int = CHUNK


def for_asking(choice: RealChoice, *, depth: int, reference: bool) -> tuple[Impression, tuple[int, ...]]:
    """Return the impression with its options in the order of all draws, and the slots that were chosen.

    Only the first `depth` options by their real position are offered.
    """
    (slate,) = choice.impression.slates
    items = sorted(slate.items, key=lambda item: item.position)[:depth]
    if not reference and not choice.impression.texts_as_is:
        event = choice.impression.event_id
        items.sort(key=lambda item: digest("align order", event, item.item_id, str(item.position)))
    slots = tuple(slot for slot, item in enumerate(items) if (item.item_id, item.position) in choice.chosen)
    ordered = tuple(replace(item, position=slot) for slot, item in enumerate(items))
    return replace(choice.impression, slates=(replace(slate, items=ordered),), given_order=True), slots


async def collect(
    arm: str,
    engine: Engine,
    asking: Asking,
    choices: Iterable[RealChoice],
    path: Path,
    *,
    header: dict[str, object],
    depth: int,
    limits: CollectLimits,
    redact: Redact | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Ask a started engine about all choices.

    Raises `BadSettings` for a file of another run, `EngineDead` or `Retryable` as the engine does: what is answered is
    kept, and the same call goes on from there.
    """
    with Growing(path, header) as file:
        kept = file.num_kept
        if not file.is_done:
            asker = _Asker(arm, engine, asking, depth=depth, limits=limits, redact=redact)
            for number, chunk in enumerate(_chunks(choices, limits.chunk)):
                start = number * limits.chunk
                if start + len(chunk) > kept:
                    answers = await asker.ask(chunk)
                    file.append(answers[max(0, kept - start) :])
                tell(start + len(chunk))
            file.finish()


def statuses(path: Path) -> dict[str, int]:
    """Return how many draws of a whole file ended in which status."""
    return dict(Counter(draw["status"] for line in read(path, "collect")[1] for draw in line["draws"]))


def _chunks(choices: Iterable[RealChoice], size: int) -> Iterator[tuple[RealChoice, ...]]:
    source = iter(choices)
    while chunk := tuple(islice(source, size)):
        yield chunk


class _Asker:
    """Asks one engine about chunks of choices."""

    def __init__(
        self, arm: str, engine: Engine, asking: Asking, *, depth: int, limits: CollectLimits, redact: Redact | None
    ) -> None:
        self._arm, self._engine, self._limits, self._depth = arm, engine, limits, depth
        self._redact = redact
        self._prompts: dict[tuple[int, ...], Prompt] = {}
        self._asking = replace(asking, tokenise=self._tokenise if asking.tokenise else None)
        self._reference = asking.reference

    def _tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokenise what is left after redaction, and remember the text of the tokens."""
        if self._redact is not None:
            prompt = replace(prompt, user=self._redact(prompt.user))
        ids = self._engine.tokenise(prompt)
        self._prompts[ids] = prompt
        return ids

    async def ask(self, chunk: Sequence[RealChoice]) -> list[dict[str, object]]:
        """Return a line for each choice of a chunk, in order."""
        self._prompts.clear()
        return list(await asyncio.gather(*map(self._scene, chunk)))

    async def _scene(self, choice: RealChoice) -> dict[str, object]:
        impression, slots = for_asking(choice, depth=self._depth, reference=self._reference)
        prepared, *_ = prepare(Record(_SOURCE, 0, choice.line, None, None), impression, self._asking)
        drawn = await self._draws(prepared)
        prompt = self._prompts.get(prepared.asks[0].prompt_ids) if prepared.asks else None
        return {
            "line": choice.line,
            "digest": choice.digest,
            "user": digest("user", choice.impression.user.user_id).hex(),
            "domain": choice.domain,
            "at": choice.impression.occurred_at,
            "options": len(prepared.question.options),
            "chosen": list(slots),
            "prompt": asdict(prompt) if prompt is not None else None,
            "draws": [self._draw(impression.event_id, number, one) for number, one in enumerate(drawn)],
        }

    async def _draws(self, prepared: Prepared) -> Sequence[Drawn]:
        if prepared.refused is not None:
            return [prepared.refused] * len(prepared.asks)
        return await asyncio.gather(*map(self._one, prepared.asks))

    async def _one(self, ask: Ask) -> Drawn:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._engine.draw(ask)
        except TimeoutError:
            return Drawn(Status.TIMEOUT)

    def _draw(self, event_id: str, number: int, drawn: Drawn) -> dict[str, object]:
        """Return a draw as it is kept: its letter is sampled from the probabilities, by a hash."""
        p = drawn.slot_probabilities
        text = drawn.text
        if text is not None and self._redact is not None:
            text = self._redact(text)
        return {
            "status": drawn.status,
            "text": text,
            "p": [round(one, 9) for one in p],
            "mass": drawn.letter_mass,
            "letter": sample(p, unit("align letter", event_id, self._arm, str(number)) * fsum(p)) if p else None,
        }


def refuse_without_rationales(arm: str, *, reads_prompt: bool, mode: str) -> None:
    """See that an engine writes what is to be learned.  Raises `BadSettings`."""
    if not reads_prompt:
        raise BadSettings(f"{arm}: engine choice-model writes no rationales to learn from; want one with a model")
    if mode == "direct":
        raise BadSettings(f"{arm}: mode=direct writes no rationales to learn from; want mode=default")
