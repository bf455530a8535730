"""Tells the ways apart in which a pool does not grow; a stock-out calls for limits, a quota for a person. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from controller.adapters.ports import ApiAnswer, SizeReceipt, WriteOutcome
from controller.types import PoolCondition

_STOCK_OUT = re.compile(
    r"insufficient\s*(instance|host|capacity|free\s*capacity)|InsufficientInstanceCapacity|UnfulfillableCapacity"
    r"|OverconstrainedAllocationRequest|(Zonal)?AllocationFailed|SkuNotAvailable|ZONE_RESOURCE_POOL_EXHAUSTED"
    r"|out of (host )?capacity|out of stock|stockout",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"quota|LimitExceeded|InstanceLimit|MaxSpotInstanceCountExceeded|VcpuLimit|IP_SPACE_EXHAUSTED"
    r"|InsufficientFreeAddresses|limits?\.nodes",
    re.IGNORECASE,
)
RETRY_SECONDS = 2.0


def classify(text: str) -> PoolCondition | None:
    """Return what a provider's message means for a pool; None when it is neither a stock-out nor a quota.

    Args:
        text: Error code, condition or message; those of AWS, Google, Azure and the autoscalers are known.

    Returns:
        The condition.
    """
    if _STOCK_OUT.search(text):
        return PoolCondition.STOCK_OUT
    return PoolCondition.QUOTA_EXCEEDED if _QUOTA.search(text) else None


def outcome_of(text: str, otherwise: WriteOutcome) -> WriteOutcome:
    """Return the outcome that a provider's message means, or ``otherwise``."""
    known = {PoolCondition.STOCK_OUT: WriteOutcome.STOCK_OUT, PoolCondition.QUOTA_EXCEEDED: WriteOutcome.QUOTA}
    found = classify(text)
    return otherwise if found is None else known[found]


def receipt_of_answer(answer: ApiAnswer, place: str) -> SizeReceipt:
    """Return the receipt of a request to the Kubernetes API that was refused.

    Cases: 409, somebody was faster; 429 and 5xx and no answer, nobody knows; 403 for a quota of the namespace; all
    others will be refused again.

    Args:
        answer: The answer, not an ok one.
        place: The object as people call it.

    Returns:
        The receipt.
    """
    if answer.status == 409:
        return SizeReceipt(outcome=WriteOutcome.CONFLICT, text=f"{place} changed meanwhile; read it again")
    if answer.status in (0, 429) or answer.status >= 500:
        return SizeReceipt(
            outcome=WriteOutcome.TIME_OUT, text=f"{place}: {answer.message}", retry_after_seconds=RETRY_SECONDS
        )
    cures: Mapping[int, str] = {
        403: "; the service account lacks a verb for it",
        404: "; is the pool's target spelled right, and does it have a scale subresource?",
    }
    outcome = outcome_of(answer.message, WriteOutcome.REJECTED) if answer.status == 403 else WriteOutcome.REJECTED
    cure = cures.get(answer.status, "") if outcome is WriteOutcome.REJECTED else ""
    return SizeReceipt(outcome=outcome, text=f"{place}: {answer.message}{cure}")
