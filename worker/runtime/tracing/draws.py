"""Spans of draws: one `chat MODEL` per request to the model, and what it was asked with."""

import json
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from opentelemetry.trace import SpanKind
from opentelemetry.util.types import AttributeValue

from worker.core.simulation.draw_trace import ModelAnswer, ModelRequest
from worker.core.simulation.draws import Drawn, EngineCard
from worker.core.simulation.questions import Status
from worker.runtime.tracing import names
from worker.runtime.tracing.context import headers_of
from worker.runtime.tracing.started_span import NOTHING, Attributes, StartedSpan

_IN_PROCESS = frozenset({"vllm", "choice-model"})


class Chats:
    """Makes spans of requests to one model; `content` adds the texts, which is off unless somebody wants it."""

    def __init__(self, card: EngineCard, *, content: bool) -> None:
        self._content = content
        self._name = f"{names.CHAT} {card.model}"
        self._kind = SpanKind.INTERNAL if card.engine in _IN_PROCESS else SpanKind.CLIENT
        self._of_all: Mapping[str, AttributeValue] = {
            names.GEN_AI_OPERATION: names.CHAT,
            names.PROVIDER: card.engine.removesuffix("-server"),
            names.REQUEST_MODEL: card.model,
        }

        # An engine without a model has one request and one answer for all draws, whose attributes are then shared.
        self._asked: tuple[ModelRequest | None, Attributes] = (None, NOTHING)
        self._answered: tuple[ModelAnswer | None, Attributes] = (None, NOTHING)

    def start(self, above: StartedSpan, request: ModelRequest, of_draw: Attributes) -> StartedSpan:
        """Start a span below a record's; what a sampler may ask for is there."""
        if self._asked[0] is not request:
            self._asked = request, _of_request(request)
        return above.child(self._name, self._kind, (self._of_all, of_draw, self._asked[1]))

    def of_answer(self, answer: ModelAnswer) -> Attributes:
        """Return usage and finish reason; texts only if they are wanted."""
        if self._answered[0] is not answer:
            self._answered = answer, _of_answer(answer, content=self._content)
        return self._answered[1]


class DrawSpans:
    """The spans of one try of one draw; the last one ends with the draw, so that it says how that ended."""

    __slots__ = ("_above", "_chats", "_last", "_of_draw")

    def __init__(self, chats: Chats, above: StartedSpan, of_draw: Attributes) -> None:
        self._chats, self._above, self._of_draw = chats, above, of_draw
        self._last: RequestSpans | None = None

    def request(self, request: ModelRequest) -> "RequestSpans":
        """Span one request."""
        self._end()
        self._last = RequestSpans(self._chats, self._chats.start(self._above, request, self._of_draw))
        return self._last

    def ended(self, drawn: Drawn) -> None:
        """End the last span, with the status of a draw that failed."""
        self._end("" if drawn.status is Status.OK else drawn.status.value)

    def _end(self, error_type: str = "") -> None:
        last, self._last = self._last, None
        if last is not None:
            last.end(error_type)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End a draw that raised."""
        self._end(kind.__name__ if kind else "")


class RequestSpans:
    """The span of one request, and its context for the model's own spans."""

    __slots__ = ("_chats", "_ended_ns", "_error_type", "_span")

    def __init__(self, chats: Chats, span: StartedSpan) -> None:
        self._chats, self._span = chats, span
        self._error_type = ""
        self._ended_ns: int | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Its context, made only for a model that takes one."""
        return headers_of(self._span.ids)

    def answered(self, answer: ModelAnswer) -> None:
        """Note what came of it."""
        self._span.add(self._chats.of_answer(answer))

    def end(self, error_type: str) -> None:
        """End the span when its request ended; `error_type` is the draw's, which knows a deadline from a stop."""
        error_type = error_type or self._error_type
        if error_type:
            self._span.add({names.ERROR_TYPE: error_type})
            self._span.fail()
        self._span.end(self._ended_ns)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Note when it ended, and that it raised."""
        self._ended_ns = time.time_ns()
        self._error_type = kind.__name__ if kind else ""


def _of_request(request: ModelRequest) -> Attributes:
    """Return the parameters that a request has."""
    found: dict[str, AttributeValue] = {}
    if request.which is not None:
        found[names.PASS] = request.which.value
    if request.temperature is not None:
        found[names.REQUEST_TEMPERATURE] = request.temperature
    if request.top_p is not None:
        found[names.REQUEST_TOP_P] = request.top_p
    if request.max_tokens is not None:
        found[names.REQUEST_MAX_TOKENS] = request.max_tokens
    if request.seed is not None:
        found[names.REQUEST_SEED] = request.seed
    return found


def _of_answer(answer: ModelAnswer, *, content: bool) -> Attributes:
    found: dict[str, AttributeValue] = {
        names.INPUT_TOKENS: answer.input_tokens,
        names.CACHED_TOKENS: answer.cached_tokens,
        names.OUTPUT_TOKENS: answer.output_tokens,
    }
    if answer.finish_reason:
        found[names.FINISH_REASONS] = (answer.finish_reason,)
    if content:
        found[names.INPUT_MESSAGES] = _message("user", answer.prompt())
        found[names.OUTPUT_MESSAGES] = _message("assistant", answer.text(), answer.finish_reason)
    return found


def _message(role: str, text: str, finish_reason: str | None = None) -> str:
    """Return a list of one message, as the conventions' JSON schema has it."""
    message: dict[str, object] = {"role": role, "parts": [{"type": "text", "content": text}]}
    return json.dumps([{**message, "finish_reason": finish_reason} if finish_reason else message])
