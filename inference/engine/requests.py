"""What the front asks of an engine, and what a model says that it can do. Plain values; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_IMAGES_PER_REQUEST = 10
MAX_PARTIAL_IMAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ImageSize:
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What a model is and can draw.

    Attributes:
        name: The name that requests and metrics use.
        draws: What it can draw, as a sentence for users, such as "the digits 0 to 9".
        tokens_by_size: Image tokens by size; the sizes that it can draw are the keys. Empty for an upstream server
            whose sizes are not known here.
        default_size: The size of a request that names none.
        max_prompt_tokens: The longest conditioning.
        created: When the model was made, in unix seconds; 0 where that is not known.
        max_guidance_scale: The greatest scale of classifier-free guidance; 1 where the model was not trained for it.
        can_seed: Whether a seed reproduces an image.
        default_sampling: How tokens are chosen where a request does not say.
    """

    name: str
    draws: str
    tokens_by_size: Mapping[ImageSize, int]
    default_size: ImageSize
    max_prompt_tokens: int = 1
    created: int = 0
    max_guidance_scale: float = 1.0
    can_seed: bool = True
    default_sampling: Sampling = field(default_factory=lambda: Sampling())


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """What a prompt means to the model.

    Attributes:
        tokens: Prompt tokens that precede the image, such as the one of a class; empty for an upstream server.
        text: The prompt as it was written.
    """

    tokens: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: Divides the logits; 0 takes the most likely token (greedy).
        top_k: Only this many most likely tokens may be drawn; None for all.
        guidance_scale: Classifier-free guidance: logits ``u + scale * (c - u)`` of rows with and without the prompt;
            1 is the plain conditional model, and takes one row instead of two.
    """

    temperature: float = 1.0
    top_k: int | None = None
    guidance_scale: float = 1.0

    @property
    def rows_per_image(self) -> int:
        """Rows of the batch, hence slots, that one image takes."""
        return 1 if self.guidance_scale == 1.0 else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One request for one or more images of one prompt.

    Attributes:
        request_id: Unique among the requests that are not finished.
        conditioning: What to draw.
        size: How large; a key of the model's ``tokens_by_size``.
        seed: With the same seed, prompt, size and sampling, image ``i`` comes out the same whatever else runs.
        num_images: How many, 1..10.
        sampling: How tokens are chosen.
        tier: The user's tier, for reserved slots; one that has none is as good as any other name.
        priority_weight: Head start in the queue in units of the engine's ``seconds_per_weight``, 0 or more. All waiting
            requests age alike, so a light one is overtaken only by heavier ones that arrive within the difference.
        deadline_at: Monotonic time after which the work is of no use; it is then given up wherever it stands.
        num_partial_images: How many partial images per image are sent on the way, 0..3.
        with_progress: Whether progress events are sent.
    """

    request_id: str
    conditioning: Conditioning
    size: ImageSize
    seed: int
    num_images: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    tier: str = "free"
    priority_weight: float = 0.0
    deadline_at: float | None = None
    num_partial_images: int = 0
    with_progress: bool = False
