"""What a request has to satisfy before it is queued. Pure."""

from __future__ import annotations

import math

from inference.engine.errors import UnsupportedRequestError
from inference.engine.requests import MAX_IMAGES_PER_REQUEST, MAX_PARTIAL_IMAGES, GenerationRequest
from inference.engine.runner import DrawingModel

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 100.0
"""Below the first, logits over the temperature would leave the range of numbers; 0 itself is greedy."""
MAX_TOP_K = 1_000_000
MAX_PRIORITY_WEIGHT = 1e6


def check_request(request: GenerationRequest, model: DrawingModel) -> None:
    """Refuse what the model cannot do; numbers that are none are refused, too.

    Args:
        request: What is asked.
        model: What is served.

    Raises:
        UnsupportedRequestError: With the first field that does not hold, and what can be done instead.
    """
    description, sampling = model.description, request.sampling
    most_guidance = description.max_guidance_scale if model.unconditional is not None else 1.0
    sizes = ", ".join(str(size) for size in sorted(description.tokens_by_size))
    deadline_at = request.deadline_at
    # What must hold, the field, and what is allowed.
    rules = (
        (request.size in description.tokens_by_size, "size", f"one of {sizes}"),
        (1 <= request.num_images <= MAX_IMAGES_PER_REQUEST, "n", f"1 to {MAX_IMAGES_PER_REQUEST}"),
        (0 <= request.num_partial_images <= MAX_PARTIAL_IMAGES, "partial_images", f"0 to {MAX_PARTIAL_IMAGES}"),
        (
            sampling.temperature == 0.0 or MIN_TEMPERATURE <= sampling.temperature <= MAX_TEMPERATURE,
            "temperature",
            f"0, or {MIN_TEMPERATURE:g} to {MAX_TEMPERATURE:g}",
        ),
        (sampling.top_k is None or 1 <= sampling.top_k <= MAX_TOP_K, "top_k", f"1 to {MAX_TOP_K}"),
        (1.0 <= sampling.guidance_scale <= most_guidance, "guidance_scale", f"1 to {most_guidance:g}"),
        (
            1 <= len(request.conditioning.tokens) <= description.max_prompt_tokens,
            "prompt",
            f"1 to {description.max_prompt_tokens} tokens long",
        ),
        (0.0 <= request.priority_weight <= MAX_PRIORITY_WEIGHT, "priority_weight", f"0 to {MAX_PRIORITY_WEIGHT:g}"),
        (deadline_at is None or not math.isnan(deadline_at), "deadline_at", "a time"),
    )
    for holds, name, allowed in rules:
        if not holds:
            raise UnsupportedRequestError(name, f"{name} must be {allowed}")
