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

    from exporters.thermal_memory import GpuPlace
    from forecasting.thermal import FleetThermalModel
    from forecasting.thermal.state import ThermalState

HORIZONS_SECONDS = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LEVELS = (0.05, 0.5, 0.95)
MIN_PEERS = 3
"""Drift against the median of the node needs at least so many GPUs of known resistance."""
CONFIDENCES = ("fitted", "fleet_prior", "none")
_HEAT_BITS = THROTTLE_BITS["sw_thermal"] | THROTTLE_BITS["hw_thermal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalInput:
    """One GPU's part of a step; None is unknown.

    Attributes:
        slot: PCI address, or the index where the source has none.
        gpu_model: Product name.
        power_watts: Mean since the last step.
        limit_celsius: Core temperature of the first thermal intervention.
    """

    uuid: str
    slot: str = ""
    gpu_model: str = ""
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
        resistance: Plateau rise at the power limit over that limit, kelvin per watt; does not move with the load.
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
            slot=gpu.identity.pci_bus_id or str(gpu.identity.index),
            gpu_model=gpu.identity.model,
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
    """The thermal models of the node's GPUs.

    Attributes:
        memory: What is kept when the model is replaced.
    """

    def __init__(self, node: str = "") -> None:
        """Begin without a model; needs ``model_is_installed``."""
        from exporters.thermal_memory import ThermalMemory

        self.memory = ThermalMemory(node)
        self._model: FleetThermalModel | None = None
        self._power_limits: tuple[float | None, ...] = ()
        self._places: tuple[GpuPlace, ...] = ()

    @property
    def time_constants_seconds(self) -> tuple[float, ...]:
        """Time constants of the models' filters."""
        from forecasting.thermal import ThermalSettings

        return ThermalSettings().time_constants_seconds

    def learned(self, *, saved_at_seconds: float) -> ThermalState | None:
        """Return what is worth keeping across a restart; None while nothing is.

        Args:
            saved_at_seconds: Unix time.

        Returns:
            The gains of the GPUs that have proven theirs, now or before.
        """
        if self._model is not None:
            self.memory.remember(self._model, self._places)
        return self.memory.state(saved_at_seconds=saved_at_seconds, time_constants_seconds=self.time_constants_seconds)

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
        """Return the model of exactly these GPUs; a new one starts from what the one before and the file knew."""
        from exporters.thermal_memory import GpuPlace
        from forecasting.thermal import FleetThermalModel

        places = tuple(GpuPlace(uuid=entry.uuid, slot=entry.slot, gpu_model=entry.gpu_model) for entry in inputs)
        limits = tuple(entry.power_limit_watts for entry in inputs)
        if self._model is not None and self._places == places and self._power_limits == limits:
            return self._model
        if self._model is not None:
            self.memory.remember(self._model, self._places)
        self._model = FleetThermalModel(
            gpus=tuple(entry.uuid for entry in inputs),
            power_limit_watts=_array(list(limits)),
            limit_celsius=_array([entry.limit_celsius for entry in inputs]),
        )
        self._places, self._power_limits = places, limits
        self.memory.teach(self._model, places)
        return self._model


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _estimates(
    model: FleetThermalModel, seconds_to_slowdown: NDArray[np.float64], inputs: Sequence[ThermalInput]
) -> dict[str, ThermalEstimate]:
    from forecasting.thermal.derived import sustainable_power_watts

    # Not the chord (gains, offset_celsius): that one is a tangent for planners and moves with the load.
    resistances = [float(value) for value in model.thermal_resistance_celsius_per_watt]
    ambients = [float(value) for value in model.ambient_celsius]
    sustainable = [float(value) for value in sustainable_power_watts(model)]
    started = [bool(value) for value in model.started]
    confidences = [str(value) for value in model.confidence]
    read = [entry.temperature_celsius is not None and entry.power_watts is not None for entry in inputs]
    peers = [r for r, ok, c in zip(resistances, read, confidences, strict=True) if ok and c == "fitted" and r > 0.0]
    median = statistics.median(peers) if len(peers) >= MIN_PEERS else None
    found: dict[str, ThermalEstimate] = {}
    for index, entry in enumerate(inputs):
        if not read[index] or not started[index]:
            continue
        drifts = median is not None and confidences[index] == "fitted"
        found[entry.uuid] = ThermalEstimate(
            resistance=resistances[index],
            drift_ratio=resistances[index] / median - 1.0 if drifts and median is not None else None,
            inlet_celsius=ambients[index],
            sustainable_power_watts=sustainable[index] if math.isfinite(sustainable[index]) else None,
            seconds_to_slowdown={}
            if entry.limit_celsius is None
            else {f"{level:g}": _seconds(float(seconds_to_slowdown[row, index])) for row, level in enumerate(LEVELS)},
            confidence=confidences[index],
        )
    return found


def _seconds(value: float) -> float | None:
    return round(value, 1) if math.isfinite(value) else None


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
