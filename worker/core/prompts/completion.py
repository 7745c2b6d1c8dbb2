"""The answer within a completion: without what the model thought aloud, without fences, quotes and HTML.

Linear in the length of the text, whatever it is.
"""

import re

MAX_READ_CHARS = 220_000  # of an answer, 70 ms at worst: 8,192 tokens, the most there are, may be a million blanks
_THOUGHTS = "think|thinking|thought|thoughts|reasoning|scratchpad"
_FINAL = r"<\|channel\|>final[^<\n]{0,20}<\|message\|>"  # of the harmony format: what comes before is thought aloud
_THOUGHT_ENDS = re.compile(rf"</(?:{_THOUGHTS})>|\[/(?:THINK|THINKING)\]|{_FINAL}", re.IGNORECASE)
_THOUGHT_MARKS = re.compile(
    rf"</?(?:{_THOUGHTS}|answer|response)>|\[/?(?:THINK|THINKING)\]|{_FINAL}|<\|(?:end|return|start|message)\|>",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^[ \t]*+(?:```|~~~)\w*[ \t\r]*$", re.MULTILINE)
_BREAK = re.compile(r"<(?:br|/p|/li|/div|/h[1-6])\s?/?>", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:b|i|u|s|em|strong|p|span|div|ul|ol|li|h[1-6]|sub|sup|small|mark|code|font)\s?/?>"
)  # <B> may be an option
_NOUN = re.compile(r"(?<=[A-Za-z]{2})ation$", re.IGNORECASE)
_QUOTE = re.compile(r"^[ \t]*+>[ \t]?", re.MULTILINE)  # of a text that is quoted as a whole


def answer(text: str, label: str) -> str:
    """Return what counts of a completion: what follows the thoughts, or these, where nothing with a label follows.

    `label` is a pattern of a label of the rationale.
    """
    thought_ends = 0
    for found in _THOUGHT_ENDS.finditer(text):
        thought_ends = found.end()
    thought, plain = text[:thought_ends], text[thought_ends:][:MAX_READ_CHARS]
    has_label = re.compile(label, re.IGNORECASE).search
    if thought and not (plain.strip() and (has_label(plain) or not has_label(thought[-MAX_READ_CHARS:]))):
        plain = thought[:MAX_READ_CHARS]
    plain = _TAG.sub("", _BREAK.sub("\n", _FENCE.sub("", _THOUGHT_MARKS.sub("", plain))))
    return _QUOTE.sub("", plain) if plain.lstrip().startswith(">") else plain


def without_closing(text: str, labels: str) -> str:
    """Return a text without the tags that close a section; `labels` is a pattern of their names."""
    return re.sub(rf"</(?:{labels})>", "", text, flags=re.IGNORECASE)


def label_pattern(label: str) -> str:
    """Return a pattern of a label: blanks or underscores between its words or none, with or without a plural's s.

    An "evaluation" may be called "evaluating", and its style "evaluative".
    """
    *first, last = label.split(" ")
    words = (*first, last.removesuffix("s") if first else last)
    parts = [_NOUN.sub("ati(?:on|ng|ve)", re.escape(word)) for word in words]
    plain = "[ \t_-]{0,3}".join(parts) + ("s?" if first else "")
    return "Behaviou?r" if label == "Behavior" else plain
