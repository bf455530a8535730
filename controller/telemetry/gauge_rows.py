"""One gauge family whose rows come and go: what is told anew replaces what was told before, and only changes are set.

Several owners, such as policies, may tell of one family. Called by the recorder and the operator; never blocks.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Gauge

Rows = Mapping[tuple[str, ...], float]
"""Values by the labels of a family, in its order."""


class GaugeRows:
    """The rows of a family.

    Args:
        gauge: The family; nobody else sets it.
    """

    def __init__(self, gauge: Gauge) -> None:
        """Show nothing yet."""
        self._gauge = gauge
        self._children: dict[tuple[str, ...], Gauge] = {}
        self._shown: dict[tuple[str, ...], float] = {}
        self._told: dict[str, Rows] = {}

    def replace(self, owner: str, rows: Rows) -> None:
        """Show what an owner tells now, and no longer what it told before.

        Args:
            owner: Who tells it; where two owners tell of one row, the larger value is shown.
            rows: All its rows.
        """
        before = self._told.get(owner, {})
        self._told[owner] = rows
        for labels, value in rows.items():
            if len(self._told) > 1:
                value = max(told[labels] for told in self._told.values() if labels in told)
            if self._shown.get(labels) != value:
                self._show(labels, value)
        for labels in before.keys() - rows.keys():
            self._settle(labels)

    def drop(self, owner: str) -> None:
        """Forget an owner and the rows that it alone told."""
        for labels in self._told.pop(owner, {}):
            self._settle(labels)

    def clear(self) -> None:
        """Forget everything."""
        self._told.clear()
        self._children.clear()
        self._shown.clear()
        self._gauge.clear()

    def _settle(self, labels: tuple[str, ...]) -> None:
        """Show what the others tell of a row, or take it away."""
        left = [told[labels] for told in self._told.values() if labels in told]
        if left:
            self._show(labels, max(left))
            return
        self._children.pop(labels, None)
        self._shown.pop(labels, None)
        self._gauge.remove(*labels)

    def _show(self, labels: tuple[str, ...], value: float) -> None:
        """Set one row."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._gauge.labels(*labels)
        child.set(value)
        self._shown[labels] = value
