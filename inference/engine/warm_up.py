"""Warms a runner up and measures how long its steps take with one row and with all of them."""

from __future__ import annotations

import time

from inference.engine.pace import StepCurve, curve_through
from inference.engine.requests import Sampling
from inference.engine.runner import DrawingModel, RowStart, Runner
from inference.engine.settings import EngineSettings

SETTLING_STEPS = 2
"""First steps that are not counted: allocations, caches and kernels are set up in them."""


def warm_up(runner: Runner, model: DrawingModel, settings: EngineSettings) -> StepCurve:
    """Run images that nobody asked for, and measure.

    Args:
        runner: With all of its rows free; they are free again afterwards.
        model: Says how long images are.
        settings: Rows, and how long this may take.

    Returns:
        Seconds of a step by rows.
    """
    num_tokens = max(model.description.tokens_by_size.values())
    seconds = settings.warm_up_seconds / 2
    one = _median_step(runner, num_rows=1, num_tokens=num_tokens, seconds=seconds)
    full = _median_step(runner, num_rows=settings.num_slots, num_tokens=num_tokens, seconds=seconds)
    return curve_through(one, full, settings.num_slots)


def _median_step(runner: Runner, *, num_rows: int, num_tokens: int, seconds: float) -> float:
    """Return the median over one whole image, or over as much of it as fits into the time."""
    for row in range(num_rows):
        runner.place(
            RowStart(
                row=row,
                prompt_tokens=(0,),
                num_image_tokens=num_tokens,
                seed=row,
                image_index=0,
                sampling=Sampling(),
                conditional_row=row,
                unconditional_row=row,
            )
        )
    give_up_at = time.monotonic() + seconds
    taken: list[float] = []
    for _ in range(num_tokens):
        began_at = time.monotonic()
        runner.step(num_rows)
        taken.append(time.monotonic() - began_at)
        if time.monotonic() > give_up_at:
            break
    counted = sorted(taken[SETTLING_STEPS:] or taken)
    return counted[len(counted) // 2]
