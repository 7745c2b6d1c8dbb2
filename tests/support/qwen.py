"""The real Qwen2.5 tokenizer, without a model hub: its vocabulary ships in the `dashscope` wheel, as tiktoken ranks."""

from functools import cache
from importlib.resources import files
from typing import Any

# Published with the model: what splits text before BPE, and the tokens added after the vocabulary, ids 151643 on.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_ADDED = (  # not special: `skip_special_tokens` and `split_special_tokens` leave them live
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>",
    "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
ADDED = (*_SPECIAL, *_ADDED)
_CHAT = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


@cache
def tokenizer() -> Any:
    """Return the tokenizer as transformers has it."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    ranks = files("dashscope") / "resources" / "qwen.tiktoken"
    plain = TikTokenConverter(vocab_file=str(ranks), pattern=_SPLIT, extra_special_tokens=list(_SPECIAL)).converted()
    plain.add_tokens([AddedToken(text, special=False, normalized=False) for text in _ADDED])
    return PreTrainedTokenizerFast(tokenizer_object=plain, chat_template=_CHAT)
