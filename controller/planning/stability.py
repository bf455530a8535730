"""Decides which position on the ladder a region may move to: escalations at once, restores late and one at a time.

Called by :mod:`controller.planning.region` after the search has said which position it prefers.
"""

from __future__ import annotations

from controller.planning.ladder import STEP_DWELL_SECONDS, is_permitted, milder
from controller.planning.search import RESTORED_SHORTAGE_RATIO, RegionProblem, RegionSearch, is_short
from controller.types import Constraint, Rung

RESTORE_LEAD_SECONDS = 600.0
"""How far ahead the queue must stay short for a restore: farther than for a limit, lest it be taken back."""
MAX_REGRETS = 5
"""Most doublings of a restore's wait: 16 minutes with a step's dwell of 30 s."""


def stable_index(problem: RegionProblem, search: RegionSearch, best_index: int) -> tuple[int, str]:
    """Return the position to take, and why it is not the one that the search prefers.

    Cases, in this order: a person's word; a position whose approval has ended, which is left at once; escalation, at
    once unless the breaker is open; staying; a restore, one position, only when inputs are fresh, the dwell is over,
    the flap budget has room and the counterfactual stays safe; and the end of a limit that nobody could renew any
    longer on old inputs, one position a dwell.

    Args:
        problem: The region.
        search: Rolls the restored course forward.
        best_index: The position that the search prefers.

    Returns:
        The position, and the reason in words; empty when nothing was held back.
    """
    memory, ladder = problem.memory, problem.policy.ladder
    current = memory.step_index
    if problem.override is not None:
        order = problem.override
        return override_index(problem), f"{problem.name}: set by hand by {order.set_by}: {order.reason}"
    if not is_permitted(ladder.steps[current], approved=problem.approved):
        return milder(ladder, current), f"{problem.name}: the approval of rung {int(ladder.steps[current].rung)} ended"
    if best_index > current and memory.breaker_open:
        return current, f"{problem.name}: breaker open, no automatic escalation until a person resets it"
    if not problem.fresh and best_index <= current and has_outlived(problem):
        return milder(ladder, current), f"{problem.name}: limit ran to its longest stay on inputs that are not fresh"
    if best_index >= current:
        return best_index, ""
    held = _why_not_restored(problem, search, milder(ladder, current))
    return (current, held) if held else (milder(ladder, current), "")


def override_index(problem: RegionProblem) -> int:
    """Return the position that a person's rung means: the present one when it is of that rung, else its first.

    Args:
        problem: The region; its override must be set.

    Returns:
        The position; the last of a lower rung where the ladder lacks the rung, since a person asked for no more.
    """
    steps, rung = problem.policy.ladder.steps, problem.override.rung if problem.override is not None else Rung.OBSERVE
    current = problem.memory.step_index
    if steps[current].rung is rung:
        return current
    same = [index for index, step in enumerate(steps) if step.rung is rung]
    lower = [index for index, step in enumerate(steps) if step.rung < rung]
    return same[0] if same else lower[-1]


def dwelt_seconds(problem: RegionProblem) -> float:
    """Return how long a region has stood at its position, in seconds; infinity from the start."""
    since = problem.memory.since
    return float("inf") if since is None else (problem.now - since).total_seconds()


def has_outlived(problem: RegionProblem) -> bool:
    """Return whether a region has stood at a limit for its longest stay."""
    step = problem.policy.ladder.steps[problem.memory.step_index]
    limited = step.rung >= Rung.SHAPE_QUIETLY and problem.memory.since is not None
    return limited and dwelt_seconds(problem) > step.max_duration_seconds


def duration_constraint(problem: RegionProblem) -> tuple[Constraint, ...]:
    """Return the page for a limit that has outlived its longest stay; empty when none has."""
    if not has_outlived(problem):
        return ()
    step = problem.policy.ladder.steps[problem.memory.step_index]
    text = (
        f"{problem.name}: rung {int(step.rung)} has lasted {dwelt_seconds(problem) / 3600.0:.1f} h, longer than "
        f"{step.max_duration_seconds / 3600.0:.1f} h; a person must look"
    )
    return (Constraint(name="max_duration", subject=problem.name, text=text),)


def _why_not_restored(problem: RegionProblem, search: RegionSearch, target: int) -> str:
    """Return why a region may not go to a milder position; empty when it may."""
    ladder = problem.policy.ladder
    step = ladder.steps[problem.memory.step_index]
    name, dwelt = problem.name, dwelt_seconds(problem)
    if not problem.fresh:
        return f"{name}: restore held back, an input is not fresh"
    leaves = ladder.steps[target].rung < step.rung
    # Each rung left within the hour makes the next one wait longer, so that the flap budget lasts.
    dwell_seconds = step.min_dwell_seconds * (1 + len(problem.memory.relaxations) * leaves)
    if dwelt < dwell_seconds:
        return f"{name}: restore held back for {dwell_seconds - dwelt:.0f} s of dwell"
    if leaves and len(problem.memory.relaxations) >= problem.policy.limits.flap_budget_per_hour:
        return f"{name}: restore held back, the flap budget of this hour is used up"
    unsafe = _why_unsafe(problem, search, target)
    if unsafe:
        return f"{name}: restore held back, one step milder would {unsafe}"
    # Where the ladder hunts between two steps, each restore that was taken back doubles the wait for the next one. It
    # hunts where one step milder just holds; where two would hold, demand has fallen.
    regrets = min(len(problem.memory.regrets), MAX_REGRETS)
    wait_seconds = STEP_DWELL_SECONDS * 2.0**regrets - dwelt
    if regrets and wait_seconds > 0.0 and (target == 0 or _why_unsafe(problem, search, milder(ladder, target))):
        return f"{name}: restore held back for {wait_seconds:.0f} s, the last {regrets} came too early"
    return ""


def _why_unsafe(problem: RegionProblem, search: RegionSearch, target: int) -> str:
    """Return what would go wrong at a milder position; empty when nothing would.

    The whole horizon must stay cool; where pods guard themselves, only the queue must stay short.
    """
    exit_margin_celsius = problem.policy.ladder.steps[problem.memory.step_index].exit_margin_celsius
    restored = search.roll((target,), whole_horizon=not search.guarded, queue_seconds=RESTORE_LEAD_SECONDS)
    margin = restored.lowest_margin(0)
    if margin < exit_margin_celsius and not search.guarded:
        return f"leave {margin:.1f} °C of margin, {exit_margin_celsius:.1f} °C are asked"
    if is_short(problem, restored, 0, dropped_ratio=RESTORED_SHORTAGE_RATIO):
        return "leave requests unserved"
    return ""
