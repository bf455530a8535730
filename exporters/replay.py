"""``--source replay:FILE``: recorded telemetry played again at its own pace, from the start again at its end.

Runs in the collector process behind the same port as NVML. Reads the thermal log of the commands (``timestamp, gpu,
temperature_celsius, power_watts, ...``) and a log of ``nvidia-smi --query-gpu=... --format=csv`` as it comes. What the
file does not hold stays absent.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from exporters.calls import CallTracker
from exporters.errors import SettingsError
from exporters.messages import DeviceIdentity, FastReading, SlowReading, XidEvent
from exporters.simulated import MARGIN_REFERENCE_CELSIUS

MAX_ROWS = 2_000_000
MAX_GPUS = 64
MAX_UNIX_SECONDS = 1e11
"""A time further than this from 1970 is a mistake, and so large that seconds would lose their digits."""
MAX_NUMBER = 1e12
"""No cell of a log about a GPU holds a larger number; sums over the longest log stay finite."""
PAUSE_SECONDS = 1.0
"""Between the last row and the first one again."""

# The name without its unit in brackets -> our name; nvidia-smi's names beside those of the commands.
_COLUMNS = {
    "timestamp": "timestamp",
    "gpu": "gpu",
    "uuid": "gpu",
    "index": "index",
    "temperature_celsius": "temperature",
    "temperature.gpu": "temperature",
    "power_watts": "power",
    "power.draw": "power",
    "utilization_ratio": "utilization_ratio",
    "utilization.gpu": "utilization_percent",
    "memory_temperature_celsius": "memory_temperature",
    "temperature.memory": "memory_temperature",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recorded reading; ``at_seconds`` counts from the first row of the file."""

    at_seconds: float
    temperature_celsius: float | None
    memory_temperature_celsius: float | None
    power_watts: float | None
    utilization_ratio: float | None
    energy_joules: float


def _number(text: str | None) -> float | None:
    """Return the number in a cell such as ``61.50 W`` or ``97 %``; None for ``[N/A]``, NaN and the like."""
    try:
        value = float((text or "").strip().split(" ")[0])
    except ValueError:
        return None
    return value if abs(value) <= MAX_NUMBER else None


def parse_time(text: str) -> float:
    """Return Unix seconds of an ISO time, Unix seconds or the driver's ``2025/03/26 12:00:00.123`` (taken as UTC).

    Raises:
        ValueError: If the text is none of them, or no time of this age of the world.
    """
    cleaned = text.strip()
    try:
        seconds = float(cleaned)
    except ValueError:
        moment = datetime.fromisoformat(cleaned.replace("/", "-"))
        seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    if not abs(seconds) <= MAX_UNIX_SECONDS:
        raise ValueError(f"{cleaned!r} lies too far from 1970")
    return seconds


def read_rows(path: Path) -> dict[str, list[Row]]:
    """Return the rows of ``path`` by GPU, in order of time.

    Raises:
        SettingsError: If the file cannot be read or a row makes no sense; names the file, the line and the cure.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return _parse(file, path)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise SettingsError(f"{path}: is no CSV: {error}") from error


def _parse(lines: Iterable[str], path: Path) -> dict[str, list[Row]]:
    table = csv.reader(lines)
    header = [_COLUMNS.get(name.strip().split(" ")[0], "") for name in next(table, [])]
    if "timestamp" not in header or "temperature" not in header:
        raise SettingsError(f"{path}:1: needs the columns timestamp and temperature_celsius (or nvidia-smi's names)")
    rows: dict[str, list[Row]] = {}
    first: float | None = None
    for number, cells in enumerate(table, start=2):
        if not cells or number > MAX_ROWS:
            continue
        found = dict(zip(header, cells, strict=False))
        try:
            at = parse_time(found["timestamp"])
        except (ValueError, KeyError):
            raise SettingsError(f"{path}:{number}: {cells[0]!r} is no time; use ISO-8601 or Unix seconds") from None
        first = at if first is None else first
        series = rows.setdefault(_gpu_of(found), [])
        if len(rows) > MAX_GPUS:
            raise SettingsError(f"{path}:{number}: more than {MAX_GPUS} GPUs; is the column gpu right?")
        _append(series, at - first, found, f"{path}:{number}")
    if not rows:
        raise SettingsError(f"{path}: holds no rows")
    return rows


def _gpu_of(found: dict[str, str]) -> str:
    return (found.get("gpu") or found.get("index") or "0").strip()


def _append(series: list[Row], at_seconds: float, found: dict[str, str], place: str) -> None:
    if series and at_seconds < series[-1].at_seconds:
        raise SettingsError(f"{place}: goes back in time; sort the file by timestamp")
    power = _number(found.get("power"))
    percent = _number(found.get("utilization_percent"))
    utilization = _number(found.get("utilization_ratio")) if percent is None else percent / 100.0
    joules = 0.0
    if series:
        watts = series[-1].power_watts
        joules = series[-1].energy_joules + (watts or 0.0) * (at_seconds - series[-1].at_seconds)
    series.append(
        Row(
            at_seconds=at_seconds,
            temperature_celsius=_number(found.get("temperature")),
            memory_temperature_celsius=_number(found.get("memory_temperature")),
            power_watts=power,
            utilization_ratio=utilization,
            energy_joules=joules,
        )
    )


class ReplayReader:
    """Plays the rows of one GPU."""

    def __init__(self, uuid: str, rows: list[Row], began: float, length_seconds: float) -> None:
        """Play ``rows`` from the monotonic time ``began``, again after each ``length_seconds``."""
        self._uuid = uuid
        self._rows = rows
        self._began = began
        self._length_seconds = length_seconds

    def _row_at(self, elapsed_seconds: float) -> tuple[Row, int]:
        rounds, position = divmod(elapsed_seconds, self._length_seconds)
        low, high = 0, len(self._rows)
        while low < high:
            middle = (low + high) // 2
            if self._rows[middle].at_seconds <= position:
                low = middle + 1
            else:
                high = middle
        return self._rows[max(low - 1, 0)], int(rounds)

    def read_fast(self) -> FastReading:
        """Return the row of this moment."""
        now = time.monotonic()
        row, rounds = self._row_at(max(now - self._began, 0.0))
        margin = None if row.temperature_celsius is None else MARGIN_REFERENCE_CELSIUS - row.temperature_celsius
        return FastReading(
            uuid=self._uuid,
            taken_at_monotonic=now,
            taken_at_unix=time.time(),
            temperature_celsius=row.temperature_celsius,
            memory_temperature_celsius=row.memory_temperature_celsius,
            margin_celsius=margin,
            power_watts=row.power_watts,
            # Each round goes on counting where the last one ended.
            energy_joules=row.energy_joules + rounds * self._rows[-1].energy_joules,
            utilization_ratio=row.utilization_ratio,
        )

    def read_slow(self) -> SlowReading:
        """Return the limits that the replay assumes: T.Limit as on an H100-class board."""
        return SlowReading(uuid=self._uuid, limit_offsets_celsius={"shutdown": -8.0, "slowdown": -2.0, "gpu_max": 0.0})


class ReplaySource:
    """The GPUs of a recorded log."""

    driver_version = "replay"

    def __init__(self, path: str) -> None:
        """Read the whole log.

        Raises:
            SettingsError: If the log cannot be used.
        """
        self._rows = read_rows(Path(path))
        self._length_seconds = max(rows[-1].at_seconds for rows in self._rows.values()) + PAUSE_SECONDS
        self._began = time.monotonic()

    def open(self, tracker: CallTracker) -> tuple[DeviceIdentity, ...]:
        """Return the GPUs of the log."""
        del tracker
        return tuple(
            DeviceIdentity(
                uuid=name if name.startswith("GPU-") else f"GPU-replay-{name}",
                index=index,
                model="Replay",
                pci_bus_id="",
            )
            for index, name in enumerate(self._rows)
        )

    def reader(self, device: DeviceIdentity, tracker: CallTracker) -> ReplayReader:
        """Return the reader of ``device``."""
        del tracker
        rows = list(self._rows.values())[device.index]
        return ReplayReader(device.uuid, rows, self._began, self._length_seconds)

    def wait_for_events(self, timeout_seconds: float) -> list[XidEvent]:
        """Wait; a log holds no events."""
        time.sleep(timeout_seconds)
        return []

    def topology(self) -> str:
        """Return the constant number of GPUs."""
        return str(len(self._rows))
