"""Alarms are judged against labelled windows as defined, and the labels are read in either format."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from forecasting import cli
from forecasting.backtest.waves import Wave, judge_alarms, parse_waves
from forecasting.errors import InputError

START = datetime(2025, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    """Return a time so many days after the start."""
    return START + timedelta(days=number)


def test_delays_count_from_the_start_and_alarms_outside_are_false() -> None:
    """Of two waves one is called after half a day; the alarm before it is false; windows are no quiet time."""
    waves = (Wave(start=day(20), end=day(22)), Wave(start=day(10), end=day(12)))
    detection = judge_alarms(waves, [day(5), day(10.5), day(11)], start=day(0), end=day(34))
    assert detection.delays_seconds == (43200.0, None)
    assert detection.num_detected == 1
    assert detection.false_alarms == (day(5),)
    assert detection.quiet_days == pytest.approx(30.0)
    assert detection.false_alarms_per_30_days == pytest.approx(1.0)
    assert detection.median_delay_seconds is None


def test_both_formats_mean_the_same() -> None:
    """CSV, a list of pairs and the Numenta benchmark's windows give the same waves."""
    pair = ["2025-03-02 00:00:00.000000", "2025-03-03 00:00:00.000000"]
    texts = (
        f"start,end\n{pair[0]},{pair[1]}\n",
        json.dumps([pair]),
        json.dumps({"realTweets/counts.csv": [pair], "realTweets/other.csv": []}),
    )
    for text in texts:
        assert parse_waves(text, source="labels", series_name="/data/counts.csv") == (Wave(start=day(1), end=day(2)),)


@pytest.mark.parametrize(
    "text",
    ["begin,end\n1,2\n", '[["x", "y"]]', "[1]", "{", '{"a.csv": [], "b.csv": []}', "start,end\n5,4\n", "", "[" * 9],
)
def test_other_labels_are_refused_in_one_line(text: str) -> None:
    """A file of neither format is named, with a cure."""
    with pytest.raises(InputError) as refused:
        parse_waves(text, source="labels", series_name="counts.csv")
    assert str(refused.value).startswith("labels")
    assert "\n" not in str(refused.value)


def test_the_command_prints_delay_and_false_alarms(tmp_path: Path) -> None:
    """A fourfold wave in flat counts is called within its window, in text and in JSON."""
    rng = np.random.default_rng(5)
    rate = np.full(24 * 40, 200.0)
    rate[24 * 30 : 24 * 31] *= 4.0
    counts, labels = tmp_path / "counts.csv", tmp_path / "labels.csv"
    rows = "".join(f"{(START + timedelta(hours=hour)).isoformat()},{n}\n" for hour, n in enumerate(rng.poisson(rate)))
    counts.write_text("timestamp,requests\n" + rows, encoding="utf-8")
    labels.write_text(f"start,end\n{day(30).isoformat()},{day(31).isoformat()}\n", encoding="utf-8")
    app = typer.Typer(add_completion=False)
    app.command()(cli.backtest)
    arguments = ["--requests", str(counts), "--max-origins", "50", "--baselines", "last-value", "--waves", str(labels)]
    text = CliRunner().invoke(app, arguments)
    assert text.exit_code == 0, text.output
    assert "labelled waves: 1 of 1 called, median delay 2 h" in text.stdout
    document = json.loads(CliRunner().invoke(app, [*arguments, "--output", "json"]).stdout)
    assert document["detection"]["num_detected"] == 1
    assert document["detection"]["median_delay_seconds"] == pytest.approx(7200.0)
    assert document["detection"]["false_alarms"] == []
