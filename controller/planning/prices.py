"""Prices that more than one part of the planner uses."""

from __future__ import annotations

UNSERVED_FACTOR = 1.5
"""A request that times out harms more than one that is refused at once with a reason."""
