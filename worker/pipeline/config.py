"""What the loop decides by, made from the settings by `worker.runtime.pipeline_config`."""

from collections.abc import Callable
from dataclasses import dataclass, field

from worker.core.codec.input_forms import InputForm
from worker.core.delivery.dead_letter import to_message
from worker.core.records import DeadLetter, Message
from worker.core.simulation.prepare import Asking
from worker.core.simulation.privacy import EVERYTHING, Privacy
from worker.core.simulation.question_set import QuestionSet
from worker.core.simulation.response_builder import Setup
from worker.core.simulation.sampling import Sampling, UserBudget
from worker.core.steering.budgets import Budgets
from worker.core.steering.steering import Admission, Steering


@dataclass(frozen=True, slots=True)
class Rules:
    """What the pipeline decides by, from the settings."""

    sampling: Sampling
    user_budget: UserBudget
    setup: Setup
    asking: Asking
    dead_letter_topic: str
    max_message_bytes: int
    question_timeout_s: float
    max_draws: int  # in the engine at once
    max_restarts: int  # of the engine, in a row
    drain_timeout_s: float
    questions: QuestionSet | None = None  # None: what a definition's metrics need
    steering: Callable[[], Steering] = Steering  # what the definitions say now
    budgets: Budgets = field(default_factory=Budgets)  # of tokens
    form: InputForm | None = None  # of the input; None: it is Avro
    privacy: Privacy = EVERYTHING
    join_wait_s: float = 0.0  # how long an event waits for an item that is not known

    def admission(self) -> Admission:
        """Return what decides about each event."""
        return Admission(
            self.sampling, self.asking, self.setup,
            questions=self.questions, steering=self.steering, budgets=self.budgets,
        )  # fmt: skip

    def to_message(self, letter: DeadLetter) -> Message:
        """Return the message of a dead letter, small enough for its topic."""
        return to_message(letter, self.dead_letter_topic, max_bytes=self.max_message_bytes)
