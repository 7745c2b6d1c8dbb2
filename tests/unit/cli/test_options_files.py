"""Results are never written over what a command reads."""

from pathlib import Path

import pytest

from worker.cli.options import check_writable
from worker.core.errors import BadSettings


def test_a_result_over_a_file_that_is_read_is_refused(tmp_path: Path) -> None:
    """By another name too; a file of its own may be there."""
    state, link = tmp_path / "state.db", tmp_path / "link.svg"
    state.write_text("figures")
    link.symlink_to(state)
    for path in (state, link):
        with pytest.raises(BadSettings, match=f"--plot {path}: is a file that this command reads"):
            check_writable("--plot", path, beside=(None, tmp_path / "absent", state))
    (tmp_path / "old.svg").touch()
    check_writable("--plot", tmp_path / "old.svg", beside=(state,))
    assert state.read_text() == "figures"
