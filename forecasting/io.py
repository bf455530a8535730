"""The only module of forecasting, beside ``cli``, that touches files, the network and the clock.

It opens, bounds, retries and decodes; what the bytes mean is decided by the pure modules that it hands them to.
"""

from __future__ import annotations

import http.client
import importlib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from forecasting.backtest.waves import Wave, parse_waves
from forecasting.capacity import CapacityModel, parse_capacity
from forecasting.charts import Picture
from forecasting.errors import ForecastingError, InputError
from forecasting.tables import SeriesTable, TableRequest, csv_rows, parse_table
from forecasting.traces import TraceRequest, parse_trace
from forecasting.types import DemandSeries

MAX_LINE_BYTES = 65_536
"""Longest line of a text file; a longer one is no table and would not be held in memory."""

MAX_SMALL_FILE_BYTES = 1_048_576
"""Largest capacity file."""


def read_series(path: str, request: TableRequest) -> SeriesTable:
    """Read the series of a CSV or Parquet file.

    Args:
        path: The file; Parquet where it ends in ``.parquet``, else CSV.
        request: What to read from it.

    Returns:
        The series.

    Raises:
        InputError: If the file is missing, unreadable or wrong; the message names file, line and cure.
        NotEnoughDataError: If it holds too few counts.
    """
    if path.endswith(".parquet"):
        return parse_table(_parquet_rows(path), request)
    with _opened(path) as file:
        return parse_table(csv_rows(_text_lines(file, path), source=path), request)


def read_trace(path: str, request: TraceRequest) -> DemandSeries:
    """Read a public serving trace; see :mod:`forecasting.traces` for the formats.

    Args:
        path: The file as it was published, unpacked.
        request: What to read from it.

    Returns:
        Requests per step.

    Raises:
        InputError: If the file is missing, unreadable or of another format.
        NotEnoughDataError: If the trace is too short.
    """
    with _opened(path) as file:
        return parse_trace(_text_lines(file, path), request)


def read_waves(path: str, *, series_name: str) -> tuple[Wave, ...]:
    """Read labelled windows of surges; see :mod:`forecasting.backtest.waves` for the formats.

    Args:
        path: The file, CSV or JSON.
        series_name: File name of the series that is judged; chooses among the names of a JSON object.

    Returns:
        The windows.

    Raises:
        InputError: If the file is missing, too large or of neither format.
    """
    with _opened(path) as file:
        content = file.read(MAX_SMALL_FILE_BYTES + 1)
    if len(content) > MAX_SMALL_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_SMALL_FILE_BYTES} bytes; is this a list of windows?")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save the file as UTF-8") from error
    return parse_waves(text, source=path, series_name=series_name)


def read_capacity(path: str) -> CapacityModel:
    """Read a capacity file.

    Args:
        path: A YAML or JSON file.

    Returns:
        The model.

    Raises:
        InputError: If the file is missing, too large or wrong.
    """
    with _opened(path) as file:
        raw = file.read(MAX_SMALL_FILE_BYTES + 1)
    if len(raw) > MAX_SMALL_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_SMALL_FILE_BYTES} bytes; this is no capacity file")
    try:
        return parse_capacity(raw.decode("utf-8"), source=path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error


def utc_now() -> datetime:
    """Return the present time; the only clock of forecasting."""
    return datetime.now(tz=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds on one HTTP request.

    Attributes:
        timeout_seconds: Longest wait for the connection and for each read.
        max_attempts: Attempts in all; refused connections, time-outs and 429, 502, 503 and 504 are tried again.
        first_delay_seconds: Wait before the second attempt; doubles each time.
        max_body_bytes: Largest answer.
    """

    timeout_seconds: float = 30.0
    max_attempts: int = 4
    first_delay_seconds: float = 0.5
    max_body_bytes: int = 512 * 1024 * 1024


def fetch_http(address: str, limits: HttpLimits = HttpLimits()) -> bytes:
    """Send one GET, again where that can help.

    Args:
        address: An ``http`` or ``https`` address.
        limits: Bounds.

    Returns:
        The body; also that of a 400 or 422, in which Prometheus explains what is wrong with a query.

    Raises:
        ForecastingError: If no attempt succeeded; the message names the host and the last failure.
    """
    host = urllib.parse.urlsplit(address).netloc
    failure = "no attempt was made"
    for attempt in range(limits.max_attempts):
        if attempt:
            time.sleep(limits.first_delay_seconds * 2.0 ** (attempt - 1))
        try:
            with urllib.request.urlopen(address, timeout=limits.timeout_seconds) as answer:
                return _bounded_body(answer, host, limits)
        except urllib.error.HTTPError as error:
            if error.code in {400, 422}:
                return _bounded_body(error, host, limits)
            failure = f"HTTP {error.code}"
            if error.code not in {429, 502, 503, 504}:
                break
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = str(getattr(error, "reason", error)) or type(error).__name__
    raise ForecastingError(
        f"{host}: no answer after {attempt + 1} attempts ({failure}); is Prometheus up and reachable?"
    )


def _bounded_body(answer: IO[bytes], host: str, limits: HttpLimits) -> bytes:
    body = answer.read(limits.max_body_bytes + 1)
    if len(body) > limits.max_body_bytes:
        raise ForecastingError(f"{host}: the answer is larger than {limits.max_body_bytes} bytes; aggregate the query")
    return body


def write_bytes(path: str, content: bytes) -> None:
    """Write a file, replacing what was there.

    Raises:
        ForecastingError: If the file cannot be written.
    """
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise ForecastingError(f"{path}: cannot be written ({error.strerror})") from error


def write_figure(path: str, figure: Picture) -> None:
    """Write a picture in the format of the path's ending, without the time of writing.

    Raises:
        ForecastingError: If the file cannot be written.
    """
    try:
        figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    except OSError as error:
        raise ForecastingError(f"{path}: cannot be written ({error.strerror})") from error


def file_exists(path: str) -> bool:
    """Return whether a path names a file, which decides how ``FILE:COLUMN`` is split."""
    return Path(path).is_file()


def _opened(path: str) -> IO[bytes]:
    try:
        if Path(path).is_dir():
            raise InputError(f"{path}: is a folder; name a file in it")
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _text_lines(file: IO[bytes], path: str) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise InputError(f"{path}:{number}: longer than {MAX_LINE_BYTES} bytes; is this a CSV file?")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}:{number}: not UTF-8 text; save the file as UTF-8") from error


def _parquet_rows(path: str) -> Iterator[tuple[int, list[str]]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        arrow = importlib.import_module("pyarrow")
    except ImportError as error:
        raise InputError(
            f"{path}: reading Parquet needs pyarrow; pip install pyarrow, or save the data as CSV"
        ) from error
    with _opened(path) as file:
        try:
            table = parquet.ParquetFile(file)
            yield 1, [str(name) for name in table.schema_arrow.names]
            number = 1
            for batch in table.iter_batches():
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    yield number, ["" if cell is None else str(cell) for cell in row]
        except arrow.ArrowException as error:
            first = str(error).splitlines()[0] if str(error) else "damaged"
            raise InputError(f"{path}: not a readable Parquet file ({first})") from error
