"""From the options of ``meltguard serve`` to an engine."""

from __future__ import annotations

import structlog

from inference.engine.ports import ImageEngine
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


def open_model(model: str, *, num_slots: int, device: str) -> ImageEngine:
    """Return the engine for a model, not started.

    Args:
        model: ``digits``, a model directory, or ``test-pattern`` with the stand-in's speed after a colon.
        num_slots: Rows of a full batch.
        device: A torch device, or ``auto``.

    Returns:
        The engine.

    Raises:
        InferenceSettingsError: The stand-in's speed is no number.
        ModelError: There is no such model, or its manifest does not fit.
    """
    name, _, speed = model.partition(":")
    if name == TEST_PATTERN:
        if speed and not (speed.isdecimal() and int(speed) > 0):
            raise InferenceSettingsError(f"--model {model}: use {TEST_PATTERN}, or {TEST_PATTERN}:TOKENS_PER_SECOND")
        return SteppedEngine(num_slots=num_slots, tokens_per_second=float(speed or DEFAULT_PATTERN_SPEED))
    settings = EngineSettings(num_slots=num_slots, reserved_slots={"paid": num_slots // RESERVED_SHARE})
    return open_engine(model, settings, Placement(device=device))


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
        raise InferenceError(
            f"training needs {error.name}; install it with `pip install 'meltguard[inference]'`"
        ) from error
    log.info("model.training", model=model, directory=str(directory))
    train_digits(directory, progress=lambda line: log.info("model.progress", message=line))
