"""``meltguard forecast --prometheus`` against a real Prometheus on loopback."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner, Result

from forecasting import cli
from forecasting.errors import ForecastingError

pytestmark = [
    pytest.mark.real_parts,
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="prometheus and promtool are not installed (Debian package prometheus)",
    ),
]

START = 1_743_000_000 // 300 * 300
NUM_STEPS = 600
HOLE = range(200, 212)
STALE_FROM = 500


def counts(region: str, step: int) -> int:
    """Return the requests of one five-minute interval, a daily wave."""
    return round((200 if region == "eu" else 80) * (1.5 + math.sin(step / 45.8)))


def exposition() -> str:
    """Return two counters in OpenMetrics with times, one with a hole, one that ends early."""
    lines = ["# TYPE requests counter"]
    for region in ("eu", "us"):
        total = 0
        for step in range(NUM_STEPS):
            total += counts(region, step)
            if (region == "eu" and step in HOLE) or (region == "us" and step >= STALE_FROM):
                continue
            lines.append(f'requests_total{{region="{region}",tier="free"}} {total} {START + 300 * (step + 1)}')
    return "\n".join([*lines, "# EOF", ""])


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a Prometheus whose store was filled with recorded counters, and return its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "counts.txt").write_text(exposition(), encoding="utf-8")
    (folder / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "counts.txt", "store"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    port = free_port()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'store'}",
                "--storage.tsdb.retention.time=100y",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait up to thirty seconds for the server to answer."""
    for _ in range(300):
        assert process.poll() is None, "prometheus ended early"
        try:
            with urllib.request.urlopen(address + "/-/ready", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("prometheus did not become ready")


def run(server: str, *arguments: str, query: str = "requests_total") -> Result:
    """Forecast the five-minute increase of a counter as of the end of the data."""
    app = typer.Typer(add_completion=False)
    app.command()(cli.forecast)
    expression = f"{query} - {query} offset 5m"
    options = ["--prometheus", server, "--requests-query", expression, "--lookback", "50h", "--horizon", "15m"]
    return CliRunner().invoke(app, [*options, "--as-of", str(START + 300 * NUM_STEPS), "--output", "json", *arguments])


def test_several_series_of_one_query_are_forecast(server: str) -> None:
    """Each region and tier gets its own line, and the counts arrive in the right interval."""
    result = run(server)
    assert result.exit_code == 0, result.output
    documents = {each["series"]["region"]: each for each in map(json.loads, result.stdout.splitlines())}
    assert set(documents) == {"eu", "us"}
    eu = documents["eu"]
    assert eu["step_seconds"] == 300
    truth = counts("eu", NUM_STEPS)
    assert eu["points"][0]["quantiles"]["0.5"] == pytest.approx(truth, rel=0.1)


def test_a_hole_is_a_gap_and_a_series_that_ended_is_stale(server: str) -> None:
    """Holes are counted as missing; staleness is said on stderr and in the warnings."""
    result = run(server)
    eu, us = (json.loads(line) for line in result.stdout.splitlines())
    assert any("intervals are missing" in warning for warning in eu["warnings"])
    assert "is stale" in result.stderr
    assert any("the data end" in warning for warning in us["warnings"])


def test_an_absent_metric_is_an_error_and_not_zero(server: str) -> None:
    """A query that matches nothing says so."""
    result = run(server, query="no_such_metric")
    assert isinstance(result.exception, ForecastingError)
    assert "absent, not zero" in str(result.exception)


def test_a_wrong_query_repeats_what_prometheus_says(server: str) -> None:
    """PromQL errors reach the user in one line."""
    result = run(server, query="sum(")
    assert isinstance(result.exception, ForecastingError)
    assert "Prometheus refused" in str(result.exception)


def test_a_range_in_chunks_is_the_range_in_one(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven requests give byte for byte what one gives."""
    whole = run(server)
    monkeypatch.setattr("forecasting.prometheus.MAX_POINTS_PER_REQUEST", 97)
    assert run(server).stdout == whole.stdout != ""


def test_no_server_is_one_line_after_bounded_attempts() -> None:
    """A refused connection is retried a few times and then explained."""
    result = run(f"http://127.0.0.1:{free_port()}")
    assert isinstance(result.exception, ForecastingError)
    assert "no answer after 4 attempts" in str(result.exception)
