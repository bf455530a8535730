"""The only module of forecasting, beside ``cli``, that touches files.

It opens, bounds and decodes; what the bytes mean is decided by the pure modules that it hands them to.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from forecasting.capacity import CapacityModel, parse_capacity
from forecasting.charts import Picture
from forecasting.errors import ForecastingError, InputError
from forecasting.tables import SeriesTable, TableRequest, csv_rows, parse_table

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
