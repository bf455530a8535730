"""The conformance suite that every demand model passes.

The tests run :func:`check_model` over each model and :func:`check_series` over drawn series; whoever writes another
model runs the same. Pure: a failed check raises :class:`ConformanceError`, which says which law was broken and how.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from forecasting.backtest.baselines import Baseline
from forecasting.backtest.rolling import forward_filled
from forecasting.errors import ForecastingError
from forecasting.types import DemandForecast, FloatArray

LEVELS = (0.05, 0.5, 0.9, 0.99)
"""Levels that the checks ask for."""

_NUM_STEPS = 5
_MAX_BYTES = 4_000_000
_MEMORY_STEPS = (300, 600)


class ConformanceError(ForecastingError):
    """A model broke a law of the suite."""


class DemandModel(Protocol):
    """What a model must offer: observe counts in order, forecast at any time."""

    def observe(self, *, signups: float = math.nan, requests: float = math.nan) -> None:
        """Take the next interval; NaN is missing."""

    def forecast(self, *, num_steps: int, levels: tuple[float, ...] = LEVELS) -> DemandForecast:
        """Forecast without changing the state."""


ModelMaker = Callable[[], DemandModel]
"""Returns a fresh model of requests."""


def check_model(make: ModelMaker) -> None:
    """Run every check that needs no drawn series.

    Raises:
        ConformanceError: If a law is broken.
    """
    check_not_fitted(make)
    check_constant(make)
    check_all_zero(make)
    check_step(make)
    check_scales(make)
    check_bounded_memory(make)
    for values in _example_series():
        check_series(make, values)


def check_series(make: ModelMaker, values: Sequence[float]) -> None:
    """Check the laws that hold on any series.

    Args:
        make: Returns a fresh model.
        values: Requests, >= 0 or NaN.

    Raises:
        ConformanceError: If a law is broken.
    """
    model = make()
    for count in values:
        model.observe(requests=count)
    first = model.forecast(num_steps=_NUM_STEPS, levels=LEVELS)
    _check_shape(first)
    again = model.forecast(num_steps=_NUM_STEPS, levels=LEVELS)
    _require(_same(first, again), "forecasting must not change the state")
    twin = make()
    for count in values:
        twin.observe(requests=count)
        twin.forecast(num_steps=1, levels=LEVELS)
    _require(_same(first, twin.forecast(num_steps=_NUM_STEPS, levels=LEVELS)), "equal input must give equal output")
    check_no_look_ahead(make, values)


def check_no_look_ahead(make: ModelMaker, values: Sequence[float]) -> None:
    """Check that a forecast made half way is the same whatever comes later.

    Raises:
        ConformanceError: If the later half changes the earlier forecast.
    """
    half = len(values) // 2
    forecasts = []
    for tail in (values[half:], [1e6] * (len(values) - half)):
        model = make()
        for count in values[:half]:
            model.observe(requests=count)
        forecasts.append(model.forecast(num_steps=_NUM_STEPS, levels=LEVELS))
        for count in tail:
            model.observe(requests=count)
    _require(_same(*forecasts), "a forecast must not depend on what comes after it")


def check_not_fitted(make: ModelMaker) -> None:
    """Check that a model without history answers, and says that it knows nothing."""
    forecast = make().forecast(num_steps=_NUM_STEPS, levels=LEVELS)
    _check_shape(forecast)
    _require(bool(forecast.warnings), "a model without history must warn")


def check_constant(make: ModelMaker) -> None:
    """Check that a constant series is forecast as that constant, within two per cent."""
    median = _after(make, [40.0] * 150).at_level(0.5)
    _require(bool(np.allclose(median, 40.0, rtol=0.02)), f"a constant 40 must be forecast, not {median}")


def check_all_zero(make: ModelMaker) -> None:
    """Check that zeros are values: their forecast is zero and finite."""
    median = _after(make, [0.0] * 150).at_level(0.5)
    _require(bool(np.all(median < 1e-6)), f"zeros must be forecast as zero, not {median}")


def check_step(make: ModelMaker) -> None:
    """Check that a lasting step is followed: after thirty steps the next median has come nine tenths of the way.

    Those further out must have come seven tenths: there a season may still remember the old level.
    """
    median = _after(make, [10.0] * 200 + [50.0] * 30).at_level(0.5)
    _require(bool(median[0] > 46.0 and np.all(median > 38.0)), f"a step from 10 to 50 must be followed, not {median}")


def check_scales(make: ModelMaker) -> None:
    """Check that a thousand-millionfold or millionth scale gives the same forecast in that scale, within 1 %."""
    rng = np.random.default_rng(7)
    values = rng.poisson(60.0, 150).astype(np.float64)
    plain = _after(make, list(values)).quantiles
    for factor in (1e-6, 1e9):
        scaled = _after(make, list(values * factor)).quantiles / factor
        _require(bool(np.allclose(scaled, plain, rtol=0.01)), f"a series times {factor:g} must scale its forecast")


def check_bounded_memory(make: ModelMaker) -> None:
    """Check that twice the history needs no more memory, and that four megabytes are enough."""
    sizes = []
    for num_steps in _MEMORY_STEPS:
        model = make()
        for index in range(num_steps):
            model.observe(requests=float(index % 50), signups=float(index % 7))
        sizes.append(len(pickle.dumps(model)))
    _require(sizes[1] <= 1.02 * sizes[0] + 1024, f"memory must be bounded; it grew from {sizes[0]} to {sizes[1]} bytes")
    _require(sizes[1] <= _MAX_BYTES, f"a model may hold {_MAX_BYTES} bytes, not {sizes[1]}")


def check_baseline(make: Callable[[], Baseline]) -> None:
    """Run the laws that hold for a baseline of the backtest; it sees a filled history and names one horizon.

    Raises:
        ConformanceError: If it answers with no count, with quantiles that cross, or not the same twice.
    """
    for values in _example_series():
        history = forward_filled(np.asarray(values, dtype=np.float64))
        for scale in (1e-6, 1.0, 1e9):
            one, two = (make().forecast(history * scale, _NUM_STEPS) for _ in range(2))
            _require(math.isfinite(one.point) and one.point >= 0.0, "a point must be a finite count")
            _require(one == two, "the same counts must give the same forecast")
            quantiles = np.asarray(one.quantiles if one.quantiles is not None else (one.point,))
            _require(bool(np.isfinite(quantiles).all() and (quantiles >= 0.0).all()), "quantiles must be counts")
            _require(bool((np.diff(quantiles) >= 0.0).all()), "quantiles must not cross")
    level = make().forecast(np.full(100, 7.0), _NUM_STEPS).point
    _require(abs(level - 7.0) <= 0.35 * 7.0, f"a constant of 7 was forecast as {level}")


def _example_series() -> list[list[float]]:
    rng = np.random.default_rng(11)
    wave = 100.0 + 60.0 * np.sin(np.arange(300) / 45.8)
    gaps = wave.copy()
    gaps[rng.random(300) < 0.2] = np.nan
    spikes = rng.poisson(5.0, 250).astype(np.float64)
    spikes[200:203] = 900.0
    growth = 10.0 * np.exp(np.arange(80) / 8.0)
    return [
        [5.0],
        [1.0, 2.0],
        [math.nan] * 20,
        [math.nan] * 20 + [3.0] * 5,
        [float(count) for count in wave],
        [float(count) for count in gaps],
        [float(count) for count in spikes],
        [float(count) for count in growth],
        [0.0] * 50 + [100.0] * 50 + [0.0] * 50,
    ]


def _after(make: ModelMaker, values: list[float]) -> DemandForecast:
    model = make()
    for count in values:
        model.observe(requests=count)
    return model.forecast(num_steps=_NUM_STEPS, levels=LEVELS)


def _check_shape(forecast: DemandForecast) -> None:
    quantiles: FloatArray = forecast.quantiles
    _require(quantiles.shape == (len(LEVELS), _NUM_STEPS), f"quantiles have shape {quantiles.shape}")
    _require(forecast.mean.shape == (_NUM_STEPS,), f"the mean has shape {forecast.mean.shape}")
    _require(bool(np.isfinite(quantiles).all() and np.isfinite(forecast.mean).all()), "forecasts must be finite")
    _require(bool((quantiles >= 0.0).all() and (forecast.mean >= 0.0).all()), "counts must not be negative")
    _require(bool((np.diff(quantiles, axis=0) >= 0.0).all()), "quantiles must not cross")
    _require(0.0 <= forecast.surge.probability <= 1.0, "a probability must lie in 0..1")


def _same(one: DemandForecast, two: DemandForecast) -> bool:
    return one.quantiles.tobytes() == two.quantiles.tobytes() and one.mean.tobytes() == two.mean.tobytes()


def _require(holds: bool, law: str) -> None:
    if not holds:
        raise ConformanceError(law)
