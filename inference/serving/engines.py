"""From the options of ``meltguard serve`` to an engine."""

from __future__ import annotations

from inference.engine.ports import ImageEngine
from inference.errors import InferenceSettingsError
from inference.stepped.engine import SteppedEngine

TEST_PATTERN = "test-pattern"


def open_model(model: str, *, num_slots: int, pattern_tokens_per_second: float) -> ImageEngine:
    """Return the engine for a model, not started.

    Args:
        model: ``digits``, a model directory, or ``test-pattern``.
        num_slots: Rows of a full batch.
        pattern_tokens_per_second: Speed of the stand-in.

    Returns:
        The engine.

    Raises:
        InferenceSettingsError: If there is no such model.
    """
    if model == TEST_PATTERN:
        return SteppedEngine(num_slots=num_slots, tokens_per_second=pattern_tokens_per_second)
    raise InferenceSettingsError(f"--model {model}: this version has {TEST_PATTERN} only")
