"""Recorded temperatures of loaded GPUs as margins to one slowdown temperature, as series for promtool."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

from tests.simulated_telemetry import SAMPLE_SECONDS, Telemetry

SLOWDOWN_CELSIUS = 87.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMargins:
    """Recordings side by side.

    Attributes:
        telemetry: Their margins, a value a minute, the hottest in it.
        num_gpus: How many GPUs.
        gpu_hours: How long they were recorded, added up.
        hottest_celsius: The highest temperature of all.
        slowdown_celsius: What margins are counted from.
    """

    telemetry: Telemetry
    num_gpus: int
    gpu_hours: float
    hottest_celsius: float
    slowdown_celsius: float


def recorded_margins(directory: Path, *, slowdown_celsius: float = SLOWDOWN_CELSIUS) -> RecordedMargins:
    """Return the margin of every recorded GPU, all from the same start.

    Args:
        directory: Holds recordings, ``*.csv.gz``.
        slowdown_celsius: What margins are counted from.

    Returns:
        The margins.
    """
    telemetry = Telemetry()
    tracks = {name: minutes for file in sorted(directory.glob("*.csv.gz")) for name, minutes in _tracks(file).items()}
    for minute in range(1 + max(max(minutes) for minutes in tracks.values())):
        for number, (name, minutes) in enumerate(sorted(tracks.items())):
            place = f'region="recorded",pool="recorded",node="n{number}",gpu="0",uuid="{name}"'
            celsius = minutes.get(minute)
            margin = None if celsius is None else slowdown_celsius - celsius
            telemetry.put(f"meltguard_gpu_thermal_margin_celsius{{{place}}}", margin)
        telemetry.close_sample()
    return RecordedMargins(
        telemetry=telemetry,
        num_gpus=len(tracks),
        gpu_hours=sum(len(minutes) for minutes in tracks.values()) * SAMPLE_SECONDS / 3600.0,
        hottest_celsius=max(max(minutes.values()) for minutes in tracks.values()),
        slowdown_celsius=slowdown_celsius,
    )


def _tracks(file: Path) -> dict[str, dict[int, float]]:
    """Return the hottest temperature of every minute by GPU."""
    with gzip.open(file, "rt", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    time_column = next(name for name in rows[0] if name in ("t_s", "seconds", "time_s", "t"))
    celsius_column = next(name for name in rows[0] if "temp" in name.lower() or name.endswith("_c"))
    start = float(rows[0][time_column])
    tracks: dict[str, dict[int, float]] = {}
    for row in rows:
        if row[celsius_column] in ("", "nan"):
            continue
        minute = int((float(row[time_column]) - start) // SAMPLE_SECONDS)
        minutes = tracks.setdefault(f"{file.name.removesuffix('.csv.gz')}-{row.get('gpu', '0')}", {})
        minutes[minute] = max(minutes.get(minute, 0.0), float(row[celsius_column]))
    return tracks
