"""From the bytes of a request to what the engine is asked: parsed, checked against the model, refused with a reason."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from inference.admission.languages import Language, sentence
from inference.engine.errors import UnsupportedPromptError
from inference.engine.ports import ImageEngine
from inference.engine.requests import Conditioning, GenerationRequest, ImageSize, ModelDescription, Sampling
from inference.serving.answers import BadRequestError
from inference.serving.api import ImagesRequest, OutputFormat

_DECODER = msgspec.json.Decoder(ImagesRequest)
MAX_SIDE_PIXELS = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A request that makes sense.

    Attributes:
        body: As it was sent.
        conditioning: What the prompt means to the model.
        size: Of each image.
        num_images: How many.
        num_tokens: Image tokens of all of them; 0 where an upstream server does not say.
        output_format: File format of the images.
        streams: Whether events are asked for.
    """

    body: ImagesRequest
    conditioning: Conditioning
    size: ImageSize
    num_images: int
    num_tokens: int
    output_format: OutputFormat
    streams: bool


def parse_body(raw: bytes) -> ImagesRequest:
    """Return the body.

    Raises:
        BadRequestError: If it is not JSON, or a field is unknown, missing or out of range.
    """
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        # msgspec says "... - at `$.field`".
        message, _, path = str(error).partition(" - at `$.")
        raise BadRequestError(str(error), param=path.rstrip("`").partition(".")[0] or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}", code="invalid_json") from error


def wish_of(body: ImagesRequest, engine: ImageEngine, language: Language) -> Wish:
    """Return what the engine is to be asked.

    Args:
        body: The request.
        engine: What it will be asked.
        language: In which the user reads why a prompt cannot be drawn.

    Returns:
        The wish.

    Raises:
        BadRequestError: If the model cannot do it.
    """
    model = engine.model
    if body.model not in {None, model.name}:
        message = f"model {body.model!r} is not served here; this server has {model.name!r}"
        raise BadRequestError(message, param="model", code="model_not_found", status=HTTPStatus.BAD_REQUEST)
    if body.partial_images and not body.stream:
        raise BadRequestError("partial_images needs stream to be true", param="partial_images")
    output_format = body.output_format or "png"
    if body.output_compression is not None and output_format == "png":
        message = "output_compression goes with output_format jpeg or webp"
        raise BadRequestError(message, param="output_compression")
    if body.stream and body.response_format == "url":
        raise BadRequestError("a stream holds b64_json; leave response_format out", param="response_format")
    if (body.guidance_scale or 1.0) > model.max_guidance_scale:
        message = f"guidance_scale may be at most {model.max_guidance_scale:g} with this model"
        raise BadRequestError(message, param="guidance_scale")
    if body.seed is not None and not model.can_seed:
        raise BadRequestError("this model cannot reproduce images; leave seed out", param="seed")
    size = _size(body.size, model)
    num_images = body.n or 1
    return Wish(
        body=body,
        conditioning=_conditioning(body.prompt, engine, language),
        size=size,
        num_images=num_images,
        num_tokens=model.tokens_by_size.get(size, 0) * num_images,
        output_format=output_format,
        streams=bool(body.stream),
    )


def generation_request(wish: Wish, defaults: Sampling, *, tier: str, priority_weight: float) -> GenerationRequest:
    """Return the engine's request for a wish.

    Args:
        wish: What is asked.
        defaults: How the model samples where the wish does not say.
        tier: The user's tier.
        priority_weight: The tier's head start.

    Returns:
        The request, under an id of its own.
    """
    body = wish.body
    options = body.stream_options
    return GenerationRequest(
        request_id=f"img-{secrets.token_hex(12)}",
        conditioning=wish.conditioning,
        size=wish.size,
        seed=secrets.randbits(62) if body.seed is None else body.seed,
        num_images=wish.num_images,
        sampling=Sampling(
            temperature=defaults.temperature if body.temperature is None else body.temperature,
            top_k=defaults.top_k if body.top_k is None else body.top_k,
            guidance_scale=defaults.guidance_scale if body.guidance_scale is None else body.guidance_scale,
        ),
        tier=tier,
        priority_weight=priority_weight,
        num_partial_images=body.partial_images or 0,
        with_progress=wish.streams and options is not None and options.include_progress,
    )


def _conditioning(prompt: str, engine: ImageEngine, language: Language) -> Conditioning:
    try:
        return engine.prompts.read(prompt)
    except UnsupportedPromptError as error:
        message = sentence("prompt_unsupported", language, draws=engine.model.draws)
        raise BadRequestError(message, param="prompt", code="prompt_unsupported") from error


def _size(text: str | None, model: ModelDescription) -> ImageSize:
    if text is None or text == "auto":
        return model.default_size
    width, cross, height = text.partition("x")
    is_size = bool(cross) and width.isascii() and width.isdecimal() and height.isascii() and height.isdecimal()
    size = ImageSize(width=int(width), height=int(height)) if is_size else None
    if size is not None and not model.tokens_by_size and 0 < size.width * size.height <= MAX_SIDE_PIXELS**2:
        return size
    if size is None or size not in model.tokens_by_size:
        known = ", ".join(str(each) for each in model.tokens_by_size) or "WIDTHxHEIGHT"
        raise BadRequestError(f"size {text!r} is not one of: auto, {known}", param="size")
    return size
