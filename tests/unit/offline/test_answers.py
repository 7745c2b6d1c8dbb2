"""A file of answers survives a kill at any byte, and is never taken for another evaluation's."""

from pathlib import Path

import pytest

from worker.core.errors import BadSettings, Fatal
from worker.offline.evaluate.answers import Answered, AnswerFile, answers

HEADER = {"arm": "a", "settings": "1"}


def answer(line: int) -> Answered:
    return Answered(line, f"d{line}", "u", "movies", 0, 1, ("x", "y"), (0, 1), (1,), "OK", ((0.25, 0.75),), 1, 0.9, ())


def write(path: Path, *lines: int, done: bool = False) -> None:
    with AnswerFile(path, HEADER) as file:
        file.begin(HEADER)
        for line in lines:
            file.append(answer(line))
        if done:
            file.finish(len(lines))


def test_every_cut_keeps_the_whole_answers_before_it(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, 1, 2, 3)
    whole = path.read_bytes()
    ends = [place + 1 for place, sign in enumerate(whole) if sign == ord("\n")]
    for size in (*range(0, len(whole), 17), *ends, *(end - 1 for end in ends)):
        path.write_bytes(whole[:size])
        with AnswerFile(path, HEADER) as file:
            assert file.num_kept == max(0, sum(end <= size for end in ends) - 1)
            file.begin(HEADER)
            for line in range(file.num_kept + 1, 4):
                file.append(answer(line))
        assert path.read_bytes() == whole
    assert list(answers(path)) == [answer(1), answer(2), answer(3)]


def test_a_changed_answer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, 1, 2, done=True)
    path.write_bytes(path.read_bytes().replace(b"0.75", b"0.76", 1))
    with pytest.raises(Fatal, match="line 2: is damaged; delete the file to ask again"):
        AnswerFile(path, HEADER)


def test_answers_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    write(path, 1)
    with pytest.raises(BadSettings, match=r"answers of another evaluation \(settings '1', now '2'\)"):
        AnswerFile(path, {**HEADER, "settings": "2"})
    path.write_text('{"event_id": "e"}\n')  # somebody's own file stays as it is
    with pytest.raises(BadSettings, match="is no file of answers"):
        AnswerFile(path, HEADER)
    assert path.read_text() == '{"event_id": "e"}\n'


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path, HEADER), pytest.raises(BadSettings, match="another process is writing"):
        AnswerFile(path, HEADER)
