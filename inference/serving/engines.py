"""From the options of ``meltguard serve`` to an engine: a model here, a server behind us, or the stand-in."""

from __future__ import annotations

import os
from dataclasses import dataclass

import structlog

from inference.engine.ports import ImageEngine
from inference.engine.requests import ImageSize
from inference.engine.settings import EngineSettings
from inference.errors import InferenceError, InferenceSettingsError
from inference.models.manifest import FILE_NAME
from inference.models.opening import DIGITS, Placement, directory_of, open_engine
from inference.stepped.engine import SteppedEngine

log = structlog.get_logger()
TEST_PATTERN = "test-pattern"
DEFAULT_PATTERN_SPEED = 2_560
RESERVED_SHARE = 8
"""One slot in so many is left free for paid requests by all others."""
MAX_SIZES = 16
GPU_PREFIX = "GPU-"
"""How the driver's UUIDs of whole GPUs begin; torch leaves it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """What generates.

    Attributes:
        model: ``digits``, a model directory, or ``test-pattern`` with the stand-in's speed after a colon.
        num_slots: Rows of a full batch, or images that a server behind us is asked for at a time.
        device: A torch device, or ``auto``.
        trains_digits: Whether the digit model is trained first where it is not there yet.
        upstream_url: An image server to stand before; None generates here.
        upstream_model: The model that it is asked for; None for the first one that it lists.
        upstream_key: Sent to it as a bearer token; None for none.
        upstream_sizes: Its sizes with their weight in tokens, such as ``1024x1024=4096``; empty for the usual ones.
    """

    model: str = DIGITS
    num_slots: int = 16
    device: str = "auto"
    trains_digits: bool = False
    upstream_url: str | None = None
    upstream_model: str | None = None
    upstream_key: str | None = None
    upstream_sizes: str = ""


def open_chosen(choice: EngineChoice) -> ImageEngine:
    """Return the engine, not started.

    Args:
        choice: What the command was told.

    Returns:
        The engine.

    Raises:
        InferenceSettingsError: If the choice cannot be.
        ModelError: There is no such model, or its manifest does not fit.
    """
    if choice.trains_digits:
        train_where_missing(choice.model)
    if choice.upstream_url is not None:
        return _upstream(choice)
    name, _, speed = choice.model.partition(":")
    if name == TEST_PATTERN:
        if speed and not (speed.isdecimal() and int(speed) > 0):
            message = f"--model {choice.model}: use {TEST_PATTERN}, or {TEST_PATTERN}:TOKENS_PER_SECOND"
            raise InferenceSettingsError(message)
        return SteppedEngine(num_slots=choice.num_slots, tokens_per_second=float(speed or DEFAULT_PATTERN_SPEED))
    return open_engine(choice.model, _settings(choice), Placement(device=choice.device))


def gpu_in_sight(device: str) -> str:
    """Return which of the node's GPUs is ours, as its exporter names it.

    The cases: Kubernetes' device plugin names it in the environment; or torch sees it; or there is none, and the
    exporter's first one stands for it (a simulated one, where nothing is real).

    Args:
        device: As ``--device`` says; ``cpu`` asks no driver.

    Returns:
        A UUID, or the index 0.
    """
    named = os.environ.get("NVIDIA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    if named.startswith(GPU_PREFIX):
        return named
    try:
        import torch
    except ModuleNotFoundError:
        return "0"
    if device == "cpu" or not torch.cuda.is_available():
        return "0"
    uuid = str(torch.cuda.get_device_properties(0 if device == "auto" else device).uuid)
    return uuid if uuid.startswith(GPU_PREFIX) else f"{GPU_PREFIX}{uuid}"


def parse_sizes(text: str) -> dict[ImageSize, int]:
    """Return sizes with their weight in tokens, of text such as ``1024x1024=4096,512x512=1024``.

    Raises:
        InferenceSettingsError: If a part is none, or there are too many for a label.
    """
    sizes: dict[ImageSize, int] = {}
    for part in (piece.strip() for piece in text.split(",") if piece.strip()):
        size, _, tokens = part.partition("=")
        width, _, height = size.partition("x")
        numbers = (width, height, tokens)
        if not all(number.isascii() and number.isdecimal() and int(number) > 0 for number in numbers):
            raise InferenceSettingsError(f"--upstream-sizes {part}: use WIDTHxHEIGHT=TOKENS, such as 1024x1024=4096")
        sizes[ImageSize(width=int(width), height=int(height))] = int(tokens)
    if len(sizes) > MAX_SIZES:
        raise InferenceSettingsError(f"--upstream-sizes: {len(sizes)} sizes, at most {MAX_SIZES}; name fewer")
    return sizes


def train_where_missing(model: str) -> None:
    """Train the digit model where it belongs, unless it is there already; takes about a minute.

    Raises:
        InferenceSettingsError: If another model is to be served.
        InferenceError: If what training needs is not installed.
    """
    if model != DIGITS:
        raise InferenceSettingsError(f"--train-digits trains the model digits, not {model}; leave one of them out")
    directory = directory_of(model)
    if (directory / FILE_NAME).exists():
        return
    try:
        from inference.models.digits import train_digits
    except ModuleNotFoundError as error:
        cure = "install it with `pip install 'meltguard[inference]'`"
        raise InferenceError(f"training needs {error.name}; {cure}") from error
    log.info("model.training", model=model, directory=str(directory))
    train_digits(directory, progress=lambda line: log.info("model.progress", message=line))


def _upstream(choice: EngineChoice) -> ImageEngine:
    from inference.upstream.client import UpstreamSettings
    from inference.upstream.engine import DEFAULT_TOKENS_BY_SIZE, UpstreamEngine

    assert choice.upstream_url is not None, "asked for by its address"
    upstream = UpstreamSettings(url=choice.upstream_url, model=choice.upstream_model, api_key=choice.upstream_key)
    sizes = parse_sizes(choice.upstream_sizes) or DEFAULT_TOKENS_BY_SIZE
    return UpstreamEngine(upstream, _settings(choice), sizes)


def _settings(choice: EngineChoice) -> EngineSettings:
    reserved = {"paid": choice.num_slots // RESERVED_SHARE}
    return EngineSettings(num_slots=choice.num_slots, reserved_slots=reserved)
