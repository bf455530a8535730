"""Decides: pure functions from a snapshot, forecasts, a policy and a memory to a plan.

Nothing here reads a clock, a file, an environment or a random source; ``now`` is an argument.
"""

from __future__ import annotations

from controller.planning.planner import plan

__all__ = ["plan"]
