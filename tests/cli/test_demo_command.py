"""``meltguard demo`` and ``meltguard replay``: same seed, same bytes; recorded users; failures in one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.command_line import one_error_line, run_meltguard

SHORT = ("replay", "march-2025", "--duration", "15m")
"""A replay that takes seconds: the quiet beginning of the surge scenario."""


def run_json(*arguments: str) -> str:
    """Return what a run prints as JSON."""
    result = run_meltguard(*arguments, "--output", "json")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_same_seed_same_bytes() -> None:
    """Two runs of one seed print identical JSON; another seed does not."""
    first = run_json(*SHORT, "--policy", "reactive,meltguard")
    assert run_json(*SHORT, "--policy", "reactive,meltguard") == first
    assert run_json(*SHORT, "--policy", "reactive,meltguard", "--seed", "1") != first


def test_the_policies_meet_the_same_users() -> None:
    """Sign-ups do not depend on the policy, so that policies can be compared."""
    runs = json.loads(run_json(*SHORT, "--policy", "none,meltguard"))["runs"]
    assert runs[0]["signups_per_hour"] == runs[1]["signups_per_hour"]


def test_each_seed_of_a_replay_is_a_run() -> None:
    """``--seeds N`` runs every policy on N seeds."""
    document = json.loads(run_json(*SHORT, "--policy", "none", "--seed", "3", "--seeds", "2"))
    assert document["schema"] == "meltguard.replay/v1"
    assert [(run["policy"], run["seed"]) for run in document["runs"]] == [("none", 3), ("none", 4)]


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """A report path in a folder that does not exist exits 2 before the run is wasted."""
    result = run_meltguard(*SHORT, "--policy", "none", "--report", str(tmp_path / "none" / "report.html"))
    assert result.returncode == 2
    assert "--report" in one_error_line(result)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two days of hourly counts with a wave in the second, a gap, and times that mark interval ends."""
    path = tmp_path / "recording.csv"
    lines = ["ended,signups,posts"]
    for hour in range(48):
        wave = 20.0 * math.exp(-(((hour - 36) / 3.0) ** 2))
        signups = "" if hour == 30 else f"{60 * (1 + wave):.0f}"
        lines.append(f"2019-11-{7 + hour // 24:02d}T{hour % 24:02d}:00:00Z,{signups},{12000 * (1 + 0.1 * wave):.0f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_recorded_users_take_the_place_of_the_scenarios(recording: Path) -> None:
    """The recorded wave appears in the run, scaled so that its median is the scenario's normal rate."""
    document = json.loads(
        run_json(
            "replay",
            "march-2025",
            "--policy",
            "none",
            "--signups",
            f"{recording}:signups",
            "--requests",
            f"{recording}:posts",
            "--time-column",
            "ended:end",
            "--start",
            "2019-11-08T06:00Z",
            "--duration",
            "8h",
        )
    )
    run = document["runs"][0]
    assert run["start"] == "2019-11-08T06:00:00Z"
    hourly = [sum(run["signups_per_hour"][60 * hour : 60 * hour + 60]) / 60.0 for hour in range(8)]
    # The busiest hour ends at 12:00, with 21 times the normal 40,000.
    assert max(range(8), key=lambda hour: hourly[hour]) == 5
    assert 600_000 < hourly[5] < 900_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--start", "2031-01-01T00:00Z"), "choose --start and --duration in it"),
        (("--start", "soon"), "--start"),
        (("--time-column", "when"), "when"),
    ],
)
def test_a_recording_that_does_not_fit_is_one_line(recording: Path, arguments: tuple[str, ...], says: str) -> None:
    """A recording outside the asked time, or a column that is not there, exits 2 and names the cure."""
    options = ("--signups", f"{recording}:signups", "--time-column", "ended:end", *arguments)
    result = run_meltguard(*SHORT, "--policy", "none", *options)
    assert result.returncode == 2
    assert says in one_error_line(result)
