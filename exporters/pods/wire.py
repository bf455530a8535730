"""Reads protobuf's wire format, as far as the kubelet's PodResources v1 needs it. Pure.

A decoder of sixty lines instead of the protobuf runtime, which would cost more memory than all other parts of the pod
map. Every input is bounded; malformed bytes raise ``WireError`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10


class WireError(Exception):
    """The bytes are no protobuf message."""


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(MAX_VARINT_BYTES):
        if position >= len(data):
            raise WireError("ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise WireError("a number is too long")


def fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the length-delimited fields of a message; others are skipped.

    Raises:
        WireError: If the bytes are malformed.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise WireError("a field has the number 0")
        if kind == VARINT:
            _, position = _varint(data, position)
            continue
        if kind == BYTES:
            length, position = _varint(data, position)
        elif kind in {FIXED64, FIXED32}:
            length = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"a field has the unknown kind {kind}")
        if position + length > len(data):
            raise WireError("ends inside a field")
        if kind == BYTES:
            yield number, data[position : position + length]
        position += length


def text(data: memoryview) -> str:
    """Return a string field; what is no UTF-8 is replaced."""
    return bytes(data).decode(errors="replace")
