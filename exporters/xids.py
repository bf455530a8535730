"""XIDs by class: the hardware's fault, the application's, or not known. Pure data.

Application XIDs come in storms and must page nobody; hardware XIDs take a GPU out of service. The classes follow
NVIDIA's XID catalogue; a number that the table does not know is ``unknown``, which alerts may treat as either.
"""

from __future__ import annotations

from enum import StrEnum


class XidClass(StrEnum):
    """Whose fault an XID is."""

    HARDWARE = "hardware"
    APPLICATION = "application"
    UNKNOWN = "unknown"


_APPLICATION = frozenset({13, 31, 43, 45, 68, 69})
_HARDWARE = frozenset(
    {46, 48, 54, 61, 62, 63, 64, 74, 79, 92, 94, 95, 109, 110, 119, 120, 121, 136, 140, 142, 143, 145}
)

ALWAYS_PUBLISHED: tuple[int, ...] = (48, 63, 64, 74, 79, 94, 95, 119, 120)
"""Counters that stand at zero from the start: ``increase()`` does not see a counter that is born at one."""

MAX_XIDS_PER_GPU = 64
"""Distinct numbers kept per GPU; later ones count under XID 0, class unknown."""


def classify(xid: int) -> XidClass:
    """Return the class of ``xid``."""
    if xid in _HARDWARE:
        return XidClass.HARDWARE
    if xid in _APPLICATION:
        return XidClass.APPLICATION
    return XidClass.UNKNOWN


_DESCRIPTIONS = {
    0: "No Error",
    13: "Graphics engine exception",
    31: "GPU memory page fault",
    43: "GPU stopped processing",
    45: "Preemptive cleanup after earlier errors",
    48: "Double-bit ECC error",
    63: "Row remap or page retirement recorded",
    64: "Row remap or page retirement failed",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    92: "High single-bit ECC error rate",
    94: "Contained memory error",
    95: "Uncontained memory error",
    119: "GSP RPC timeout",
    120: "GSP error",
}


def describe(xid: int) -> str:
    """Return a few words on ``xid``."""
    return _DESCRIPTIONS.get(xid, "Unknown Error")
