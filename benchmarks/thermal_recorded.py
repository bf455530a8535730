"""The recorded GPU logs that the thermal benchmarks run on, as arrays of the GPUs of one run.

The files are not part of the project; the folder is named by MELTGUARD_DATA, else ../shared/data beside the repository.
"""

from __future__ import annotations

import csv
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forecasting.thermal import FleetThermalModel
from forecasting.types import FloatArray

POWER_LIMITS_WATTS = {"H100n": 700.0, "A40": 300.0}
"""Power limits of the recorded GPUs: 695 W was the highest reading of the one, 300 W stands in the log of the other."""

BURN_SECONDS = 60.0
"""Errors and quiet samples count after this much of a run."""

SHORTEST_SECONDS = 150.0
"""Shorter runs have no forecast to score."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecordedRun:
    """GPUs that were logged together.

    Attributes:
        name: Name of the run.
        dataset: Name of the set, which is one kind of GPU.
        gpus: Names; equal names in two runs are the same GPU.
        step_seconds: Distance between samples.
        power_limit_watts: Of each GPU.
        temperature_celsius: Shape ``(num_gpus, num_samples)``.
        power_watts: Same shape.
        utilization_ratio: Same shape.
    """

    name: str
    dataset: str
    gpus: tuple[str, ...]
    step_seconds: float
    power_limit_watts: float
    temperature_celsius: FloatArray
    power_watts: FloatArray
    utilization_ratio: FloatArray

    @property
    def num_samples(self) -> int:
        """Number of samples of each GPU."""
        return int(self.power_watts.shape[1])


def data_folder() -> Path:
    """Return the folder of the recorded logs, whether or not it exists."""
    named = os.environ.get("MELTGUARD_DATA")
    base = Path(named) if named else Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    return base / "thermal" / "norm"


def load_runs(*, step_seconds: float, power: str = "mean", phase_seconds: float = 0.0) -> list[RecordedRun]:
    """Read all runs, joined into steps.

    Args:
        step_seconds: Seconds per sample; a log that is coarser keeps its own step.
        power: ``mean`` of a step, or its ``last`` reading, as a slow scrape sees it.
        phase_seconds: Left out at the start of every log, so that its steps begin so much later.

    Returns:
        Runs in order of their names; empty where the folder is absent.
    """
    together: dict[str, list[tuple[str, float, FloatArray]]] = {}
    for path in sorted(data_folder().glob("*.csv.gz")):
        stem = path.name.removesuffix(".csv.gz")
        words = stem.split("__")[0].split("_")
        # H100n_b443_g0__s0: eight GPUs of one node; A40_1__s2: pieces of logs of one GPU.
        node = len(words) == 3
        run, gpu = ("_".join(words[:2]), words[2]) if node else (stem, words[0])
        step, columns = _joined(path, step_seconds, power, phase_seconds)
        if columns.shape[1] * step >= SHORTEST_SECONDS:
            together.setdefault(run, []).append((gpu, step, columns))
    return [_run(name, parts) for name, parts in together.items()]


def new_model(run: RecordedRun, prior: FloatArray | None, limit: FloatArray | None = None) -> FleetThermalModel:
    """Return a model of the run's GPUs."""
    unknown = np.full(len(run.gpus), np.nan)
    model = FleetThermalModel(
        gpus=run.gpus,
        power_limit_watts=np.full(len(run.gpus), run.power_limit_watts),
        limit_celsius=unknown if limit is None else limit,
    )
    if prior is not None:
        model.adopt_prior(chosen=np.asarray(np.isfinite(prior).all(axis=1)), plateau_gains_celsius=prior)
    return model


def feed(model: FleetThermalModel, run: RecordedRun, index: int) -> None:
    """Give the model one sample of a run."""
    model.observe(
        now_seconds=index * run.step_seconds,
        temperature_celsius=run.temperature_celsius[:, index],
        power_watts=run.power_watts[:, index],
        utilization_ratio=run.utilization_ratio[:, index],
    )


def _run(name: str, parts: list[tuple[str, float, FloatArray]]) -> RecordedRun:
    """Stack the GPUs of a run, cut to the shortest."""
    num_samples = min(columns.shape[1] for _, _, columns in parts)
    values = np.stack([columns[:, :num_samples] for _, _, columns in parts])
    dataset = name.split("_")[0]
    return RecordedRun(
        name=name,
        dataset=dataset,
        gpus=tuple(gpu for gpu, _, _ in parts),
        step_seconds=parts[0][1],
        power_limit_watts=POWER_LIMITS_WATTS[dataset],
        temperature_celsius=values[:, 0],
        power_watts=values[:, 1],
        utilization_ratio=values[:, 2],
    )


def _joined(path: Path, step_seconds: float, power: str, phase_seconds: float) -> tuple[float, FloatArray]:
    """Return the step and last temperature, power and mean utilisation per step, shape ``(3, num_samples)``."""
    with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if float(row["t"]) >= phase_seconds]
    seconds = np.array([float(row["t"]) for row in rows])
    step = max(step_seconds, float(seconds[1] - seconds[0]))
    bins = np.floor((seconds - phase_seconds) / step + 1e-9).astype(np.int64)
    starts = np.flatnonzero(np.r_[True, np.diff(bins) > 0])
    lasts = np.r_[starts[1:] - 1, bins.size - 1]
    counts = np.diff(np.r_[starts, bins.size])

    def column(name: str) -> FloatArray:
        return np.array([float(row[name]) for row in rows])

    watts = np.add.reduceat(column("power"), starts) / counts if power == "mean" else column("power_inst")[lasts]
    busy = np.add.reduceat(column("util"), starts) / counts / 100.0
    return step, np.stack([column("temp")[lasts], watts, busy])
