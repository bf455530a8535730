"""``meltguard forecast`` from the command line."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from forecasting import cli
from forecasting.errors import ForecastingError

RECORDED = Path(os.environ.get("MELTGUARD_DATA") or Path(__file__).resolve().parents[2] / ".." / "shared" / "data")
MASTODON = RECORDED / "demand" / "mastodon_hourly_2018-08_2022-02.csv"


def run(*arguments: str) -> Result:
    """Run ``forecast`` with arguments."""
    app = typer.Typer(add_completion=False)
    app.command()(cli.forecast)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def counts(tmp_path: Path) -> Path:
    """Return a file with two days of five-minute counts."""
    path = tmp_path / "counts.csv"
    lines = [f"{1_743_000_000 + 300 * i},{100 + 40 * math.sin(i / 45.8):.2f},{10 + i % 3}" for i in range(576)]
    path.write_text("timestamp,requests,signups\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_json_has_the_shape_of_the_contract(counts: Path) -> None:
    """One line of JSON per time, twelve steps of five minutes, quantiles that do not cross."""
    result = run("--requests", str(counts), "--signups", str(counts), "--output", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert list(document) == [
        "schema", "issued_at", "target", "unit", "step_seconds", "series", "surge", "points", "model", "calibration",
        "reasons", "warnings",
    ]  # fmt: skip
    assert document["schema"] == "meltguard.forecast/v1"
    assert document["step_seconds"] == 300
    assert len(document["points"]) == 12
    assert document["points"][0]["timestamp"] == document["issued_at"]
    for point in document["points"]:
        assert list(point["quantiles"]) == ["0.05", "0.1", "0.5", "0.9", "0.95", "0.99"]
        values = list(point["quantiles"].values())
        assert values == sorted(values)


def test_text_is_a_table(counts: Path) -> None:
    """People get a header, a surge line and a row per step."""
    result = run("--requests", str(counts), "--horizon", "15m")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("requests per 5 min, as of ")
    assert lines[1].startswith("surge: ")
    assert sum(line.startswith("2025-") for line in lines) == 3


def test_nothing_after_as_of_changes_a_byte(counts: Path, tmp_path: Path) -> None:
    """Replacing the future by noise leaves the output as it was, however many times are asked for."""
    original = counts.read_text(encoding="utf-8").splitlines()
    noisy = tmp_path / "noisy.csv"
    noise = [f"{line.split(',')[0]},{(index * 7919) % 1_000_003},{index}" for index, line in enumerate(original[401:])]
    noisy.write_text("\n".join([*original[:401], *noise]) + "\n", encoding="utf-8")
    as_of = [option for at in (300, 400) for option in ("--as-of", str(1_743_000_000 + 300 * at))]
    outputs = [
        run("--requests", str(path), "--signups", str(path), *as_of, "--output", "json").stdout
        for path in (counts, noisy)
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 2
    alone = run("--requests", str(counts), "--signups", str(counts), *as_of[2:], "--output", "json").stdout
    assert outputs[0].splitlines()[1] == alone.strip()


def test_a_capacity_file_adds_whole_gpus(counts: Path, tmp_path: Path) -> None:
    """``gpus_needed`` follows the factors of the file."""
    capacity = tmp_path / "capacity.yaml"
    capacity.write_text("tokens_per_image: 1000\ntokens_per_second_per_gpu: 100\nutilization_target_ratio: 1.0\n")
    result = run("--requests", str(counts), "--capacity", str(capacity), "--output", "json")
    document = json.loads(result.stdout)
    point, gpus = document["points"][0]["quantiles"]["0.9"], document["gpus_needed"][0]["quantiles"]["0.9"]
    assert gpus == math.ceil(point * 10 / 300 - 1e-6)


def test_an_event_multiplies_only_its_time(counts: Path) -> None:
    """Inside the event the forecast is three times what it is without."""
    start = 1_743_000_000 + 300 * 576
    event = f"{start + 600},{start + 900},launch,3"
    plain = json.loads(run("--requests", str(counts), "--output", "json").stdout)["points"]
    raised = json.loads(run("--requests", str(counts), "--event", event, "--output", "json").stdout)["points"]
    ratios = [b["mean"] / a["mean"] for a, b in zip(plain, raised, strict=True)]
    assert ratios[:4] == pytest.approx([1.0, 1.0, 3.0, 1.0], rel=1e-4)


@pytest.mark.parametrize("name", ["picture.html", "picture.svg", "picture.png"])
def test_a_picture_is_written(counts: Path, tmp_path: Path, name: str) -> None:
    """HTML needs no library; PNG and SVG need matplotlib and say so without it."""
    path = tmp_path / name
    result = run("--requests", str(counts), "--plot", str(path))
    if not name.endswith(".html") and not _has_matplotlib():
        assert isinstance(result.exception, ForecastingError)
        assert "meltguard[plot]" in str(result.exception)
        return
    assert result.exit_code == 0
    content = path.read_bytes()
    assert len(content) > 2000
    if name.endswith(".html"):
        assert b"<svg" in content
        assert b"src=" not in content


def _has_matplotlib() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "--signups or --requests"),
        (("--requests", "no-such-file.csv"), "no such file"),
        (("--requests", "COUNTS", "--horizon", "soon"), "--horizon"),
        (("--requests", "COUNTS", "--quantiles", "0.5,1.5"), "--quantiles"),
        (("--requests", "COUNTS", "--step", "7m"), "no multiple"),
        (("--requests", "COUNTS", "--as-of", "tomorrow"), "--as-of"),
        (("--requests", "COUNTS", "--as-of", "1970-01-01"), "data start at"),
        (("--requests", "COUNTS", "--plot", "a.gif"), ".html"),
        (("--requests", "COUNTS", "--event", "1,2"), "START,END,NAME,FACTOR"),
        (("--requests", "COUNTS:nothing"), "no column 'nothing'"),
    ],
)
def test_wrong_use_is_one_line(counts: Path, arguments: tuple[str, ...], part: str) -> None:
    """The message names the option or file and the cure."""
    result = run(*(argument.replace("COUNTS", str(counts)) for argument in arguments))
    assert isinstance(result.exception, ForecastingError)
    assert part in str(result.exception)
    assert "\n" not in str(result.exception)


def test_garbage_without_line_ends_is_given_up_early(tmp_path: Path) -> None:
    """A sparse file of two gigabytes without a line end is refused after one bounded read."""
    path = tmp_path / "garbage.csv"
    with path.open("wb") as file:
        file.truncate(2 * 1024**3)
    result = run("--requests", str(path))
    assert isinstance(result.exception, ForecastingError)
    assert ":1: longer than" in str(result.exception)


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (extra parquet)")
def test_parquet_gives_what_csv_gives(counts: Path, tmp_path: Path) -> None:
    """The same counts in either format give the same bytes; a damaged file gives one line."""
    from_text = importlib.import_module("pyarrow.csv")
    parquet = importlib.import_module("pyarrow.parquet")
    path = tmp_path / "counts.parquet"
    parquet.write_table(from_text.read_csv(str(counts)), str(path))
    outputs = [run("--requests", str(each), "--signups", str(each), "--output", "json") for each in (counts, path)]
    assert outputs[0].exit_code == 0
    assert outputs[0].stdout == outputs[1].stdout
    path.write_bytes(b"nonsense")
    assert isinstance(run("--requests", str(path)).exception, ForecastingError)


def test_the_module_is_light() -> None:
    """Mounting the command imports neither numpy nor the models."""
    import subprocess

    code = "import forecasting.cli, sys; print('numpy' in sys.modules, 'yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.skipif(not MASTODON.exists(), reason="recorded data is not here; set MELTGUARD_DATA")
def test_the_wave_of_november_2019_is_a_surge() -> None:
    """On the recorded file the trigger knows an hour after its peak that the wave is under way."""
    result = run(
        "--signups", f"{MASTODON}:new_users_clean", "--requests", f"{MASTODON}:new_toots_clean",
        "--time-column", "ts:end", "--as-of", "2019-11-08T15:00Z", "--output", "json",
    )  # fmt: skip
    document = json.loads(result.stdout)
    assert document["surge"]["state"] in {"onset", "surge"}
    assert document["issued_at"] == "2019-11-08T15:00:00Z"
    assert document["step_seconds"] == 3600


TRACES = {
    "burstgpt": "Timestamp,Model\n" + "".join(f"{second},ChatGPT\n" for second in range(0, 3600, 5)),
    "azure": "TIMESTAMP,ContextTokens\n"
    + "".join(f"2024-05-10 00:{second // 60:02}:{second % 60:02}.0000000,1\n" for second in range(0, 3600, 5)),
    "mooncake": "".join(f'{{"timestamp": {1000 * second}}}\n' for second in range(0, 3600, 5)),
    "servegen": "".join(f"{second},0.2,1\n" for second in range(0, 3600, 60)),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_public_trace_is_read_with_its_format(tmp_path: Path, name: str) -> None:
    """A request every five seconds is forecast as twelve a minute, whatever the trace is written in."""
    path = tmp_path / "trace"
    path.write_text(TRACES[name], encoding="utf-8")
    result = run("--requests", str(path), "--format", name, "--step", "1m", "--horizon", "5m", "--output", "json")
    assert result.exit_code == 0, result.output
    middle = [point["quantiles"]["0.5"] for point in json.loads(result.stdout)["points"]]
    assert middle == pytest.approx([12.0] * 5, rel=0.01)


def test_a_trace_with_sign_ups_is_refused(tmp_path: Path) -> None:
    """Traces hold requests only, and the message says how to give them."""
    result = run("--requests", "trace", "--signups", "counts.csv", "--format", "burstgpt")
    assert isinstance(result.exception, ForecastingError)
    assert "give it alone" in str(result.exception)


def test_the_kernel_and_the_baseline_users_are_among_the_reasons(counts: Path) -> None:
    """Every factor from sign-ups to requests is visible, and what sign-ups do not explain is named."""
    result = run("--requests", str(counts), "--signups", str(counts), "--output", "json")
    reasons = " ".join(json.loads(result.stdout)["reasons"])
    for part in (
        "6.3 requests per sign-up",
        "45% of them in a first session of 600 s",
        "age ** -0.65",
        "baseline users",
    ):
        assert part in reasons
