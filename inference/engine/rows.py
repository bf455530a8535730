"""Which image has which row of the batch: rows are numbered without gaps, so that a step computes nothing in vain."""

from __future__ import annotations

from collections import Counter

from inference.engine.runner import RowMove
from inference.engine.work import ImageTask


class RowTable:
    """Busy rows ``0..num_busy - 1`` and the image that owns each."""

    def __init__(self) -> None:
        self._owners: list[ImageTask] = []
        self._busy_by_tier: Counter[str] = Counter()
        self._images: list[ImageTask] | None = None

    @property
    def num_busy(self) -> int:
        """Rows taken."""
        return len(self._owners)

    @property
    def busy_by_tier(self) -> Counter[str]:
        """Rows taken, by tier."""
        return self._busy_by_tier

    @property
    def images(self) -> list[ImageTask]:
        """Images that have rows, each once."""
        if self._images is None:
            self._images = [owner for row, owner in enumerate(self._owners) if owner.rows[0] == row]
        return self._images

    def take(self, image: ImageTask) -> None:
        """Give an image the next rows, as many as it needs."""
        self._images = None
        image.rows = list(range(self.num_busy, self.num_busy + image.num_rows))
        self._owners.extend([image] * image.num_rows)
        self._busy_by_tier[image.tier] += image.num_rows

    def release(self, image: ImageTask) -> tuple[list[RowMove], list[ImageTask]]:
        """Take an image's rows away and fill the gaps with the last rows.

        Args:
            image: Any that has rows.

        Returns:
            What the runner has to move, in order, and the guided images whose rows have new numbers.
        """
        self._images = None
        moves: list[RowMove] = []
        moved_pairs: list[ImageTask] = []
        self._busy_by_tier[image.tier] -= len(image.rows)
        # From the highest down, so that the row that fills a gap is never one of those that go.
        for target in sorted(image.rows, reverse=True):
            owner = self._owners.pop()
            source = len(self._owners)
            if source == target:
                continue
            self._owners[target] = owner
            owner.rows[owner.rows.index(source)] = target
            moves.append(RowMove(source=source, target=target))
            if len(owner.rows) > 1 and owner not in moved_pairs:
                moved_pairs.append(owner)
        image.rows = []
        return moves, moved_pairs
