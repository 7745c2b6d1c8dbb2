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

ROPE_THETA = 1e6  # Qwen2's: half of a head's width hardly turns, so that a head can look for content far away
EPSILON = 1e-6
_SPREAD = 0.02 * math.sqrt(768)  # GPT-2's initial weights, scaled to the width

Weights = Mapping[str, Tensor]
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """The sizes of the network."""

    vocabulary: int
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    intermediate: int = 384

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.hidden // self.heads


def initial(shape: NetworkSize) -> dict[str, Tensor]:
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


def read(weights: Weights, shape: NetworkSize, rows: Tensor, prefix: Tensor | None = None) -> list[Tensor]:
    """Return the states of `rows` (batch, length), each read after `prefix` (length): at first and after each layer."""
    before = _run(weights, shape, prefix[None], [])[1] if prefix is not None else []
    return _run(weights, shape, rows, before)[0]


def logits(weights: Weights, states: Tensor) -> Tensor:
    """Score every token of the vocabulary by states of any layer."""
    return functional.linear(_norm(states, weights["norm.weight"]), weights["embed_tokens.weight"])


def attention(weights: Weights, shape: NetworkSize, states: Tensor, layer: int, head: int) -> Tensor:
    """Return the scores (batch, length, length) by which one head chooses what it looks at, before the mask."""
    at = f"layers.{layer}."
    x = _norm(states, weights[f"{at}input_layernorm.weight"])
    turn = _turn(0, states.shape[1], shape.head)
    own = slice(head * shape.head, (head + 1) * shape.head)
    query, key = (
        _rotate(functional.linear(x, weights[f"{at}{name}.weight"][own], weights[f"{at}{name}.bias"][own]), turn)
        for name in ("self_attn.q_proj", "self_attn.k_proj")
    )
    return query @ key.transpose(1, 2) / math.sqrt(shape.head)


def _run(
    weights: Weights, shape: NetworkSize, rows: Tensor, before: list[KeysValues]
) -> tuple[list[Tensor], list[KeysValues]]:
    """Return the states before and after each layer, and each layer's keys and values."""
    start = before[0][0].shape[2] if before else 0
    turn = _turn(start, rows.shape[1], shape.head)
    states = [functional.embedding(rows, weights["embed_tokens.weight"])]
    kept = []
    for number in range(shape.layers):
        layer = {
            name.removeprefix(at): weight
            for name, weight in weights.items()
            if name.startswith(at := f"layers.{number}.")
        }
        x = states[-1]
        mixed, own = _attend(
            layer, shape, _norm(x, layer["input_layernorm.weight"]), turn, before[number] if before else None
        )
        x = x + mixed
        states.append(x + _mlp(layer, _norm(x, layer["post_attention_layernorm.weight"])))
        kept.append(own)
    return states, kept


def _attend(
    layer: Weights, shape: NetworkSize, x: Tensor, turn: KeysValues, before: KeysValues | None
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
