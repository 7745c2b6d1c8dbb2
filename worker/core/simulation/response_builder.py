"""6 parse: from the draws of a question to one `SimulatedResponse`.

A question that no engine was asked (IDENTICAL, SAME_SET, TRIVIAL, NOT_SAMPLED, NOT_ASKED) and one that failed (LENGTH,
TIMEOUT, ...) are answered by a response with that status, never by a made-up probability.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from uuid import UUID, uuid5

from worker.core.bounded_cache import BytesLru
from worker.core.flags import Flag
from worker.core.prompts.rationale import ParseStatus, parse
from worker.core.prompts.sanitise import FENCE
from worker.core.prompts.vocabulary import REFERENCE, Words
from worker.core.records import Impression, Record, Role
from worker.core.seeding import seed, unit
from worker.core.simulation.draws import Drawn, EngineCard, PositionProfile, Usage, by_option
from worker.core.simulation.item_attributes import carried
from worker.core.simulation.question_set import ALL_QUESTIONS, WantedQuestions
from worker.core.simulation.questions import Depths, Kind, Option, Question, Status
from worker.core.simulation.response import AskedOption, Draw, Provenance, SimulatedResponse, Source, Timings
from worker.core.simulation.uncertainty import AnswerSummary, debiased, duel_share, summarise
from worker.core.steps import Steps, run

_NAMESPACE = UUID("6f1f4a5e-3c43-5a0b-9a53-6d7ff0f6a1c1")  # of response ids; never changes
TITLES = ("title", "name")  # attributes, as the domains' layouts `need` them
MAX_TITLE = 80  # characters; ten options of this length are a tenth of a response
Described = tuple[str | None, Mapping[str, str]]  # title, and the attributes that go along
MAX_DESCRIBED_BYTES = 16 << 20  # of the cache: the same items come again in other slates and events
_ENTRY_BYTES, _PAIR_BYTES = 500, 64  # of the tuples and the dict of an entry, and of each attribute's pair
_DESCRIBED: BytesLru[tuple[str, tuple[tuple[str, str], ...]], Described] = BytesLru(MAX_DESCRIBED_BYTES)
_READ = 4 * MAX_TITLE  # of a text, before its blanks are pulled together
MAX_DRAW_TEXT = 8_000  # characters of a rationale as written, twice what 1,024 tokens take


@dataclass(frozen=True, slots=True)
class Setup:
    """What is the same for every response of one run of the worker.

    The position profiles are measured beside the first records: who measures fills the mapping.
    """

    card: EngineCard
    prompt_profile: str | None
    prompt_sha256: str | None
    draws: int
    depths: Depths
    history_limit: int
    config_fingerprint: str = ""
    words: Words = REFERENCE
    position_profiles: Mapping[int, PositionProfile] = field(default_factory=dict)  # by number of options
    position_debias: bool = False  # divide them out of every draw
    wanted: WantedQuestions = ALL_QUESTIONS

    def with_fingerprint(self) -> "Setup":
        """Return this with its fingerprint: what must be equal for answers to be pooled; not the engine's version."""
        parts = [
            self.card.engine, self.card.model, self.card.revision, self.prompt_sha256, dict(self.card.sampling),
            self.draws, self.depths.slate, self.depths.duel, self.history_limit, self.wanted.name,
        ]  # fmt: skip
        if self.prompt_sha256:  # an engine that reads no prompt is shown no text
            parts.append(f"fence {FENCE}")
        return replace(self, config_fingerprint=sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16])

    def fingerprint(self, impression: Impression) -> str:
        """Return the fingerprint of an event's answers: those in the given order are never pooled with others."""
        if not impression.given_order or "protocol" in self.card.sampling:  # all are in the given order, as there
            return self.config_fingerprint
        return sha256(f"{self.config_fingerprint} {Flag.GIVEN_ORDER}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question with all its draws, as the engine left it."""

    question: Question
    drawn: tuple[Drawn, ...] = ()
    orders: tuple[tuple[int, ...], ...] = ()
    flags: frozenset[str] = frozenset()
    timings: Timings = field(default_factory=Timings)


def response_id(event_id: str, question: Question, config_fingerprint: str) -> str:
    """Return the id of an answer: the same record asked again in the same way has the same id."""
    name = json.dumps([event_id, question.kind, question.variant, config_fingerprint])
    return str(uuid5(_NAMESPACE, name))


def respond(
    impression: Impression,
    asked: Sequence[AskedQuestion],
    setup: Setup,
    source: Source,
    *,
    sample_rate: float,
    produced_at_us: int,
) -> tuple[SimulatedResponse, ...]:
    """Return one response per question, in the order of the questions.

    `sample_rate` is the share of users who are simulated; some questions are asked of fewer (`Question.share`).
    """
    return run(responding(impression, asked, setup, source, sample_rate=sample_rate, produced_at_us=produced_at_us))


def responding(
    impression: Impression,
    asked: Sequence[AskedQuestion],
    setup: Setup,
    source: Source,
    *,
    sample_rate: float,
    produced_at_us: int,
) -> Steps[tuple[SimulatedResponse, ...]]:
    """Do as `respond` does, in steps of one draw each."""
    slates = {a.question.variant: a for a in asked if a.question.kind is Kind.SLATE}
    responses = []
    for one in asked:
        yield None
        copied = slates.get(one.question.copy_of) if one.question.copy_of else None
        rate = sample_rate * one.question.share
        response = yield from _response(
            impression, one, copied, setup, source, sample_rate=rate, produced_at_us=produced_at_us
        )
        responses.append(response)
    return tuple(responses)


def shorten(response: SimulatedResponse) -> SimulatedResponse:
    """Return the response without the long texts, for a topic that does not take it whole."""
    draws = tuple(replace(draw, text=None, rationale=None) for draw in response.draws)
    options = tuple(replace(option, attributes={}) for option in response.options)
    return replace(response, draws=draws, options=options, flags=tuple(sorted({*response.flags, Flag.TEXT_CUT})))


def source_of(record: Record, schema_id: str | None) -> Source:
    """Return where a record stood."""
    return Source(record.partition.topic, record.partition.number, record.offset, schema_id)


def _response(
    impression: Impression,
    one: AskedQuestion,
    copied: AskedQuestion | None,
    setup: Setup,
    source: Source,
    *,
    sample_rate: float,
    produced_at_us: int,
) -> Steps[SimulatedResponse]:
    """Return the response to one question; its answer is the copied question's, if there is one: equal options."""
    question, answered, experiment = one.question, copied or one, impression.experiment
    assignment = experiment.assignment if experiment else None
    draws = yield from _draws(answered, setup)
    summary = _summary(impression, answered, draws)
    share, contested = _share(question, summary)
    fingerprint = setup.fingerprint(impression)
    return SimulatedResponse(
        response_id=response_id(impression.event_id, question, fingerprint),
        event_id=impression.event_id,
        request_id=impression.request_id,
        occurred_at=impression.occurred_at,
        domain=impression.domain,
        user_id=impression.user.user_id,
        experiment_id=experiment.experiment_id if experiment else None,
        layer=experiment.layer if experiment else None,
        arm=assignment.arm if assignment else None,
        arm_probability=assignment.probability if assignment else None,
        assigned_at=assignment.assigned_at if assignment else None,
        holdout=experiment.holdout if experiment else False,
        segments=impression.user.segments,
        surface=surface_of(impression),
        is_test=impression.is_test,
        question=question.kind,
        variant=question.variant,
        control_variant=question.control.variant if question.control else None,
        role=question.slate.role,
        shown=question.slate.shown,
        slate_propensity=question.slate.slate_propensity,
        propensity_kind=question.slate.propensity_kind,
        target_propensity=question.slate.target_propensity,
        options=_options(question, summary),
        options_total=question.options_total,
        options_asked=len(question.options),
        choice=summary.choice if summary else None,
        top_choice=summary.top_choice if summary else None,
        duel_share=share,
        contested_mass=contested,
        draws=draws,
        entropy_total=summary.entropy_total if summary else None,
        entropy_within=summary.entropy_within if summary else None,
        mutual_information=summary.mutual_information if summary else None,
        status=_status(one, copied),
        copied_from=response_id(impression.event_id, copied.question, fingerprint) if copied else None,
        flags=tuple(sorted(one.flags | answered.flags | _flags(impression, question))),
        sample_rate=sample_rate,
        provenance=_provenance(impression, setup),
        usage=sum((drawn.usage for drawn in one.drawn), Usage()),
        timings=one.timings,
        source=source,
        produced_at=produced_at_us,
    )


def surface_of(impression: Impression) -> str | None:
    """Return where the user was: one surface per event, or answers of it would be of different segments."""
    first = sorted(impression.slates, key=lambda slate: (not slate.shown, slate.role is not Role.CONTROL))
    return next((slate.surface for slate in first if slate.surface), None)


def _draws(answered: AskedQuestion, setup: Setup) -> Steps[tuple[Draw, ...]]:
    """Return a question's draws, one per step."""
    draws = []
    for drawn, order in zip(answered.drawn, answered.orders, strict=True):
        draws.append(_draw(drawn, order, setup))
        yield None
    return tuple(draws)


def _status(one: AskedQuestion, copied: AskedQuestion | None) -> Status:
    """Return what became of a question; all draws must be answered, or orders would not be balanced."""
    failed = next((drawn.status for drawn in (copied or one).drawn if drawn.status is not Status.OK), None)
    return failed or one.question.status or Status.OK


def _summary(impression: Impression, answered: AskedQuestion, draws: Sequence[Draw]) -> AnswerSummary | None:
    at = unit(impression.event_id, "choice")
    if answered.question.status is Status.TRIVIAL:
        return summarise([(1.0,)], at=at)
    if draws and all(drawn.status is Status.OK for drawn in answered.drawn):
        return summarise([draw.probabilities for draw in draws], at=at)
    return None


def _share(question: Question, summary: AnswerSummary | None) -> tuple[float | None, float | None]:
    if question.kind is not Kind.DUEL:
        return None, None
    if question.status in {Status.IDENTICAL, Status.SAME_SET}:
        return 0.5, 0.0
    if summary is None:
        return None, None
    return duel_share(summary.probabilities, [option.variants for option in question.options], question.variant)


def _options(question: Question, summary: AnswerSummary | None) -> tuple[AskedOption, ...]:
    probabilities: Sequence[float | None] = summary.probabilities if summary else [None] * len(question.options)
    return tuple(
        AskedOption(
            option.item_id,
            option.position,
            option.variants,
            option.kind,
            probability,
            option.item.value,
            option.candidate_position,
            *_described(option),
        )
        for option, probability in zip(question.options, probabilities, strict=True)
    )


def _described(option: Option) -> Described:
    """Return what an option is called and the attributes that go along; cached."""
    key = (option.text, tuple(option.item.attributes.items()))
    found = _DESCRIBED.get(key)
    if found is None:
        name, attributes = title(option), carried(option.item.attributes)
        found = (name, attributes)
        texts = [
            option.text,
            name or "",
            *attributes.values(),
            *option.item.attributes,
            *option.item.attributes.values(),
        ]
        pairs = _PAIR_BYTES * len(option.item.attributes)
        _DESCRIBED.put(key, found, num_bytes=sum(one.__sizeof__() for one in texts) + pairs + _ENTRY_BYTES)
    return found


def title(option: Option) -> str | None:
    """Return what an option is called, at most `MAX_TITLE` characters: where readers of a report find it again.

    The attributes are those that the prompt profiles name an item by.  None where there is neither name nor text.
    """
    for name in TITLES:
        if found := " ".join(option.item.attributes.get(name, "")[:_READ].split()):
            return found[:MAX_TITLE].rstrip()
    for line in option.text[:_READ].splitlines():  # only where there is no name: every option of a response comes here
        if found := " ".join(line.split()):
            return found[:MAX_TITLE].rstrip()
    return None


def _draw(drawn: Drawn, order: tuple[int, ...], setup: Setup) -> Draw:
    rationale, parse_status = (None, ParseStatus.NONE) if drawn.text is None else parse(drawn.text, setup.words)
    slots, profile = drawn.slot_probabilities, setup.position_profiles.get(len(order))
    if slots and profile and setup.position_debias:
        slots = debiased(slots, profile)
    return Draw(
        rationale=rationale,
        text=drawn.text[:MAX_DRAW_TEXT] if drawn.text is not None else None,
        probabilities=by_option(order, slots) if slots else (),
        presented_order=order,
        finish_reason=drawn.finish_reason,
        parse_status=parse_status,
        letter_mass=drawn.letter_mass,
    )


def _flags(impression: Impression, question: Question) -> frozenset[str]:
    flags = {
        Flag.DEPTH_CUT: len(question.options) < question.options_total,
        Flag.GIVEN_ORDER: impression.given_order,
    }
    return frozenset(flag for flag, found in flags.items() if found)


def _provenance(impression: Impression, setup: Setup) -> Provenance:
    return Provenance(
        model=setup.card.model,
        revision=setup.card.revision,
        engine=setup.card.engine,
        engine_version=setup.card.engine_version,
        prompt_profile=setup.prompt_profile,
        prompt_sha256=setup.prompt_sha256,
        sampling={**setup.card.runs, **setup.card.sampling},
        seed=seed(impression.event_id, "0"),
        config_fingerprint=setup.fingerprint(impression),
        position_profile=setup.position_profiles.get(max(setup.position_profiles, default=0)),
    )
