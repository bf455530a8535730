"""A runner that draws noise: no model, no torch, and every token known from the seed alone.

For trying the front out, for load tests without a model, and for tests of the engine: an image that is not the noise of
its seed shows that the engine has mixed rows up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from inference.engine.requests import ImageSize, ModelDescription
from inference.engine.runner import DrawingModel, RowMove, RowStart
from inference.models.manifest import Grid
from inference.models.pictures import PatchCodec, WordReader
from inference.runners.randomness import uniforms

NUM_LEVELS = 16


def noise_tokens(seed: int, image_index: int, num_tokens: int) -> tuple[int, ...]:
    """Draw an image of noise.

    Args:
        seed: Of the request.
        image_index: Which image of it.
        num_tokens: How many tokens.

    Returns:
        Its random numbers in 16 levels.
    """
    return tuple(int(number * NUM_LEVELS) for number in uniforms(seed, image_index, num_tokens))


@dataclass(slots=True)
class _Row:
    start: RowStart
    num_done: int = 0


class NoiseRunner:
    """Draws noise at a given speed.

    Args:
        num_rows: How many rows there can be.
        max_positions: Longest sequence.
        step_seconds: How long a step of so many rows takes.
        sleep: Waits that long; virtual time passes its own.
    """

    def __init__(
        self,
        *,
        num_rows: int,
        max_positions: int = 4096,
        step_seconds: Callable[[int], float] = lambda num_rows: 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._num_rows = num_rows
        self._max_positions = max_positions
        self._step_seconds = step_seconds
        self._sleep = sleep
        self._rows: dict[int, _Row] = {}

    @property
    def num_rows(self) -> int:
        """How many rows there can be."""
        return self._num_rows

    @property
    def max_positions(self) -> int:
        """Longest sequence."""
        return self._max_positions

    def place(self, start: RowStart) -> None:
        """Begin an image in a row that was free."""
        self._rows[start.row] = _Row(start)

    def move(self, move: RowMove) -> None:
        """Give a row another number; what was there is gone."""
        self._rows[move.target] = self._rows.pop(move.source)

    def pair(self, conditional_row: int, unconditional_row: int) -> None:
        """Check that both rows belong to one image, which is all that noise makes of guidance."""
        first, second = self._rows[conditional_row].start, self._rows[unconditional_row].start
        assert (first.seed, first.image_index) == (second.seed, second.image_index), "two images were made a pair"

    def step(self, num_rows: int) -> None:
        """Draw the next token of each of the first rows."""
        for row in range(num_rows):
            self._rows[row].num_done += 1
        seconds = self._step_seconds(num_rows)
        if seconds > 0.0:
            self._sleep(seconds)

    def tokens(self, row: int, num_tokens: int) -> tuple[int, ...]:
        """Return the first image tokens of a row."""
        state = self._rows[row]
        assert num_tokens <= state.num_done, "tokens were read before they were drawn"
        return noise_tokens(state.start.seed, state.start.image_index, num_tokens)


def noise_model(sides: tuple[int, ...] = (8,)) -> DrawingModel:
    """Return the model that a noise runner serves.

    Args:
        sides: Widths and heights of the square images that can be asked for; one token is one pixel.

    Returns:
        The model; any prompt with the word "noise" is understood.
    """
    sizes = {ImageSize(width=side, height=side): side * side for side in sides}
    largest = max(sides)
    patches = [[[255 * level // (NUM_LEVELS - 1)]] for level in range(NUM_LEVELS)]
    draws = "noise"
    return DrawingModel(
        description=ModelDescription(
            name="noise",
            draws=draws,
            tokens_by_size=sizes,
            default_size=next(iter(sizes)),
            max_prompt_tokens=8,
            max_guidance_scale=10.0,
        ),
        prompts=WordReader({draws: (0,)}, draws),
        codec=PatchCodec(Grid(columns=largest, rows=largest, patches=patches)),
        columns_by_size={size: size.width for size in sizes},
        unconditional=1,
    )
