"""A writer of greyscale PNG files. Pure; there is no need of an image library for this.

Format: W3C, "Portable Network Graphics (PNG) Specification (Third Edition)", sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BITS_PER_SAMPLE = 8
_GREYSCALE = 0


def grey_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file.

    Args:
        pixels: 0 black to 255 white, shape ``(height, width)``.

    Returns:
        The file's bytes.
    """
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, _BITS_PER_SAMPLE, _GREYSCALE, 0, 0, 0)
    # Every line begins with its filter: 0, none.
    lines = np.zeros((height, width + 1), dtype=np.uint8)
    lines[:, 1:] = pixels
    body = zlib.compress(lines.tobytes(), level=6)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
