"""Events that each alert is there to call, drawn at random: faults of hardware and telemetry; see ``Fault``.

Magnitudes, beginnings and lengths vary from event to event; sensors are noisy, and one scrape in a hundred is lost,
which ends every series of its target for a step and with them whatever a rule was waiting for. Used by
``benchmarks/alert_noise.py`` and by the test that asks whether any rule is blind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from tests.replayed_rules import Series

STEP_SECONDS = 15
LOST_SCRAPES_RATIO = 0.01
NODES = ("n1", "n2", "n3")
POOL = 'region="eu",pool="h200"'
EXPORTER = 'job="meltguard-exporter"'
FIRST_SECONDS = (600.0, 900.0)
"""An event begins between these."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """One event.

    Attributes:
        series: What is scraped, from well before the event to after it.
        start_seconds: When the event begins.
    """

    series: Series
    start_seconds: float


Draw = Callable[[np.random.Generator, np.ndarray], Course]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A kind of event, and the rule that must call it.

    Attributes:
        alert: Name of the alert.
        labels: Static labels that tell the rule from others of its name.
        says: What happens, in words.
        within_seconds: An event that is called later than this counts as missed.
        draw: Makes an event from a generator and the seconds of the samples.
        hours: How long the replay lasts.
        step_seconds: Distance of its samples.
        alone: Whether the rule asks for absence, so that no other fleet may be there.
        files: Rule files that are loaded; empty: all.
    """

    alert: str
    says: str
    within_seconds: float
    draw: Draw
    labels: Mapping[str, str] = field(default_factory=dict)
    hours: float = 1.5
    step_seconds: int = STEP_SECONDS
    alone: bool = False
    files: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What names the rule in a table."""
        return (self.alert, *self.labels.values())


def start_of(rng: np.random.Generator) -> float:
    """Return a beginning."""
    return float(rng.uniform(*FIRST_SECONDS))


def during(times: np.ndarray, start: float, seconds: float) -> np.ndarray:
    """Say which samples lie within an event."""
    inside: np.ndarray = (times >= start) & (times < start + seconds)
    return inside


def course(series: Series, start: float, rng: np.random.Generator, *, lossless: bool = False) -> Course:
    """Return an event through scrapes of which some are lost: all series of one target at once.

    Args:
        series: Values as the targets show them.
        start: When the event begins, seconds.
        rng: Draws the losses.
        lossless: Whether the loss of a scrape is the event itself.

    Returns:
        The event.
    """
    lost: dict[str, np.ndarray] = {}
    seen: Series = {}
    for name, values in series.items():
        # Of ours the second word names the part: gpu, controller, inference.
        target = next((node for node in NODES if f'node="{node}"' in name), name.partition("{")[0].split("_")[1:2])
        gone = lost.setdefault(str(target), rng.random(len(values)) < (0.0 if lossless else LOST_SCRAPES_RATIO))
        down = np.where(gone, 0.0, values) if name.startswith("up{") else np.where(gone, np.nan, values)
        seen[name] = np.where(np.isnan(values), np.nan, down)
    return Course(series=seen, start_seconds=start)


def gpu(metric: str, node: str = "n1", more: str = "") -> str:
    """Return the name of a series of a node's first GPU."""
    return f'{metric}{{{POOL},node="{node}",gpu="0",uuid="GPU-{node}"{more}}}'


def healthy(times: np.ndarray) -> Series:
    """Return three nodes that answer, and a controller that leads and does nothing."""
    ones = np.ones(len(times))
    return {
        **{gpu("meltguard_gpu_up", node, ',reason="ok"'): ones for node in NODES},
        "meltguard_controller_leader": ones,
        'meltguard_controller_rung{region="eu"}': 0.0 * ones,
    }


def _heat(rng: np.random.Generator, times: np.ndarray) -> Course:
    start, length = start_of(rng), float(rng.uniform(300.0, 1800.0))
    usual, least = rng.uniform(10.0, 25.0), rng.uniform(-3.0, 3.5)
    tau = float(rng.uniform(10.0, 60.0))
    since = np.clip(times - start, 0.0, None)
    hot = least + (usual - least) * np.exp(-since / tau)
    margin = np.where(during(times, start, length), hot, usual) + rng.normal(0.0, 0.7, len(times))
    return course(
        {**healthy(times), gpu("meltguard_gpu_thermal_margin_celsius"): np.round(margin)},
        start,
        rng,
    )


def _slowed(nodes: int, reason: str, least_share: float) -> Draw:
    def draw(rng: np.random.Generator, times: np.ndarray) -> Course:
        start, length = start_of(rng), float(rng.uniform(600.0, 2400.0))
        series = healthy(times)
        for node in NODES[:nodes]:
            begins = start + float(rng.uniform(0.0, 60.0)) * (nodes > 1)
            share = np.clip(rng.normal(rng.uniform(least_share, 1.0), 0.15, len(times)), 0.0, 1.0)
            slowed = np.cumsum(during(times, begins, length) * share * STEP_SECONDS)
            series[gpu("meltguard_gpu_throttled_seconds_total", node, f',reason="{reason}"')] = slowed
        return course(series, start, rng)

    return draw


def _predicted(rng: np.random.Generator, times: np.ndarray) -> Course:
    start, length = start_of(rng), float(rng.uniform(600.0, 1800.0))
    soon = np.clip(rng.uniform(30.0, 220.0) + rng.normal(0.0, 20.0, len(times)), 0.0, None)
    seconds = np.where(during(times, start, length), soon, 9999.0)
    return course({**healthy(times), gpu("meltguard_gpu_seconds_to_slowdown"): seconds}, start, rng)


def _xid(nodes: int) -> Draw:
    def draw(rng: np.random.Generator, times: np.ndarray) -> Course:
        start = start_of(rng)
        series = healthy(times)
        code = int(rng.choice([48, 63, 64, 74, 79, 94, 95, 119]))
        for number, node in enumerate(NODES[:nodes]):
            at = start + float(rng.uniform(0.0, 240.0)) * (number > 0)
            stamp = np.where(times >= at, at, np.nan)
            series[gpu("meltguard_gpu_xid_last_timestamp_seconds", node, f',class="hardware",xid="{code}"')] = stamp
        return course(series, start, rng)

    return draw


def _memory(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    if rng.random() < 0.5:
        errors = float(rng.integers(0, 5)) + np.where(times >= start, float(rng.integers(1, 4)), 0.0)
        name, values = gpu("meltguard_gpu_ecc_errors_total", more=',kind="uncorrected"'), errors
    else:
        name, values = gpu("meltguard_gpu_row_remap_failed"), np.where(times >= start, 1.0, 0.0)
    return course({**healthy(times), name: values}, start, rng)


def _missing(nodes: int) -> Draw:
    def draw(rng: np.random.Generator, times: np.ndarray) -> Course:
        start = start_of(rng)
        series = healthy(times)
        for number, node in enumerate(NODES[:nodes]):
            begins = start + float(rng.uniform(0.0, 120.0)) * (number > 0)
            listed = begins + float(rng.uniform(20.0, 100.0))
            here, lost = times < begins, (times >= begins) & (times < listed)
            series[gpu("meltguard_gpu_up", node, ',reason="ok"')] = np.where(here, 1.0, np.nan)
            series[gpu("meltguard_gpu_up", node, ',reason="lost"')] = np.where(lost, 0.0, np.nan)
            series[gpu("meltguard_gpu_up", node, ',reason="missing"')] = np.where(times >= listed, 0.0, np.nan)
        return course(series, start, rng)

    return draw


def _targets(times: np.ndarray, num: int) -> Series:
    return {
        f'up{{{EXPORTER},{POOL},node="{node}",instance="{node}:9400"}}': np.ones(len(times)) for node in NODES[:num]
    }


def _exporters_down(num: int, of: int, *, lossless: bool = False) -> Draw:
    def draw(rng: np.random.Generator, times: np.ndarray) -> Course:
        start = start_of(rng)
        series = _targets(times, of)
        for number, name in enumerate(list(series)[:num]):
            begins = start + float(rng.uniform(0.0, 60.0)) * (number > 0)
            series[name] = np.where(times >= begins, 0.0, 1.0)
        return course(series, start, rng, lossless=lossless)

    return draw


def _never_found(rng: np.random.Generator, times: np.ndarray) -> Course:
    start = start_of(rng)
    series = _targets(times, 3)
    del series[next(iter(series))]
    ready = np.where(times >= start, 3.0, 2.0)
    series |= {f'meltguard_pool_nodes{{{POOL},state="ready"}}': ready, "meltguard_controller_leader": 1.0 + 0.0 * ready}
    return course(series, start, rng)


def _frozen(rng: np.random.Generator, times: np.ndarray) -> Course:
    start, length = start_of(rng), float(rng.uniform(300.0, 1800.0))
    inside = during(times, start, length)
    age = np.where(inside, times - start, rng.uniform(0.2, 1.2, len(times)))
    name = f'meltguard_exporter_snapshot_age_seconds{{{EXPORTER},{POOL},node="n1",instance="n1:9400"}}'
    return course({**healthy(times), name: age}, start, rng)


def _hung(rng: np.random.Generator, times: np.ndarray) -> Course:
    start, length = start_of(rng), float(rng.uniform(600.0, 1800.0))
    inside = during(times, start, length)
    series = healthy(times)
    series[gpu("meltguard_gpu_up", more=',reason="ok"')] = np.where(inside, np.nan, 1.0)
    reason = str(rng.choice(["stuck", "stale", "implausible", "driver_gone"]))
    series[gpu("meltguard_gpu_up", more=f',reason="{reason}"')] = np.where(inside, 0.0, np.nan)
    return course(series, start, rng)


HARDWARE_FAULTS: tuple[Fault, ...] = (
    Fault(
        alert="GPUThermalMarginLow",
        says="a die settles at -3 to 3.5 °C of margin for 5 to 30 minutes, its sensor in whole degrees and noisy",
        within_seconds=300,
        draw=_heat,
    ),
    Fault(
        alert="GPUThermalSlowdownActive",
        labels={"scope": "gpu"},
        says="one GPU is slowed for 40 to 100 % of the time, 10 to 40 minutes",
        within_seconds=600,
        draw=_slowed(1, "hw_thermal", 0.4),
    ),
    Fault(
        alert="GPUThermalSlowdownActive",
        labels={"scope": "pool"},
        says="the same on two nodes of three, begun within a minute",
        within_seconds=600,
        draw=_slowed(2, "sw_thermal", 0.4),
    ),
    Fault(
        alert="GPUThermalSlowdownPredicted",
        says="slowdown is 30 to 220 s away for 10 to 30 minutes and no rung answers",
        within_seconds=600,
        draw=_predicted,
    ),
    Fault(
        alert="GPUPowerBrakeActive",
        labels={"scope": "gpu"},
        says="the brake holds one GPU for 70 to 100 % of the time, 10 to 40 minutes",
        within_seconds=900,
        draw=_slowed(1, "hw_power_brake", 0.7),
    ),
    Fault(
        alert="GPUPowerBrakeActive",
        labels={"scope": "pool"},
        says="the same on two nodes of three",
        within_seconds=900,
        draw=_slowed(2, "hw_power_brake", 0.7),
    ),
    Fault(
        alert="GPUHardwareXid",
        labels={"scope": "gpu"},
        says="one hardware XID, whose series is born with it",
        within_seconds=60,
        draw=_xid(1),
    ),
    Fault(
        alert="GPUHardwareXid",
        labels={"scope": "pool"},
        says="hardware XIDs on two nodes within 4 minutes",
        within_seconds=480,
        draw=_xid(2),
    ),
    Fault(
        alert="GPUUncorrectableMemoryError",
        says="an uncorrected error, or a failed row remap",
        within_seconds=60,
        draw=_memory,
    ),
    Fault(
        alert="GPUMissing",
        labels={"scope": "gpu"},
        says="a GPU is lost and, 20 to 100 s later, no longer listed",
        within_seconds=300,
        draw=_missing(1),
    ),
    Fault(
        alert="GPUMissing",
        labels={"scope": "pool"},
        says="the same on two nodes within 2 minutes",
        within_seconds=480,
        draw=_missing(2),
    ),
)

TELEMETRY_FAULTS: tuple[Fault, ...] = (
    Fault(
        alert="GPUExporterDown",
        labels={"scope": "target"},
        says="one exporter of three no longer answers",
        within_seconds=240,
        draw=_exporters_down(1, 3),
    ),
    Fault(
        alert="GPUExporterDown",
        labels={"scope": "discovery"},
        says="a third node becomes ready and Prometheus never finds its exporter",
        within_seconds=720,
        draw=_never_found,
    ),
    Fault(
        alert="GPUTelemetryStale",
        labels={"scope": "exporter"},
        says="an exporter answers with readings that no longer change, 5 to 30 minutes",
        within_seconds=240,
        draw=_frozen,
    ),
    Fault(
        alert="GPUTelemetryStale",
        labels={"scope": "gpu"},
        says="a GPU hangs or says what cannot be true, 10 to 30 minutes",
        within_seconds=300,
        draw=_hung,
    ),
    Fault(
        alert="GPUFleetTelemetryAbsent",
        labels={"scope": "fleet"},
        says="every exporter stops answering within a minute",
        within_seconds=480,
        draw=_exporters_down(3, 3, lossless=True),
        alone=True,
        hours=0.5,
    ),
    Fault(
        alert="GPUFleetTelemetryAbsent",
        labels={"scope": "pool"},
        says="two exporters of three stop answering within a minute",
        within_seconds=480,
        draw=_exporters_down(2, 3),
    ),
)
