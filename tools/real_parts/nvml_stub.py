"""Builds and drives the NVML stub: what it is told by a file, it does at its next call."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
NEWEST_DRIVER = 580
LIMIT_CELSIUS = 87.0
"""Where the stub's GPUs begin to slow down, as the driver's margin says."""
_HARDWARE = struct.Struct("@10d3i4x")
_FIRST_GPU_BYTES = 8


def build_stub(directory: Path, driver_major: int = NEWEST_DRIVER) -> Path:
    """Compile the stub as a driver of that major version (older ones lack symbols) and return the library."""
    library = directory / str(driver_major) / "libnvidia-ml.so.1"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-DDRIVER_MAJOR={driver_major}"]
        command += ["-Wl,-soname,libnvidia-ml.so.1", "-o", str(library), str(SOURCE), "-lm", "-lpthread"]
        subprocess.run(command, check=True, timeout=60)
    return library


@dataclass
class StubState:
    """The file that the stub reads; setting a key changes the hardware at once."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)

    def set(self, **changes: object) -> None:
        """Change keys; a double underscore stands for a dot, so ``gpu__2__hang`` is ``gpu.2.hang``."""
        self.values.update({key.replace("__", "."): str(value) for key, value in changes.items()})
        self.write_text("".join(f"{key}={value}\n" for key, value in self.values.items()))

    def write_text(self, text: str) -> None:
        """Replace the file in one step, so that the stub never reads half of it."""
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, self.path)


def uuid_of(index: int) -> str:
    """Return the UUID of the stub's GPU ``index``."""
    return f"GPU-{index:08x}-0000-4000-8000-000000000000"


@dataclass(frozen=True, kw_only=True, slots=True)
class StubHardware:
    """What one GPU of the stub is like now; read without asking it, so that nothing that serves has to be alive.

    Attributes:
        celsius: Temperature of the die, as of the last call of any process.
        throttled_seconds: Time that it has spent in a thermal slowdown, by software or by hardware.
    """

    celsius: float
    throttled_seconds: float


def read_hardware(state: Path, num_gpus: int) -> tuple[StubHardware, ...]:
    """Return the stub's GPUs as they are.

    Args:
        state: The file that drives the stub.
        num_gpus: How many there are.

    Returns:
        One entry a GPU; empty before any process has called the stub.
    """
    try:
        raw = state.with_name(f"{state.name}.hardware").read_bytes()
    except FileNotFoundError:
        return ()
    found = []
    for index in range(num_gpus):
        values = _HARDWARE.unpack_from(raw, _FIRST_GPU_BYTES + index * _HARDWARE.size)
        was_started = bool(values[11])
        if was_started:
            found.append(StubHardware(celsius=values[1], throttled_seconds=max(values[7], values[8]) / 1e9))
    return tuple(found)
