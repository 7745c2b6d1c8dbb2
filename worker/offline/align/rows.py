r"""Selected scenes as token ids: what the engines send and read, to the token.

    prompt      the chat up to "Thought:\nStimulus:", as `engines.tokens` makes it: no text becomes a control token
    completion  the rationale, "Behavior: [", the letter's one token, "]", the end of the turn

The letter is the single token that the engines read the probability of, also where a tokenizer would write bracket and
letter as one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Prompt
from worker.engines.chat_template import ChatTemplate
from worker.engines.tokens import Tokens, load

CLOSING = "]"


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One scene for training; `rejected` is empty where there is none."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...] = ()


class RowReader:
    """Turns lines of `selected.jsonl` into rows.  Raises `BadSettings` or `Fatal` for a tokenizer that cannot."""

    def __init__(self, model: str, stop: str) -> None:
        try:
            self.tokenizer = load(model, None)
        except Exception as error:
            raise BadSettings(f"model {model}: no tokenizer: {type(error).__name__}; nothing was trained") from error
        self._stop = stop
        self._tokens = Tokens(self.tokenizer, stop, ChatTemplate(self.tokenizer))
        if self.tokenizer.eos_token_id is None:
            raise BadSettings(f"model {model}: its tokenizer has no end-of-turn token (eos_token); nothing was trained")

    def rows(self, lines: Iterable[Mapping[str, Any]], max_length: int) -> tuple[list[TrainingRow], Counter[str]]:
        """Return all rows that fit, and how many did not."""
        left_out: Counter[str] = Counter()
        found = []
        for line in lines:
            row = self._row(line)
            if len(row.prompt) + max(len(row.chosen), len(row.rejected)) > max_length:
                left_out["too_long"] += 1
            else:
                found.append(row)
        return found, left_out

    def _row(self, line: Mapping[str, Any]) -> TrainingRow:
        prompt = self._tokens.chat(Prompt(**line["prompt"]))
        return TrainingRow(
            prompt,
            self._completion(prompt, line["chosen"]),
            self._completion(prompt, line["rejected"]) if line["rejected"] is not None else (),
        )

    def _completion(self, prompt: tuple[int, ...], answer: Mapping[str, Any]) -> tuple[int, ...]:
        whole = self._tokens.anew(prompt, answer["text"] + self._stop)
        if whole[: len(prompt)] != prompt:  # the prompt's last token and the first of the rationale are one here
            whole = prompt + self._tokens.encode(answer["text"] + self._stop)
        letter = self._tokens.letters[answer["letter"]]
        end = self.tokenizer.eos_token_id
        return (*whole[len(prompt) :], letter, *self._tokens.encode(CLOSING), end)


def sft_columns(rows: Sequence[TrainingRow]) -> dict[str, list[list[int]]]:
    """Return what TRL's SFTTrainer takes: the loss is of the completion alone."""
    return {
        "input_ids": [[*row.prompt, *row.chosen] for row in rows],
        "labels": [[-100] * len(row.prompt) + list(row.chosen) for row in rows],
    }


def dpo_columns(rows: Sequence[TrainingRow]) -> dict[str, list[list[int]]]:
    """Return what TRL's DPOTrainer takes, of the rows that have a rejected answer."""
    pairs = [row for row in rows if row.rejected]
    return {
        "prompt_ids": [list(row.prompt) for row in pairs],
        "chosen_ids": [list(row.chosen) for row in pairs],
        "rejected_ids": [list(row.rejected) for row in pairs],
    }
