"""``GET /api/v1/gpus``: the readings and forecasts as JSON for the local guard. Pure.

Schema ``meltguard.gpus/v1``. Null means unknown, except inside ``seconds_to_slowdown``, where it means "not within the
horizon at that quantile" (and the whole object is null when there is no forecast). A GPU that is down has null for
every reading, and its age.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from exporters.fleet import Fleet
from exporters.gpu_state import UP, GpuState
from exporters.thermals import ThermalEstimate

SCHEMA = "meltguard.gpus/v1"


class GpuView(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU as the guard sees it."""

    uuid: str
    gpu: int
    model: str
    up: bool
    reason: str
    age_seconds: float | None
    temperature_celsius: float | None = None
    memory_temperature_celsius: float | None = None
    temperature_limits_celsius: dict[str, float] = {}
    thermal_margin_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    utilization_ratio: float | None = None
    energy_joules: float | None = None
    throttled: list[str] = []
    seconds_to_slowdown: dict[str, float | None] | None = None
    thermal_resistance_celsius_per_watt: float | None = None
    inlet_temperature_estimate_celsius: float | None = None
    sustainable_power_watts: float | None = None
    thermal_model_confidence: str = "none"


class GpusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer; ``as_of`` is Unix seconds of the newest reading, null before the first."""

    schema: str
    node: str
    as_of: float | None
    age_seconds: float | None
    period_seconds: float
    driver_version: str
    gpus: list[GpuView]


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None or value == float("inf") else round(value, digits)


def gpu_view(gpu: GpuState, estimate: ThermalEstimate | None, now_monotonic: float) -> GpuView:
    """Return one GPU's part of the answer.

    Args:
        gpu: The GPU.
        estimate: What the thermal model says of it; None when it says nothing.
        now_monotonic: The moment of the request, seconds.

    Returns:
        The view; without readings while the GPU is down.
    """
    identity = gpu.identity
    fast = gpu.fast if gpu.is_up else None
    age = _rounded(gpu.age_seconds(now_monotonic))
    if fast is None:
        return GpuView(
            uuid=identity.uuid, gpu=identity.index, model=identity.model, up=False, reason=gpu.reason, age_seconds=age
        )
    return GpuView(
        uuid=identity.uuid,
        gpu=identity.index,
        model=identity.model,
        up=True,
        reason=UP,
        age_seconds=age,
        temperature_celsius=fast.temperature_celsius,
        memory_temperature_celsius=fast.memory_temperature_celsius,
        temperature_limits_celsius=gpu.limits_celsius,
        thermal_margin_celsius=gpu.margin_celsius,
        power_watts=gpu.power_watts,
        power_limit_watts=None if gpu.slow is None else gpu.slow.power_limit_watts,
        utilization_ratio=fast.utilization_ratio,
        energy_joules=fast.energy_joules,
        throttled=gpu.throttled_now,
        seconds_to_slowdown=None if estimate is None else dict(estimate.seconds_to_slowdown),
        thermal_resistance_celsius_per_watt=None if estimate is None else _rounded(estimate.resistance, 6),
        inlet_temperature_estimate_celsius=None if estimate is None else _rounded(estimate.inlet_celsius, 3),
        sustainable_power_watts=None if estimate is None else _rounded(estimate.sustainable_power_watts, 1),
        thermal_model_confidence="none" if estimate is None else estimate.confidence,
    )


def gpus_document(
    fleet: Fleet,
    estimates: Mapping[str, ThermalEstimate],
    *,
    node: str,
    period_seconds: float,
    now_monotonic: float,
) -> bytes:
    """Return the answer as JSON.

    Args:
        fleet: The GPUs.
        estimates: What the thermal model says, by UUID.
        node: Name of this node.
        period_seconds: Between two readings.
        now_monotonic: The moment of the request, seconds.

    Returns:
        The document, encoded.
    """
    newest = max((gpu.fast.taken_at_unix for gpu in fleet.gpus.values() if gpu.fast is not None), default=None)
    document = GpusDocument(
        schema=SCHEMA,
        node=node,
        as_of=_rounded(newest, 3),
        age_seconds=_rounded(fleet.newest_age_seconds(now_monotonic)),
        period_seconds=period_seconds,
        driver_version=fleet.driver_version,
        gpus=[gpu_view(gpu, estimates.get(uuid), now_monotonic) for uuid, gpu in fleet.gpus.items()],
    )
    return msgspec.json.encode(document)
