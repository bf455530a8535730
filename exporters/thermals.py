"""Derived thermals: seconds to slowdown, thermal resistance and drift, inlet temperature, sustainable power.

Feeds ``forecasting.thermal`` once per second with the node's GPUs as one batch and turns its answers into samples. The
model is optional: without the package (or numpy) the exporter runs, and these families are absent. Imported lazily, as
numpy costs 20 MiB. ``ThermalTracker.step`` runs in a worker thread and touches no state of the serving thread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters import metric_names as names
from exporters.exposition import Sample
from exporters.fleet import Fleet
from exporters.gpu_state import THROTTLE_BITS, GpuState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from forecasting.thermal import FleetThermalModel

HORIZONS_SECONDS = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LEVELS = (0.05, 0.5, 0.95)
SUSTAINABLE_GUARD_CELSIUS = 2.0
"""Sustainable power keeps the plateau this far below the first intervention: readings are whole degrees."""
MIN_PEERS = 3
"""Drift against the median of the node needs at least so many GPUs of known resistance."""
CONFIDENCES = ("fitted", "fleet_prior", "none")
_HEAT_BITS = THROTTLE_BITS["sw_thermal"] | THROTTLE_BITS["hw_thermal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalInput:
    """One GPU's part of a step; None is unknown.

    Attributes:
        power_watts: Mean since the last step.
        limit_celsius: Core temperature of the first thermal intervention.
    """

    uuid: str
    temperature_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None
    limit_celsius: float | None
    utilization_ratio: float | None
    throttled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalEstimate:
    """What the model says of one GPU.

    Attributes:
        resistance: Plateau rise per watt, kelvin per watt.
        drift_ratio: Resistance over the median of the node's GPUs, less 1; None with too few peers.
        inlet_celsius: Temperature at zero power.
        sustainable_power_watts: Power whose plateau stays below the first intervention; None when it is unknown.
        seconds_to_slowdown: By quantile of the time; None: not within the horizon. Empty when the limit is unknown.
        confidence: Where the gains come from.
    """

    resistance: float
    drift_ratio: float | None
    inlet_celsius: float
    sustainable_power_watts: float | None
    seconds_to_slowdown: Mapping[str, float | None]
    confidence: str


class EnergyMeter:
    """Mean power between steps from the hardware's energy counter, which no burst escapes."""

    def __init__(self) -> None:
        """Begin without a past."""
        self._before: dict[str, tuple[float, float]] = {}

    def mean_watts(self, gpu: GpuState) -> float | None:
        """Return the mean power since the last call for this GPU; its present power where the counter cannot say."""
        fast = gpu.fast
        if fast is None:
            return None
        uuid = gpu.identity.uuid
        before = self._before.pop(uuid, None)
        if fast.energy_joules is not None:
            self._before[uuid] = (fast.taken_at_monotonic, fast.energy_joules)
            if before is not None and fast.taken_at_monotonic > before[0]:
                watts = (fast.energy_joules - before[1]) / (fast.taken_at_monotonic - before[0])
                # A counter that stood still or was reset says nothing about power.
                if watts > 0.0:
                    return watts
        return fast.power_average_watts if fast.power_average_watts is not None else fast.power_watts


def thermal_inputs(fleet: Fleet, meter: EnergyMeter) -> tuple[ThermalInput, ...]:
    """Return the inputs of a step; a GPU that is down has nothing but its name."""
    return tuple(
        ThermalInput(
            uuid=uuid,
            temperature_celsius=gpu.fast.temperature_celsius if gpu.is_up and gpu.fast is not None else None,
            power_watts=meter.mean_watts(gpu) if gpu.is_up else None,
            power_limit_watts=None if gpu.slow is None else gpu.slow.power_limit_watts,
            limit_celsius=gpu.first_limit_celsius,
            utilization_ratio=gpu.fast.utilization_ratio if gpu.is_up and gpu.fast is not None else None,
            throttled=bool(gpu.is_up and gpu.fast is not None and (gpu.fast.throttle_bits or 0) & _HEAT_BITS),
        )
        for uuid, gpu in fleet.gpus.items()
        # The model is built for a known power limit; the first slow reading brings it.
        if gpu.slow is not None
    )


def model_is_installed() -> bool:
    """Whether the thermal model can be imported; imports it."""
    try:
        import forecasting.thermal  # noqa: F401
    except ImportError:
        return False
    return True


class ThermalTracker:
    """The thermal models of the node's GPUs."""

    def __init__(self) -> None:
        """Begin without a model; needs ``model_is_installed``."""
        self._model: FleetThermalModel | None = None
        self._power_limits: tuple[float | None, ...] = ()

    def step(self, now_seconds: float, inputs: Sequence[ThermalInput]) -> dict[str, ThermalEstimate]:
        """Take in one sample of every GPU and return the estimates of those that were read.

        Args:
            now_seconds: Monotonic time of the sample.
            inputs: One entry per GPU.

        Returns:
            Estimates by UUID.
        """
        import numpy as np

        if not inputs:
            return {}
        model = self._model_for(inputs)
        power = _array([entry.power_watts for entry in inputs])
        model.limit_celsius[:] = _array([entry.limit_celsius for entry in inputs])
        model.observe(
            now_seconds=now_seconds,
            temperature_celsius=_array([entry.temperature_celsius for entry in inputs]),
            power_watts=power,
            utilization_ratio=_array([entry.utilization_ratio for entry in inputs]),
            throttled=np.array([entry.throttled for entry in inputs], dtype=np.bool_),
        )
        forecast = model.forecast(horizons_seconds=np.array(HORIZONS_SECONDS), power_watts=power, levels=LEVELS)
        return _estimates(model, forecast.seconds_to_slowdown, inputs)

    def _model_for(self, inputs: Sequence[ThermalInput]) -> FleetThermalModel:
        """Return the model of exactly these GPUs; a changed set starts a new one, which learns anew within minutes."""
        from forecasting.thermal import FleetThermalModel

        gpus = tuple(entry.uuid for entry in inputs)
        limits = tuple(entry.power_limit_watts for entry in inputs)
        if self._model is None or self._model.gpus != gpus or self._power_limits != limits:
            self._model = FleetThermalModel(
                gpus=gpus,
                power_limit_watts=_array(list(limits)),
                limit_celsius=_array([entry.limit_celsius for entry in inputs]),
            )
            self._power_limits = limits
        return self._model


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _estimates(
    model: FleetThermalModel, seconds_to_slowdown: NDArray[np.float64], inputs: Sequence[ThermalInput]
) -> dict[str, ThermalEstimate]:
    resistances = [float(value) for value in model.thermal_resistance_celsius_per_watt]
    slopes = [float(value) for value in model.gains.sum(axis=1)]
    ambients = [float(value) for value in getattr(model, "ambient_celsius", model.offset_celsius)]
    intercepts = [float(value) for value in model.offset_celsius]
    confidences = [str(value) for value in model.confidence]
    read = [entry.temperature_celsius is not None and entry.power_watts is not None for entry in inputs]
    peers = [r for r, ok, c in zip(resistances, read, confidences, strict=True) if ok and c == "fitted" and r > 0.0]
    median = statistics.median(peers) if len(peers) >= MIN_PEERS else None
    found: dict[str, ThermalEstimate] = {}
    for index, entry in enumerate(inputs):
        if not read[index] or not math.isfinite(intercepts[index]):
            continue
        drifts = median is not None and confidences[index] == "fitted"
        found[entry.uuid] = ThermalEstimate(
            resistance=resistances[index],
            drift_ratio=resistances[index] / median - 1.0 if drifts and median is not None else None,
            inlet_celsius=ambients[index],
            sustainable_power_watts=sustainable_power_watts(
                limit_celsius=entry.limit_celsius,
                intercept_celsius=intercepts[index],
                slope_celsius_per_watt=slopes[index],
                power_limit_watts=entry.power_limit_watts,
            ),
            seconds_to_slowdown={}
            if entry.limit_celsius is None
            else {f"{level:g}": _seconds(float(seconds_to_slowdown[row, index])) for row, level in enumerate(LEVELS)},
            confidence=confidences[index],
        )
    return found


def _seconds(value: float) -> float | None:
    return round(value, 1) if math.isfinite(value) else None


def sustainable_power_watts(
    *,
    limit_celsius: float | None,
    intercept_celsius: float,
    slope_celsius_per_watt: float,
    power_limit_watts: float | None,
) -> float | None:
    """Return P* = (limit - guard - intercept) / slope, within 0 and the power limit; None when it is unknown.

    Args:
        limit_celsius: Core temperature of the first thermal intervention; None is unknown.
        intercept_celsius: Temperature at zero power in the model's linear form.
        slope_celsius_per_watt: Plateau rise per watt in the same form.
        power_limit_watts: The board's limit; None is unknown.

    Returns:
        Watts.
    """
    if limit_celsius is None or not slope_celsius_per_watt > 0.0:
        return None
    watts = max((limit_celsius - SUSTAINABLE_GUARD_CELSIUS - intercept_celsius) / slope_celsius_per_watt, 0.0)
    return watts if power_limit_watts is None else min(watts, power_limit_watts)


def thermal_samples(
    fleet: Fleet, estimates: Mapping[str, ThermalEstimate], labels: Mapping[str, tuple[str, ...]]
) -> Iterator[Sample]:
    """Yield the derived families of the GPUs that are up.

    Args:
        fleet: The GPUs.
        estimates: By UUID.
        labels: Values of ``GPU_LABELS`` by UUID.

    Returns:
        Samples of the derived families.
    """
    for uuid, estimate in estimates.items():
        gpu = fleet.gpus.get(uuid)
        if gpu is None or not gpu.is_up or uuid not in labels:
            continue
        of_gpu = labels[uuid]
        if estimate.seconds_to_slowdown:
            cautious = estimate.seconds_to_slowdown[f"{LEVELS[0]:g}"]
            seconds = math.inf if cautious is None else cautious
            yield Sample(family=names.GPU_SECONDS_TO_SLOWDOWN, labels=of_gpu, value=seconds)
        yield Sample(family=names.GPU_THERMAL_RESISTANCE, labels=of_gpu, value=round(estimate.resistance, 6))
        if estimate.drift_ratio is not None:
            drift = round(estimate.drift_ratio, 4)
            yield Sample(family=names.GPU_THERMAL_RESISTANCE_DRIFT, labels=of_gpu, value=drift)
        inlet = round(estimate.inlet_celsius, 2)
        yield Sample(family=names.GPU_INLET_TEMPERATURE, labels=of_gpu, value=inlet)
        if estimate.sustainable_power_watts is not None:
            watts = round(estimate.sustainable_power_watts, 1)
            yield Sample(family=names.GPU_SUSTAINABLE_POWER, labels=of_gpu, value=watts)
        for confidence in CONFIDENCES:
            is_it = int(confidence == estimate.confidence)
            yield Sample(family=names.GPU_THERMAL_MODEL, labels=(*of_gpu, confidence), value=is_it)
