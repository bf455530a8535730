"""What others do: the forecasts that ours has to beat, with their shipped defaults.

Each baseline sees the history up to an origin, gaps filled with the value before, and says what it expects at one
horizon. Ports follow the behaviour that the products document, in our own code; a predictor that ships one step ahead
is extended to the horizon, which favours it. The backtest drives them; nothing else should.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from forecasting.errors import ForecastingError
from forecasting.types import FloatArray

NATIVE_LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
"""Levels of the quantiles that baselines with intervals of their own give."""

_NORMAL_SCORES = (0.0, 0.8416212, 1.2815516, 1.6448536, 2.3263479)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineForecast:
    """What a baseline expects at the horizon.

    Attributes:
        point: The count, >= 0.
        quantiles: Counts at :data:`NATIVE_LEVELS`; None where the baseline has no intervals.
    """

    point: float
    quantiles: tuple[float, ...] | None = None


class Baseline(Protocol):
    """A forecaster by name; one instance runs over one series in time order."""

    name: str

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Return what is expected ``horizon`` steps after the end of ``history``."""


class LastValue:
    """The last value, which is what reactive scaling amounts to; dynamo ships it as its ``constant`` predictor."""

    def __init__(self, name: str = "last-value") -> None:
        self.name = name

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Return the last value."""
        del horizon
        return BaselineForecast(point=float(history[-1]))


class SeasonalNaive:
    """The value one season before."""

    name = "seasonal-naive"

    def __init__(self, season_steps: int) -> None:
        self._season = season_steps

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Return the value one season before the target, or the last value in the first season."""
        back = self._season - (horizon - 1) % self._season
        return BaselineForecast(point=float(history[-back] if history.size >= back else history[-1]))


class HorizontalPodAutoscaler:
    """Kubernetes' HPA: reacts to the present, ignores changes within 10 %, scales down on the highest of 300 s."""

    name = "hpa"

    def __init__(self, step_seconds: float) -> None:
        self._window = max(1, math.ceil(300.0 / step_seconds))
        self._capacity = math.nan

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Return the capacity that the autoscaler would hold."""
        del horizon
        wanted = float(np.max(history[-self._window :]))
        if not self._capacity > 0.0 or abs(wanted / self._capacity - 1.0) > 0.1:
            self._capacity = wanted
        return BaselineForecast(point=self._capacity)


class PredictKubeLike:
    """KEDA's PredictKube: the larger of a prediction and the last value.

    Its hosted model is stood in for by the value a day before, because the service cannot be run here.
    """

    name = "predictkube-like"

    def __init__(self, season_steps: int) -> None:
        self._prediction = SeasonalNaive(season_steps)

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Return the larger of the two."""
        return BaselineForecast(point=max(self._prediction.forecast(history, horizon).point, float(history[-1])))


class PodAutoscalerLinear:
    """predictive-horizontal-pod-autoscaler's Linear model: least squares through the last six values."""

    name = "phpa-linear"

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Extend the line to the horizon."""
        recent = history[-6:]
        if recent.size < 2:
            return BaselineForecast(point=float(recent[-1]))
        slope, level = np.polyfit(np.arange(recent.size) - recent.size + 1.0, recent, 1)
        return BaselineForecast(point=max(0.0, float(level + slope * horizon)))


class PodAutoscalerHoltWinters:
    """predictive-horizontal-pod-autoscaler's Holt-Winters with its example's smoothing of 0.9, additive."""

    name = "phpa-holt-winters"

    def __init__(self, season_steps: int) -> None:
        self._season = season_steps

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Run the recursion over the last four seasons; without two it says nothing, so the last value stands."""
        season, gain = self._season, 0.9
        recent = history[-4 * season :]
        if recent.size < 2 * season:
            return BaselineForecast(point=float(history[-1]))
        level = float(np.mean(recent[:season]))
        trend = (float(np.mean(recent[season : 2 * season])) - level) / season
        shape = recent[:season] - level
        for index in range(season, recent.size):
            before = level
            slot = index % season
            level = gain * (recent[index] - shape[slot]) + (1.0 - gain) * (level + trend)
            trend = gain * (level - before) + (1.0 - gain) * trend
            shape[slot] = gain * (recent[index] - level) + (1.0 - gain) * shape[slot]
        point = level + horizon * trend + shape[(recent.size + horizon - 1) % season]
        return BaselineForecast(point=max(0.0, float(point)))


class CraneEffective:
    """crane's EHPA: the larger of the present and its prediction, renewed every half day.

    The prediction is the last day after a Fourier low-pass, with the margin that fitted the day before best.
    """

    name = "crane"

    _MARGINS = (0.01, 0.1, 0.15, 0.2)
    _FILTERS = ((3, 1.0), (50, 0.05))

    def __init__(self, season_steps: int) -> None:
        self._season = season_steps
        self._made_at = -1
        self._day = np.zeros(season_steps)

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Return the larger of the present and the prediction."""
        season = self._season
        if history.size < 3 * season:
            return BaselineForecast(point=float(history[-1]))
        if self._made_at < 0 or history.size - self._made_at >= season // 2:
            self._fit(history)
            self._made_at = history.size
        predicted = float(self._day[(history.size - self._made_at + horizon - 1) % season])
        return BaselineForecast(point=max(predicted, float(history[-1])))

    def _fit(self, history: FloatArray) -> None:
        season = self._season
        signal = history[-min(15, history.size // season) * season :]
        truth = signal[-season:]
        best = (math.inf, self._FILTERS[0], self._MARGINS[0])
        for filtering in self._FILTERS:
            smooth = self._low_pass(signal[:-season], *filtering)
            for margin in self._MARGINS:
                error = float(np.mean(np.abs(smooth * (1.0 + margin) - truth) / np.maximum(truth, 1e-9)))
                best = min(best, (error, filtering, margin))
        self._day = self._low_pass(signal, *best[1]) * (1.0 + best[2])

    def _low_pass(self, signal: FloatArray, keep: int, least: float) -> FloatArray:
        spectrum = np.fft.fft(signal)
        amplitude = np.abs(spectrum) / signal.size
        frequency = np.arange(signal.size) / (signal.size * 86400.0 / self._season)
        ordered = np.sort(amplitude[1 : signal.size // 2])[::-1]
        threshold = max(float(ordered[min(99, ordered.size - 1)]), least)
        if ordered.size >= keep:
            threshold = min(threshold, float(ordered[keep - 1]))
        spectrum[(amplitude < threshold) & (frequency > 1.0 / 3600.0)] = 0.0
        day: FloatArray = np.maximum(np.real(np.fft.ifft(spectrum))[-self._season :], 0.01)
        return day


class DynamoKalman:
    """dynamo's ``kalman`` predictor with its shipped noise: level and trend, q 1 and 0.1, r 10."""

    name = "dynamo-kalman"

    def __init__(self) -> None:
        self._state = np.zeros(2)
        self._covariance = np.eye(2) * 1000.0
        self._seen = 0

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Filter what is new and extend the trend."""
        move, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), np.diag([1.0, 0.1])
        if self._seen == 0:
            self._state[0] = history[0]
            self._seen = 1
        for value in history[self._seen :]:
            self._state = move @ self._state
            self._covariance = move @ self._covariance @ move.T + noise
            gain = self._covariance[:, 0] / (self._covariance[0, 0] + 10.0)
            self._state = self._state + gain * (value - self._state[0])
            self._covariance = self._covariance - np.outer(gain, self._covariance[0])
        self._seen = history.size
        return BaselineForecast(point=max(0.0, float(self._state[0] + horizon * self._state[1])))


class UnobservedLogTrend:
    """statsmodels' UnobservedComponents, local linear trend on log1p over two seasons, refitted every 24 calls."""

    name = "uc-log"

    def __init__(self, season_steps: int) -> None:
        self._season = season_steps
        self._parameters: FloatArray | None = None
        self._calls = 0

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Filter the window and read mean and variance at the horizon."""
        module = _optional("statsmodels.tsa.statespace.structural", "statsmodels")
        window = np.log1p(history[-2 * max(self._season, 24) :])
        if window.size < 10 or float(np.ptp(window)) == 0.0:
            return BaselineForecast(point=float(history[-1]))
        model = module.UnobservedComponents(window, level="lltrend")
        if self._parameters is None or self._calls % 24 == 0:
            self._parameters = model.fit(
                disp=0, maxiter=50, start_params=self._parameters, warn_convergence=False
            ).params
        self._calls += 1
        result = model.filter(self._parameters).get_forecast(horizon)
        mean, deviation = float(result.predicted_mean[-1]), math.sqrt(max(float(result.var_pred_mean[-1]), 0.0))
        values = tuple(max(0.0, math.expm1(min(mean + score * deviation, 30.0))) for score in _NORMAL_SCORES)
        return BaselineForecast(point=values[0], quantiles=values)


class Statsforecast:
    """A model of statsforecast on a recent window, with its own intervals."""

    def __init__(self, kind: str, *, season_steps: int) -> None:
        """Choose a model.

        Args:
            kind: ``auto-ets``, ``auto-arima``, ``auto-theta`` or ``mstl``.
            season_steps: Steps in a day.
        """
        self.name = kind
        self._season = season_steps

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Fit the window anew and forecast; a window that the model refuses falls back to the last value."""
        models = _optional("statsforecast.models", "statsforecast")
        season = self._season
        num_seasons = 7 if self.name == "mstl" else 3
        window = history[-num_seasons * season :].astype(np.float64)
        if window.size < 2 * season or float(np.ptp(window)) == 0.0:
            return BaselineForecast(point=float(history[-1]))
        try:
            result = self._model(models).forecast(y=window, h=horizon, level=[60, 80, 90, 98])
        except (ValueError, ZeroDivisionError, np.linalg.LinAlgError, FloatingPointError):
            return BaselineForecast(point=float(history[-1]))
        upper = [float(np.asarray(result[f"hi-{level}"])[-1]) for level in (60, 80, 90, 98)]
        middle = float(np.asarray(result["mean"])[-1])
        values = tuple(max(0.0, value) if math.isfinite(value) else float(history[-1]) for value in (middle, *upper))
        return BaselineForecast(point=values[0], quantiles=values)

    def _model(self, models: _ModelModule) -> _Model:
        if self.name == "auto-ets":
            return models.AutoETS(season_length=1)
        if self.name == "auto-arima":
            return models.AutoARIMA(season_length=1)
        if self.name == "auto-theta":
            return models.AutoTheta(season_length=1)
        return models.MSTL(season_length=self._season, trend_forecaster=models.AutoETS(model="ZZN"))


class _Model(Protocol):
    def forecast(self, y: FloatArray, h: int, level: list[int]) -> dict[str, FloatArray]: ...


class _ModelModule(Protocol):
    def AutoETS(self, **options: object) -> _Model: ...

    def AutoARIMA(self, **options: object) -> _Model: ...

    def AutoTheta(self, **options: object) -> _Model: ...

    def MSTL(self, **options: object) -> _Model: ...


class DynamoArima:
    """dynamo's ``arima`` predictor: the order is chosen once on the first window, later values only update it.

    The product searches the order with pmdarima; here AutoARIMA of statsforecast chooses it and carries the
    coefficients forward over the last two seasons.
    """

    name = "dynamo-arima"

    def __init__(self, season_steps: int) -> None:
        self._window = 2 * season_steps
        self._fitted: _Fitted | None = None

    def forecast(self, history: FloatArray, horizon: int) -> BaselineForecast:
        """Apply the model that was fitted once to the newest window."""
        models = _optional("statsforecast.models", "statsforecast")
        window = history[-max(self._window, 48) :].astype(np.float64)
        if window.size < 24 or float(np.ptp(window)) == 0.0:
            return BaselineForecast(point=float(history[-1]))
        try:
            if self._fitted is None:
                self._fitted = models.AutoARIMA(season_length=1).fit(y=history[-288:].astype(np.float64))
            point = float(np.asarray(self._fitted.forward(y=window, h=horizon)["mean"])[-1])
        except (ValueError, ZeroDivisionError, np.linalg.LinAlgError):
            point = math.nan
        return BaselineForecast(point=max(0.0, point) if math.isfinite(point) else float(history[-1]))


class _Fitted(Protocol):
    def forward(self, y: FloatArray, h: int) -> dict[str, FloatArray]: ...


def _optional(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ForecastingError(
            f"this baseline needs {package}: pip install 'meltguard[backtest]', or name others with --baselines"
        ) from error


LIGHT_BASELINES = (
    "last-value",
    "seasonal-naive",
    "hpa",
    "predictkube-like",
    "phpa-linear",
    "phpa-holt-winters",
    "crane",
    "dynamo-constant",
    "dynamo-kalman",
)
"""Baselines that need nothing but numpy; the default."""

ALL_BASELINES = (*LIGHT_BASELINES, "uc-log", "dynamo-arima", "auto-ets", "auto-theta", "auto-arima", "mstl")


def make_baseline(name: str, *, season_steps: int, step_seconds: float) -> Baseline:
    """Return a fresh baseline by name.

    Args:
        name: One of :data:`ALL_BASELINES`.
        season_steps: Steps in a day, >= 1.
        step_seconds: Length of an interval, > 0.

    Returns:
        The baseline, with no history.

    Raises:
        ForecastingError: If the name is unknown.
    """
    season = max(1, season_steps)
    makers: dict[str, Callable[[], Baseline]] = {
        "last-value": LastValue,
        "dynamo-constant": lambda: LastValue("dynamo-constant"),
        "seasonal-naive": lambda: SeasonalNaive(season),
        "hpa": lambda: HorizontalPodAutoscaler(step_seconds),
        "predictkube-like": lambda: PredictKubeLike(season),
        "phpa-linear": PodAutoscalerLinear,
        "phpa-holt-winters": lambda: PodAutoscalerHoltWinters(season),
        "crane": lambda: CraneEffective(season),
        "dynamo-kalman": DynamoKalman,
        "dynamo-arima": lambda: DynamoArima(season),
        "uc-log": lambda: UnobservedLogTrend(season),
    }
    if name in makers:
        return makers[name]()
    if name in ALL_BASELINES:
        return Statsforecast(name, season_steps=season)
    raise ForecastingError(f"unknown baseline '{name}'; known are {', '.join(ALL_BASELINES)}")
