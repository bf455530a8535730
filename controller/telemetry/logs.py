"""Sets up structlog once, at the edge: console lines on a terminal, JSON otherwise, always on stderr.

Called by the command line before a command's body runs; pure code never logs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from enum import StrEnum


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _without_terminal_codes(
    logger: object, method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Escape what a terminal would obey: names and answers in a log line may come from anybody."""
    del logger, method
    for key, value in event.items():
        # A traceback's line breaks are wanted, and its message may be anybody's; JSON escapes everything by itself.
        wanted = "\n" if key == "exception" else ""
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(
                c if c.isprintable() or c in wanted else c.encode("unicode_escape").decode() for c in value
            )
    return event


def configure_logging(level: LogLevel) -> None:
    """Make every logger of this process write to stderr at ``level`` and above."""
    import structlog

    # Colours only where a person reads them and has not said no; an empty NO_COLOR counts as not set.
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *([_without_terminal_codes] if terminal else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.value.upper())),
        # Asked for at each line: whoever has put another stream in place of stderr since gets the line.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
