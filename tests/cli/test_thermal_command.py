"""``meltguard thermal``: the contract's JSON, the leak rule, exit codes, the picture."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from controller.cli.main import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def _run(*arguments: str) -> Ran:
    """Run the whole command line in this process: starting one for each case takes most of a second."""
    stdout, stderr, code, before = io.StringIO(), io.StringIO(), 0, sys.argv
    sys.argv = ["meltguard", "thermal", *arguments]
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return Ran(returncode=code, stdout=stdout.getvalue(), stderr=stderr.getvalue())


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two GPUs in the format of the contract, twenty minutes of stepped load."""
    random = np.random.default_rng(2)
    path = tmp_path_factory.mktemp("thermal") / "log.csv"
    lines = ["timestamp,gpu,temperature_celsius,power_watts,utilization_ratio"]
    rise = np.zeros(2)
    for index in range(240):
        watts = np.where(index // 24 % 2, 680.0, 300.0) + random.normal(0.0, 2.0, 2)
        rise += (0.06 * watts - rise) * 0.5
        for gpu in range(2):
            celsius = round(25.0 + rise[gpu] + 3.0 * gpu)
            lines.append(f"{1767225600 + 5 * index},GPU-{gpu},{celsius},{watts[gpu]:.2f},1.0")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_forecast_prints_the_contract_document(log: Path) -> None:
    """One JSON line per moment and GPU, with the keys, types and null of the contract."""
    result = _run(
        *("forecast", str(log), "--at", "2026-01-01T00:10:00Z", "--at", "1767226500", "--horizons", "30s,60s,300s"),
        *("--power", "known", "--limit", "200", "--output", "json"),
    )
    assert result.returncode == 0, result.stderr
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(d["issued_at"], d["gpu"]) for d in documents] == [
        ("2026-01-01T00:10:00Z", "GPU-0"),
        ("2026-01-01T00:10:00Z", "GPU-1"),
        ("2026-01-01T00:15:00Z", "GPU-0"),
        ("2026-01-01T00:15:00Z", "GPU-1"),
    ]
    first = documents[0]
    contract = {
        *("schema", "issued_at", "gpu", "points", "seconds_to_slowdown", "limit_celsius", "model", "warnings"),
    }
    assert contract <= set(first)
    assert first["schema"] == "meltguard.thermal/v1"
    assert [point["horizon_seconds"] for point in first["points"]] == [30, 60, 300]
    for point in first["points"]:
        quantiles = point["quantiles"]
        assert list(quantiles) == ["0.05", "0.5", "0.95"]
        assert quantiles["0.05"] < quantiles["0.5"] < quantiles["0.95"]
    assert first["seconds_to_slowdown"] == {"0.05": None, "0.5": None, "0.95": None}
    assert set(first["model"]) == {
        *("thermal_resistance_celsius_per_watt", "time_constant_seconds", "ambient_celsius", "confidence"),
    }
    assert first["model"]["confidence"] == "fitted"


def test_a_low_limit_is_reached_sooner_by_the_upper_temperature(log: Path) -> None:
    """Seconds to slowdown ascend with the level and are zero for a GPU that is there."""
    result = _run("forecast", str(log), "--limit", "30", "--output", "json", "--gpu", "GPU-1")
    document = json.loads(result.stdout)
    assert set(document["seconds_to_slowdown"].values()) == {0.0}


def test_fit_saves_gains_that_forecast_starts_from(log: Path, tmp_path: Path) -> None:
    """A state file written by fit is read by forecast; a damaged one is reported and ignored."""
    state = tmp_path / "state.json"
    fitted = _run("fit", str(log), "--limit", "87", "--save", str(state), "--output", "json")
    assert fitted.returncode == 0, fitted.stderr
    document = json.loads(fitted.stdout.splitlines()[0])
    assert document["schema"] == "meltguard.thermal-fit/v1"
    assert document["thermal_resistance_celsius_per_watt"] == pytest.approx(0.06, rel=0.15)
    assert document["power_limit_watts"] == 700.0
    early = ("forecast", str(log), "--at", "1767225610", "--power", "680", "--output", "json", "--gpu", "GPU-0")
    with_state, without = _run(*early, "--state", str(state)), _run(*early)
    assert json.loads(with_state.stdout)["model"]["confidence"] == "fleet_prior"
    assert json.loads(without.stdout)["model"]["confidence"] == "none"
    state.write_text("{")
    damaged = _run(*early, "--state", str(state))
    assert damaged.returncode == 0
    assert "starting from priors" in damaged.stderr
    assert json.loads(damaged.stdout)["points"] == json.loads(without.stdout)["points"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("forecast",), 2, "either a LOG or --prometheus"),
        (("forecast", "absent.csv"), 2, "cannot be read"),
        (("forecast", "LOG", "--power", "much"), 2, "--power"),
        (("forecast", "LOG", "--horizons", "soon"), 2, "--horizons"),
        (("forecast", "LOG", "--at", "noon"), 2, "--at"),
        (("forecast", "LOG", "--gpu", "7"), 2, "--gpu"),
        (("forecast", "LOG", "--quantiles", "2"), 2, "--quantiles"),
        (("forecast", "LOG", "--plot", "fan.gif"), 2, "--plot"),
        (("forecast", "LOG", "--at", "2020-01-01T00:00:00Z"), 1, "fewer than two readings"),
        (("fit", "--prometheus", "ftp://example.org"), 2, "--prometheus"),
    ],
)
def test_wrong_use_is_one_line_with_a_cure(log: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    """Nothing goes to stdout; stderr holds one line that names the option, and the exit code is the contract's."""
    result = _run(*(str(log) if part == "LOG" else part for part in arguments))
    assert result.returncode == code
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("suffix", ["html", "svg"])
def test_plot_shows_past_fan_and_limit(log: Path, tmp_path: Path, suffix: str) -> None:
    """The picture holds the past line, the median, the fan and the limit."""
    picture = tmp_path / f"fan.{suffix}"
    result = _run("forecast", str(log), "--limit", "87", "--plot", str(picture))
    assert result.returncode == 0, result.stderr
    text = picture.read_text(encoding="utf-8")
    assert text.count("<polyline") >= 2
    assert "<polygon" in text
    assert "slowdown 87" in text


def test_a_png_is_drawn_by_matplotlib(log: Path, tmp_path: Path) -> None:
    """With the extra ``plot`` the picture is a PNG file."""
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    picture = tmp_path / "fan.png"
    result = _run("forecast", str(log), "--limit", "87", "--plot", str(picture))
    assert result.returncode == 0, result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_png_without_matplotlib_says_what_to_install(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra the command ends in one line with the cure, before it forecasts anything."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = _run("forecast", str(log), "--plot", str(tmp_path / "fan.png"))
    assert result.returncode == 1
    assert result.stdout == ""
    assert "pip install 'meltguard[plot]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_incremental_core_needs_numpy_only() -> None:
    """Importing the model brings neither scipy, statsmodels, pandas nor the rest of ours: the exporter pays for it."""
    script = (
        "import sys, forecasting.thermal.fleet, forecasting.thermal.derived, forecasting.thermal.state; "
        "heavy = {'scipy', 'statsmodels', 'pandas', 'typer', 'matplotlib', 'controller', 'forecasting.demand'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "[]"


def test_listing_the_commands_does_not_load_numpy() -> None:
    """The thermal commands are mounted without the model, so that help is quick."""
    script = "import sys, forecasting.thermal.cli; print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == "False"
