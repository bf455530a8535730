"""The shapes of the HTTP API: OpenAI's images API, its errors, and what is ours beside it. Pure.

The OpenAPI document is made from these types, so it cannot disagree with them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from inference.engine.requests import MAX_IMAGES_PER_REQUEST, MAX_PARTIAL_IMAGES
from inference.serving.settings import MAX_PROMPT_CHARACTERS

Count = Annotated[int, Meta(ge=1, le=MAX_IMAGES_PER_REQUEST)]
OutputFormat = Literal["png", "jpeg", "webp"]
ResponseFormat = Literal["b64_json", "url"]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream holds beside images; an extension."""

    include_progress: bool = False


class ImagesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /v1/images/generations``: OpenAI's fields, and ``seed``, ``temperature``, ``top_k``, ``guidance_scale``
    and ``stream_options`` as extensions. Fields that this server cannot act on are refused, not ignored, unless they
    ask for what it does anyway."""  # noqa: D205, D209 - the first sentence needs two lines

    prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARACTERS)]
    model: str | None = None
    n: Count | None = None
    size: Annotated[str, Meta(max_length=32)] | None = None
    quality: Literal["auto", "low", "medium", "high", "standard", "hd"] | None = None
    style: Literal["vivid", "natural"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    response_format: ResponseFormat | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=MAX_PARTIAL_IMAGES)] | None = None
    user: Annotated[str, Meta(max_length=256)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=5.0)] | None = None
    top_k: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    guidance_scale: Annotated[float, Meta(ge=0.0, le=20.0)] | None = None
    stream_options: StreamOptions | None = None


class TokenDetails(msgspec.Struct, frozen=True):
    """Where input tokens come from."""

    text_tokens: int
    image_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a request."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_tokens_details: TokenDetails


class ImageData(msgspec.Struct, frozen=True):
    """One image: its file in base64, or a ``data:`` URL that holds it."""

    b64_json: str | UnsetType = UNSET
    url: str | UnsetType = UNSET


class ImagesResponse(msgspec.Struct, frozen=True):
    """The answer to a request that does not stream."""

    created: int
    data: list[ImageData]
    size: str
    quality: str
    background: str
    output_format: OutputFormat
    usage: Usage


class ImageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One server-sent event: a partial image or a complete one. ``image_index`` is an extension, for ``n`` above 1."""

    type: str
    b64_json: str
    created_at: int
    size: str
    quality: str
    background: str
    output_format: OutputFormat
    image_index: int
    partial_image_index: int | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET


class ProgressEvent(msgspec.Struct, frozen=True, kw_only=True):
    """How far a request is, on streams that ask for it; an extension."""

    type: str
    image_tokens_done: int
    image_tokens: int
    estimated_wait_seconds: float | None


class ApiError(msgspec.Struct, frozen=True, kw_only=True):
    """An error in OpenAI's shape; the fields after ``code`` are extensions for limited requests."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    limit: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    flag_reason: str | UnsetType = UNSET
    maximum: int | UnsetType = UNSET
    remaining: int | UnsetType = UNSET
    resets_at: str | UnsetType = UNSET
    retry_after_seconds: float | UnsetType = UNSET
    thermal_guard_ratio: float | UnsetType = UNSET


class ErrorResponse(msgspec.Struct, frozen=True):
    """The body of every answer of 400 and above."""

    error: ApiError


class ModelEntry(msgspec.Struct, frozen=True):
    """One model; the fields after ``owned_by`` are extensions."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    draws: str
    sizes: list[str]


class ModelList(msgspec.Struct, frozen=True):
    """``GET /v1/models``."""

    object: Literal["list"]
    data: list[ModelEntry]


class QuotaWindow(msgspec.Struct, frozen=True):
    """One window of a user's quota."""

    window: Literal["hour", "day"]
    limit: int
    used: int
    remaining: int
    resets_at: str | None


class QuotaResponse(msgspec.Struct, frozen=True):
    """``GET /v1/quota``: what the asking user may have, schema ``meltguard.quota/v1``."""

    schema: str
    tier: str
    region: str
    generation_enabled: bool
    admission_ratio: float
    max_concurrent_images: int
    images_in_work: int
    windows: list[QuotaWindow]
    limit_reason: str | None
    estimated_wait_seconds: float | None
    flags_revision: int


class ReadyResponse(msgspec.Struct, frozen=True):
    """``GET /readyz``: whether the pod is fit for work, and what is missing."""

    ready: bool
    missing: list[str]
    flags_revision: int
    flags_problem: str


QUOTA_SCHEMA = "meltguard.quota/v1"
PARTIAL_EVENT = "image_generation.partial_image"
COMPLETED_EVENT = "image_generation.completed"
PROGRESS_EVENT = "image_generation.progress"
