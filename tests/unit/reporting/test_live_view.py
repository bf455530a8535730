"""The live view: lines without a terminal, a bounded screen with one, and nothing on standard output."""

from __future__ import annotations

import io
import math
import os
import pty
import re
import tty
from collections.abc import Iterator
from datetime import timedelta

import pytest

from controller.reporting.live_lines import MAX_DECISION_LINES
from controller.reporting.live_screen import NUM_BINS, History, heat_style
from controller.reporting.live_view import LiveSample, LiveView, RegionSample, can_draw
from tests.reporting_samples import START

TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}


def sample(
    minute: float,
    *,
    policy: str = "meltguard",
    celsius: float = 80.0,
    decision: str | None = None,
    num_regions: int = 1,
) -> LiveSample:
    """Return a sample at a minute of a ten-hour run."""
    regions = tuple(
        RegionSample(region=f"region-{index}", rung=4, hottest_celsius=celsius, nodes_serving=6, nodes_pending=2)
        for index in range(num_regions)
    )
    return LiveSample(
        policy=policy,
        at=START + timedelta(minutes=minute),
        progress=minute / 600.0,
        signups_per_hour=8000.0,
        hottest_celsius=celsius,
        slowdown_celsius=87.0,
        regions=regions,
        last_decision=decision,
    )


class Terminal:
    """Our end of a pseudo-terminal, and the stream that a command would write to."""

    def __init__(self) -> None:
        """Open both ends without translation of line ends."""
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs)
        self.stream = open(theirs, "w", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close()
        os.set_blocking(self._ours, False)

    def written(self) -> str:
        """Return what was written since the last call."""
        parts: list[bytes] = []
        while True:
            try:
                parts.append(os.read(self._ours, 65536))
            except BlockingIOError:
                return b"".join(parts).decode(errors="replace")

    def close(self) -> None:
        """Close both ends."""
        self.stream.close()
        os.close(self._ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of 120 columns."""
    opened = Terminal()
    yield opened
    opened.close()


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_lines_come_every_half_hour_and_at_each_decision() -> None:
    """Without a terminal ten hours give one line a half hour, one a decision and one at the end."""
    stream = io.StringIO()
    with LiveView(title="t", stream=stream, environment={}) as view:
        for minute in range(601):
            view.update(sample(minute, decision=None if minute < 100 else "us-east: 2 more nodes"))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 21 + 1 + 1
    assert lines[4].startswith("meltguard 15:40 UTC: us-east: 2 more nodes")
    assert lines[-1] == "meltguard done: hottest GPU 80.0 °C, below slowdown at 87.0 °C"


def test_lines_have_no_control_codes() -> None:
    """A hostile name cannot put an escape sequence into a log."""
    stream = io.StringIO()
    with LiveView(title="t", stream=stream, environment=TERMINAL) as view:
        view.update(sample(0, policy="\x1b[31mred\r\n", decision="\x1b]0;title\x07"))
    assert all(line.isprintable() for line in stream.getvalue().splitlines())


def test_lines_about_decisions_are_bounded() -> None:
    """A policy that decides all the time fills no log; a line says that more are in the report."""
    stream = io.StringIO()
    with LiveView(title="t", stream=stream, environment={}) as view:
        for index in range(1000):
            view.update(sample(0.01 * index, decision=f"step {index}"))
    assert stream.getvalue().count("UTC: step") == MAX_DECISION_LINES
    assert stream.getvalue().count("further decisions are in the report") == 1


def test_an_interrupted_run_is_not_called_done() -> None:
    """A run that ends early says how far it came, also when an error ends it."""
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), LiveView(title="t", stream=stream, environment={}) as view:
        view.update(sample(300.0, celsius=87.0))
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == (
        "meltguard stopped at 50.0 %: hottest GPU 87.0 °C, not below slowdown at 87.0 °C"
    )


def test_a_terminal_gets_a_screen_with_regions_and_decisions(terminal: Terminal) -> None:
    """On a terminal the screen names policy, temperature, line, rung, nodes and decision."""
    with LiveView(title="the surge", stream=terminal.stream, environment=TERMINAL, clock=Clock()) as view:
        view.update(sample(60.0, decision="region-0: 2 more nodes"))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.written())
    for words in (
        "the surge",
        "10%",
        "80.0 °C, slowdown at 87.0 °C",
        "4 lower free quota",
        "6 + 2 on the way",
        "15:00  region-0: 2 more nodes",
    ):
        assert words in text


def test_colour_is_left_out_when_asked(terminal: Terminal) -> None:
    """NO_COLOR leaves out every colour; without it there are some."""
    for environment, colours in (({**TERMINAL, "NO_COLOR": "1"}, False), (TERMINAL, True)):
        with LiveView(title="t", stream=terminal.stream, environment=environment, clock=Clock()) as view:
            view.update(sample(60.0, celsius=90.0))
        codes = re.findall(r"\x1b\[([0-9;]*)m", terminal.written())
        assert any(re.search(r"(^|;)(3[0-7]|9[0-7]|38)(;|$)", code) for code in codes) is colours


def test_frames_are_few_however_many_samples_come(terminal: Terminal) -> None:
    """Ten thousand samples in one moment draw the first and the last state only."""
    clock = Clock()
    with LiveView(title="t", stream=terminal.stream, environment=TERMINAL, clock=clock) as view:
        for index in range(10_000):
            view.update(sample(index * 0.06))
    assert terminal.written().count("sign-ups an hour") <= 3


def test_a_new_policy_keeps_the_end_of_the_one_before(terminal: Terminal) -> None:
    """When the next policy begins, the screen still says how the last one ended."""
    with LiveView(title="t", stream=terminal.stream, environment=TERMINAL, clock=Clock()) as view:
        view.update(sample(600.0, policy="none", celsius=94.8))
        view.update(sample(0.0))
    assert "without meltguard done: hottest GPU 94.8 °C, not below slowdown at 87.0 °C" in terminal.written()


def test_standard_output_stays_free(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    """What a command prints while the view is open reaches standard output and nowhere else."""
    with LiveView(title="t", stream=terminal.stream, environment=TERMINAL, clock=Clock()) as view:
        view.update(sample(0.0))
        print("data")
    assert capsys.readouterr().out == "data\n"
    assert "data" not in terminal.written()


def test_a_screen_is_only_drawn_where_it_can_be(terminal: Terminal) -> None:
    """No screen on a pipe or a dumb terminal."""
    assert can_draw(terminal.stream, TERMINAL)
    assert not can_draw(terminal.stream, {"TERM": "dumb"})
    assert not can_draw(io.StringIO(), TERMINAL)


def test_history_keeps_the_highest_of_each_part() -> None:
    """The line of blocks shows the highest value of each part of the run, and nothing where nothing was seen."""
    history = History()
    for progress, value in ((0.0, 1.0), (0.001, 8.0), (0.002, 2.0), (1.0, 1.0), (0.5, math.nan)):
        history.add(progress, value)
    assert history.blocks(0.0, 8.0) == "█" + " " * (NUM_BINS - 2) + "▂"


def test_a_temperature_at_the_line_is_red() -> None:
    """Red from the line on, and for what is not a number; yellow near it; green below."""
    assert [heat_style(value, 87.0) for value in (87.0, math.nan, 84.0, 70.0)] == [
        "bold red",
        "bold red",
        "yellow",
        "green",
    ]
