"""The decoder of our own transformer."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.models.transformer import KeyValueSlots, Transformer


class NativeDecoder:
    """Our transformer with its slots.

    Args:
        transformer: On the device and in the precision in which it shall run.
        num_rows: Slots.
        first_image_token: What the network calls image token 0 when it reads it.
    """

    def __init__(self, transformer: Transformer, *, num_rows: int, first_image_token: int = 0) -> None:
        self.first_image_token = first_image_token
        self._transformer = transformer.eval()
        self._num_rows = num_rows
        with torch.inference_mode():
            self._slots = KeyValueSlots(transformer.shape, num_rows, transformer.norm.detach())

    @property
    def num_rows(self) -> int:
        """Slots."""
        return self._num_rows

    @property
    def max_positions(self) -> int:
        """Longest sequence."""
        return self._transformer.shape.max_positions

    @property
    def num_image_tokens(self) -> int:
        """Tokens that it can draw."""
        return self._transformer.shape.num_image_tokens

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._transformer.norm.device

    def prefill(self, tokens: Tensor, row: int) -> None:
        """Write keys and values of the first tokens of a sequence, shape ``(time,)``, into a row."""
        self._transformer.prefill(tokens, self._slots, row)

    def decode(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        """Take a token further in each of the first rows.

        Args:
            tokens: Shape ``(num_rows,)``.
            positions: Where each stands, same shape.
            length: One more than the greatest position.

        Returns:
            Logits, shape ``(num_rows, num_image_tokens)``.
        """
        return self._transformer.decode(tokens, positions, self._slots, length)

    def move(self, source: int, target: int) -> None:
        """Copy a row's keys and values over another's."""
        self._slots.move(source, target)
