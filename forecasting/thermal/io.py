"""Reads telemetry from files and from Prometheus, and keeps the model's state on disk.

The only module of the package that does I/O. Three file formats are told apart by their first lines:

1. CSV of the contract: ``timestamp, gpu, temperature_celsius, power_watts[, utilization_ratio,
   memory_temperature_celsius, power_limit_watts, throttled, margin_celsius]``.
2. ``nvidia-smi --query-gpu=... --format=csv`` as it comes (``temperature.gpu``, ``power.draw [W]``, ``[N/A]``, driver
   time stamps) and wrappers of it (``gpu_index, temperature_C, power_W``).
3. The ``nvidia-smi`` table, printed again and again under a line of ``date``.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from forecasting.errors import InputError, NotEnoughDataError
from forecasting.thermal.margin import MARGIN_REFERENCE_CELSIUS
from forecasting.thermal.telemetry import GpuTelemetry, TelemetryLog

MAXIMUM_FILE_BYTES = 512 * 1024 * 1024
"""A larger log is refused before it is read: it would not fit beside the model on a laptop."""

LARGEST_UNIX_SECONDS = 1e11
"""The year 5138: larger numbers are milliseconds."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "time": ("timestamp", "time", "date", "unix_seconds", "seconds", "t"),
    "gpu": ("uuid", "gpu_uuid", "gpu", "index", "gpu_index", "gpu_id", "pci.bus_id", "gpu_bus_id"),
    "temperature": ("temperature_celsius", "temperature.gpu", "temperature_c", "temperature", "temp", "gpu_temp"),
    "power": ("power_watts", "power.draw.average", "power.draw", "power.draw.instant", "power_w", "power"),
    "utilization": ("utilization_ratio", "utilization.gpu", "utilization_gpu_percent", "utilization", "util"),
    "memory": ("memory_temperature_celsius", "temperature.memory", "memory_temp", "temperature_memory_c"),
    "power_limit": ("power_limit_watts", "enforced.power.limit", "power.limit", "power_limit_w"),
    "margin": ("margin_celsius", "thermal_margin_celsius", "temperature.gpu.tlimit", "gpu_tlimit", "tlimit"),
    "reasons": ("clocks_event_reasons.active", "clocks_throttle_reasons.active"),
}
"""Names under which sources write each quantity, best first."""

THROTTLED_COLUMNS = (
    "throttled",
    "clocks_event_reasons.hw_thermal_slowdown",
    "clocks_throttle_reasons.hw_thermal_slowdown",
    "clocks_event_reasons.sw_thermal_slowdown",
    "clocks_throttle_reasons.sw_thermal_slowdown",
)
"""Any of these says that clocks were held down for heat: software capping starts first and counts as much."""

THERMAL_REASONS = 0x20 | 0x40
"""NVML clock event reasons that mean heat: software and hardware thermal slowdown (nvml.h)."""

ABSENT = {
    "",
    "n/a",
    "[n/a]",
    "na",
    "nan",
    "none",
    "[not supported]",
    "not supported",
    "[unknown error]",
    "null",
    "err!",
}
"""Cells that mean that there is no reading."""

DATE_LINE = re.compile(r"^\w{3} \w{3} +\d{1,2} \d{2}:\d{2}:\d{2} (?:[AP]M )?(?:\w+ )?\d{4}$")
TABLE_GPU = re.compile(r"^\|\s+(\d+)\s+\S.*\|")
TABLE_READING = re.compile(
    r"^\|\s*(?:N/A|\d+%)\s+(\d+|N/A)C?\s+\S+\s+(\d+|N/A)W?\s*/\s*(\d+|N/A)W?\s*\|[^|]*\|\s*(\d+|N/A)%?"
)


@dataclass(slots=True, kw_only=True)
class _Row:
    """One reading before it is sorted into its series; times in unix seconds, the rest in base units."""

    gpu: str
    seconds: float
    temperature: float
    power: float
    utilization: float = math.nan
    memory: float = math.nan
    throttled: float = math.nan
    power_limit: float = math.nan
    margin: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """Where a CSV keeps what.

    Attributes:
        columns: Index of the column of each quantity of ``COLUMNS`` that is there.
        throttled: Indices of all columns of ``THROTTLED_COLUMNS`` that are there.
        percent: Whether utilisation is written in percent; only the contract's own column is a ratio.
    """

    columns: dict[str, int]
    throttled: tuple[int, ...]
    percent: bool


def read_log(path: Path) -> TelemetryLog:
    """Read a telemetry log in any of the formats above, gzip or plain.

    Args:
        path: The file.

    Returns:
        The log, one series per GPU.

    Raises:
        InputError: If the file cannot be read or a line cannot be understood; names file, line and cure.
        NotEnoughDataError: If it holds no reading.
    """
    lines = _lines(path)
    first = next((line for line in lines if line.strip()), "")
    warnings: list[str] = []
    if DATE_LINE.match(first.strip()) or first.startswith("+--"):
        rows: Iterable[_Row] = _table_rows(lines, path.name)
        warnings.append("times carry no zone; read as UTC")
    else:
        rows = _csv_rows(lines, path.name, warnings)
    return _collect(rows, str(path.name), warnings)


def _lines(path: Path) -> list[str]:
    """Return the text lines of a file, refusing what is missing, too large or not text."""
    try:
        if path.stat().st_size > MAXIMUM_FILE_BYTES:
            raise InputError(f"{path}: larger than {MAXIMUM_FILE_BYTES} bytes; split the log by day")
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", errors="strict", newline="") as stream:
            return stream.read(MAXIMUM_FILE_BYTES).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file; give the CSV or the nvidia-smi log itself") from error
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); check the name and the permissions") from error


def _header(header: list[str]) -> _Header:
    """Return which column holds which quantity, from a header with or without units in brackets."""
    names = [re.sub(r"\s*\[[^]]*\]\s*$", "", cell).strip().lower() for cell in header]
    found: dict[str, int] = {}
    for quantity, candidates in COLUMNS.items():
        for candidate in candidates:
            if candidate in names:
                found[quantity] = names.index(candidate)
                break
    percent = "utilization" in found and names[found["utilization"]] != "utilization_ratio"
    throttled = tuple(names.index(name) for name in THROTTLED_COLUMNS if name in names)
    return _Header(columns=found, throttled=throttled, percent=percent)


def _csv_rows(lines: list[str], source: str, warnings: list[str]) -> Iterator[_Row]:
    """Yield the readings of a CSV, whatever its dialect of column names."""
    reader = csv.reader(lines, skipinitialspace=True)
    header = next((cells for cells in reader if any(cell.strip() for cell in cells)), [])
    found = _header(header)
    columns = found.columns
    if "temperature" not in columns and "margin" in columns:
        warnings.append(f"no core temperature; shown as {MARGIN_REFERENCE_CELSIUS:g} minus the margin")
        columns["temperature"] = columns["margin"]
    for needed, example in (("time", "timestamp"), ("temperature", "temperature_celsius"), ("power", "power_watts")):
        if needed not in columns:
            raise InputError(f"{source}: line 1: no column for {needed}; name it {example!r}")
    zoned = True
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        place = f"{source}: line {reader.line_num}"
        if [cell.strip() for cell in cells] == [cell.strip() for cell in header]:
            continue  # A logger that was restarted writes its header again.
        if len(cells) < len(header):
            if reader.line_num == len(lines):
                warnings.append(f"line {reader.line_num} is cut off and was left out")
                break
            raise InputError(f"{place}: {len(cells)} columns, the header has {len(header)}; remove the broken line")
        seconds, has_zone = _time(cells[columns["time"]], place)
        zoned = zoned and has_zone
        yield _csv_row(cells, found, seconds, place)
    if not zoned:
        warnings.append("times carry no zone; read as UTC")


def _csv_row(cells: list[str], header: _Header, seconds: float, place: str) -> _Row:
    """Return one reading."""
    columns = header.columns

    def value(quantity: str) -> float:
        return _number(cells[columns[quantity]], place, quantity) if quantity in columns else math.nan

    flags = [_flag(cells[index]) for index in header.throttled]
    if "reasons" in columns:
        flags.append(_thermal_reason(cells[columns["reasons"]]))
    margin, temperature = value("margin"), value("temperature")
    if columns.get("margin") == columns["temperature"]:
        temperature = MARGIN_REFERENCE_CELSIUS - margin
    return _Row(
        gpu=cells[columns["gpu"]].strip() if "gpu" in columns else "0",
        seconds=seconds,
        temperature=temperature,
        power=value("power"),
        utilization=value("utilization") / (100.0 if header.percent else 1.0),
        memory=value("memory"),
        throttled=max((flag for flag in flags if math.isfinite(flag)), default=math.nan),
        power_limit=value("power_limit"),
        margin=margin,
    )


def _flag(text: str) -> float:
    """Return 1 for a flag that is set, 0 for one that is not, NaN without a reading."""
    word = text.strip().lower()
    return math.nan if word in ABSENT else float(word in {"active", "1", "true", "1.0"})


def _thermal_reason(text: str) -> float:
    """Return 1 where an NVML reason mask such as ``0x0000000000000020`` names heat, else 0; NaN without a mask."""
    try:
        return float(bool(int(text.strip(), 16) & THERMAL_REASONS))
    except ValueError:
        return math.nan


def _number(text: str, place: str, quantity: str) -> float:
    """Return a number with or without its unit; NaN where the source has no reading."""
    stripped = text.strip()
    if stripped.lower() in ABSENT:
        return math.nan
    bare = re.sub(r"\s*(W|C|%|MiB|MHz)$", "", stripped)
    try:
        number = float(bare)
    except ValueError as error:
        raise InputError(f"{place}: {quantity} is {stripped!r}, not a number; fix or empty the cell") from error
    return number if math.isfinite(number) else math.nan


def _time(text: str, place: str) -> tuple[float, bool]:
    """Return unix seconds and whether the text named its zone (UTC is assumed where not)."""
    stripped = text.strip()
    try:
        number = float(stripped)
    except ValueError:
        pass
    else:
        if not math.isfinite(number) or abs(number) > LARGEST_UNIX_SECONDS:
            raise InputError(f"{place}: time {stripped!r} is not unix seconds; milliseconds must be divided by 1000")
        return number, True
    for parse in (datetime.fromisoformat, _driver_time):
        try:
            moment = parse(stripped)
        except ValueError:
            continue
        named = parse is not _driver_time and moment.tzinfo is not None
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp(), named
    raise InputError(f"{place}: time {stripped!r} is not understood; write ISO-8601 with a zone or unix seconds")


def _driver_time(text: str) -> datetime:
    """Return a time as the driver writes it, ``2025/09/24 03:17:04.490``, as UTC."""
    return datetime.strptime(text, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)


def parse_time(text: str, place: str) -> float:
    """Return the unix seconds of a time as a user writes it.

    Args:
        text: ISO-8601 (UTC where it names no zone) or unix seconds.
        place: Option or line, for messages.

    Returns:
        Unix seconds.

    Raises:
        InputError: If it is not understood.
    """
    return _time(text, place)[0]


def _table_rows(lines: list[str], source: str) -> Iterator[_Row]:
    """Yield the readings of printed ``nvidia-smi`` tables, each under a line of ``date``."""
    seconds, gpu = math.nan, None
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if DATE_LINE.match(stripped):
            seconds = _date_line(stripped, f"{source}: line {number}")
            continue
        reading = TABLE_READING.match(stripped)
        if reading and gpu is not None:
            if math.isnan(seconds):
                raise InputError(f"{source}: line {number}: a table without a line of `date` above it; print one")
            place = f"{source}: line {number}"
            temperature, power, limit, utilization = (_number(cell, place, "table") for cell in reading.groups())
            yield _Row(
                gpu=gpu,
                seconds=seconds,
                temperature=temperature,
                power=power,
                power_limit=limit,
                utilization=utilization / 100.0,
            )
            gpu = None
            continue
        name = TABLE_GPU.match(stripped)
        if name and "MiB /" not in stripped:
            gpu = name.group(1)


def _date_line(text: str, place: str) -> float:
    """Return the unix seconds of a line of ``date``; a zone's name is ignored and UTC assumed."""
    words = text.split()
    clock = " ".join([words[1], words[2], words[3], *(word for word in words[4:-1] if word in {"AM", "PM"}), words[-1]])
    pattern = "%b %d %I:%M:%S %p %Y" if {"AM", "PM"} & set(words) else "%b %d %H:%M:%S %Y"
    try:
        return datetime.strptime(clock, pattern).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise InputError(f"{place}: date {text!r} is not understood; print it with LC_ALL=C") from error


def _collect(rows: Iterable[_Row], source: str, warnings: list[str]) -> TelemetryLog:
    """Sort readings into one series per GPU, dropping repeats and what goes back in time."""
    series: dict[str, list[_Row]] = {}
    dropped = 0
    for row in rows:
        kept = series.setdefault(row.gpu, [])
        if kept and row.seconds <= kept[-1].seconds:
            dropped += 1
            continue
        kept.append(row)
    if not series:
        raise NotEnoughDataError(f"{source}: holds no reading; check that the log was written")
    if dropped:
        warnings.append(f"{dropped} readings were not later than the one before and were dropped")
    return TelemetryLog(
        source=source, gpus=tuple(_series(gpu, kept) for gpu, kept in series.items()), warnings=tuple(warnings)
    )


def _series(gpu: str, rows: list[_Row]) -> GpuTelemetry:
    """Return one GPU's readings as arrays."""
    limits = [row.power_limit for row in rows if math.isfinite(row.power_limit) and row.power_limit > 0.0]
    return GpuTelemetry(
        gpu=gpu,
        seconds=np.array([row.seconds for row in rows]),
        temperature_celsius=np.array([row.temperature for row in rows]),
        power_watts=np.array([row.power for row in rows]),
        utilization_ratio=np.array([row.utilization for row in rows]),
        memory_temperature_celsius=np.array([row.memory for row in rows]),
        throttled=np.array([row.throttled for row in rows]),
        power_limit_watts=limits[0] if limits else None,
        margin_celsius=np.array([row.margin for row in rows])
        if any(math.isfinite(row.margin) for row in rows)
        else None,
    )
