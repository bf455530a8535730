"""Log lines of the serving process: to standard error, readable on a terminal, JSON otherwise.

The same keys as the rest of meltguard writes (event, level, timestamp), without structlog: it and its imports cost
12 MiB, a seventh of the exporter's budget (docs/decisions/0032).
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO


class Log:
    """Writes events."""

    def __init__(self, least_level: int = logging.INFO, stream: TextIO | None = None) -> None:
        """Write events of ``least_level`` (a number of ``logging``) and above to ``stream`` or standard error."""
        self._least_level = least_level
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal = self._stream.isatty()

    def info(self, event: str, **fields: object) -> None:
        """Write something expected."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write something that a person may want to look into."""
        self._write(logging.WARNING, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, object]) -> None:
        if level < self._least_level:
            return
        name = logging.getLevelName(level).lower()
        timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._is_terminal:
            rest = " ".join(f"{key}={_printable(str(value))}" for key, value in fields.items())
            line = f"{timestamp} [{name}] {event} {rest}".rstrip()
        else:
            line = json.dumps({"event": event, "level": name, "timestamp": timestamp, **fields}, default=str)
        print(line, file=self._stream, flush=True)


def _printable(text: str) -> str:
    """Return a text without what a terminal would obey; JSON escapes it by itself."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
