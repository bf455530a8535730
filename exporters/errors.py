"""Errors of the exporter.

::

    ExporterError               anything that a caller may show as one line
    ├── SettingsError           a flag or a file is wrong: says where and what to do; exit code 2
    └── SourceError             the source of readings cannot be used now; the collector ends and is started again
        ├── LibraryError        no usable NVML library or Python binding
        ├── DriverGoneError     the driver was unloaded, replaced or lost its connection: only a new process helps
        └── DeviceLostError     one GPU is gone or must be reset; the others are well
"""

from __future__ import annotations

from typing import ClassVar


class ExporterError(Exception):
    """A failure that is explained in one line.

    Attributes:
        exit_code: What a command that fails with it exits with: 1 failed, 2 usage.
    """

    exit_code: ClassVar[int] = 1


class SettingsError(ExporterError):
    """A setting cannot be used; the message names the place and the cure."""

    exit_code: ClassVar[int] = 2


class SourceError(ExporterError):
    """The source of readings cannot be used at present.

    Attributes:
        reason: The value of the label ``reason`` of ``meltguard_gpu_up``.
    """

    default_reason: ClassVar[str] = "source_error"

    def __init__(self, message: str, reason: str | None = None) -> None:
        """Keep ``message``; ``reason`` replaces the class's own."""
        super().__init__(message)
        self.reason = reason if reason is not None else self.default_reason


class LibraryError(SourceError):
    """The NVML library or its Python binding cannot be loaded."""

    default_reason: ClassVar[str] = "no_library"


class DriverGoneError(SourceError):
    """The driver was unloaded or replaced while the collector ran; a fresh process must load the new library."""

    default_reason: ClassVar[str] = "driver_gone"


class DeviceLostError(SourceError):
    """One GPU does not answer any more (fell off the bus, needs a reset)."""

    default_reason: ClassVar[str] = "lost"
