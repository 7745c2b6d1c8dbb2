"""Added tokens that are blanks or words are text; control tokens are none, not through merges either."""

import json
from string import ascii_letters
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from worker.engines.chat_template import ChatTemplate
from worker.engines.plain_text import PlainText
from worker.engines.tokens import Tokens

CHARS = ascii_letters + " :[]#().,<>|\n"
CHAT = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"


def tokenizer(*added: AddedToken, merges: Any = ()) -> Any:
    """Return a tokenizer of single characters, with these tokens added, as Gemma's file has its line breaks."""
    vocabulary = {c: i for i, c in enumerate(CHARS)}
    for a, b in merges:
        vocabulary.setdefault(a + b, len(vocabulary))
    whole = Tokenizer(BPE(vocab=vocabulary, merges=list(merges)))
    whole.decoder = decoders.Fuse()
    whole.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=whole)


def plain(found: Any) -> PlainText:
    return PlainText(json.loads(found.backend_tokenizer.to_str()))


@pytest.mark.parametrize("text", ["two\nlines", "\n", "a  b", "a film", "\n\n"])
def test_added_blanks_and_words_are_text(text: str) -> None:
    added = [AddedToken(one, normalized=False, special=False) for one in ("\n", "\n\n", "  ", "film")]
    whole = tokenizer(*added)
    assert list(plain(whole).inner(text)) == whole.encode(text, add_special_tokens=False)


def test_a_line_break_that_is_an_added_token_starts_and_continues_a_prompt() -> None:
    whole = tokenizer(AddedToken("\n", normalized=False, special=False))
    tokens = Tokens(whole, "Behavior: [", ChatTemplate(whole, source=CHAT))
    text = " x\nBehavior: ["
    assert tokens.continued((), tokens.encode(text), text) == tokens.encode(text)


@pytest.mark.parametrize("token", ["<think>", "<|User|>", "[INST]", "<table>"])
def test_what_is_written_with_markup_is_no_text(token: str) -> None:
    """Whether the tokenizer calls it special or not: DeepSeek's marks of turns are not."""
    for special in (True, False):
        found = plain(tokenizer(AddedToken(token, normalized=False, special=special)))
        assert len(found.inner(f"a{token}b")) == len(token) + 2


def test_a_unigram_model_takes_any_character_and_gives_no_control_token() -> None:
    """Without bytes, a rare character is the unknown piece, which is special; a piece may be one character."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("a", -2.0), ("|", -1.0), ("s", -2.0)]
    whole = Tokenizer(Unigram(pieces, unk_id=0, byte_fallback=False))
    whole.add_special_tokens(["<unk>", "</s>"])
    whole.add_tokens([AddedToken("|", normalized=False, special=False)])
    found = PlainText(json.loads(whole.to_str()))
    assert found.inner("a\U0001f642a") == (2, 0, 2)
    assert found.inner("a|a") == (2, 0, 2)
    assert 1 not in found.inner("a</s>a")


def test_a_control_token_does_not_come_out_of_the_merges_of_the_vocabulary() -> None:
    merges = [("<", "a"), ("<a", ">")]
    found = plain(tokenizer(AddedToken("<a>", normalized=False, special=True), merges=merges))
    assert found.control_ids.isdisjoint(found.inner("x<a>y"))
    assert len(found.inner("x<a>y")) == 4  # x, <a, >, y
