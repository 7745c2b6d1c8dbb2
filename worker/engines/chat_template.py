"""Renders a model's chat template with marks in place of the texts, so that no text can change its structure.

A mark has the blanks at both ends of the text that it stands for: a template that trims texts trims them as it would.
What it reads inside of texts, such as a `</think>`, is only looked for in the marks.  A date that the template writes
is the event's, at midnight UTC.

    form of the content   text; parts (`[{"type": "text", "text": ...}]`) where a template shows no text otherwise
    system_role=system    three messages: system, user, assistant
    system_role=user      two: the system text stands before the user's, with a blank line between
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Prompt

SYSTEM, USER, ASSISTANT = range(3)
Part = str | int  # of a rendered chat: the template's own text, or the place of a text
Edges = tuple[tuple[str, str], ...]  # the blanks at the beginning and at the end of each text
SystemRole = Literal["system", "user"]

_MARKS = ("MARK-OF-THE-SYSTEM-TEXT", "MARK-OF-THE-USER-TEXT", "MARK-OF-THE-ASSISTANT-TEXT")
_MARK = re.compile(f"({'|'.join(_MARKS)})")
_PART = "'type':"  # of a part that a template writes as Python does
_BARE: Edges = (("", ""),) * 3
MAX_KEPT = 64  # rendered forms: one for each kind of edges and each day
MAX_WHY = 200  # characters of what a template says when it refuses
_FOLD = "set system_role=user, which puts the system text before the user's"
_OTHER = "set chat_template=FILE, a Jinja template that takes a system, a user and an assistant message"


@dataclass(frozen=True, slots=True)
class _Form:
    """How messages are given to a template."""

    role: SystemRole
    in_parts: bool


class ChatTemplate:
    """The chat template of one tokenizer; `source` is the text of another one that is used instead.

    The constructor raises `BadSettings`, which says what to set, if the template does not show all three texts.
    """

    def __init__(self, tokenizer: Any, *, source: str | None = None, system_role: SystemRole = "system") -> None:
        self._tokenizer, self._source = tokenizer, source
        if source is None and not getattr(tokenizer, "chat_template", None):
            raise BadSettings(
                "chat template: the tokenizer has none, as a base model's: set chat_template=FILE, a Jinja template"
            )
        self._form = self._fitting(system_role)
        self._has_date = "strftime_now" in self._text()
        self._parts = lru_cache(MAX_KEPT)(self._render)

    def key(self, prompt: Prompt) -> tuple[Edges, int]:
        """Return all that the rendered parts of a prompt depend on."""
        texts = (prompt.system, prompt.user, prompt.prefix)
        return tuple(map(_edges, texts)), (prompt.occurred_at or 0) // 86_400_000_000 if self._has_date else 0

    def parts(self, key: tuple[Edges, int]) -> tuple[Part, ...]:
        """Return the rendered chat up to the assistant's text: the template's own texts, and the places of ours."""
        edges, day = key
        return self._parts(self._form, edges, day)

    def ending(self) -> str:
        """Return what the template writes after the assistant's text where that is not to be continued."""
        return self._rendered(self._form, _BARE, 0).rpartition(_MARKS[ASSISTANT])[2]

    def digest(self) -> str:
        """Return what tells apart two templates: 12 hexadecimal digits.

        The text counts, too: what it renders on some days, or for some texts, is not all that it can render.
        """
        found: list[object] = [self._text()]
        found += [self.parts((edges, day)) for edges in (_BARE, (("\n ", " \n"),) * 3) for day in (0, 1)]
        return sha256(repr(found).encode()).hexdigest()[:12]

    def _text(self) -> str:
        return self._source if self._source is not None else str(self._tokenizer.get_chat_template())

    def _fitting(self, role: SystemRole) -> _Form:
        """Return the form of messages that the template shows whole.  Raises `BadSettings`."""
        why = ""
        for form in (_Form(role, in_parts=False), _Form(role, in_parts=True)):
            problem = self._problem(form)
            if not problem:
                return form
            why = why or problem
        other: SystemRole = "user" if role == "system" else "system"
        folds = not all(self._problem(_Form(other, in_parts=parts)) for parts in (False, True))
        if role == "system":
            raise BadSettings(f"chat template: {why}: {_FOLD if folds else _OTHER}")
        raise BadSettings(f"chat template: {why}: {'set system_role=system' if folds else _OTHER}")

    def _problem(self, form: _Form) -> str:
        """Return why messages of this form do not come out whole; "" if they do."""
        try:
            parts = self._render(form, _BARE, 0)
        except Exception as error:  # noqa: BLE001 - a template is a program of others: it may raise anything
            return f"refuses the messages ({_one_line(error)})"
        if form.in_parts and any(isinstance(part, str) and _PART in part for part in parts):
            return "shows the form of the parts, not their text"
        missing = [name for place, name in enumerate(("system", "user", "assistant")) if place not in parts]
        if missing:
            return f"leaves out the text of {' and '.join(missing)}"
        return "" if sum(isinstance(part, int) for part in parts) == len(_MARKS) else "shows a text twice"

    def _rendered(self, form: _Form, edges: Edges, day: int) -> str:
        rendered = self._tokenizer.apply_chat_template(
            _messages(form, edges),
            chat_template=self._text(),
            tokenize=False,
            add_generation_prompt=False,
            strftime_now=_clock(day),
        )
        return str(rendered)

    def _render(self, form: _Form, edges: Edges, day: int) -> tuple[Part, ...]:
        shown, found, rest = self._rendered(form, edges, day).rpartition(_MARKS[ASSISTANT])
        pieces = _MARK.split(shown + found if found else rest)
        return tuple(_MARKS.index(piece) if piece in _MARKS else piece for piece in pieces if piece)


def _messages(form: _Form, edges: Edges) -> list[Mapping[str, Any]]:
    texts = [lead + mark + trail for mark, (lead, trail) in zip(_MARKS, edges, strict=True)]
    roles: Sequence[str] = ("system", "user", "assistant")
    if form.role == "user":
        roles, texts = ("user", "assistant"), [f"{texts[SYSTEM]}\n\n{texts[USER]}", texts[ASSISTANT]]
    contents = [[{"type": "text", "text": text}] if form.in_parts else text for text in texts]
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


def _clock(day: int) -> Callable[[str], str]:
    """Return what templates call `strftime_now`, for a day counted from 1970."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime


def _edges(text: str) -> tuple[str, str]:
    r"""Return the blanks before and after a text.

    >>> _edges("\n# A\nb \n"), _edges(" ")
    (('\n', ' \n'), (' ', ''))
    """
    core = text.lstrip()
    return text[: len(text) - len(core)], core[len(core.rstrip()) :]


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_WHY else text[:MAX_WHY] + "..."
