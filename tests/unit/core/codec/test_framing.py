"""How a value names its writer's schema is read in bounded memory."""

import tracemalloc
from collections.abc import Callable

import pytest

from worker.core.codec import framing
from worker.core.errors import Poison


@pytest.mark.parametrize("split", [framing.split, framing.split_json, framing.split_protobuf])
def test_a_value_beyond_all_measure_is_refused_before_it_is_copied(split: Callable[..., object]) -> None:
    """A megabyte of a packed batch may be one value of 60 MB, which was copied twice to read six bytes."""
    value = b"\0\0\0\0\1\0" + bytes(framing.MAX_VALUE_BYTES)
    tracemalloc.start()
    with pytest.raises(Poison, match="16,777,222 bytes, want at most 16,777,216") as caught:
        split(value, ())
    assert caught.value.reason == "limit"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
