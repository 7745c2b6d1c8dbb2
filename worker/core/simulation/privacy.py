"""What of a response is published: all of it, without its texts, or with personal data taken out of its rationales.

A rationale is written by a model that has read a user's profile and history, so it may repeat what stands there.

>>> redacted("I wrote to ann@example.org from 192.0.2.7, or call +49 30 1234567; in 2011 I paid 1299.00")
'I wrote to [email] from [ip], or call [phone]; in 2011 I paid 1299.00'
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from worker.core.prompts.rationale import Rationale
from worker.core.pseudonyms import pseudonym
from worker.core.simulation.response import Draw, SimulatedResponse
from worker.core.steps import Steps

Redactor = Callable[[str], str]

# Each is linear: what repeats is bounded or has one way to match.  Years, prices and ratings are none of these.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("url", re.compile(r"\b(?:https?|ftp)://[^\s<>\"']{1,2000}|\bwww\.[^\s<>\"']{1,2000}", re.IGNORECASE)),
    ("email", re.compile(r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("ip", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)")),
    ("ip", re.compile(r"\b(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}\b", re.IGNORECASE)),
    ("card", re.compile(r"(?<![\d-])(?:\d{4}(?:([ -])\d{4}\1\d{4}\1\d{1,7}|[ -]\d{6}[ -]\d{5})|\d{15,16})(?!\d)")),
    ("phone", re.compile(r"(?<![\w+])(?:\+|00)\d{1,3}(?:[ ./()-]{0,2}\d){6,12}(?!\d)")),
    ("phone", re.compile(r"(?<![\w.+-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])")),
)
FAILED = "[removed: the redactor failed]"


@dataclass(frozen=True, slots=True)
class Privacy:
    """What is published; `redactor` gets each text of a rationale, and returns what may be published of it."""

    content: bool = True
    redactor: Redactor | None = None
    pseudonym_key: bytes | None = None  # None: user ids as they are


EVERYTHING = Privacy()


@dataclass(frozen=True, slots=True)
class Published:
    """What may be published of a response, and what that took: texts that were changed, texts that were removed."""

    response: SimulatedResponse
    num_redacted: int = 0
    num_failed: int = 0
    error: str = ""  # kind of the last failure; its message may have the text


def redacted(text: str) -> str:
    """Replace e-mail and IP addresses, phone, card and account numbers, and URLs by their kinds, such as `[email]`."""
    for kind, pattern in _PATTERNS:
        text = pattern.sub(f"[{kind}]", text)
    return text


def publishing(response: SimulatedResponse, privacy: Privacy) -> Steps[Published]:
    """Return what may be published of a response, in steps of one draw; the redactor may run in another thread.

    Without content, draws have no rationale and no text, and options neither name nor attributes: ids and
    probabilities are what is left.
    """
    if privacy.pseudonym_key is not None:
        response = replace(response, user_id=pseudonym(privacy.pseudonym_key, response.user_id))
    if not privacy.content:
        draws = tuple(replace(draw, text=None, rationale=None) for draw in response.draws)
        options = tuple(replace(option, text=None, attributes={}) for option in response.options)
        return Published(replace(response, draws=draws, options=options))
    if privacy.redactor is None:
        return Published(response)
    taking = _Taking(privacy.redactor)
    kept: tuple[Draw, ...] = ()
    for draw in response.draws:
        kept += ((yield partial(taking.draw, draw)),)
    return Published(replace(response, draws=kept), taking.num_redacted, taking.num_failed, taking.error)


class _Taking:
    """Runs a redactor on the texts of one response, and counts."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.num_redacted = self.num_failed = 0
        self.error = ""

    def draw(self, draw: Draw) -> Draw:
        return replace(draw, text=self._text(draw.text), rationale=self._rationale(draw.rationale))

    def _rationale(self, rationale: Rationale | None) -> Rationale | None:
        if rationale is None:
            return None
        return replace(
            rationale,
            stimulus=self._text(rationale.stimulus),
            knowledge=self._text(rationale.knowledge),
            evaluation=self._text(rationale.evaluation),
            # Factors and style are words of a fixed list; what is not in the list is the model's own.
            other=tuple(self._text(factor) or "" for factor in rationale.other),
        )

    def _text(self, text: str | None) -> str | None:
        if not text:
            return text
        try:
            found = self._redactor(text)
            if not isinstance(found, str):
                raise TypeError
            found.encode()
        except Exception as error:  # noqa: BLE001 - somebody else's code, and nothing may leave that it has not seen
            self.num_failed += 1
            self.error = type(error).__name__
            return FAILED
        self.num_redacted += found != text
        return found
