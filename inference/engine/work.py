"""What the engine keeps of a request and of each of its images while they are under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from inference.engine.events import Counts
from inference.engine.requests import GenerationRequest
from inference.engine.stream import EventStream

QueueKey = tuple[float, int, int]
"""Virtual time of arrival, number of arrival, image index: the order of the queue."""


@dataclass(slots=True, eq=False)
class Job:
    """One request.

    Attributes:
        request: As it was submitted.
        stream: Where its events go.
        submitted_at: When it was queued.
        images: Its images, all of them.
        admitted_at: When the first image got a row.
        first_token_at: When the first image token was drawn.
        num_images_done: Images finished.
    """

    request: GenerationRequest
    stream: EventStream
    submitted_at: float
    images: list[ImageTask] = field(default_factory=list)
    admitted_at: float | None = None
    first_token_at: float | None = None
    num_images_done: int = 0

    @property
    def image_tokens(self) -> int:
        """Image tokens drawn, over all images."""
        return sum(image.num_done for image in self.images)

    @property
    def total_tokens(self) -> int:
        """Image tokens of all images."""
        return sum(image.num_tokens for image in self.images)

    @property
    def is_queued(self) -> bool:
        """Whether none of its images has had a row yet."""
        return self.admitted_at is None

    def counts(self, ended_at: float | None) -> Counts:
        """Return what was done so far."""
        num_started = sum(bool(image.rows) or image.num_done > 0 for image in self.images)
        return Counts(
            prompt_tokens=num_started * len(self.request.conditioning.tokens),
            image_tokens=self.image_tokens,
            num_images=self.num_images_done,
            submitted_at=self.submitted_at,
            admitted_at=self.admitted_at,
            first_token_at=self.first_token_at,
            ended_at=ended_at,
        )


@dataclass(slots=True, eq=False)
class ImageTask:
    """One image of a request.

    Attributes:
        job: The request.
        image_index: Which image.
        key: Its place in the queue.
        num_tokens: Tokens of the whole image.
        num_columns: Tokens of one row of the image.
        partial_after: Numbers of tokens after which a partial image is sent, rising.
        rows: Rows of the batch that it has: none, one, or two with the conditional one first.
        num_done: Tokens drawn.
        next_mark: The next number of tokens at which something is to be told; most steps tell nothing.
    """

    job: Job
    image_index: int
    key: QueueKey
    num_tokens: int
    num_columns: int
    partial_after: tuple[int, ...]
    rows: list[int] = field(default_factory=list)
    num_done: int = 0
    next_mark: int = 1

    def set_next_mark(self) -> None:
        """Find the next number of tokens at which something is to be told."""
        end_of_row = self.num_done - self.num_done % self.num_columns + self.num_columns
        later = [mark for mark in self.partial_after if mark > self.num_done]
        if self.job.request.with_progress:
            later.append(end_of_row)
        self.next_mark = min([*later, self.num_tokens])

    @property
    def num_rows(self) -> int:
        """Rows of the batch that it needs."""
        return self.job.request.sampling.rows_per_image

    @property
    def tier(self) -> str:
        """The tier of its request."""
        return self.job.request.tier

    @property
    def num_left(self) -> int:
        """Tokens not drawn yet."""
        return self.num_tokens - self.num_done

    @property
    def is_done(self) -> bool:
        """Whether it is complete."""
        return self.num_done == self.num_tokens


def partial_marks(num_tokens: int, num_columns: int, num_partial_images: int) -> tuple[int, ...]:
    """Return after how many tokens partial images are sent: evenly spaced, each at the end of an image row.

    Args:
        num_tokens: Tokens of the image.
        num_columns: Tokens of a row of it.
        num_partial_images: How many are wanted; images of few rows have fewer.

    Returns:
        Rising numbers, all above 0 and below ``num_tokens``.
    """
    num_rows = num_tokens // num_columns
    marks = {round(num_rows * part / (num_partial_images + 1)) for part in range(1, num_partial_images + 1)}
    return tuple(num_columns * mark for mark in sorted(marks) if 0 < mark < num_rows)
