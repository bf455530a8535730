"""Builds and drives the NVML stub: what it is told by a file, it does at its next call."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
NEWEST_DRIVER = 580


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
