"""Qwen2 in the size of a demo: the arithmetic and the weights' names of the real one, as functions of a dictionary.

    x += attention(norm(x)); x += mlp(norm(x))      in each layer, causal, rotary positions, tied embeddings

All prompts begin with the same system message.  `read` takes it once, as one row, and lets every row of a batch
attend to its keys and values; on a CPU that halves the cost of a training step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

ROPE_THETA = 10_000.0
EPSILON = 1e-6
_SPREAD = 0.02 * math.sqrt(768)  # GPT-2's initial weights, scaled to the width

Weights = Mapping[str, Tensor]
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of the network."""

    vocabulary: int
    hidden: int = 128
    layers: int = 4
    heads: int = 2
    intermediate: int = 384

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.hidden // self.heads


def initial(shape: Shape) -> dict[str, Tensor]:
    """Draw the weights; what is added to the stream starts smaller in a deep network."""
    spread = _SPREAD / shape.hidden**0.5
    last = spread / (2 * shape.layers) ** 0.5
    h, i = shape.hidden, shape.intermediate
    weights = {"embed_tokens.weight": torch.randn(shape.vocabulary, h) * spread, "norm.weight": torch.ones(h)}
    for number in range(shape.layers):
        at = f"layers.{number}."
        for name in ("q", "k", "v"):
            weights[f"{at}self_attn.{name}_proj.weight"] = torch.randn(h, h) * spread
            weights[f"{at}self_attn.{name}_proj.bias"] = torch.zeros(h)
        weights[f"{at}self_attn.o_proj.weight"] = torch.randn(h, h) * last
        weights[f"{at}mlp.gate_proj.weight"] = torch.randn(i, h) * spread
        weights[f"{at}mlp.up_proj.weight"] = torch.randn(i, h) * spread
        weights[f"{at}mlp.down_proj.weight"] = torch.randn(h, i) * last
        weights[f"{at}input_layernorm.weight"] = torch.ones(h)
        weights[f"{at}post_attention_layernorm.weight"] = torch.ones(h)
    return weights


def read(weights: Weights, shape: Shape, rows: Tensor, prefix: Tensor | None = None) -> Tensor:
    """Return the last states of `rows` (batch, length), each read after `prefix` (length)."""
    if prefix is None:
        return _run(weights, shape, rows, [])[0]
    _, before = _run(weights, shape, prefix[None], [])
    return _run(weights, shape, rows, before)[0]


def logits(weights: Weights, states: Tensor) -> Tensor:
    """Score every token of the vocabulary."""
    return functional.linear(states, weights["embed_tokens.weight"])


def _run(weights: Weights, shape: Shape, rows: Tensor, before: list[KeysValues]) -> tuple[Tensor, list[KeysValues]]:
    """Return the last states, and each layer's keys and values."""
    start = before[0][0].shape[2] if before else 0
    turn = _turn(start, rows.shape[1], shape.head)
    x = functional.embedding(rows, weights["embed_tokens.weight"])
    kept = []
    for number in range(shape.layers):
        layer = {
            name.removeprefix(at): weight
            for name, weight in weights.items()
            if name.startswith(at := f"layers.{number}.")
        }
        mixed, own = _attend(
            layer, shape, _norm(x, layer["input_layernorm.weight"]), turn, before[number] if before else None
        )
        x = x + mixed
        x = x + _mlp(layer, _norm(x, layer["post_attention_layernorm.weight"]))
        kept.append(own)
    return _norm(x, weights["norm.weight"]), kept


def _attend(
    layer: Weights, shape: Shape, x: Tensor, turn: KeysValues, before: KeysValues | None
) -> tuple[Tensor, KeysValues]:
    """Attend to `before` and to all earlier places of `x`; return also the keys and values of `x`."""
    query, key, value = (
        functional.linear(x, layer[f"self_attn.{name}_proj.weight"], layer[f"self_attn.{name}_proj.bias"])
        .unflatten(-1, (shape.heads, shape.head))
        .transpose(1, 2)
        for name in ("q", "k", "v")
    )
    query, key = _rotate(query, turn), _rotate(key, turn)
    keys, values, mask = key, value, None
    if before:
        keys, values = (
            torch.cat((old.expand(len(x), -1, -1, -1), new), 2) for old, new in zip(before, (key, value), strict=True)
        )
        mask = torch.ones(x.shape[1], keys.shape[2], dtype=torch.bool).tril(keys.shape[2] - x.shape[1])
    mixed = functional.scaled_dot_product_attention(query, keys, values, mask, is_causal=mask is None)
    return functional.linear(mixed.transpose(1, 2).flatten(2), layer["self_attn.o_proj.weight"]), (key, value)


def _mlp(layer: Weights, x: Tensor) -> Tensor:
    gate = functional.silu(functional.linear(x, layer["mlp.gate_proj.weight"]))
    return functional.linear(gate * functional.linear(x, layer["mlp.up_proj.weight"]), layer["mlp.down_proj.weight"])


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return functional.rms_norm(x, weight.shape, weight, EPSILON)


def _turn(start: int, length: int, width: int) -> KeysValues:
    rates = ROPE_THETA ** (-torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(start, start + length), rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, turn: KeysValues) -> Tensor:
    cos, sin = (part.to(x.dtype) for part in turn)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
