"""Image files for answers: encoded off the event loop, in the format that was asked for."""

from __future__ import annotations

import asyncio
import base64
import io
from concurrent.futures import ThreadPoolExecutor

from inference.engine.events import EncodedImage, ImageContent
from inference.engine.ports import ImageCodec
from inference.serving.api import OutputFormat

NUM_THREADS = 2
DEFAULT_COMPRESSION = 100


class ImageEncoder:
    """Turns what an engine sends into base64 of a file."""

    def __init__(self, codec: ImageCodec) -> None:
        """Encode with ``codec``."""
        self._codec = codec
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="image-encoder")

    async def base64(self, content: ImageContent, output_format: OutputFormat, compression: int | None) -> str:
        """Return a file in base64.

        Args:
            content: The image.
            output_format: Its format.
            compression: Quality of jpeg and webp, 0..100; None for the best.

        Returns:
            ASCII text.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._encode, content, output_format, compression)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _encode(self, content: ImageContent, output_format: OutputFormat, compression: int | None) -> str:
        data = self._codec.png(content)
        # A server behind us may have sent another format than the one that is asked for.
        has_format = content.media_type if isinstance(content, EncodedImage) else "image/png"
        if has_format != f"image/{output_format}":
            from PIL import Image

            quality = DEFAULT_COMPRESSION if compression is None else compression
            target = io.BytesIO()
            with Image.open(io.BytesIO(data)) as picture:
                colour = picture if picture.mode in {"L", "RGB"} else picture.convert("RGB")
                colour.save(target, format=output_format, quality=quality)
            data = target.getvalue()
        return base64.b64encode(data).decode("ascii")
