"""The default ladder, and moves on it."""

from __future__ import annotations

from dataclasses import replace

from controller.types import Approval, Ladder, LadderStep, Rung

FREE_QUOTA_STEPS: tuple[int, ...] = (14, 10, 8, 6, 5, 4, 3)
"""Images a day, each about a tenth of free use below the last; 3 is what the operator of March 2025 went down to."""
ADMISSION_STEPS: tuple[float, ...] = (0.75, 0.5, 0.35, 0.25, 0.1)
"""Restoring walks them backwards: 10, 25, 50, 100 % of the withheld demand, with two steps between."""
STEP_DWELL_SECONDS = 30.0
"""Shortest stay on a step before the next milder one of the same rung: two flag propagations and a minute's rates."""
RUNG_DWELL_SECONDS = 90.0
"""Shortest stay on the mildest step of a rung before the rung is left."""
DAY_SECONDS = 86400.0


def default_ladder(margin_target_celsius: float) -> Ladder:
    """Return the ladder of the architecture for a margin that the plan should keep.

    Enter margins lie a little above the target, so that a rung is considered before the target is lost; each exit
    margin lies above its enter margin, so that a rung is not left and entered again on the same forecast.
    """

    def at(rung: Rung, enter: float) -> LadderStep:
        limiting = rung >= Rung.SHAPE_QUIETLY
        return LadderStep(
            rung=rung,
            batch_admitted=not limiting,
            enter_margin_celsius=margin_target_celsius + enter,
            exit_margin_celsius=margin_target_celsius + enter + 0.5,
            min_dwell_seconds=RUNG_DWELL_SECONDS if limiting else 0.0,
            max_duration_seconds=DAY_SECONDS,
        )

    quota, shed = at(Rung.LOWER_FREE_QUOTA, 0.75), at(Rung.SHED, 0.5)
    shed = replace(shed, images_per_day=FREE_QUOTA_STEPS[-1])
    disabled = replace(at(Rung.DISABLE_FREE, 0.25), generation_enabled=False)
    paid = replace(at(Rung.PAID_IMPACT, 0.0), generation_enabled=False, admission_ratio=0.5, approval=Approval.MANUAL)
    steps = [
        *(at(rung, 4.0) for rung in (Rung.OBSERVE, Rung.HOLD, Rung.PROVISION)),
        at(Rung.SHAPE_QUIETLY, 1.0),
        *_ramp([replace(quota, images_per_day=images) for images in FREE_QUOTA_STEPS]),
        *_ramp([replace(shed, admission_ratio=ratio) for ratio in ADMISSION_STEPS]),
        disabled,
        paid,
    ]
    return Ladder(steps=tuple(steps))


def _ramp(steps: list[LadderStep]) -> list[LadderStep]:
    """Return the steps of one rung, mildest first: all but the mildest are left sooner than a rung is."""
    return [steps[0], *(replace(step, min_dwell_seconds=STEP_DWELL_SECONDS) for step in steps[1:])]


def shaping_indices(ladder: Ladder, *, approved: Rung | None = None) -> tuple[int, ...]:
    """Return the positions that touch demand and may be entered now, mildest first.

    Args:
        ladder: The ladder.
        approved: Up to which rung a person has given leave; None when nobody has.

    Returns:
        Automatic positions, and approved ones.
    """
    return tuple(
        index
        for index, step in enumerate(ladder.steps)
        if step.rung >= Rung.SHAPE_QUIETLY and is_permitted(step, approved=approved)
    )


def is_permitted(step: LadderStep, *, approved: Rung | None) -> bool:
    """Return whether a position may be held: automatic, or approved by a person."""
    return step.approval is Approval.AUTOMATIC or (approved is not None and step.rung <= approved)


def milder(ladder: Ladder, index: int) -> int:
    """Return the next milder automatic position that touches demand; 0 below the first of them."""
    below = [candidate for candidate in shaping_indices(ladder) if candidate < index]
    return below[-1] if below else 0


def is_limiting(ladder: Ladder, index: int) -> bool:
    """Return whether a position touches demand at all."""
    return ladder.steps[index].rung >= Rung.SHAPE_QUIETLY
