"""Which trace a request belongs to, so that a histogram can point to one. Pure."""

from __future__ import annotations

import re

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_MAX_LENGTH = 256


def trace_id_of(traceparent: str) -> str:
    """Return the id of the trace that a request belongs to.

    Args:
        traceparent: The header, as the W3C's Trace Context has it; empty where there is none.

    Returns:
        32 hexadecimal digits; empty without a header, with one that is broken, and for a trace that nobody keeps: an
        exemplar that leads to nothing is worse than none.
    """
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if len(traceparent) <= _MAX_LENGTH else None
    return found[1] if found and int(found[2], 16) & _SAMPLED else ""
