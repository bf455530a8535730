"""The default ladder, and moves on it."""

from __future__ import annotations

from controller.types import Approval, Ladder, LadderStep, Rung

FREE_QUOTA_STEPS: tuple[int, ...] = (10, 5, 3)
"""Images a day; the last is what the operator of March 2025 went down to."""
ADMISSION_STEPS: tuple[float, ...] = (0.5, 0.25, 0.1)
"""Restoring walks them backwards: 10, 25, 50, 100 % of the withheld demand."""
DAY_SECONDS = 86400.0


def default_ladder(margin_target_celsius: float) -> Ladder:
    """Return the ladder of the architecture for a margin that the plan should keep.

    Enter margins lie a little above the target, so that a rung is considered before the target is lost; each exit
    margin lies above its enter margin, so that a rung is not left and entered again on the same forecast.
    """

    def step(
        rung: Rung,
        *,
        enter: float,
        dwell: float,
        images_per_day: int | None = None,
        admission_ratio: float = 1.0,
        generation_enabled: bool = True,
        batch_admitted: bool = False,
        approval: Approval = Approval.AUTOMATIC,
    ) -> LadderStep:
        return LadderStep(
            rung=rung,
            images_per_day=images_per_day,
            admission_ratio=admission_ratio,
            generation_enabled=generation_enabled,
            batch_admitted=batch_admitted,
            enter_margin_celsius=margin_target_celsius + enter,
            exit_margin_celsius=margin_target_celsius + enter + 1.0,
            min_dwell_seconds=dwell,
            max_duration_seconds=DAY_SECONDS,
            approval=approval,
        )

    tightest = FREE_QUOTA_STEPS[-1]
    steps = [
        step(rung, enter=4.0, dwell=0.0, batch_admitted=True) for rung in (Rung.OBSERVE, Rung.HOLD, Rung.PROVISION)
    ]
    steps.append(step(Rung.SHAPE_QUIETLY, enter=2.0, dwell=300.0))
    steps += [step(Rung.LOWER_FREE_QUOTA, enter=1.5, dwell=600.0, images_per_day=quota) for quota in FREE_QUOTA_STEPS]
    steps += [
        step(Rung.SHED, enter=1.0, dwell=600.0, images_per_day=tightest, admission_ratio=ratio)
        for ratio in ADMISSION_STEPS
    ]
    steps.append(step(Rung.DISABLE_FREE, enter=0.5, dwell=600.0, generation_enabled=False))
    steps.append(
        step(
            Rung.PAID_IMPACT,
            enter=0.0,
            dwell=600.0,
            generation_enabled=False,
            admission_ratio=0.5,
            approval=Approval.MANUAL,
        )
    )
    return Ladder(steps=tuple(steps))


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
