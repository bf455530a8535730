"""What the engine asks of a runner: rows that are numbered without gaps, each one token further in a step.

The engine calls a runner from one thread only. Rows ``0..num_rows - 1`` are always the busy ones; when an image ends,
the engine moves the last rows into the gap. A runner knows rows, tokens and seeds; requests, tiers and time are the
engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from inference.engine.ports import ImageCodec, PromptReader
from inference.engine.requests import Conditioning, ImageSize, ModelDescription, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStart:
    """One row of a new image.

    Attributes:
        row: Which one.
        prompt_tokens: At least one.
        num_image_tokens: How many tokens will be drawn.
        seed: Of the image: the request's seed and the image's index, which together give every random number.
        image_index: See ``seed``.
        sampling: How tokens are chosen.
        conditional_row: The row whose logits are guided towards; ``row`` itself where there is no guidance.
        unconditional_row: The row whose logits are guided away from; ``row`` itself where there is no guidance.
    """

    row: int
    prompt_tokens: tuple[int, ...]
    num_image_tokens: int
    seed: int
    image_index: int
    sampling: Sampling
    conditional_row: int
    unconditional_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMove:
    """A row that takes another number, with the new numbers of its pair."""

    source: int
    target: int


class Runner(Protocol):
    """Takes rows further."""

    @property
    def num_rows(self) -> int:
        """How many rows there can be."""
        ...

    @property
    def max_positions(self) -> int:
        """Longest sequence, prompt and image."""
        ...

    def place(self, start: RowStart) -> None:
        """Begin an image in a row that was free."""
        ...

    def move(self, move: RowMove) -> None:
        """Give a row another number; what was there is gone."""
        ...

    def pair(self, conditional_row: int, unconditional_row: int) -> None:
        """Tell two rows of one guided image where both now are."""
        ...

    def step(self, num_rows: int) -> None:
        """Draw the next token of each of the first rows; returns when the work is done."""
        ...

    def tokens(self, row: int, num_tokens: int) -> tuple[int, ...]:
        """Return the first image tokens of a row."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawingModel:
    """Everything but the runner that an engine knows of its model.

    Attributes:
        description: For the front.
        prompts: Reads prompts.
        codec: Encodes images.
        columns_by_size: Tokens in one row of an image, by size; partial images end with a row.
        unconditional: What the row without the prompt is given, by prompt token count: every token replaced by this
            one; None where the model was not trained for guidance.
    """

    description: ModelDescription
    prompts: PromptReader
    codec: ImageCodec
    columns_by_size: Mapping[ImageSize, int]
    unconditional: int | None = None

    def unconditional_tokens(self, conditioning: Conditioning) -> tuple[int, ...]:
        """Return the prompt of the row without the prompt: as long as the one with it."""
        assert self.unconditional is not None, "a guided request was admitted to a model without guidance"
        return (self.unconditional,) * len(conditioning.tokens)
