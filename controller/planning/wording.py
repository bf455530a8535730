"""Says decisions in words, with the numbers that they rest on."""

from __future__ import annotations

from controller.planning.nodes import PoolView
from controller.planning.region import RegionDecision
from controller.planning.search import RegionProblem
from controller.types import LadderStep, Reason, Rung


def position_text(step: LadderStep) -> str:
    """Return what a position on the ladder means for users."""
    match step.rung:
        case Rung.SHAPE_QUIETLY:
            return "batch work deferred"
        case Rung.LOWER_FREE_QUOTA:
            return f"free quota {step.images_per_day} images a day"
        case Rung.SHED:
            return f"{step.admission_ratio:.0%} of free requests admitted"
        case Rung.DISABLE_FREE:
            return "free generation disabled"
        case Rung.PAID_IMPACT:
            return "paid requests limited"
        case _:
            return "no limits"


def region_reason(problem: RegionProblem, decision: RegionDecision, rung: Rung) -> Reason:
    """Return why a region stands where it stands after the decision.

    Cases: set by a person, escalated, restored, held at a limit, growing, holding, nothing to do.

    Args:
        problem: The region.
        decision: What was decided.
        rung: The rung that describes it.

    Returns:
        The reason.
    """
    before = problem.memory.step_index
    steps = problem.policy.ladder.steps
    name = problem.name
    forecast = _forecast_text(problem, decision)
    if problem.override is not None:
        return Reason(code="by_hand", text=decision.held)
    if decision.index < before and decision.held:
        return Reason(code="ended", text=decision.held)
    if decision.index > before:
        text = f"{name}: {forecast}; with {position_text(steps[decision.index])} {_margin_text(decision)}"
        return Reason(code="escalated", text=text)
    if decision.index < before:
        text = (
            f"{name}: {position_text(steps[before])} lifted to {position_text(steps[decision.index])}; "
            f"at full demand {_margin_text(decision)}"
        )
        return Reason(code="restored", text=text)
    if decision.held:
        return Reason(code="held", text=decision.held)
    if rung >= Rung.SHAPE_QUIETLY:
        text = f"{name}: {position_text(steps[decision.index])} still needed; {forecast}"
        return Reason(code="limit_needed", text=text)
    if rung is Rung.PROVISION:
        return Reason(code="growing", text=f"{name}: nodes are on their way; {forecast}")
    if rung is Rung.HOLD:
        cause = "a surge is under way" if problem.demand.surging else "an input is not fresh"
        return Reason(code="hold", text=f"{name}: no scale-in, {cause}")
    return Reason(code="at_rest", text=f"{name}: {forecast}; nothing to do")


def pool_reason(problem: RegionProblem, decision: RegionDecision, view: PoolView, count: int) -> Reason:
    """Return why a pool grows.

    Args:
        problem: The region.
        decision: What was decided.
        view: The pool.
        count: Nodes that it gets.

    Returns:
        The reason.
    """
    lead_minutes = view.spec.lead_time_p95_seconds / 60.0
    text = (
        f"{problem.name}: {_forecast_text(problem, decision)}; {count} more nodes in {view.spec.name} serve within "
        f"{lead_minutes:.0f} min"
    )
    return Reason(code="forecast_demand", text=text)


def would_change(problem: RegionProblem, decision: RegionDecision) -> str:
    """Return what would lead to another decision."""
    steps = problem.policy.ladder.steps
    if decision.index > 0:
        step = steps[decision.index]
        return (
            f"{problem.name}: a milder limit is taken when the margin at full demand stays above "
            f"{step.exit_margin_celsius:.1f} °C, and after {step.min_dwell_seconds:.0f} s"
        )
    margin = decision.unmitigated_margin_celsius
    if margin is None:
        return f"{problem.name}: thermal readings; without them nothing is lifted or taken away"
    enter = max(step.enter_margin_celsius for step in steps[1:]) if len(steps) > 1 else 0.0
    return f"{problem.name}: limits are considered when the predicted margin falls from {margin:.1f} to {enter:.1f} °C"


def _forecast_text(problem: RegionProblem, decision: RegionDecision) -> str:
    """Return the demand that is expected and what it would do without action."""
    minutes = problem.policy.horizon_seconds / 60.0
    demand = (
        f"demand up to {decision.peak_demand_per_second:.2f} requests/s within {minutes:.0f} min against "
        f"{decision.capacity_per_second:.2f} of capacity"
    )
    margin = decision.unmitigated_margin_celsius
    if margin is None:
        return f"{demand}; no thermal readings"
    if decision.crossing_seconds is not None:
        return f"{demand}; without action slowdown in {decision.crossing_seconds / 60.0:.0f} min"
    return f"{demand}; without action the margin stays at {margin:.1f} °C or above"


def _margin_text(decision: RegionDecision) -> str:
    """Return the margin of the course that was taken."""
    if decision.min_margin_celsius is None:
        return "the margin is not known"
    return f"the margin stays at {decision.min_margin_celsius:.1f} °C or above"
