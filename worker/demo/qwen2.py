"""Qwen2 in the size of a demo: the same computation and names of weights as the real one, and a shared prefix.

All prompts begin with the same system message.  `forward` takes it once, as a batch of one, and lets every row
attend to its keys and values; on a CPU that halves the cost of a training step.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

ROPE_THETA = 10_000.0
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of the network."""

    vocabulary: int
    hidden: int = 128
    layers: int = 4
    heads: int = 2
    intermediate: int = 384


KeysValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Causal self-attention with rotary positions; biases on queries, keys and values, as Qwen2 has them."""

    def __init__(self, shape: Shape) -> None:
        """Make the four projections."""
        super().__init__()
        self.heads = shape.heads
        self.q_proj = nn.Linear(shape.hidden, shape.hidden)
        self.k_proj = nn.Linear(shape.hidden, shape.hidden)
        self.v_proj = nn.Linear(shape.hidden, shape.hidden)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x: Tensor, turn: KeysValues, before: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """Attend to `before` and to all earlier places of `x`; return also the keys and values of `x`."""
        split = [
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.q_proj, self.k_proj, self.v_proj)
        ]
        own = (_rotate(split[1], turn), split[2])
        keys, values, mask = *own, None
        if before:
            keys, values = (
                torch.cat((old.expand(len(x), -1, -1, -1), new), 2) for old, new in zip(before, own, strict=True)
            )
            mask = torch.ones(x.shape[1], keys.shape[2], dtype=torch.bool).tril(keys.shape[2] - x.shape[1])
        query = _rotate(split[0], turn)
        mixed = functional.scaled_dot_product_attention(query, keys, values, mask, is_causal=mask is None)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)), own


class Mlp(nn.Module):
    """The gated feed-forward part."""

    def __init__(self, shape: Shape) -> None:
        """Make the three projections."""
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to the stream."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention, then the feed-forward part, each after a norm."""

    def __init__(self, shape: Shape) -> None:
        """Make both parts."""
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=EPSILON)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=EPSILON)

    def forward(self, x: Tensor, turn: KeysValues, before: KeysValues | None) -> tuple[Tensor, KeysValues]:
        """Return the stream after this layer, and its keys and values."""
        mixed, own = self.self_attn(self.input_layernorm(x), turn, before)
        x = x + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), own


class Qwen2(nn.Module):
    """The decoder with tied embeddings."""

    def __init__(self, shape: Shape) -> None:
        """Draw the weights, small, as GPT-2 does."""
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=EPSILON)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif weight.dim() > 1:
                deep = math.sqrt(2 * shape.layers) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(weight, std=0.02 * math.sqrt(768 / shape.hidden) / deep)

    def forward(self, rows: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Return the last states of `rows` (batch, length), read after `prefix` (length)."""
        start = 0
        before: list[KeysValues] | None = None
        if prefix is not None:
            _, before = self._run(prefix[None], 0, None)
            start = len(prefix)
        states, _ = self._run(rows, start, before)
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Score every token of the vocabulary."""
        return functional.linear(states, self.embed_tokens.weight)

    def _run(self, rows: Tensor, start: int, before: list[KeysValues] | None) -> tuple[Tensor, list[KeysValues]]:
        turn = _turn(start, rows.shape[1], self.shape.hidden // self.shape.heads)
        x = self.embed_tokens(rows)
        all_own = []
        for number, layer in enumerate(self.layers):
            x, own = layer(x, turn, before[number] if before else None)
            all_own.append(own)
        return self.norm(x), all_own


def _turn(start: int, length: int, width: int) -> KeysValues:
    rates = ROPE_THETA ** (-torch.arange(0, width, 2) / width)
    angles = torch.outer(torch.arange(start, start + length), rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, turn: KeysValues) -> Tensor:
    cos, sin = (part.to(x.dtype) for part in turn)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
