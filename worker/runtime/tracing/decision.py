"""Whether a trace is recorded, for samplers that look at its id and its parent alone: one comparison of integers.

All samplers that OTEL_TRACES_SAMPLER names are such.  Without the objects that the SDK's want to see, a record that is
not recorded costs 6 µs of CPU instead of 17 (SDK 1.45, `worker.bench.plain.span_costs`, 2026-11).

>>> decision = decision_of(LinkedSampler(ParentBased(TraceIdRatioBased(0.5))))
>>> [decision.records(trace_id, None) for trace_id in ((1 << 63) - 1, 1 << 63)]
[True, False]
"""

from typing import NamedTuple

from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision as SdkDecision,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext

from worker.runtime.tracing.linked_sampler import LinkedSampler

_ALL = TraceIdRatioBased.TRACE_ID_LIMIT + 1
_STATIC = {SdkDecision.RECORD_AND_SAMPLE: _ALL, SdkDecision.DROP: 0}


class Decision(NamedTuple):
    """Below which number the lower 64 bits of a trace's id are if it is recorded, by what is known of its parent."""

    root: int
    linked: int  # a root that links to a sampled span
    sampled: int  # below a sampled span of another process
    unsampled: int

    def records(self, trace_id: int, parent: SpanContext | None, *, linked: bool = False) -> bool:
        """Return whether a trace is recorded that begins here, or comes from `parent`."""
        if parent is None:
            bound = self.linked if linked else self.root
        else:
            bound = self.sampled if parent.trace_flags.sampled else self.unsampled
        return trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < bound


def decision_of(sampler: Sampler) -> Decision | None:
    """Return the decision that a sampler makes; None for one that may look at more, or decides by span."""
    asked = sampler.sampler if isinstance(sampler, LinkedSampler) else sampler
    delegates = ("_root", "_remote_parent_sampled", "_remote_parent_not_sampled", "_local_parent_sampled")
    root, sampled, unsampled, local = (_bound(asked, name) for name in delegates)
    if root is None or sampled is None or unsampled is None or (isinstance(asked, ParentBased) and local != _ALL):
        return None
    links_count = asked is not sampler and asked is not ALWAYS_OFF
    return Decision(root, _ALL if links_count else root, sampled, unsampled)


def _bound(sampler: Sampler, delegate: str) -> int | None:
    """Return the bound of a sampler, or of its delegate if it has any; None if it looks at more."""
    how = type(sampler).should_sample
    if how is ParentBased.should_sample:
        found = vars(sampler).get(delegate)  # private: without it, spans are the tracer's
        return _bound(found, delegate) if isinstance(found, Sampler) else None
    if how is StaticSampler.should_sample:
        return _STATIC.get(sampler.should_sample(None, 0, "").decision)
    return sampler.bound if isinstance(sampler, TraceIdRatioBased) and how is TraceIdRatioBased.should_sample else None
