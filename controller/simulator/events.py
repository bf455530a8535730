"""What goes wrong in a scenario, asked moment by moment; called by the world and by those who look at it."""

from __future__ import annotations

import numpy as np

from controller.simulator.scenario import Event, EventKind, Scenario
from forecasting.types import FloatArray


class Misfortunes:
    """The events of a scenario.

    Args:
        scenario: The scenario.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Sort the events by kind."""
        self._names = [region.name for region in scenario.regions]
        self._events = {kind: tuple(event for event in scenario.events if event.kind is kind) for kind in EventKind}
        first_pool = np.cumsum([0, *(len(region.pools) for region in scenario.regions)])
        pools = [pool for region in scenario.regions for pool in region.pools]
        first_slot = np.cumsum([0, *(pool.max_nodes for pool in pools)])
        # First node slot of each region's first pool.
        self._first_node = {name: int(first_slot[first_pool[row]]) for row, name in enumerate(self._names)}

    def extent(self, kind: EventKind, region: str, seconds: float) -> float | None:
        """Return the extent of the strongest event of a kind that is under way in a region.

        Args:
            kind: What goes wrong.
            region: Where.
            seconds: Virtual time.

        Returns:
            The extent so far, ramped up; None when nothing of the kind is under way.
        """
        found = [
            _ramped(event, seconds)
            for event in self._events[kind]
            if event.region in (None, region) and _is_active(event, seconds)
        ]
        return max(found, default=None)

    def cooling_ratio(self, seconds: float) -> FloatArray:
        """Return the share of its cooling that each site has left, shape ``(num_regions,)``."""
        lost = [self.extent(EventKind.COOLING_FAILURE, name, seconds) or 0.0 for name in self._names]
        return 1.0 - np.asarray(lost)

    def per_node(self, kind: EventKind, seconds: float, num_nodes: int) -> FloatArray:
        """Return the extent of a kind on each node slot, 0 where nothing is wrong.

        Args:
            kind: Failed fan or hot aisle.
            seconds: Virtual time.
            num_nodes: Number of node slots.

        Returns:
            Extents, shape ``(num_nodes,)``.
        """
        extents = np.zeros(num_nodes)
        for event in self._events[kind]:
            if event.region is not None and _is_active(event, seconds):
                slots = [self._first_node[event.region] + node for node in event.nodes]
                extents[slots] = np.maximum(extents[slots], _ramped(event, seconds))
        return extents


def _is_active(event: Event, seconds: float) -> bool:
    """Return whether an event is under way."""
    return event.at_seconds <= seconds < event.at_seconds + event.duration_seconds


def _ramped(event: Event, seconds: float) -> float:
    """Return an event's extent so far."""
    if event.ramp_seconds <= 0.0:
        return event.extent
    return event.extent * min(1.0, (seconds - event.at_seconds) / event.ramp_seconds)
