"""Reads and writes the model's state file: whole or not at all, and never a reason to stop.

Called by the exporter and the command line.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from forecasting.thermal.state import StateError, ThermalState, decode_state, encode_state

MAXIMUM_STATE_BYTES = 8 * 1024 * 1024
"""Larger files are not ours."""


def load_state(path: Path, *, time_constants_seconds: tuple[float, ...]) -> tuple[ThermalState | None, str | None]:
    """Read a state file; one that cannot be used is ignored with a reason.

    Args:
        path: The file.
        time_constants_seconds: Of the bank in use.

    Returns:
        The state or None, and the reason why it was ignored; a missing file is no reason.
    """
    try:
        if path.stat().st_size > MAXIMUM_STATE_BYTES:
            return None, f"{path}: larger than {MAXIMUM_STATE_BYTES} bytes; ignored"
        return decode_state(path.read_bytes(), time_constants_seconds=time_constants_seconds), None
    except FileNotFoundError:
        return None, None
    except (OSError, StateError) as error:
        return None, f"{path}: {error}"


def save_state(path: Path, state: ThermalState) -> None:
    """Write a state file through a temporary neighbour, so that a crash leaves the old file whole.

    Args:
        path: The file; its folder is made.
        state: What to keep.

    Raises:
        StateError: If it cannot be written; says where and what to check.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(encode_state(state))
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StateError(f"{path}: state cannot be written ({error}); check folder and permissions") from error
