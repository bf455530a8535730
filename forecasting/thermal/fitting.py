"""Fits the model to a whole log and says what was learned; called by the command line. Pure."""

from __future__ import annotations

import numpy as np

from forecasting.errors import NotEnoughDataError
from forecasting.thermal.derived import headroom_at_limit_celsius, plateau_celsius, sustainable_power_watts
from forecasting.thermal.documents import GpuFit
from forecasting.thermal.log_replay import LogReplay, LogRequest, power_limit_of
from forecasting.thermal.priors import GainRecord
from forecasting.thermal.state import StoredGpu, ThermalState
from forecasting.thermal.telemetry import GpuTelemetry
from forecasting.types import ThermalConfidence

SMALLEST_NUM_SAMPLES = 10
"""Fewer readings say nothing."""


def fit_log(gpus: tuple[GpuTelemetry, ...], request: LogRequest) -> list[GpuFit]:
    """Fit every GPU of a log.

    Args:
        gpus: Logs of the GPUs of one kind.
        request: Limits, priors and constants.

    Returns:
        One fit per GPU.

    Raises:
        NotEnoughDataError: If no GPU has enough readings.
    """
    replays = []
    for series in gpus:
        if series.seconds.size >= SMALLEST_NUM_SAMPLES:
            last = float(series.seconds[-1])
            watts = power_limit_of(series, request, known_until_seconds=last)
            replay = LogReplay(series=series, power_limit_watts=watts, request=request)
            replay.advance(last)
            replays.append(replay)
    if not replays:
        raise NotEnoughDataError(f"fewer than {SMALLEST_NUM_SAMPLES} readings of any GPU; give a longer log")
    fitted = [r for r in replays if r.model.confidence[0] is ThermalConfidence.FITTED]
    typical = np.median([_resistance(replay) for replay in fitted]) if len(fitted) > 1 else None
    return [_fit(replay, None if typical is None else float(typical)) for replay in replays]


def _resistance(replay: LogReplay) -> float:
    """Return the thermal resistance of a replayed GPU, kelvin per watt."""
    return float(replay.model.thermal_resistance_celsius_per_watt[0])


def _fit(replay: LogReplay, typical: float | None) -> GpuFit:
    """Return what one replay learned."""
    model = replay.model
    confidence = ThermalConfidence(model.confidence[0])
    headroom = float(headroom_at_limit_celsius(replay.limiting_model)[0])
    sustainable = float(sustainable_power_watts(replay.limiting_model)[0])
    compare = typical is not None and confidence is ThermalConfidence.FITTED
    coverage = model.calibration.coverage()
    return GpuFit(
        gpu=model.gpus[0],
        num_samples=int(replay.source.seconds.size),
        power_limit_watts=replay.power_limit_watts,
        thermal_resistance_celsius_per_watt=_resistance(replay),
        resistance_deviation_ratio=float(model.resistance_deviation_ratio[0]),
        time_constants_seconds=model.time_constants_seconds,
        plateau_gains_celsius=model.plateau_gains_celsius[0],
        ambient_celsius=float(model.ambient_celsius[0]),
        confidence=confidence.value,
        plateau_celsius=float(plateau_celsius(model)[0]),
        headroom_at_limit_celsius=headroom if np.isfinite(headroom) else None,
        sustainable_power_watts=sustainable if np.isfinite(sustainable) else None,
        against_siblings_ratio=_resistance(replay) / typical - 1.0 if compare and typical else None,
        coverage={
            horizon: float(value) if np.isfinite(value) else None
            for horizon, value in zip(model.settings.calibration_horizons_seconds, coverage, strict=True)
        },
    )


def state_of(fits: list[GpuFit], *, saved_at_seconds: float) -> ThermalState:
    """Return the state to keep: GPUs whose gains were learned, named as the log names them.

    Args:
        fits: At least one fit.
        saved_at_seconds: Unix time of the newest reading.

    Returns:
        The state.
    """
    kept = [one for one in fits if one.confidence == ThermalConfidence.FITTED]
    return ThermalState(
        saved_at_seconds=saved_at_seconds,
        time_constants_seconds=tuple(float(value) for value in fits[0].time_constants_seconds),
        gpus=tuple(
            StoredGpu(
                record=GainRecord(uuid=one.gpu, plateau_gains_celsius=one.plateau_gains_celsius),
                baseline_celsius_per_watt=one.thermal_resistance_celsius_per_watt,
            )
            for one in kept
        ),
    )
