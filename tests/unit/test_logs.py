"""How a process logs: to stderr, as JSON away from a terminal, from the chosen level on."""

import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from controller.telemetry.logs import LogLevel

TIMEOUT_SECONDS = 60.0
PROGRAM = """
import sys
import structlog
from controller.telemetry.logs import LogLevel, configure_logging
early = structlog.get_logger()
configure_logging(LogLevel(sys.argv[1]))
for log in (early, structlog.get_logger()):
    log.debug("pool.examined")
    log.info("pool.resized", pool="us-east-h", to_nodes=7)
    log.warning("metric.delayed")
    log.error("flag.refused")
try:
    raise ValueError("two\\nlines and \\x1b[2J")
except ValueError:
    structlog.get_logger().exception("pass.failed")
print("data")
"""
EVENTS = {"debug": "pool.examined", "info": "pool.resized", "warning": "metric.delayed", "error": "flag.refused"}


def _run(level: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, level]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)


@pytest.mark.parametrize("level", list(LogLevel))
def test_a_level_lets_through_itself_and_what_is_graver(level):
    """Exactly the events at the level and above are written, by loggers made before and after the set-up alike."""
    words = [json.loads(line)["event"] for line in _run(level.value).stderr.splitlines()]
    levels = list(EVENTS)
    expected = [EVENTS[each] for each in levels[levels.index(level.value) :]]
    assert words == [*expected, *expected, "pass.failed"]


def test_away_from_a_terminal_each_line_is_one_json_object():
    """Every line is an object with level, UTC time and the event's fields, in the order of the keys."""
    for line in _run("debug").stderr.splitlines():
        entry = json.loads(line)
        assert list(entry) == sorted(entry)
        at = datetime.fromisoformat(entry["timestamp"])
        assert at.utcoffset() == timedelta(0)
        assert at.astimezone(UTC).year >= 2024
        if entry["event"] == "pool.resized":
            assert entry["level"] == "info"
            assert entry["pool"] == "us-east-h"
            assert entry["to_nodes"] == 7


def test_an_exception_stays_inside_its_line():
    """A traceback is a field of its event, so that one line is one event."""
    entry = json.loads(_run("error").stderr.splitlines()[-1])
    assert entry["event"] == "pass.failed"
    assert "ValueError: two\nlines" in entry["exception"]


def test_logs_stay_off_stdout():
    """What a command prints as data is not mixed with what it logs."""
    assert _run("debug").stdout == "data\n"


def test_on_a_terminal_people_read_lines():
    """A terminal gets words, not JSON."""
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-c", PROGRAM, "warning"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, timeout=TIMEOUT_SECONDS, check=True)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "metric.delayed" in plain
    assert "pool.resized" not in plain
    assert not plain.lstrip().startswith("{")
    assert "\x1b[2J" not in shown
    assert "\\x1b[2J" in plain
