"""The backtest judges causally and counts right."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from forecasting import cli
from forecasting.backtest.baselines import LIGHT_BASELINES, make_baseline
from forecasting.backtest.metrics import (
    CausalOutcome,
    addition_family,
    causal_capacity,
    coverage_ratio,
    factor_family,
    hindsight_over,
    level_family,
    over_at,
    over_ratio,
    pinball_loss,
    solve_family,
    unmet_ratio,
)
from forecasting.backtest.report import backtest_json, backtest_text
from forecasting.backtest.rolling import BacktestPlan, BacktestResult, run_backtest
from forecasting.errors import ForecastingError, NotEnoughDataError
from forecasting.types import DemandSeries, DemandTarget, FloatArray, SeriesKey

START = datetime(2025, 1, 6, tzinfo=UTC)


def wave(num_points: int = 900) -> FloatArray:
    """Return hourly counts with a daily wave and noise."""
    rng = np.random.default_rng(9)
    rate = 200.0 * (1.3 + np.sin(2.0 * np.pi * np.arange(num_points) / 24.0))
    counts: FloatArray = rng.poisson(rate).astype(np.float64)
    return counts


def run(values: FloatArray, *, first_origin: int = 400, stride: int = 5) -> BacktestResult:
    """Backtest hourly counts three hours ahead with the light baselines."""
    clock = itertools.count()
    return run_backtest(
        signups=None,
        main=DemandSeries(key=SeriesKey(), start=START, step_seconds=3600.0, values=values),
        target=DemandTarget.REQUESTS,
        plan=BacktestPlan(horizon_steps=3, first_origin=first_origin, stride=stride, baselines=LIGHT_BASELINES),
        cpu_clock=lambda: float(next(clock)),
    )


def test_unmet_and_over_are_shares_of_demand() -> None:
    """A capacity of 10 against 8 and 15 leaves 5 of 23 unmet and 2 of 23 over."""
    truth, capacity = np.array([8.0, 15.0]), np.array([10.0, 10.0])
    assert unmet_ratio(truth, capacity) == pytest.approx(5 / 23)
    assert over_ratio(truth, capacity) == pytest.approx(2 / 23)


def test_a_hindsight_buffer_meets_the_target_exactly() -> None:
    """The least buffer that keeps unmet demand at 2 % is found, by factor and by addition."""
    rng = np.random.default_rng(0)
    truth = rng.gamma(4.0, 25.0, 2000)
    points = truth * rng.uniform(0.5, 1.5, 2000)
    for family in (factor_family(points, truth=truth), addition_family(points, truth=truth)):
        capacity = family(solve_family(family, truth, 0.02))
        assert unmet_ratio(truth, capacity) == pytest.approx(0.02, abs=1e-6)
        assert hindsight_over(family, truth, 0.02) == pytest.approx(over_ratio(truth, capacity))


def test_a_level_family_runs_through_the_quantiles_and_beyond() -> None:
    """Its ends are the lowest quantile and a multiple of the highest, and it never falls."""
    quantiles = np.array([[1.0, 2.0, 4.0]])
    family = level_family(quantiles, np.array([0.1, 0.5, 0.9]))
    values = [float(family(number)[0]) for number in np.linspace(0.0, 1.0, 50)]
    assert values[0] == pytest.approx(1.0)
    assert values[-1] > 4.0
    assert values == sorted(values)


def test_causal_buffers_know_nothing_of_later_truths() -> None:
    """Changing the last truths leaves all capacities before their arrival as they were."""
    rng = np.random.default_rng(1)
    points = rng.gamma(4.0, 25.0, 300)
    truth = points * rng.uniform(0.7, 1.4, 300)
    changed = truth.copy()
    changed[200:] *= 10.0
    before, after = (
        causal_capacity(
            factor_family(points, truth=truth), values, unmet_target=0.02, lag=2, burn_in=50, refit_points=10
        )
        for values in (truth, changed)
    )
    assert np.isnan(before[:50]).all()
    assert before[50:200] == pytest.approx(after[50:200])
    assert after[250:].mean() > before[250:].mean()


def test_a_curve_is_read_between_its_points_and_not_beyond() -> None:
    """Outside the curve there is no answer."""
    curve = [CausalOutcome(unmet=0.01, over=0.4), CausalOutcome(unmet=0.03, over=0.2)]
    assert over_at(curve, 0.02) == pytest.approx(0.3)
    assert np.isnan(over_at(curve, 0.05))


def test_pinball_and_coverage_count_as_defined() -> None:
    """A P90 that is ten too low costs nine, ten too high costs one."""
    truth = np.array([20.0, 20.0])
    quantile = np.array([10.0, 30.0])
    assert pinball_loss(truth, quantile, 0.9) == pytest.approx(5.0)
    assert coverage_ratio(truth, quantile) == pytest.approx(0.5)


def test_we_beat_last_value_on_a_daily_wave() -> None:
    """Where tomorrow repeats today the ratio is far below one, and the intervals hold what they promise."""
    result = run(wave())
    ours, last = result.scores[0], next(score for score in result.scores if score.name == "last-value")
    assert ours.over_ratio[0.02] < 0.6
    assert last.over_ratio[0.02] == pytest.approx(1.0)
    assert last.relative_mae == pytest.approx(1.0)
    assert 0.8 < ours.coverage[0.9] <= 1.0


def test_an_earlier_origin_does_not_see_a_later_surge() -> None:
    """Replacing the last third by noise leaves what was said before as it was, for every forecaster."""
    values = wave(600)
    changed = values.copy()
    changed[500:] = 1e6
    one, two = (run(each, first_origin=300, stride=10) for each in (values, changed))
    known = one.origins + 3 < 500
    for before, after in zip(one.judged, two.judged, strict=True):
        assert before.points[known] == pytest.approx(after.points[known]), before.name


def test_the_report_says_when_we_lose() -> None:
    """The line on skill names the direction, and the JSON is valid."""
    result = run(wave())
    series = DemandSeries(key=SeriesKey(), start=START, step_seconds=3600.0, values=wave())
    assert "less than last value" in backtest_text(result, series)
    document = json.loads(backtest_json(result, series))
    assert document["schema"] == "meltguard.backtest/v1"
    assert [score["name"] for score in document["scores"]][:2] == ["quantile-pool", "last-value"]


def test_too_few_origins_are_refused() -> None:
    """A backtest of a handful of points says nothing."""
    with pytest.raises(NotEnoughDataError, match="can be judged"):
        run(wave(30), first_origin=20)


@pytest.mark.parametrize("name", LIGHT_BASELINES)
def test_every_light_baseline_answers_from_the_first_count_on(name: str) -> None:
    """Short and constant histories give a finite count."""
    baseline = make_baseline(name, season_steps=24, step_seconds=3600.0)
    for size in (1, 2, 30, 100):
        assert baseline.forecast(np.full(size, 7.0), 3).point == pytest.approx(7.0, rel=0.35)


def test_an_unknown_baseline_lists_those_that_are_known() -> None:
    """The message helps."""
    with pytest.raises(ForecastingError, match="auto-ets"):
        make_baseline("magic", season_steps=24, step_seconds=3600.0)


def test_the_command_prints_skill_and_writes_a_page(tmp_path: Path) -> None:
    """``meltguard backtest`` on a file gives the table on stdout and the page where it was told."""
    path, page = tmp_path / "counts.csv", tmp_path / "page.html"
    rows = "".join(f"{1_743_000_000 + 3600 * hour},{count}\n" for hour, count in enumerate(wave(300)))
    path.write_text("timestamp,requests\n" + rows, encoding="utf-8")
    app = typer.Typer(add_completion=False)
    app.command()(cli.backtest)
    arguments = ["--requests", str(path), "--horizon", "3h", "--max-origins", "60", "--baselines", "last-value,crane"]
    result = CliRunner().invoke(app, [*arguments, "--plot", str(page)])
    assert result.exit_code == 0, result.output
    assert "than last value" in result.stdout
    assert "crane" in result.stdout
    assert "<svg" in page.read_text(encoding="utf-8")
    wrong = CliRunner().invoke(app, [*arguments[:-1], "magic"])
    assert isinstance(wrong.exception, ForecastingError)
