"""A decoder-only transformer over image tokens in raster order: Llama's blocks, with slots of keys and values.

Blocks as in Touvron et al., "Llama 2" (arXiv 2307.09288): RMS norm before each part, rotary positions, grouped
queries, SwiGLU. Rotary pairs are neighbours (2i, 2i+1), as in Su et al., "RoFormer" (arXiv 2104.09864), eq. 15, so that
a rotation is one complex product. Training calls the module; the native runner calls `decode` and `prefill`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerShape:
    """Sizes of the network.

    Attributes:
        vocabulary_size: Tokens that it can read; the image tokens come first.
        num_image_tokens: Tokens that it can draw, ``0..num_image_tokens - 1``.
        dimension: Width of the residual stream.
        num_layers: Blocks.
        num_heads: Query heads; each is ``head_dimension`` wide.
        num_key_value_heads: Key and value heads, a divisor of ``num_heads``.
        head_dimension: Width of a head, even.
        hidden_dimension: Width inside the feed-forward part.
        max_positions: Longest sequence, prompt and image.
        rotary_base: Base of the rotary frequencies.
        norm_epsilon: Added to the mean square.
        has_position_table: Whether a learned vector per position is added to the input; helps tiny models to know the
            row they are in.
    """

    vocabulary_size: int
    num_image_tokens: int
    dimension: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_dimension: int
    hidden_dimension: int
    max_positions: int
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-5
    has_position_table: bool = True


class KeyValueSlots:
    """Keys and values of every slot, contiguous: a slot holds one sequence from its first token to its last.

    An image's length is known when it is admitted, so contiguous slots waste nothing where all images have one size
    (docs/decisions/0090-contiguous-slots.md).

    Attributes:
        keys: Shape ``(num_layers, num_slots, num_key_value_heads, max_positions, head_dimension)``.
        values: The same.
    """

    def __init__(self, shape: TransformerShape, num_slots: int, like: Tensor) -> None:
        slots = (num_slots, shape.num_key_value_heads, shape.max_positions, shape.head_dimension)
        self.keys = like.new_zeros(shape.num_layers, *slots)
        self.values = torch.zeros_like(self.keys)

    def move(self, source: int, target: int) -> None:
        """Copy one slot over another."""
        self.keys[:, target] = self.keys[:, source]
        self.values[:, target] = self.values[:, source]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """What all layers of one step share.

    Attributes:
        rotation: Unit complex numbers, shape ``(num_rows, 1, head_dimension / 2)``.
        mask: 0 where a row may look, minus infinity elsewhere, shape ``(num_rows, 1, 1, length)``.
        rows: ``0..num_rows - 1``.
        positions: Where each row's token stands, shape ``(num_rows,)``.
        length: Positions that any row looks at.
    """

    rotation: Tensor
    mask: Tensor
    rows: Tensor
    positions: Tensor
    length: int


class Block(nn.Module):
    """Attention and feed-forward, each added to the residual stream."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        num_projected = shape.num_heads + 2 * shape.num_key_value_heads
        self.attention_norm = nn.Parameter(torch.ones(shape.dimension))
        self.query_key_value = nn.Linear(shape.dimension, num_projected * shape.head_dimension, bias=False)
        self.attention_output = nn.Linear(shape.num_heads * shape.head_dimension, shape.dimension, bias=False)
        self.feed_norm = nn.Parameter(torch.ones(shape.dimension))
        self.gate_up = nn.Linear(shape.dimension, 2 * shape.hidden_dimension, bias=False)
        self.down = nn.Linear(shape.hidden_dimension, shape.dimension, bias=False)

    def project(self, stream: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Make rotated queries, rotated keys, and values; each of shape ``(..., heads, head_dimension)``."""
        shape = self.shape
        projected = self.query_key_value(self._norm(stream, self.attention_norm))
        heads = projected.unflatten(-1, (-1, shape.head_dimension))
        num_rotated = shape.num_heads + shape.num_key_value_heads
        rotated = rotate(heads[..., :num_rotated, :], rotation)
        return rotated[..., : shape.num_heads, :], rotated[..., shape.num_heads :, :], heads[..., num_rotated:, :]

    def finish(self, stream: Tensor, attended: Tensor) -> Tensor:
        """Add what attention found, of shape ``(..., num_heads * head_dimension)``, then the feed-forward part."""
        stream = stream + self.attention_output(attended)
        gate, up = self.gate_up(self._norm(stream, self.feed_norm)).chunk(2, dim=-1)
        result: Tensor = stream + self.down(functional.silu(gate) * up)
        return result

    def decode(self, stream: Tensor, plan: StepPlan, keys: Tensor, values: Tensor) -> Tensor:
        """Take one token further in each row.

        Args:
            stream: Shape ``(num_rows, dimension)``.
            plan: What all layers share.
            keys: Of this layer, every slot; the token's key is written into it.
            values: The same for values.

        Returns:
            The stream after this block.
        """
        shape, num_rows = self.shape, stream.shape[0]
        query, key, value = self.project(stream, plan.rotation)
        keys[plan.rows, :, plan.positions] = key
        values[plan.rows, :, plan.positions] = value
        # A group of query heads shares a key head: (rows, key heads, queries per key head, head dimension).
        grouped = query.reshape(num_rows, shape.num_key_value_heads, -1, shape.head_dimension)
        visible = keys[:num_rows, :, : plan.length].transpose(-1, -2)
        scores = torch.matmul(grouped * shape.head_dimension**-0.5, visible).add_(plan.mask)
        weights = torch.softmax(scores, dim=-1)
        attended = torch.matmul(weights, values[:num_rows, :, : plan.length])
        return self.finish(stream, attended.reshape(num_rows, -1))

    def attend_all(self, stream: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Process whole sequences causally; returns stream, keys and values, the latter as (batch, heads, time, _)."""
        query, key, value = (part.transpose(-3, -2) for part in self.project(stream, rotation))
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        return self.finish(stream, attended.transpose(-3, -2).flatten(-2)), key, value

    def _norm(self, stream: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(stream, (self.shape.dimension,), weight, self.shape.norm_epsilon)


class Transformer(nn.Module):
    """The network; calling it gives the logits of every next token of whole sequences."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        # Not buffers: a module that is cast would cast them, and float32's rounding would stay in a float64 model.
        self._tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}
        self.embedding = nn.Embedding(shape.vocabulary_size, shape.dimension)
        table = torch.zeros(shape.max_positions, shape.dimension)
        self.position_table = nn.Parameter(table) if shape.has_position_table else None
        self._layers = [Block(shape) for _ in range(shape.num_layers)]
        self.blocks = nn.ModuleList(self._layers)
        self.norm = nn.Parameter(torch.ones(shape.dimension))
        self.head = nn.Linear(shape.dimension, shape.num_image_tokens, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # Residual outputs start smaller, as in GPT-2, so that depth does not blow the stream up.
                is_residual = name.endswith(("attention_output.weight", "down.weight"))
                scale = 0.02 / (2 * self.shape.num_layers) ** 0.5 if is_residual else 0.02
                nn.init.normal_(parameter, std=scale)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token at every position.

        Args:
            tokens: Shape ``(batch, time)``.

        Returns:
            Logits, shape ``(batch, time, num_image_tokens)``.
        """
        stream = self._embed(tokens, torch.arange(tokens.shape[1], device=tokens.device))
        rotation = self.tables(stream)[0][: tokens.shape[1]].unsqueeze(1)
        for block in self._layers:
            stream, _, _ = block.attend_all(stream, rotation)
        return self._logits(stream)

    def prefill(self, tokens: Tensor, slots: KeyValueSlots, slot: int) -> None:
        """Write the keys and values of the first tokens of a sequence into a slot.

        Args:
            tokens: Shape ``(time,)``.
            slots: Where to.
            slot: Which one.
        """
        length = tokens.shape[0]
        stream = self._embed(tokens, torch.arange(length, device=tokens.device)).unsqueeze(0)
        rotation = self.tables(stream)[0][:length].unsqueeze(1)
        for index, block in enumerate(self._layers):
            stream, key, value = block.attend_all(stream, rotation)
            slots.keys[index, slot, :, :length] = key[0]
            slots.values[index, slot, :, :length] = value[0]

    def decode(self, tokens: Tensor, positions: Tensor, slots: KeyValueSlots, length: int) -> Tensor:
        """Take one token further in each of the first rows.

        Args:
            tokens: The token of each row, shape ``(num_rows,)``; row ``i`` owns slot ``i``.
            positions: Where it stands in its sequence, same shape.
            slots: Keys and values of what came before; those of the token are added.
            length: One more than the greatest position.

        Returns:
            Logits of the token that comes next, shape ``(num_rows, num_image_tokens)``.
        """
        stream = self._embed(tokens, positions)
        rotation, mask = self.tables(stream)
        plan = StepPlan(
            rotation=rotation[positions].unsqueeze(1),
            mask=mask[positions, :length][:, None, None],
            rows=torch.arange(tokens.shape[0], device=tokens.device),
            positions=positions,
            length=length,
        )
        for index, block in enumerate(self._layers):
            stream = block.decode(stream, plan, slots.keys[index], slots.values[index])
        return self._logits(stream)

    def _embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(tokens)
        return embedded if self.position_table is None else embedded + self.position_table[positions]

    def tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return rotations ``(max_positions, head_dimension / 2)`` and causal masks ``(max_positions, max_positions)``.

        Args:
            like: Gives device and type.

        Returns:
            Complex numbers, and 0 or minus infinity.
        """
        key = (like.device, like.dtype)
        if key not in self._tables:
            shape = self.shape
            exponents = torch.arange(0, shape.head_dimension, 2, dtype=torch.float64) / shape.head_dimension
            angles = torch.outer(torch.arange(shape.max_positions, dtype=torch.float64), shape.rotary_base**-exponents)
            rotation = torch.polar(torch.ones_like(angles), angles).to(like.device)
            narrow = rotation if like.dtype == torch.float64 else rotation.to(torch.complex64)
            mask = like.new_full((shape.max_positions, shape.max_positions), float("-inf")).triu(1)
            self._tables[key] = (narrow, mask)
        return self._tables[key]

    def _logits(self, stream: Tensor) -> Tensor:
        shape = self.shape
        normed = functional.rms_norm(stream, (shape.dimension,), self.norm, shape.norm_epsilon)
        logits: Tensor = self.head(normed)
        return logits


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Turn neighbouring pairs of every head by the angles of their position.

    Args:
        heads: Shape ``(..., heads, head_dimension)``.
        rotation: Unit complex numbers that broadcast against ``(..., heads, head_dimension / 2)``.

    Returns:
        The same shape and type.
    """
    # There are no complex numbers of half precision; those are turned in float32.
    wide = heads if heads.dtype in (torch.float32, torch.float64) else heads.float()
    turned = torch.view_as_complex(wide.reshape(*wide.shape[:-1], -1, 2)) * rotation
    return torch.view_as_real(turned).flatten(-2).to(heads.dtype)
