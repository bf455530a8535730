"""Writes a run set as JSON: the document of ``meltguard replay`` and ``meltguard demo``. Pure."""

from __future__ import annotations

import msgspec

from controller.simulator.record import RunSet

_ENCODER = msgspec.json.Encoder(order="sorted")


def run_set_document(run_set: RunSet) -> bytes:
    """Return the document: sorted keys, no spaces, one final newline; the same bytes for the same run set.

    Args:
        run_set: All runs. What is not a number (NaN, infinity) becomes null.

    Returns:
        One line of UTF-8 JSON.
    """
    return _ENCODER.encode(run_set) + b"\n"
