"""The two messages of ``flagd.sync.v1`` that an embedded sync server sends, written without a protobuf runtime.

Fields, from flagd's schema: ``SyncFlagsResponse.flag_configuration`` and ``FetchAllFlagsResponse.flag_configuration``
are field 1, a string. Requests carry a provider id and a selector; both are ignored, for there is one flag set.
"""

from __future__ import annotations

SERVICE = "flagd.sync.v1.FlagSyncService"
_FIELD_1_STRING = b"\x0a"


def encode_configuration(text: str) -> bytes:
    """Return the message whose ``flag_configuration`` is ``text``."""
    payload = text.encode()
    return _FIELD_1_STRING + _varint(len(payload)) + payload


def ignore_request(data: bytes) -> bytes:
    """Return a request as it came; nothing in it matters."""
    return data


def _varint(number: int) -> bytes:
    """Return a base-128 varint, least significant group first."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
