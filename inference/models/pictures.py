"""Tokens to pictures, and prompts to tokens, as a manifest says. No torch: the front calls this from any thread."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inference.engine.errors import UnsupportedPromptError
from inference.engine.events import EncodedImage, ImageContent
from inference.engine.requests import Conditioning, ImageSize
from inference.models.manifest import Grid
from inference.models.png import grey_png

BACKGROUND = 255
"""Grey value of what is not drawn yet: white paper."""

_WORD = re.compile(r"[^\W_]+")


class PatchCodec:
    """Paints every token's patch and enlarges the whole; an `inference.engine.ports.ImageCodec`.

    Args:
        grid: Where tokens lie and what they look like.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._patches = np.array(grid.patches, dtype=np.uint8)

    def png(self, content: ImageContent) -> bytes:
        """Return a PNG of the whole size; rows that are not there yet are in the background colour."""
        if isinstance(content, EncodedImage):
            return content.data
        pixels = self.pixels(content.tokens)
        factor = content.size.width // pixels.shape[1]
        return grey_png(pixels.repeat(factor, axis=0).repeat(factor, axis=1))

    def pixels(self, tokens: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return grey values, 0 black to 255 white, in the size of the grid.

        Args:
            tokens: In raster order, as many as there are.

        Returns:
            Shape ``(height, width)``.
        """
        grid = self._grid
        _, height, width = self._patches.shape
        painted = np.full((grid.num_tokens, height, width), BACKGROUND, dtype=np.uint8)
        painted[: len(tokens)] = self._patches[list(tokens)]
        laid_out = painted.reshape(grid.rows, grid.columns, height, width).swapaxes(1, 2)
        pixels: NDArray[np.uint8] = laid_out.reshape(grid.rows * height, grid.columns * width)
        return pixels

    def native_size(self) -> ImageSize:
        """Return the size in which one token's pixel is one pixel."""
        _, height, width = self._patches.shape
        return ImageSize(width=self._grid.columns * width, height=self._grid.rows * height)


class WordReader:
    """Finds the one thing that a prompt asks for by its words; an `inference.engine.ports.PromptReader`.

    Args:
        tokens_by_word: Prompt tokens by word, in lower case.
        draws: What the model can draw, for the message to whom asks for something else.
    """

    def __init__(self, tokens_by_word: Mapping[str, Sequence[int]], draws: str) -> None:
        self._tokens_by_word = {word: tuple(tokens) for word, tokens in tokens_by_word.items()}
        self._draws = draws

    def read(self, prompt: str) -> Conditioning:
        """Return what the prompt means.

        Raises:
            UnsupportedPromptError: It names nothing that the model can draw, or several things.
        """
        words = [word.casefold() for word in _WORD.findall(prompt)]
        found = sorted({self._tokens_by_word[word] for word in words if word in self._tokens_by_word})
        if not found:
            raise UnsupportedPromptError(f"this model draws {self._draws}; name one in the prompt")
        if len(found) > 1:
            raise UnsupportedPromptError(
                f"this model draws {self._draws}, one in an image; name only one in the prompt"
            )
        return Conditioning(tokens=found[0], text=prompt)
