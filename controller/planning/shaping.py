"""What a position on the ladder does to the demand of a tier."""

from __future__ import annotations

from controller.types import LadderStep, Rung, TierSpec


def quota_admitted_ratio(quota: int, mean_images_per_user_day: float) -> float:
    """Return the share of wished images that a daily quota lets through.

    ``E[min(X, quota)] / E[X]`` for geometrically distributed wishes of the given mean: ``1 - (1 - 1/mean)^quota``.
    The geometric law is the one with the largest entropy for a mean, which is all that is known beforehand.

    Args:
        quota: Images a day, >= 0.
        mean_images_per_user_day: Mean wish, > 0; at most 1 means that nobody wants a second image.

    Returns:
        The share, 0..1.
    """
    if quota <= 0:
        return 0.0
    if mean_images_per_user_day <= 1.0:
        return 1.0
    return 1.0 - (1.0 - 1.0 / mean_images_per_user_day) ** quota


def admitted_ratio(step: LadderStep, tier: TierSpec) -> float:
    """Return the share of a tier's requests that is admitted at a position on the ladder, 0..1.

    Cases: a protected tier is touched only by the rung that a person approves; deferrable work stops as soon as batch
    is deferred; every other tier obeys the switch, the quota and the admission ratio.
    """
    if tier.protected:
        return step.admission_ratio if step.rung is Rung.PAID_IMPACT else 1.0
    if tier.deferrable and not step.batch_admitted:
        return 0.0
    if not step.generation_enabled:
        return 0.0
    quota = tier.images_per_day if step.images_per_day is None else min(step.images_per_day, tier.images_per_day)
    normal = quota_admitted_ratio(tier.images_per_day, tier.mean_images_per_user_day)
    return step.admission_ratio * quota_admitted_ratio(quota, tier.mean_images_per_user_day) / normal
