"""A blocking call in a thread: its result or its error comes back, and neither a cancellation nor an exit waits."""

import asyncio
import subprocess
import sys
import threading

import pytest

from tests.support.patience import patience
from worker.system import daemon_thread

WAIT_S = 30
NEVER_ENDS = """
import threading
from worker.system import daemon_thread
daemon_thread.start(threading.Event().wait)
"""


def test_a_result_and_an_error_come_back() -> None:
    names = daemon_thread.start(lambda: threading.current_thread().name, "probe").result(patience(WAIT_S))
    failed = daemon_thread.start(lambda: 1 // 0)
    assert names == "probe"
    with pytest.raises(ZeroDivisionError):
        failed.result(patience(WAIT_S))


async def test_the_event_loop_goes_on_meanwhile() -> None:
    turned = threading.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    assert await daemon_thread.in_thread(lambda: turned.wait(patience(WAIT_S)))


async def test_an_error_is_raised_in_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        await daemon_thread.in_thread(lambda: 1 // 0)


async def test_a_result_after_a_cancellation_is_dropped_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    may_end = threading.Event()
    late = daemon_thread.start(lambda: may_end.wait(patience(WAIT_S)))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.wrap_future(late), 0.01)
    may_end.set()
    assert late.result(patience(WAIT_S))
    assert caplog.text == ""


def test_exit_does_not_wait_for_it() -> None:
    assert subprocess.run([sys.executable, "-c", NEVER_ENDS], timeout=patience(WAIT_S), check=False).returncode == 0
