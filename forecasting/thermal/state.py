"""The model's memory across restarts: a small versioned JSON document, one record per GPU and slot.

Pure: bytes in, bytes out; ``storage`` reads and writes the file. A document that cannot be used is refused with a
reason; the caller reports it and starts from priors.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from forecasting.errors import ForecastingError
from forecasting.thermal.priors import GainRecord

SCHEMA = "meltguard.thermal_state/v1"
MAXIMUM_RECORDS = 4096
"""A node holds a few GPUs and keeps those that were swapped out; more than this is not our file."""


class StateError(ForecastingError):
    """Stored state cannot be used or written; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredGpu:
    """What is kept of one GPU.

    Attributes:
        record: Gains and where they belong.
        baseline_celsius_per_watt: Week-long average of the thermal resistance; None without one.
        power_limit_watts: Limit at which the gains hold; None where the writer did not say.
    """

    record: GainRecord
    baseline_celsius_per_watt: float | None = None
    power_limit_watts: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThermalState:
    """What is kept of a node.

    Attributes:
        saved_at_seconds: Unix time at which it was written.
        time_constants_seconds: Of the bank that the gains belong to.
        gpus: One entry per GPU and slot.
    """

    saved_at_seconds: float
    time_constants_seconds: tuple[float, ...]
    gpus: tuple[StoredGpu, ...]


def encode_state(state: ThermalState) -> bytes:
    """Return the document of a state, UTF-8 JSON with a trailing newline."""
    document = {
        "schema": SCHEMA,
        "saved_at_seconds": state.saved_at_seconds,
        "time_constants_seconds": list(state.time_constants_seconds),
        "gpus": [
            {
                "uuid": stored.record.uuid,
                "slot": stored.record.slot,
                "gpu_model": stored.record.gpu_model,
                "node": stored.record.node,
                "plateau_gains_celsius": [round(float(gain), 6) for gain in stored.record.plateau_gains_celsius],
                "baseline_celsius_per_watt": stored.baseline_celsius_per_watt,
                "power_limit_watts": stored.power_limit_watts,
            }
            for stored in state.gpus
        ],
    }
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def decode_state(content: bytes, *, time_constants_seconds: tuple[float, ...]) -> ThermalState:
    """Return the state in a document.

    Args:
        content: The file's bytes.
        time_constants_seconds: Of the bank in use; gains of another bank mean nothing to it.

    Returns:
        The state.

    Raises:
        StateError: If the document is damaged, of another version, or of another bank.
    """
    try:
        document = json.loads(content)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise StateError(f"thermal state: not a {SCHEMA} document; starting from priors")
        constants = tuple(float(value) for value in document["time_constants_seconds"])
        if constants != time_constants_seconds:
            raise StateError("thermal state: written for other time constants; starting from priors")
        entries = document["gpus"]
        if len(entries) > MAXIMUM_RECORDS:
            raise StateError(f"thermal state: more than {MAXIMUM_RECORDS} GPUs; starting from priors")
        gpus = tuple(_stored(entry, len(constants)) for entry in entries)
        return ThermalState(
            saved_at_seconds=float(document["saved_at_seconds"]), time_constants_seconds=constants, gpus=gpus
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise StateError(f"thermal state: damaged ({type(error).__name__}: {error}); starting from priors") from error


def _stored(entry: dict[str, object], num_gains: int) -> StoredGpu:
    """Return one GPU's entry, refusing gains that no GPU can have."""
    raw = entry["plateau_gains_celsius"]
    if not isinstance(raw, list):
        raise ValueError("plateau_gains_celsius is not a list")
    gains = np.array([float(value) for value in raw])
    if gains.shape != (num_gains,) or not np.all(np.isfinite(gains)) or np.any(gains < 0.0) or gains.sum() > 500.0:
        raise ValueError(f"gains of {entry.get('uuid')!r} are impossible")
    names = {key: entry.get(key, "") for key in ("uuid", "slot", "gpu_model", "node")}
    if not all(isinstance(name, str) for name in names.values()):
        raise ValueError("a name is not text")
    record = GainRecord(
        uuid=str(names["uuid"]),
        slot=str(names["slot"]),
        gpu_model=str(names["gpu_model"]),
        node=str(names["node"]),
        plateau_gains_celsius=gains,
    )
    return StoredGpu(
        record=record,
        baseline_celsius_per_watt=_positive(entry, "baseline_celsius_per_watt"),
        power_limit_watts=_positive(entry, "power_limit_watts"),
    )


def _positive(entry: dict[str, object], key: str) -> float | None:
    """Return a positive finite number, or None where the entry does not hold the key."""
    value = entry.get(key)
    if value is None:
        return None
    if not (isinstance(value, int | float) and 0.0 < value < math.inf):
        raise ValueError(f"{key} of {entry.get('uuid')!r} is impossible")
    return float(value)
