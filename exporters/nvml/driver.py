"""The border to NVML: loads the library, makes calls, sorts its errors into ours.

Called by ``exporters.nvml.source`` in the collector process. Nothing above this module sees pynvml, its exceptions or
its structures. Two properties of pynvml shape it: ``NVMLError`` is unhashable and compares badly, so only its ``value``
leaves this module; and a version mismatch raises an exception that is no ``NVMLError``.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any, TypeVar

from exporters.calls import CallTracker
from exporters.errors import DeviceLostError, DriverGoneError, LibraryError

try:
    import pynvml  # type: ignore[import-untyped,unused-ignore]
except ImportError:  # The extra is not installed: opening the library says what to install.
    pynvml = None

__all__ = ["DeviceCalls", "FieldSet", "describe", "load_library", "pynvml", "read_text"]

T = TypeVar("T")

_UNSUPPORTED = frozenset({2, 3, 4, 13, 25, 26})
"""invalid argument, not supported, no permission, function not found, version mismatch, deprecated."""
_DRIVER_GONE = frozenset({1, 9, 12, 18})
"""uninitialised, driver not loaded, library not found, library and kernel module differ."""
_DEVICE_LOST = {15: "lost", 16: "reset_required", 28: "lost"}
"""GPU is lost, reset required, GPU not found."""

RETRY_UNSUPPORTED_PASSES = 300
"""After so many passes a call that was not supported is tried again: switching MIG mode changes what is."""


class FieldValue(ctypes.Structure):
    """``nvmlFieldValue_t``; our own layout, since pynvml's decodes every attribute in Python."""

    class _Value(ctypes.Union):
        _fields_ = (
            ("double", ctypes.c_double),
            ("unsigned_int", ctypes.c_uint),
            ("unsigned_long_long", ctypes.c_ulonglong),
            ("signed_long_long", ctypes.c_longlong),
            ("signed_int", ctypes.c_int),
            ("unsigned_short", ctypes.c_ushort),
        )

    _fields_ = (
        ("field_id", ctypes.c_uint32),
        ("scope_id", ctypes.c_uint32),
        ("timestamp", ctypes.c_int64),
        ("latency_microseconds", ctypes.c_int64),
        ("value_type", ctypes.c_int),
        ("status", ctypes.c_int),
        ("value", _Value),
    )


# NVML's value types; 2 (unsigned long) is as wide as unsigned long long on 64-bit Linux.
_UNION_MEMBER = {
    0: "double",
    1: "unsigned_int",
    2: "unsigned_long_long",
    3: "unsigned_long_long",
    4: "signed_long_long",
    5: "signed_int",
    6: "unsigned_short",
}


def load_library(path: str | None) -> None:
    """Load NVML and initialise it.

    Args:
        path: A library to use instead of the system's ``libnvidia-ml.so.1``.

    Raises:
        LibraryError: If the binding or the library is missing.
        DriverGoneError: If the driver does not answer.
    """
    if pynvml is None:
        raise LibraryError("the Python package nvidia-ml-py is not installed: install meltguard[nvml]")
    if path is not None:
        try:
            pynvml.nvmlLib = ctypes.CDLL(path)
        except OSError as error:
            raise LibraryError(f"--nvml-library {path} cannot be loaded: {error}") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == 12:
            raise LibraryError("libnvidia-ml.so.1 was not found: is the NVIDIA driver mounted here?") from None
        raise DriverGoneError(f"NVML does not start: {describe(error.value)}") from None


def describe(status: int) -> str:
    """Return NVML's number with pynvml's name for it."""
    name = next(
        (name for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and value == status), "unknown"
    )
    return f"{name} ({status})"


class DeviceCalls:
    """Makes the calls that concern one GPU.

    A call that the driver or the GPU does not support gives None and is left out for a while; a passing failure gives
    None; the loss of the GPU or of the driver raises.
    """

    def __init__(self, tracker: CallTracker, handle: object) -> None:
        """Bind ``handle`` (pynvml's) to ``tracker``."""
        self.tracker = tracker
        self.handle: Any = handle
        self.num_passes = 0
        self._unsupported: dict[str, int] = {}

    def get(self, name: str, convert: Callable[[Any], T], *arguments: object) -> T | None:
        """Return ``convert(pynvml.<name>(handle, *arguments))``, or None when the GPU does not say.

        Raises:
            DeviceLostError: If the GPU is gone.
            DriverGoneError: If the driver is gone.
        """
        key = f"{name}{arguments}" if arguments else name
        return self.run(key, name, lambda: convert(getattr(pynvml, name)(self.handle, *arguments)))

    def run(self, key: str, name: str, body: Callable[[], T]) -> T | None:
        """Run ``body`` as a call of ``name``.

        Args:
            key: Tells apart the same call with other arguments, for what is not supported.
            name: The driver's function, for the account of calls.
            body: Makes the call.

        Returns:
            What ``body`` returns; None when the GPU does not say.

        Raises:
            DeviceLostError: If the GPU is gone.
            DriverGoneError: If the driver is gone.
        """
        retry_at = self._unsupported.get(key)
        if retry_at is not None and self.num_passes < retry_at:
            return None
        try:
            return self.tracker.call(name, body)
        except pynvml.NVMLError as error:
            status = int(error.value)
        except (pynvml.NVMLLibraryMismatchError, AttributeError):
            # Either the library or the binding is too old to know the call.
            status = 13
        if status in _UNSUPPORTED:
            self._unsupported[key] = self.num_passes + RETRY_UNSUPPORTED_PASSES
        else:
            raise_if_gone(status, name)
        return None


def raise_if_gone(status: int, name: str) -> None:
    """Raise when ``status`` means that the GPU or the driver is gone; anything else is a passing failure.

    Raises:
        DeviceLostError: If the GPU is gone.
        DriverGoneError: If the driver is gone.
    """
    if status in _DEVICE_LOST:
        raise DeviceLostError(f"{name}: {describe(status)}", _DEVICE_LOST[status])
    if status in _DRIVER_GONE:
        raise DriverGoneError(f"{name}: {describe(status)}")


class FieldSet:
    """A list of NVML fields that are read with one driver call into one reused array.

    ``nvmlDeviceGetFieldValues`` through pynvml builds the array anew each time (32 µs for twelve fields); reusing it
    costs less than a microsecond.
    """

    def __init__(self, fields: tuple[tuple[str, int, int], ...]) -> None:
        """Prepare ``fields``: our name, NVML's field id, scope."""
        self._names = tuple(name for name, _, _ in fields)
        self._key = "fields:" + ",".join(self._names)
        self._values = (FieldValue * len(fields))()
        for value, (_, field_id, scope_id) in zip(self._values, fields, strict=True):
            value.field_id = field_id
            value.scope_id = scope_id

    def read(self, calls: DeviceCalls) -> dict[str, float]:
        """Return the fields that the GPU reports, by our name, in NVML's units.

        Raises:
            DeviceLostError: If the GPU is gone.
            DriverGoneError: If the driver is gone.
        """
        # A driver that fills nothing in must not leave the values of the last pass standing.
        for value in self._values:
            value.status = 3
        if calls.run(self._key, "nvmlDeviceGetFieldValues", lambda: self._fill(calls.handle)) is None:
            return {}
        found: dict[str, float] = {}
        for name, value in zip(self._names, self._values, strict=True):
            if value.status == 0:
                member = _UNION_MEMBER.get(value.value_type)
                if member is not None:
                    found[name] = float(getattr(value.value, member))
        return found

    def _fill(self, handle: object) -> bool:
        status = pynvml.nvmlLib.nvmlDeviceGetFieldValues(handle, len(self._values), ctypes.byref(self._values))
        if status != 0:
            raise pynvml.NVMLError(status)
        return True


def read_text(value: object) -> str:
    """Return NVML's text, which old bindings hand over as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def raise_if_gone_for_all(status: int, name: str) -> None:
    """Like ``raise_if_gone`` for a call that concerns no single GPU: a lost GPU is then no reason to stop.

    Raises:
        DriverGoneError: If the driver is gone.
    """
    if status in _DRIVER_GONE:
        raise DriverGoneError(f"{name}: {describe(status)}")


def address_of(handle: object) -> int | None:
    """Return the address that an NVML handle stands for; events name their GPU by it."""
    return ctypes.cast(handle, ctypes.c_void_p).value  # type: ignore[arg-type]


def unix_seconds() -> float:
    """Return the wall clock; events carry no time of their own."""
    return time.time()
