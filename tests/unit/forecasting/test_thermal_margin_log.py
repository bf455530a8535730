"""Logs that hold a margin: the limit comes from the log, and capping by software counts as over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forecasting.thermal.documents import forecast_document, forecast_text
from forecasting.thermal.fitting import fit_log
from forecasting.thermal.history import LogForecast, forecast_log
from forecasting.thermal.io import read_log
from forecasting.thermal.log_replay import LogRequest, PowerMode
from forecasting.thermal.telemetry import GpuTelemetry

START = 1.8e9
NUM = 240

DRIVER = """timestamp, index, temperature.gpu, temperature.gpu.tlimit, power.draw [W], \
clocks_event_reasons.hw_thermal_slowdown, clocks_event_reasons.sw_thermal_slowdown
2026/01/01 00:00:00.000, 0, 40, 47, 100.25 W, Not Active, Not Active
2026/01/01 00:00:01.000, 0, 88, -1, 500.00 W, Not Active, Active
2026/01/01 00:00:02.000, 0, 60, [N/A], 300.00 W, [N/A], [N/A]
"""


def _log(*, limit_celsius: float = 82.0) -> GpuTelemetry:
    """Return twenty minutes of stepped load; the margin is the distance to ``limit_celsius``."""
    watts = np.where(np.arange(NUM) // 24 % 2, 690.0, 300.0) + np.sin(np.arange(NUM))
    rise = np.zeros(NUM)
    for index in range(1, NUM):
        rise[index] = rise[index - 1] + (0.07 * watts[index] - rise[index - 1]) * 0.3
    celsius = np.round(25.0 + rise)
    nothing = np.full(NUM, np.nan)
    return GpuTelemetry(
        gpu="0",
        seconds=START + np.arange(0.0, 5.0 * NUM, 5.0),
        temperature_celsius=celsius,
        power_watts=watts,
        utilization_ratio=nothing,
        memory_temperature_celsius=nothing,
        throttled=np.zeros(NUM),
        margin_celsius=limit_celsius - celsius,
    )


def _forecast(series: GpuTelemetry, *, limit: float | None = None, at: float = START + 600.0) -> LogForecast:
    """Return the forecast of full power from one moment."""
    request = LogRequest(
        horizons_seconds=np.array([60.0, 600.0]), mode=PowerMode.CONSTANT, watts=700.0, limit_celsius=limit
    )
    return forecast_log((series,), (at,), request)[0]


def test_the_temperature_limit_column_is_the_margin(tmp_path: Path) -> None:
    """``temperature.gpu.tlimit`` is read as degrees left, may be negative, and [N/A] is missing."""
    path = tmp_path / "log.csv"
    path.write_text(DRIVER)
    series = read_log(path).gpus[0]
    assert series.margin_celsius is not None
    assert series.margin_celsius[:2].tolist() == [47.0, -1.0]
    assert np.isnan(series.margin_celsius[2])


def test_software_capping_counts_whatever_hardware_says(tmp_path: Path) -> None:
    """Any of the flags makes a reading throttled; a quiet hardware flag does not hide software capping."""
    path = tmp_path / "log.csv"
    path.write_text(DRIVER)
    throttled = read_log(path).gpus[0].throttled
    assert throttled[:2].tolist() == [0.0, 1.0]
    assert np.isnan(throttled[2])


def test_a_log_with_a_margin_alone_is_read(tmp_path: Path) -> None:
    """Without a core temperature the margin stands in, and a warning says so."""
    path = tmp_path / "log.csv"
    path.write_text("timestamp,margin_celsius,power_watts\n0,47,100\n5,40,300\n")
    log = read_log(path)
    assert log.gpus[0].temperature_celsius.tolist() == [40.0, 47.0]
    assert any("minus the margin" in warning for warning in log.warnings)


def test_the_margin_gives_the_limit_and_the_time_to_it() -> None:
    """With a margin no limit is asked for, and the answer is that of the same limit given by hand."""
    series = _log(limit_celsius=70.0)
    by_margin, by_hand = _forecast(series), _forecast(replace(series, margin_celsius=None), limit=70.0)
    assert by_margin.forecast.limit_celsius == 70.0
    assert by_margin.forecast.seconds_to_slowdown == pytest.approx(by_hand.forecast.seconds_to_slowdown)
    assert by_margin.headroom_at_limit_celsius == pytest.approx(by_hand.headroom_at_limit_celsius)
    assert by_margin.margin_celsius is not None
    np.testing.assert_allclose(by_margin.margin_celsius, 70.0 - by_hand.forecast.temperature_celsius[::-1])
    assert not any("--limit" in warning for warning in by_margin.forecast.warnings)


def test_the_margin_counts_where_it_differs_from_the_temperature() -> None:
    """A margin that shrinks by two degrees under load crosses sooner than the temperature against the idle limit."""
    series = _log(limit_celsius=75.0)
    assert series.margin_celsius is not None
    loaded = series.power_watts > 500.0
    shrunk = replace(series, margin_celsius=series.margin_celsius - 2.0 * loaded)
    soon, late = (_forecast(each).forecast.seconds_to_slowdown[0.5] for each in (shrunk, series))
    assert soon is not None
    assert late is None or soon < late


def test_a_limit_by_hand_wins_over_the_margin() -> None:
    """``--limit`` decides where it is given; no margin is forecast then."""
    result = _forecast(_log(limit_celsius=60.0), limit=95.0)
    assert result.forecast.limit_celsius == 95.0
    assert result.margin_celsius is None


def test_readings_later_than_the_moment_do_not_move_the_limit() -> None:
    """The limit behind a margin is known from the past alone."""
    series = _log(limit_celsius=82.0)
    assert series.margin_celsius is not None
    later = series.seconds > START + 600.0
    changed = replace(series, margin_celsius=np.where(later, series.margin_celsius - 20.0, series.margin_celsius))
    first, second = _forecast(series).forecast, _forecast(changed).forecast
    assert first.limit_celsius == second.limit_celsius == 82.0
    assert first.seconds_to_slowdown == second.seconds_to_slowdown


def test_capped_now_is_over_the_limit_now() -> None:
    """While the driver caps clocks for heat the time to slowdown is zero at every quantile, even without a limit."""
    series = replace(_log(), margin_celsius=None)
    capped = replace(series, throttled=(np.abs(series.seconds - START - 600.0) < 1.0).astype(np.float64))
    result = _forecast(capped)
    assert set(result.forecast.seconds_to_slowdown.values()) == {0.0}
    assert " 0 s " in forecast_text([result])


def test_the_document_holds_margin_points_in_ascending_quantiles() -> None:
    """The margin is a section of its own, with the horizons and levels of the temperature."""
    document = forecast_document(_forecast(_log()))
    section = document["margin"]
    assert isinstance(section, dict)
    assert [point["horizon_seconds"] for point in section["points"]] == [60, 600]
    for point in section["points"]:
        values = list(point["quantiles"].values())
        assert values == sorted(values)
    assert "margin" not in forecast_document(_forecast(_log(), limit=90.0))


def test_a_fit_of_a_margin_says_what_power_may_be_held() -> None:
    """Headroom and sustainable power need no limit by hand where the margin is logged."""
    request = LogRequest(horizons_seconds=np.array([600.0]))
    with_margin = fit_log((_log(),), request)[0]
    without = fit_log((replace(_log(), margin_celsius=None),), request)[0]
    assert with_margin.headroom_at_limit_celsius is not None
    assert with_margin.sustainable_power_watts is not None
    assert without.headroom_at_limit_celsius is None


def test_an_alarm_needs_three_forecasts_that_agree() -> None:
    """Two moments that see the crossing raise nothing; the third does, unless the limit is out of reach or unknown."""
    moments = tuple(START + 600.0 + 10.0 * index for index in range(4))

    def alarms(limit: float | None) -> list[bool | None]:
        request = LogRequest(
            horizons_seconds=np.array([60.0, 600.0]), mode=PowerMode.CONSTANT, watts=700.0, limit_celsius=limit
        )
        bare = replace(_log(), margin_celsius=None)
        results = forecast_log((bare,), moments, request)
        assert [forecast_document(one)["alarm"] for one in results] == [
            {"raised": one.alarmed, "forecasts_in_a_row": 3} for one in results
        ]
        return [one.alarmed for one in results]

    assert alarms(60.0) == [False, False, True, True]
    assert alarms(120.0) == [False] * 4
    assert alarms(None) == [None] * 4
