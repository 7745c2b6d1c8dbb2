"""What tests against real parts share."""

from collections.abc import Callable

import pytest


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str, float], None]:
    """Print how long a fault kept answers from readers, also when the test passes: README quotes it."""

    def line(fault: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\nrecovery {fault}: {seconds:.1f} s")

    return line
