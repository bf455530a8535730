"""The live view on a terminal: one calm screen that is drawn again a few times a second.

Called by the live view only. It never spends more than a small share of the run's time: a slow terminal gets fewer
frames, not a slower run.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.reporting.live_lines import finish_words
from controller.reporting.live_sample import LiveSample, RegionSample
from controller.reporting.wording import (
    celsius_text,
    clock_text,
    number_text,
    policy_name,
    rung_name,
    short_name,
    terminal_text,
)

FRAME_PERIOD_SECONDS = 0.2
"""Shortest time between two frames."""
MAX_COST_RATIO = 0.015
"""Largest share of the run's time that drawing may take."""
NUM_BINS = 48
MAX_REGIONS = 12
MAX_DECISIONS = 5
MAX_FINISHED = 8
_BLOCKS = "▁▂▃▄▅▆▇█"
_RUNG_STYLES = ("dim", "cyan", "cyan", "yellow", "yellow", "bold yellow", "bold red", "bold magenta")
_NEAR_CELSIUS = 6.0
"""Closer than this to the slowdown line a temperature is shown in yellow."""


@dataclass(slots=True)
class History:
    """The highest value in each part of a run, for a line of blocks.

    Attributes:
        bins: One a part; NaN where nothing was seen yet.
    """

    bins: list[float] = field(default_factory=lambda: [math.nan] * NUM_BINS)

    def add(self, progress: float, value: float) -> None:
        """Keep the value if it is the highest of its part."""
        if not (math.isfinite(value) and math.isfinite(progress)):
            return
        index = min(max(int(progress * NUM_BINS), 0), NUM_BINS - 1)
        known = self.bins[index]
        self.bins[index] = value if math.isnan(known) else max(known, value)

    def blocks(self, low: float, high: float) -> str:
        """Return one block a part, from the lowest at ``low`` to the highest at ``high``."""
        span = high - low
        if not (math.isfinite(span) and span > 0.0):
            span = 1.0
        return "".join(
            " " if math.isnan(value) else _BLOCKS[min(max(int((value - low) / span * 8), 0), 7)] for value in self.bins
        )


class ScreenView:
    """Draws the state of the run on a terminal.

    Args:
        console: Where to draw; knows about colours and ``NO_COLOR``.
        title: Heading.
        clock: Seconds that only grow; tells when the next frame is due.
    """

    def __init__(self, console: Console, *, title: str, clock: Callable[[], float]) -> None:
        """Begin with an empty screen."""
        self._title = terminal_text(short_name(title))
        self._clock = clock
        self._live = Live(
            console=console,
            auto_refresh=False,
            # Data that the command prints must stay on standard output; log lines go above the screen.
            redirect_stdout=False,
            redirect_stderr=console.file is sys.stderr,
        )
        self._next_frame = -math.inf
        self._sample: LiveSample | None = None
        self._signups, self._heat = History(), History()
        self._decisions: deque[tuple[str, str]] = deque(maxlen=MAX_DECISIONS)
        self._finished: deque[tuple[str, bool]] = deque(maxlen=MAX_FINISHED)
        self._highest = -math.inf

    def start(self) -> None:
        """Take the terminal."""
        self._live.start()

    def update(self, sample: LiveSample) -> None:
        """Take note of a sample, and draw when a frame is due."""
        if self._sample is not None and sample.policy != self._sample.policy:
            self._finish_policy(self._sample)
        self._sample = sample
        self._highest = max(self._highest, sample.hottest_celsius)
        self._signups.add(sample.progress, math.log1p(max(sample.signups_per_hour, 0.0)))
        self._heat.add(sample.progress, sample.hottest_celsius)
        newest = self._decisions[-1][1] if self._decisions else None
        if sample.last_decision is not None and sample.last_decision != newest:
            self._decisions.append((clock_text(sample.at), sample.last_decision))
        begun = self._clock()
        if begun >= self._next_frame:
            self._draw()
            ended = self._clock()
            self._next_frame = ended + max(FRAME_PERIOD_SECONDS, (ended - begun) / MAX_COST_RATIO)

    def stop(self) -> None:
        """Draw the last state and give the terminal back."""
        if self._sample is not None:
            self._draw()
        self._live.stop()

    def _finish_policy(self, sample: LiveSample) -> None:
        words = f"{policy_name(sample.policy)} {finish_words(sample, self._highest)}"
        self._finished.append((words, self._highest < sample.slowdown_celsius))
        self._signups, self._heat, self._highest = History(), History(), -math.inf
        self._decisions.clear()

    def _draw(self) -> None:
        if self._sample is not None:
            self._live.update(self._screen(self._sample), refresh=True)

    def _screen(self, sample: LiveSample) -> RenderableType:
        """Return the whole screen."""
        parts: list[RenderableType] = [Text(self._title, style="bold")]
        for words, stayed_below in self._finished:
            parts.append(Text(f"  {terminal_text(words)}", style="green" if stayed_below else "red", no_wrap=True))
        parts += [self._head(sample), self._curves(sample), Text(), _regions(sample)]
        if self._decisions:
            parts.append(Text("\nDecisions", style="bold"))
        for at, decision in self._decisions:
            text = Text(no_wrap=True, overflow="ellipsis")
            parts.append(text.append(f"  {at}  ", style="dim").append(terminal_text(decision)))
        return Group(*parts)

    def _head(self, sample: LiveSample) -> RenderableType:
        """Return policy, virtual time and progress."""
        grid = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=1.0, completed=min(max(sample.progress, 0.0), 1.0), width=NUM_BINS)
        name = Text(terminal_text(policy_name(sample.policy)), style="bold blue")
        grid.add_row(name, bar, f"{sample.progress:.0%}", Text(f"{sample.at:%d %b %H:%M} UTC", style="dim"))
        return grid

    def _curves(self, sample: LiveSample) -> RenderableType:
        """Return the two curves that matter, with their newest values."""
        seen = [value for value in self._signups.bins if not math.isnan(value)]
        low = min(seen, default=0.0)
        signups = self._signups.blocks(low, max(seen, default=1.0) + 1e-9)
        heat = self._heat.blocks(sample.slowdown_celsius - 40.0, sample.slowdown_celsius + 5.0)
        style = heat_style(sample.hottest_celsius, sample.slowdown_celsius)
        grid = Table.grid(padding=(0, 2))
        grid.add_row("sign-ups an hour", Text(signups, style="cyan"), number_text(sample.signups_per_hour))
        hottest = celsius_text(sample.hottest_celsius, against=sample.slowdown_celsius)
        words = f"{hottest}, slowdown at {celsius_text(sample.slowdown_celsius)}"
        grid.add_row("hottest GPU", Text(heat, style=style), Text(words, style=style))
        return grid


def heat_style(celsius: float, slowdown_celsius: float) -> str:
    """Return the colour of a temperature: red at the line, yellow near it, green below."""
    if not celsius < slowdown_celsius:
        return "bold red"
    return "yellow" if celsius > slowdown_celsius - _NEAR_CELSIUS else "green"


def _regions(sample: LiveSample) -> RenderableType:
    """Return one row a region."""
    table = Table.grid(padding=(0, 3))
    table.add_row(*(Text(head, style="dim") for head in ("region", "rung", "hottest", "nodes")))
    for region in sample.regions[:MAX_REGIONS]:
        table.add_row(*_region_cells(region, sample.slowdown_celsius))
    if len(sample.regions) > MAX_REGIONS:
        table.add_row(Text(f"and {len(sample.regions) - MAX_REGIONS} more", style="dim"))
    return table


def _region_cells(region: RegionSample, slowdown_celsius: float) -> tuple[Text, ...]:
    """Return name, rung, temperature and nodes of one region."""
    pending = f" + {region.nodes_pending} on the way" if region.nodes_pending else ""
    return (
        Text(terminal_text(short_name(region.region))),
        Text(f"{region.rung} {rung_name(region.rung)}", style=_RUNG_STYLES[min(max(region.rung, 0), 7)]),
        Text(celsius_text(region.hottest_celsius), style=heat_style(region.hottest_celsius, slowdown_celsius)),
        Text(f"{region.nodes_serving}{pending}"),
    )
