"""One call to an OpenAI-compatible image server: a prompt goes in, an encoded image comes out."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import aiohttp
import msgspec

from inference.engine.errors import EngineError
from inference.engine.events import EncodedImage
from inference.engine.requests import GenerationRequest

MAX_IMAGE_BYTES = 64 * 2**20
"""Longest answer that is read; an image of 4096x4096 fits."""
MAX_MESSAGE_CHARACTERS = 200


class UpstreamError(EngineError):
    """The server behind us did not give an image; the message names its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """The server behind us.

    Attributes:
        url: Where it answers, such as ``http://127.0.0.1:8001``; ``/v1/...`` is added.
        model: The name of the model that it is asked for; None for the first one that it lists.
        api_key: Sent as a bearer token; None for none.
        image_timeout_seconds: Longest wait for one image.
        probe_seconds: How often it is asked whether it is there.
    """

    url: str
    model: str | None = None
    api_key: str | None = None
    image_timeout_seconds: float = 600.0
    probe_seconds: float = 5.0


class UpstreamClient:
    """Calls the server, in one event loop.

    Args:
        session: Connections.
        settings: Where to.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: UpstreamSettings) -> None:
        self._session = session
        self._settings = settings
        self._base = settings.url.rstrip("/") + "/v1"
        self._headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}

    async def first_model(self) -> str:
        """Return the name of the first model that the server lists.

        Raises:
            UpstreamError: It does not answer, or lists none.
        """
        timeout = aiohttp.ClientTimeout(total=self._settings.probe_seconds)
        try:
            async with self._session.get(f"{self._base}/models", headers=self._headers, timeout=timeout) as answer:
                document = await self._document(answer)
                return str(document["data"][0]["id"])  # type: ignore[index]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamError(f"{self._base} does not answer: {_reason(error)}") from error
        except (KeyError, IndexError, TypeError) as error:
            raise UpstreamError(f"{self._base}/models lists no model") from error

    async def image(self, request: GenerationRequest, model: str, image_index: int) -> EncodedImage:
        """Have one image drawn.

        Args:
            request: What to draw.
            model: By which model.
            image_index: Which image of the request; each has a seed of its own.

        Returns:
            The image.

        Raises:
            UpstreamError: There is none; the message says why.
        """
        body = {
            "model": model,
            "prompt": request.conditioning.text,
            "n": 1,
            "size": str(request.size),
            "response_format": "b64_json",
            "seed": (request.seed + image_index) % 2**31,
        }
        timeout = aiohttp.ClientTimeout(total=self._settings.image_timeout_seconds)
        address = f"{self._base}/images/generations"
        try:
            async with self._session.post(address, json=body, headers=self._headers, timeout=timeout) as answer:
                document = await self._document(answer)
                data = base64.b64decode(document["data"][0]["b64_json"], validate=True)  # type: ignore[index]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UpstreamError(f"{self._base} does not answer: {_reason(error)}") from error
        except (KeyError, IndexError, TypeError, binascii.Error) as error:
            raise UpstreamError(f"{address} answered without an image") from error
        return EncodedImage(data=data)

    async def _document(self, answer: aiohttp.ClientResponse) -> dict[str, object]:
        """Read a JSON answer, no longer than is reasonable."""
        text = b""
        while chunk := await answer.content.read(2**16):
            text += chunk
            if len(text) > MAX_IMAGE_BYTES:
                raise UpstreamError(f"{answer.url} answers more than {MAX_IMAGE_BYTES} bytes")
        if answer.status != 200:
            start = " ".join(text[:MAX_MESSAGE_CHARACTERS].decode(errors="replace").split())
            raise UpstreamError(f"{answer.url} answered {answer.status}: {start}")
        try:
            return msgspec.json.decode(text, type=dict[str, object])
        except msgspec.MsgspecError as error:
            raise UpstreamError(f"{answer.url} does not answer in JSON: {error}") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
