"""``meltguard thermal`` against a real Prometheus on loopback that was filled with recorded series."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from forecasting.errors import ForecastingError, NotEnoughDataError
from forecasting.thermal.cli import app
from tools.real_parts.processes import LOOPBACK, ChildProcess, answers_http, find_program, free_port

pytestmark = [
    pytest.mark.real_parts,
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="prometheus and promtool are not installed (Debian package prometheus)",
    ),
]

STEP_SECONDS = 15
NUM_STEPS = 240
START = int(time.time()) - STEP_SECONDS * NUM_STEPS - 600  # ``fit`` looks back from now
END = START + STEP_SECONDS * (NUM_STEPS - 1)
HOLE = range(60, 100)
LIMIT_CELSIUS = 80
GPUS = {"GPU-a": 0.0, "GPU-b": 4.0}


def watts_at(step: int) -> float:
    """Return power that steps every five minutes, with a ripple so that it is not frozen."""
    return (300.0 if step // 20 % 2 else 640.0) + 3.0 * math.sin(1.7 * step)


def samples() -> dict[str, list[tuple[str, int, float]]]:
    """Return labels, step and value of every metric: two GPUs, one with a hole, one capped by software at the end."""
    found: dict[str, list[tuple[str, int, float]]] = {}
    for uuid, warmer in GPUS.items():
        rise = 0.06 * watts_at(0)
        for step in range(NUM_STEPS):
            rise += (0.06 * watts_at(step) - rise) * 0.5
            celsius = round(25.0 + warmer + rise)
            if uuid == "GPU-a" and step in HOLE:
                continue
            capped = float(uuid == "GPU-b" and step == NUM_STEPS - 1)
            for name, labels, value in (
                ("temperature_celsius", "", celsius),
                ("power_watts", "", watts_at(step)),
                ("thermal_margin_celsius", "", LIMIT_CELSIUS - celsius),
                ("power_limit_watts", "", 650.0),
                ("throttled", ',reason="hw_thermal"', 0.0),
                ("throttled", ',reason="sw_power_cap"', 1.0),
                ("throttled", ',reason="sw_thermal"', capped),
            ):
                found.setdefault(name, []).append((f'uuid="{uuid}"{labels}', step, float(value)))
    return found


def exposition() -> str:
    """Return the samples as OpenMetrics with times."""
    lines = []
    for name, rows in samples().items():
        lines.append(f"# TYPE meltguard_gpu_{name} gauge")
        by_series = sorted(rows, key=lambda row: (row[0], row[1]))
        lines += [f"meltguard_gpu_{name}{{{key}}} {value} {START + STEP_SECONDS * k}" for key, k, value in by_series]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Prometheus whose store holds the samples, and return its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.txt").write_text(exposition(), encoding="utf-8")
    (folder / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    subprocess.run(
        [find_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples.txt", "data"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    address = f"{LOOPBACK}:{free_port()}"
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command = [find_program("prometheus"), *options, f"--web.listen-address={address}"]
    process = ChildProcess("prometheus", command, folder)
    try:
        process.start(lambda: answers_http(f"http://{address}/-/ready"))
        yield f"http://{address}"
    finally:
        process.stop()


def run(server: str, *arguments: str, command: str = "forecast", at: int = END) -> Result:
    """Run a thermal command on the hour of data."""
    moment = ["--at", str(at)] if command == "forecast" else []
    options = ["--prometheus", server, "--lookback", "1h", "--step", "15s", "--output", "json"]
    return CliRunner().invoke(app, [command, *moment, *options, *arguments])


def documents(result: Result) -> dict[str, dict[str, object]]:
    """Return the documents by GPU."""
    assert result.exit_code == 0, (result.output, result.exception)
    return {each["gpu"]: each for each in map(json.loads, result.stdout.splitlines())}


def median(document: dict[str, object], horizon: int) -> float:
    """Return the median temperature at a horizon."""
    points = document["points"]
    assert isinstance(points, list)
    return float(next(point["quantiles"]["0.5"] for point in points if point["horizon_seconds"] == horizon))


def test_both_gpus_are_forecast_close_to_the_truth(server: str) -> None:
    """A plateau forecast from queried power and temperature lies within 2 K of the physics that made the series."""
    found = documents(run(server, "--power", "640", at=END - 60))
    assert set(found) == set(GPUS)
    for uuid, warmer in GPUS.items():
        assert median(found[uuid], 600) == pytest.approx(25.0 + warmer + 0.06 * 640.0, abs=2.0)


def test_the_exported_margin_gives_the_limit(server: str) -> None:
    """Without --limit the limit is temperature plus margin, and the margin is forecast."""
    found = documents(run(server, at=END - 60))
    assert found["GPU-a"]["limit_celsius"] == LIMIT_CELSIUS
    assert "margin" in found["GPU-a"]


def test_capping_by_software_for_heat_is_over_the_limit_now(server: str) -> None:
    """The thermal reason counts, the power cap beside it does not."""
    found = documents(run(server))
    assert set(found["GPU-b"]["seconds_to_slowdown"].values()) == {0.0}  # type: ignore[attr-defined]
    assert set(found["GPU-a"]["seconds_to_slowdown"].values()) == {None}  # type: ignore[attr-defined]


def test_known_power_reads_the_series_after_the_moment(server: str) -> None:
    """Known power comes from after --at; the temperature there does not decide the forecast made before it."""
    moment = START + STEP_SECONDS * 199
    found = documents(run(server, "--power", "known", "--horizons", "60s,240s", at=moment))
    step = 199 + 240 // STEP_SECONDS
    truth = next(value for key, k, value in samples()["temperature_celsius"] if "GPU-a" in key and k == step)
    assert median(found["GPU-a"], 240) == pytest.approx(truth, abs=2.0)


def test_a_hole_in_the_series_does_not_fill_itself(server: str) -> None:
    """Ten minutes into a hole the last reading is old, though Prometheus repeats it for five; the forecast says so."""
    found = documents(run(server, at=START + STEP_SECONDS * (HOLE.stop - 1)))
    assert any("old" in str(warning) for warning in found["GPU-a"]["warnings"])  # type: ignore[attr-defined]
    assert not any("old" in str(warning) for warning in found["GPU-b"]["warnings"])  # type: ignore[attr-defined]


def test_fit_learns_the_resistance_and_takes_the_exported_power_limit(server: str, tmp_path: Path) -> None:
    """``fit`` reads the same series up to now and saves gains that ``forecast`` starts from."""
    state = tmp_path / "state.json"
    found = documents(run(server, "--lookback", "90m", "--save", str(state), command="fit"))
    for document in found.values():
        assert document["confidence"] == "fitted"
        assert document["power_limit_watts"] == 650.0
        assert document["thermal_resistance_celsius_per_watt"] == pytest.approx(0.06, rel=0.15)
        assert document["headroom_at_limit_celsius"] is not None
    early = documents(run(server, "--state", str(state), at=START + 30))
    assert early["GPU-a"]["model"]["confidence"] == "fleet_prior"  # type: ignore[index]


def test_nothing_in_the_range_is_an_error_and_not_a_cool_fleet(server: str) -> None:
    """A query that matches nothing says so."""
    result = run(server, "--temperature-query", "no_such_metric")
    assert isinstance(result.exception, NotEnoughDataError)
    assert "no series" in str(result.exception)


def test_a_wrong_query_repeats_what_prometheus_says(server: str) -> None:
    """PromQL errors reach the user in one line."""
    result = run(server, "--power-query", "sum(")
    assert isinstance(result.exception, ForecastingError)
    assert "parse error" in str(result.exception)


def test_no_server_is_one_line_after_bounded_attempts() -> None:
    """A refused connection is tried a few times and then explained."""
    result = run(f"http://{LOOPBACK}:{free_port()}")
    assert isinstance(result.exception, ForecastingError)
    assert "check the URL" in str(result.exception)
