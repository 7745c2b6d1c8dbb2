"""The sampler that the variables name, with an exception for spans that link to recorded ones."""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes


class LinkedSampler(Sampler):
    """Records a root that links to a sampled span, such as a transaction's; asks `sampler` for all others.

    Else the span of a transaction would be recorded by its own lot, and almost never where one of its records is.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def should_sample(  # noqa: PLR0917 - the library's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide on one span."""
        sampler = self.sampler
        if links and sampler is not ALWAYS_OFF and any(link.context.trace_flags.sampled for link in links):
            is_root = not trace.get_current_span(parent_context).get_span_context().is_valid
            sampler = ALWAYS_ON if is_root else sampler
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Say what it does."""
        return f"Linked({self.sampler.get_description()})"
