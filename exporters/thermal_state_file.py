"""Carries what the thermal model learned across restarts of the exporter: ``--thermal-state FILE``.

Called by ``exporters.service`` from a worker thread, never while the model steps. A file that cannot be read or written
is reported and otherwise changes nothing: the model then starts from its class prior, as without a file.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

from exporters.logs import Log
from exporters.thermals import ThermalTracker

SAVE_SECONDS = 60.0
"""At most one write in this time; what was learned since is what a crash may cost."""


class ThermalStateFile:
    """The file of one node's gains; needs ``thermals.model_is_installed``."""

    def __init__(self, path: Path, tracker: ThermalTracker, log: Log) -> None:
        """Keep in ``path`` what ``tracker`` learns."""
        self._path = path
        self._tracker = tracker
        self._log = log
        self._saved_at_monotonic = -math.inf

    def load(self) -> None:
        """Hand the file's gains to the tracker; one that cannot be used is reported and ignored."""
        from forecasting.thermal.storage import load_state

        constants = self._tracker.time_constants_seconds
        state, problem = load_state(self._path, time_constants_seconds=constants)
        if problem is not None:
            self._log.warning("exporter.thermal_state_ignored", detail=problem)
        if state is not None:
            self._tracker.memory.recall(state)
            self._log.info("exporter.thermal_state_loaded", path=str(self._path), num_gpus=len(state.gpus))

    def save_if_due(self, now_monotonic: float) -> bool:
        """Write the file anew unless that was done within ``SAVE_SECONDS``.

        Args:
            now_monotonic: Monotonic time.

        Returns:
            Whether a write was tried; never while there is nothing to keep.
        """
        from forecasting.thermal.state import StateError
        from forecasting.thermal.storage import save_state

        if now_monotonic - self._saved_at_monotonic < SAVE_SECONDS:
            return False
        state = self._tracker.learned(saved_at_seconds=time.time())
        if state is None:
            return False
        self._saved_at_monotonic = now_monotonic
        try:
            save_state(self._path, state)
        except StateError as error:
            self._log.warning("exporter.thermal_state_not_saved", detail=str(error))
        return True
