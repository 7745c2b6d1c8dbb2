"""Makes the rules of the core and the loop from the settings and a started engine.

It knows no Kafka and no vLLM, so that the bench's other loops answer with the very rules of the worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from worker.core.simulation.draws import PositionProfile
from worker.core.simulation.prepare import Asking
from worker.core.simulation.privacy import Privacy
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.core.simulation.questions import Depths
from worker.core.simulation.response_builder import Setup
from worker.core.simulation.sampling import Sampling, UserBudget
from worker.core.steering.budgets import Budgets, TokenLimits
from worker.core.steering.steering import Steering
from worker.pipeline.config import Rules
from worker.pipeline.ports import Engine
from worker.settings import Settings, input_forms, prompt_profiles, redactors, secret_files
from worker.settings.groups import EngineSettings

BROKER_BYTES = 1_000  # what the broker counts beside a message's key, value and headers
CHOICE_MODEL_DRAWS = 10_000  # at once: it has no engine to fill
OVERBOOK = 1.25  # requests kept at vLLM beside those that run, so that a finished one is replaced at once


def rules(
    settings: Settings,
    engine: Engine,
    positions: Mapping[int, PositionProfile],
    steering: Callable[[], Steering] = Steering,
    *,
    num_partitions: Callable[[], int] = lambda: 0,
) -> Rules:
    """Return the rules of a worker with an engine that is started.

    `steering` is what definitions say now, `num_partitions` how many partitions the input topics have; 0 is unknown.
    """
    return Rules(
        sampling=Sampling(
            sample_rate=settings.sample_rate,
            sample_rates=settings.sample_rates,
            salt=settings.sample_salt,
            experiments=frozenset(settings.experiments),
            include_test=settings.include_test,
            include_bots=settings.include_bots,
            include_holdout=settings.include_holdout,
            max_age_s=settings.max_age_s,
        ),
        user_budget=UserBudget(settings.max_events_per_user_per_day),
        setup=setup(settings, engine, positions),
        asking=asking(settings, engine),
        dead_letter_topic=settings.dead_letter_topic,
        max_message_bytes=settings.max_message_bytes - BROKER_BYTES,
        question_timeout_s=settings.question_timeout_s,
        max_draws=max_draws(settings, engine),
        max_restarts=settings.max_engine_restarts,
        drain_timeout_s=settings.drain_timeout_s,
        questions=QuestionSet(settings.questions) if settings.questions else None,
        steering=steering,
        budgets=Budgets(
            every=TokenLimits(settings.max_tokens_per_hour, settings.max_tokens_per_day),
            each=TokenLimits(total=settings.max_tokens_per_experiment),
            num_partitions=num_partitions,
        ),
        join_wait_s=settings.join_wait_s,
        form=input_forms.load(settings),
        privacy=Privacy(
            content=settings.content == "full",
            redactor=redactors.load(settings.redactor),
            pseudonym_key=secret_files.pseudonym_key(settings.pseudonym_key_file),
        ),
    )


def max_draws(settings: EngineSettings, engine: Engine) -> int:
    """Return how many draws are given to the engine at once."""
    return int(settings.max_num_seqs * OVERBOOK) if engine.card.reads_prompt else CHOICE_MODEL_DRAWS


def setup(settings: Settings, engine: Engine, positions: Mapping[int, PositionProfile]) -> Setup:
    """Return what every response carries of a started engine, the settings and the position profiles."""
    profile = prompt_profiles.load(settings.prompt_profile)
    reads = engine.card.reads_prompt
    debias = {"position_debias": "true"} if settings.position_debias else {}
    return Setup(
        card=replace(engine.card, sampling={**engine.card.sampling, **debias}),
        prompt_profile=profile.name if reads else None,
        prompt_sha256=profile.sha256 if reads else None,
        draws=settings.draws,
        depths=Depths(settings.slate_depth, settings.duel_depth),
        history_limit=settings.history_limit,
        words=profile.words,
        position_profiles=positions,
        position_debias=settings.position_debias,
        wanted=wanted(settings),
    ).with_fingerprint()


def wanted(settings: Settings) -> WantedQuestions:
    """Return which questions are asked where no definition says it: all of them, so that every metric is measured."""
    questions = QuestionSet(settings.questions or QuestionSet.BOTH)
    return WantedQuestions(questions, settings.slate_share, settings.calibration_share)


def asking(settings: Settings, engine: Engine) -> Asking:
    """Return how every impression is asked of a started engine."""
    reference = settings.protocol == "reference"
    found = Asking(
        profile=replace(prompt_profiles.load(settings.prompt_profile), reads_html=not reference),
        depths=Depths(settings.slate_depth, settings.duel_depth),
        draws=settings.draws,
        history_limit=settings.history_limit,
        seeded=settings.seeded,
        tokenise=None,
        mode=settings.mode,
        wanted=wanted(settings),
        reference=reference,
    )
    if not engine.card.reads_prompt:
        return found
    card = engine.card
    return replace(
        found, tokenise=engine.tokenise, max_prompt_tokens=card.max_prompt_tokens, turn_end_tokens=card.turn_end_tokens
    )
