"""One thermal margin and one set of absolute limits for every generation of GPU. Pure.

Used by the collector (to read faster near the limit), the fleet state and the tests. Newer GPUs report their own margin
(T.Limit: degrees to the first slowdown threshold) and limits as offsets of it; older ones report absolute thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping

LIMIT_NAMES = ("slowdown", "shutdown", "gpu_max", "memory_max")


def thermal_margin_celsius(
    *,
    temperature_celsius: float | None,
    memory_temperature_celsius: float | None,
    driver_margin_celsius: float | None,
    thresholds_celsius: Mapping[str, float],
) -> float | None:
    """Return the least degrees, over core and memory, to the first thermal intervention.

    That is T.Limit 0 where the driver reports a margin, else ``gpu_max`` (or ``slowdown`` where the GPU names no
    ``gpu_max``); for the memory ``memory_max``, where it is known as an absolute threshold.

    Args:
        temperature_celsius: Of the core; None is unknown.
        memory_temperature_celsius: Of the memory; None is unknown.
        driver_margin_celsius: The driver's own margin (T.Limit); None on generations without it.
        thresholds_celsius: Absolute thresholds by limit name.

    Returns:
        Degrees, negative above the limit; None when nothing is known.
    """
    candidates: list[float] = []
    if driver_margin_celsius is not None:
        candidates.append(driver_margin_celsius)
    else:
        limit = thresholds_celsius.get("gpu_max", thresholds_celsius.get("slowdown"))
        if limit is not None and temperature_celsius is not None:
            candidates.append(limit - temperature_celsius)
    memory_limit = thresholds_celsius.get("memory_max")
    if memory_limit is not None and memory_temperature_celsius is not None:
        candidates.append(memory_limit - memory_temperature_celsius)
    return min(candidates, default=None)


def absolute_limits_celsius(
    *,
    temperature_celsius: float | None,
    driver_margin_celsius: float | None,
    limit_offsets_celsius: Mapping[str, float],
    thresholds_celsius: Mapping[str, float],
) -> dict[str, float]:
    """Return the absolute limits of core and memory by name.

    Absolute = temperature + margin - offset, since the offset is the margin at which that limit acts (slowdown at -2
    lies two degrees above the first intervention). The memory's offset refers to a reference that NVML does not name,
    so ``memory_max`` comes from the absolute threshold only.

    Args:
        temperature_celsius: Of the core; None is unknown.
        driver_margin_celsius: The driver's margin at that temperature; None on generations without it.
        limit_offsets_celsius: Margin at which each limit acts, by limit name.
        thresholds_celsius: Absolute thresholds by limit name.

    Returns:
        Degrees by limit name; what is unknown is left out.
    """
    limits = {name: celsius for name, celsius in thresholds_celsius.items() if name in LIMIT_NAMES}
    if temperature_celsius is None or driver_margin_celsius is None:
        return limits
    reference = temperature_celsius + driver_margin_celsius
    for name, offset in limit_offsets_celsius.items():
        if name in LIMIT_NAMES and name != "memory_max":
            limits[name] = reference - offset
    return limits
