"""Providers whose adapter is for later: their pools are read as unknown and every order is refused with that reason.

A new provider replaces this with a module that has the same two functions; ``aws.py`` is the model.
"""

from __future__ import annotations

from datetime import datetime

from controller.adapters.ports import PoolSize, SizeReceipt, WriteOutcome
from controller.adapters.targets import UnbuiltTarget
from controller.types import Sample

_SPELLING = {"gke": "GKE node pools", "aks": "AKS agent pools", "coreweave": "CoreWeave node pools"}


def read_unbuilt(target: UnbuiltTarget, now: datetime) -> Sample[PoolSize]:
    """Return a pool of unknown size that says why it is unknown."""
    nothing = PoolSize(desired=None, written=None, created=None, ready=None, messages=(_sentence(target),))
    return Sample.fresh(nothing, now)


def refuse_unbuilt(target: UnbuiltTarget) -> SizeReceipt:
    """Return the refusal of an order."""
    return SizeReceipt(outcome=WriteOutcome.REJECTED, text=_sentence(target))


def _sentence(target: UnbuiltTarget) -> str:
    """Return the reason, and the way around it."""
    name = _SPELLING.get(target.provider, target.provider)
    return f"{name} cannot be resized yet; name an object with a scale subresource, or use ownership buffer"
