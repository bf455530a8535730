"""What people use today, or could at once: persistence, predict_linear, and a one-step ARX with ridge.

Each function forecasts one horizon from many samples of a run; none sees a later temperature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from thermal_recorded import RecordedRun

from forecasting.types import FloatArray

LINEAR_WINDOW_SECONDS = 300.0
ARX_MEMORY_SECONDS = 3600.0
ARX_TIME_CONSTANT_SECONDS = 60.0
ARX_RISE_CELSIUS = 40.0
ARX_SLOWEST_SECONDS = 3000.0


def persistence_forecasts(run: RecordedRun, origins: NDArray[np.intp], steps: int, known: bool) -> FloatArray:
    """Forecast that nothing changes; shape ``(num_origins, num_gpus)``."""
    del steps, known
    return run.temperature_celsius[:, origins].T.copy()


def predict_linear_forecasts(run: RecordedRun, origins: NDArray[np.intp], steps: int, known: bool) -> FloatArray:
    """Extend a least squares line through the last five minutes, as PromQL's ``predict_linear`` does."""
    del known
    width = max(2, round(LINEAR_WINDOW_SECONDS / run.step_seconds))
    forecasts = np.empty((origins.size, len(run.gpus)))
    for row, origin in enumerate(origins):
        window = run.temperature_celsius[:, max(0, origin - width) : origin + 1]
        moment = np.arange(1 - window.shape[1], 1, dtype=np.float64)
        centred = moment - moment.mean()
        slope = window @ centred / max(float(centred @ centred), 1e-9)
        forecasts[row] = window.mean(axis=1) + slope * (steps - moment.mean())
    return forecasts


def arx_forecasts(run: RecordedRun, origins: NDArray[np.intp], steps: int, known: bool) -> FloatArray:
    """Fit ``T[k+1] = a T[k] + b P[k+1] + c`` by fading ridge regression around a class prior, and roll it forward.

    The pole is kept inside the unit circle; without that, and without the ridge, it diverges on whole-degree readings.
    """
    forecasts = np.empty((origins.size, len(run.gpus)))
    recent = max(1, round(30.0 / run.step_seconds))
    for gpu in range(len(run.gpus)):
        temperature, power = run.temperature_celsius[gpu], run.power_watts[gpu] / run.power_limit_watts
        parameters = _arx_fits(temperature, power, run.step_seconds)[origins]
        level = temperature[origins] - temperature[0]
        persisting = np.array([power[max(0, k - recent + 1) : k + 1].mean() for k in origins])
        for step in range(1, steps + 1):
            drive = (power[origins + step] if known else persisting) - power[0]
            level = parameters[:, 0] * level + parameters[:, 1] * drive + parameters[:, 2]
        forecasts[:, gpu] = level + temperature[0]
    return forecasts


def _arx_fits(temperature: FloatArray, power: FloatArray, step_seconds: float) -> FloatArray:
    """Return ``a, b, c`` after every sample, shape ``(num_samples, 3)``, relative to the first sample."""
    pole = np.exp(-step_seconds / ARX_TIME_CONSTANT_SECONDS)
    prior = np.array([pole, (1.0 - pole) * ARX_RISE_CELSIUS, 0.0])
    weight = np.diag([125.0, 1.0, 1e-6])
    fade = 1.0 - step_seconds / max(ARX_MEMORY_SECONDS, 20.0 * step_seconds)
    matrix, right = np.zeros((3, 3)), np.zeros(3)
    fits = np.tile(prior, (temperature.size, 1))
    for index in range(1, temperature.size):
        sample = np.array([temperature[index - 1] - temperature[0], power[index] - power[0], 1.0])
        matrix = fade * matrix + np.outer(sample, sample)
        right = fade * right + sample * (temperature[index] - temperature[0])
        fit = np.linalg.solve(matrix + weight, right + weight @ prior)
        bounded = np.array(
            [min(max(fit[0], 0.0), np.exp(-step_seconds / ARX_SLOWEST_SECONDS)), max(fit[1], 0.0), fit[2]]
        )
        if (bounded[:2] != fit[:2]).any():
            bounded[2] = (right[2] - bounded[0] * matrix[0, 2] - bounded[1] * matrix[1, 2]) / max(matrix[2, 2], 1e-9)
        fits[index] = bounded
    return fits
