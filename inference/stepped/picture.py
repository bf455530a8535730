"""Test patterns and their PNG files, for the stand-in engine. Pure."""

from __future__ import annotations

import struct
import zlib

from inference.engine.events import EncodedImage, ImageContent

NUM_LEVELS = 17
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pattern_token(digit: int, seed: int, position: int) -> int:
    """Return the token at a position of the pattern for a digit: stripes whose pitch is the digit's.

    Args:
        digit: 0..9.
        seed: Shifts the stripes.
        position: Raster position.

    Returns:
        A level, 0..16.
    """
    return (position * (digit + 1) + seed) % NUM_LEVELS


class PatternCodec:
    """Encodes levels 0..16 as greyscale, with one pixel a token."""

    def png(self, content: ImageContent) -> bytes:
        """Return a PNG; what is missing is black."""
        if isinstance(content, EncodedImage):
            return content.data
        width, height = content.size.width, content.size.height
        grey = bytes(min(token * 255 // (NUM_LEVELS - 1), 255) for token in content.tokens)
        grey = grey.ljust(width * height, b"\0")
        rows = b"".join(b"\0" + grey[row * width : (row + 1) * width] for row in range(height))
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
