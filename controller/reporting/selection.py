"""Chooses which runs of a run set a page shows, and reads their tracks as arrays. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.errors import UsageError
from controller.reporting.scales import TimeScale, drawable
from controller.simulator.record import RunRecord, RunSet
from forecasting.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The runs of one seed that the panels compare.

    Attributes:
        featured: The policy that the page is about.
        reference: What it is compared with; None when the run set has nothing else.
        others: Further policies, in the order of the run set.
        time: The time axis that all panels share.
    """

    featured: RunRecord
    reference: RunRecord | None
    others: tuple[RunRecord, ...]
    time: TimeScale

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Featured first, then the reference, then the others."""
        return (self.featured, *((self.reference,) if self.reference else ()), *self.others)


def select_runs(run_set: RunSet, *, featured: str, reference: str) -> Selection:
    """Choose the runs to show: the first seed that ``featured`` ran with, or of the first policy where it is absent.

    Args:
        run_set: All runs.
        featured: Policy that the page is about.
        reference: Policy to compare it with.

    Returns:
        The runs of one seed, and the axis that is as long as the longest of them.

    Raises:
        UsageError: If there is no run at all.
    """
    if not run_set.runs:
        raise UsageError(f"scenario {run_set.scenario}: the run set has no run; name at least one policy")
    first = next((run for run in run_set.runs if run.policy == featured), None)
    first = first or next((run for run in run_set.runs if run.policy != reference), run_set.runs[0])
    same_seed = {run.policy: run for run in reversed(run_set.runs) if run.seed == first.seed}
    other_policies = [policy for policy in dict.fromkeys(run.policy for run in run_set.runs) if policy in same_seed]
    others = tuple(same_seed[policy] for policy in other_policies if policy not in (first.policy, reference))
    compared = same_seed.get(reference) if reference != first.policy else None
    runs = [first, *others, *([compared] if compared else [])]
    finite = [second for run in runs for second in run.seconds if np.isfinite(second) and second > 0.0]
    duration = min(max(finite, default=first.sample_seconds), 3.2e9)
    time = TimeScale(start=first.start, duration_seconds=duration if duration > 0.0 else 1.0)
    return Selection(featured=first, reference=compared, others=others, time=time)


def places(selection: Selection, run: RunRecord, length: int) -> FloatArray:
    """Return the places 0..1 across the panels of a run's first ``length`` samples.

    Args:
        selection: Gives the axis.
        run: The run.
        length: Samples to place, at most those of the run.

    Returns:
        Places, shape ``(length,)``.
    """
    return np.asarray([selection.time.ratio(second) for second in run.seconds[:length]], dtype=np.float64)


def track(selection: Selection, run: RunRecord, values: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    """Return places and values of one track, cut to the samples that have both.

    Args:
        selection: Gives the axis.
        run: The run that gives the times.
        values: One value a sample, in the track's own unit; NaN is a gap.

    Returns:
        Places 0..1 and values that can be drawn, both of shape ``(num_samples,)``.
    """
    length = min(len(run.seconds), len(values))
    return places(selection, run, length), drawable(values[:length])


def node_totals(run: RunRecord) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return serving and pending nodes of all regions together, one value a sample."""
    serving = [sum(column) for column in zip(*(region.nodes_serving for region in run.regions.values()), strict=False)]
    pending = [sum(column) for column in zip(*(region.nodes_pending for region in run.regions.values()), strict=False)]
    return tuple(serving), tuple(pending)


def crossing_seconds(run: RunRecord, limit: float) -> float | None:
    """Return the time of the first sample whose hottest GPU reached ``limit``; None when none did."""
    pairs = zip(run.seconds, run.hottest_celsius, strict=False)
    return next((second for second, celsius in pairs if celsius >= limit), None)
