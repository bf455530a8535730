"""The live view where there is no terminal: a line every half hour of virtual time and one a decision.

Plain text without control codes, so that a log or a pipe stays readable. Called by the live view only.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TextIO

from controller.reporting.live_sample import LiveSample
from controller.reporting.wording import (
    celsius_text,
    clock_text,
    number_text,
    policy_name,
    ratio_text,
    terminal_text,
)

LINE_PERIOD_SECONDS = 1800.0
"""Virtual time between two lines."""
MAX_DECISION_LINES = 60
"""Lines about decisions a policy; a run with more says so once and goes on quietly."""


class LineView:
    """Writes lines to a stream.

    Args:
        stream: Where to, standard error as a rule.
    """

    def __init__(self, stream: TextIO) -> None:
        """Begin without a sample."""
        self._stream = stream
        self._policy: str | None = None
        self._next_at: datetime | None = None
        self._last_decision: str | None = None
        self._num_decisions = 0
        self._newest: LiveSample | None = None
        self._highest = -math.inf

    def start(self) -> None:
        """Do nothing: lines need no preparation."""

    def update(self, sample: LiveSample) -> None:
        """Write what is due."""
        if sample.policy != self._policy:
            self._finish_policy()
            self._policy, self._next_at = sample.policy, sample.at
            self._last_decision, self._num_decisions, self._highest = None, 0, -math.inf
        self._newest = sample
        self._highest = max(self._highest, sample.hottest_celsius)
        if sample.last_decision is not None and sample.last_decision != self._last_decision:
            self._last_decision = sample.last_decision
            self._write_decision(sample)
        if self._next_at is None or sample.at >= self._next_at:
            self._next_at = datetime.fromtimestamp(sample.at.timestamp() + LINE_PERIOD_SECONDS, tz=sample.at.tzinfo)
            self._write(_state_line(sample))

    def stop(self) -> None:
        """Write how the last policy ended."""
        self._finish_policy()
        self._newest = None

    def _write_decision(self, sample: LiveSample) -> None:
        self._num_decisions += 1
        if self._num_decisions <= MAX_DECISION_LINES:
            self._write(f"{policy_name(sample.policy)} {clock_text(sample.at)} UTC: {sample.last_decision}")
        elif self._num_decisions == MAX_DECISION_LINES + 1:
            self._write(f"{policy_name(sample.policy)}: further decisions are in the report")

    def _finish_policy(self) -> None:
        if self._newest is not None:
            sample = self._newest
            self._write(f"{policy_name(sample.policy)} {finish_words(sample, self._highest)}")

    def _write(self, line: str) -> None:
        self._stream.write(terminal_text(line) + "\n")
        self._stream.flush()


def finish_words(sample: LiveSample, highest_celsius: float) -> str:
    """Return how a policy ended, or how far it came: "done: hottest GPU 94.8 °C, above slowdown at 87.0 °C"."""
    far = "done" if sample.progress >= 1.0 else f"stopped at {ratio_text(max(sample.progress, 0.0))}"
    side = "below" if highest_celsius < sample.slowdown_celsius else "not below"
    hottest = celsius_text(highest_celsius, against=sample.slowdown_celsius)
    return f"{far}: hottest GPU {hottest}, {side} slowdown at {celsius_text(sample.slowdown_celsius)}"


def _state_line(sample: LiveSample) -> str:
    """Return the state in one line."""
    serving = sum(region.nodes_serving for region in sample.regions)
    pending = sum(region.nodes_pending for region in sample.regions)
    rungs = ", ".join(f"{region.region} {region.rung}" for region in sample.regions)
    hottest = celsius_text(sample.hottest_celsius, against=sample.slowdown_celsius)
    return (
        f"{policy_name(sample.policy)} {clock_text(sample.at)} UTC, {sample.progress:.0%}: "
        f"{number_text(sample.signups_per_hour)} sign-ups an hour, hottest GPU {hottest}, "
        f"nodes {serving} + {pending} pending, rungs {rungs}"
    )
