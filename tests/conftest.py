"""What several of the tests' folders share."""

import signal
from collections.abc import Callable

import hypothesis
import pytest

from worker.pipeline import loop, quarantine

# Hypothesis fails an example that takes 200 ms: on a busy machine any of them may.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Whoever is started in the background of a script ignores Ctrl-C, and so do its children: tests would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop look at its clocks ten times a second: in jumping time, minutes stay cheap."""
    monkeypatch.setattr(loop, "TICK_S", 0.1)
    monkeypatch.setattr(quarantine, "TURN_S", 0.1)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str, float], None]:
    """Print how long a fault kept answers from readers, also when the test passes: README quotes it."""

    def line(fault: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\nrecovery {fault}: {seconds:.1f} s")

    return line
