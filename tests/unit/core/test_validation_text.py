"""What validation finds is told in this program's words, and never with the value, which may be foreign."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from worker.core.validation_text import wanted


class Form(BaseModel, extra="forbid"):
    number: int = 1
    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.5
    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("a",)
    text: Annotated[str, Field(min_length=1, max_length=3)] = "a"
    pairs: dict[str, str] = {}
    choice: Literal["a", "b"] = "a"
    flag: bool = False


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"number": "SECRET"}, "want a whole number"),
        ({"number": 1.5}, "want a whole number"),
        ({"share": "SECRET"}, "want a number"),
        ({"share": float("nan")}, "want a finite number"),
        ({"share": 0}, "want more than 0"),
        ({"share": 2}, "want at most 1"),
        ({"names": "SECRET"}, "want a list, such as [a, b]"),
        ({"names": []}, "want at least 1 entry, seen 0"),
        ({"names": ["SECRET"] * 3}, "want at most 2 entries, seen 3"),
        ({"text": ["SECRET"]}, "want text, seen a list"),
        ({"text": 7}, "want text"),
        ({"text": ""}, "want at least 1 character"),
        ({"text": "SECRET"}, "want at most 3 characters"),
        ({"pairs": ["SECRET"]}, "want a mapping of names to values"),
        ({"choice": "SECRET"}, "want 'a' or 'b'"),
        ({"flag": "SECRET"}, "want true or false"),
        ({"SECRET": 1}, "is no field here"),
    ],
)
def test_a_problem_says_what_was_wanted(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Form.model_validate(given)
    assert [wanted(dict(one)) for one in caught.value.errors()] == [told]


def test_what_the_table_does_not_know_keeps_the_librarys_words_in_our_form() -> None:
    assert wanted({"type": "new_type", "msg": "Input should be a valid UUID"}) == "want UUID"
    assert wanted({"type": "new_type", "msg": "URL scheme is wrong"}) == "URL scheme is wrong"
