"""Shows a running simulation on standard error: a live screen on a terminal, plain lines anywhere else.

``meltguard demo`` and ``meltguard replay`` open a :class:`LiveView` around the run and hand it samples as often as they
like. It honours ``NO_COLOR`` and ``TERM=dumb``, writes nothing to standard output and never slows the run down by more
than a small share.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console

from controller.reporting.live_lines import LineView
from controller.reporting.live_sample import LiveSample, RegionSample
from controller.reporting.live_screen import ScreenView

__all__ = ["LiveSample", "LiveView", "RegionSample"]


class _View(Protocol):
    """What both variants can do."""

    def start(self) -> None:
        """Begin."""

    def update(self, sample: LiveSample) -> None:
        """Take a sample."""

    def stop(self) -> None:
        """End."""


class LiveView:
    """A context manager that shows samples while it is open.

    Args:
        title: Heading of the screen.
        stream: Where to show; None is standard error.
        environment: Variables to honour; None is the process's own.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        *,
        title: str,
        stream: TextIO | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Choose the variant."""
        target = sys.stderr if stream is None else stream
        variables = os.environ if environment is None else environment
        self._view: _View = LineView(target)
        if can_draw(target, variables):
            console = Console(
                file=target, force_terminal=True, no_color=bool(variables.get("NO_COLOR")), _environ=variables
            )
            self._view = ScreenView(console, title=title, clock=clock)

    def __enter__(self) -> Self:
        """Begin to show."""
        self._view.start()
        return self

    def update(self, sample: LiveSample) -> None:
        """Show a sample, or only remember it where the next frame is not due yet."""
        self._view.update(sample)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last state and give the terminal back, also after an error or Ctrl-C."""
        self._view.stop()


def can_draw(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether the stream is a terminal that can move its cursor and show the characters of the screen."""
    if not stream.isatty() or environment.get("TERM", "") in ("dumb", "unknown"):
        return False
    encoding = (getattr(stream, "encoding", None) or "").lower().replace("-", "").replace("_", "")
    return encoding.startswith("utf")
