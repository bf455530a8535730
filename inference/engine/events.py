"""What an engine tells about one request while it works on it. Plain values; no torch.

A stream is at most one `Admitted`, then `Progress`, `PartialImage` and `FinishedImage` as they come, then exactly one
`Finished` or `Stopped`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inference.engine.requests import ImageSize


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenImage:
    """Image tokens in raster order, as many as there are; the codec paints the rest in the background colour."""

    tokens: tuple[int, ...]
    size: ImageSize


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An image that an upstream server has encoded already.

    Attributes:
        data: The file's bytes.
        media_type: Such as ``image/png``.
    """

    data: bytes
    media_type: str = "image/png"


ImageContent = TokenImage | EncodedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Work and times of one request, so far.

    Attributes:
        prompt_tokens: Tokens of conditioning, over all images.
        image_tokens: Image tokens generated, over all images (guidance rows are not counted twice).
        num_images: Images finished.
        submitted_at: When it was queued.
        admitted_at: When its first image got a slot; None before.
        first_token_at: When its first image token was drawn; None before.
        ended_at: When it ended; None before.
    """

    prompt_tokens: int = 0
    image_tokens: int = 0
    num_images: int = 0
    submitted_at: float = 0.0
    admitted_at: float | None = None
    first_token_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The first image got a slot."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Image tokens done, over all images; a newer one replaces an older one that nobody took yet."""

    image_tokens_done: int
    image_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialImage:
    """The rows of an image that are finished.

    Attributes:
        image_index: Which image, from 0.
        partial_index: Which partial image of it, from 0.
        content: What there is of it.
    """

    image_index: int
    partial_index: int
    content: ImageContent


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedImage:
    """One image, complete."""

    image_index: int
    content: ImageContent


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last event of a request all of whose images are finished."""

    counts: Counts


class StopReason(StrEnum):
    """Why a request ended without all of its images."""

    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    DRAINING = "draining"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The last event of a request that ended early.

    Attributes:
        reason: Why; ``DRAINING`` means: handed back, try elsewhere or later.
        message: One line for logs; may be shown where the reason is ``ERROR``.
        counts: What was done until then; the image tokens were generated in vain but for images sent before.
    """

    reason: StopReason
    message: str
    counts: Counts


Event = Admitted | Progress | PartialImage | FinishedImage | Finished | Stopped
