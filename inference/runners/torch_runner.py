"""The runner on torch: what is known of each row lives in tensors on the device, and a step reads nothing back.

A `Decoder` is the model with its slots; native and Hugging Face models differ in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from inference.engine.runner import RowMove, RowStart
from inference.runners.randomness import uniforms
from inference.runners.sampling import RowChoices, choose


class Decoder(Protocol):
    """A model and the keys and values of every row."""

    @property
    def num_rows(self) -> int:
        """Slots."""
        ...

    @property
    def max_positions(self) -> int:
        """Longest sequence."""
        ...

    @property
    def num_image_tokens(self) -> int:
        """Tokens that it can draw, counted from 0."""
        ...

    @property
    def first_image_token(self) -> int:
        """What the model calls image token 0."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def prefill(self, tokens: Tensor, row: int) -> None:
        """Write keys and values of the first tokens of a sequence, shape ``(time,)``, into a row."""
        ...

    def decode(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        """Take a token further in each of the first rows.

        Args:
            tokens: In the model's numbering, shape ``(num_rows,)``.
            positions: Where each stands, same shape.
            length: One more than the greatest position.

        Returns:
            Logits of image tokens, shape ``(num_rows, num_image_tokens)``.
        """
        ...

    def move(self, source: int, target: int) -> None:
        """Copy a row's keys and values over another's."""
        ...


class _Whole(IntEnum):
    """Columns of whole numbers; the rows of the pair come last."""

    TOKEN = 0
    POSITION = 1
    PLACE = 2
    TOP_K = 3
    CONDITIONAL_ROW = 4
    UNCONDITIONAL_ROW = 5


class _Real(IntEnum):
    """Columns of real numbers."""

    TEMPERATURE = 0
    GUIDANCE_SCALE = 1


@dataclass(slots=True)
class _HostRow:
    """What the host knows of a row without asking the device."""

    position: int = 0
    top_k: int = 0
    is_drawn: bool = False
    is_guided: bool = False


class TorchRunner:
    """Runs a decoder, from one thread.

    Args:
        decoder: The model with its slots.
        max_image_tokens: The longest image.
    """

    def __init__(self, decoder: Decoder, *, max_image_tokens: int) -> None:
        self._decoder = decoder
        num_rows, device = decoder.num_rows, decoder.device
        self._num_image_tokens = decoder.num_image_tokens
        # One row of numbers for each row of the batch, so that beginning and moving an image is one copy of each kind.
        self._whole = torch.zeros(num_rows, len(_Whole), dtype=torch.int64, device=device)
        self._real = torch.ones(num_rows, len(_Real), dtype=torch.float64, device=device)
        self._drawn = torch.zeros(num_rows, max_image_tokens, dtype=torch.int64, device=device)
        self._uniforms = torch.zeros(num_rows, max_image_tokens, dtype=torch.float64, device=device)
        self._rows = torch.arange(num_rows, device=device)
        self._host = [_HostRow() for _ in range(num_rows)]

    @property
    def num_rows(self) -> int:
        """How many rows there can be."""
        return self._decoder.num_rows

    @property
    def max_positions(self) -> int:
        """Longest sequence, prompt and image."""
        return self._decoder.max_positions

    @torch.inference_mode()
    def place(self, start: RowStart) -> None:
        """Begin an image in a row that was free."""
        row, sampling, device = start.row, start.sampling, self._decoder.device
        position = len(start.prompt_tokens) - 1
        if position:
            self._decoder.prefill(torch.tensor(start.prompt_tokens[:-1], dtype=torch.int64, device=device), row)
        numbers = torch.from_numpy(uniforms(start.seed, start.image_index, start.num_image_tokens))
        self._uniforms[row, : start.num_image_tokens] = numbers.to(device)
        whole = {
            _Whole.TOKEN: start.prompt_tokens[-1],
            _Whole.POSITION: position,
            _Whole.PLACE: 0,
            _Whole.TOP_K: sampling.top_k or self._num_image_tokens,
            _Whole.CONDITIONAL_ROW: start.conditional_row,
            _Whole.UNCONDITIONAL_ROW: start.unconditional_row,
        }
        self._whole[row] = torch.tensor([whole[name] for name in _Whole], dtype=torch.int64, device=device)
        real = (sampling.temperature, sampling.guidance_scale)
        self._real[row] = torch.tensor(real, dtype=torch.float64, device=device)
        self._host[row] = _HostRow(
            position=position,
            top_k=sampling.top_k or 0,
            is_drawn=sampling.temperature > 0.0,
            is_guided=start.conditional_row != start.unconditional_row,
        )

    @torch.inference_mode()
    def move(self, move: RowMove) -> None:
        """Give a row another number; what was there is gone."""
        self._decoder.move(move.source, move.target)
        for numbers in (self._whole, self._real, self._drawn, self._uniforms):
            numbers[move.target] = numbers[move.source]
        # A row without guidance is its own pair, under its new number; of the others the engine tells.
        self._whole[move.target, _Whole.CONDITIONAL_ROW :] = move.target
        self._host[move.target] = self._host[move.source]
        self._host[move.source] = _HostRow()

    @torch.inference_mode()
    def pair(self, conditional_row: int, unconditional_row: int) -> None:
        """Tell two rows of one guided image where both now are."""
        for row in (conditional_row, unconditional_row):
            self._whole[row, _Whole.CONDITIONAL_ROW] = conditional_row
            self._whole[row, _Whole.UNCONDITIONAL_ROW] = unconditional_row

    @torch.inference_mode()
    def step(self, num_rows: int) -> None:
        """Draw the next token of each of the first rows; returns when the work is done."""
        host = self._host[:num_rows]
        token, position, place, top_k, conditional_row, unconditional_row = self._whole[:num_rows].unbind(dim=1)
        temperature, scale = self._real[:num_rows].unbind(dim=1)
        length = max(row.position for row in host) + 1
        logits = self._decoder.decode(token, position, length)
        choices = RowChoices(
            temperature=temperature,
            top_k=top_k,
            guidance_scale=scale,
            conditional_row=conditional_row,
            unconditional_row=unconditional_row,
            max_top_k=max(row.top_k for row in host),
            any_drawn=any(row.is_drawn for row in host),
            any_guided=any(row.is_guided for row in host),
        )
        at = (self._rows[:num_rows], place)
        chosen = choose(logits, self._uniforms[at], choices)
        self._drawn[at] = chosen
        token.copy_(chosen + self._decoder.first_image_token)
        self._whole[:num_rows, _Whole.POSITION : _Whole.PLACE + 1] += 1
        for row in host:
            row.position += 1
        if self._decoder.device.type == "cuda":
            torch.cuda.synchronize(self._decoder.device)

    def tokens(self, row: int, num_tokens: int) -> tuple[int, ...]:
        """Return the first image tokens of a row."""
        return tuple(np.asarray(self._drawn[row, :num_tokens].cpu()).tolist())
