"""The seam between the HTTP front and whatever generates images: our engine, or a server behind us.

The front reads prompts and encodes images through what stands here, submits requests, forwards events and computes
waits from snapshots; it knows nothing of tensors. Everything here may be called from any thread, returns at once and
imports no torch. All times are ``time.monotonic()`` seconds, unless a name ends in ``_seconds`` (a duration).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from inference.engine.events import Event, ImageContent
from inference.engine.requests import Conditioning, GenerationRequest, ModelDescription


class GenerationHandle(Protocol):
    """One submitted request.

    Its stream ends after exactly one `Finished` or `Stopped`. It is bounded by construction: at most
    ``3 + num_images * (num_partial_images + 1)`` events can ever wait in it, so a slow reader costs nobody anything.
    """

    @property
    def request_id(self) -> str:
        """The id of the request."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """Iterate over the events from an event loop; one reader, once."""
        ...

    def next_event(self, timeout_seconds: float) -> Event | None:
        """Wait for the next event outside an event loop; None when none came in time or the stream has ended."""
        ...

    def cancel(self) -> None:
        """Give the request up; its slots are free within one step, its stream ends with `Stopped`. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkBound:
    """What the thermal guard allows.

    Steps never take more than ``duty_ratio`` of the time, and busy slots times duty never exceed
    ``occupancy_ratio`` of all slots: free slots go first, and only when more are busy than allowed (they are never
    taken away) the steps slow down. Zero of either stops all steps.

    Attributes:
        occupancy_ratio: Share of the slots, 0..1.
        duty_ratio: Share of the time, 0..1.
    """

    occupancy_ratio: float = 1.0
    duty_ratio: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSnapshot:
    """The state of an engine at one moment; computed when asked for, so never stale. Totals only grow.

    Attributes:
        taken_at: When.
        is_warm: The model is loaded, checked and warmed up.
        is_draining: It takes no more requests.
        is_drained: It drains and has nothing left to do.
        failure: Why it broke, as one line; None while it works.
        heartbeat_at: When its loop last went round, work or none (also while the bound is zero): the liveness.
        last_step_at: When its last step ended; None before the first.
        bound: The bound in force.
        num_slots: Rows that fit into one step.
        num_busy_slots: Rows taken (two per guided image).
        num_allowed_slots: Rows that the bound allows.
        batch_size: Rows in the last step; 0 when idle.
        num_running_requests: Requests with at least one image in a slot.
        num_queued_requests: Requests none of whose images has a slot yet.
        num_queued_images: Images that wait for a slot, over all requests.
        queued_tokens: Image tokens of those.
        queued_tokens_by_tier: The same by tier.
        in_flight_tokens: Image tokens that the images in slots still lack.
        oldest_queued_age_seconds: Longest wait in the queue now.
        max_queued_requests: The limit.
        max_queued_tokens: The limit.
        tokens_per_second: Image tokens per second of recent wall time while there was work; 0 before the first.
        capacity_tokens_per_second: Image tokens per second with every slot busy and no bound, from measured steps.
        kv_cache_usage_ratio: Share of the KV cache's positions in use.
        busy_seconds_total: Time spent in steps.
        num_steps_total: Steps.
        image_tokens_total: Image tokens generated.
        prompt_tokens_total: Prompt tokens processed.
        cancelled_tokens_total: Image tokens that were generated for requests that ended early.
    """

    taken_at: float
    is_warm: bool = False
    is_draining: bool = False
    is_drained: bool = False
    failure: str | None = None
    heartbeat_at: float = 0.0
    last_step_at: float | None = None
    bound: WorkBound = field(default_factory=WorkBound)
    num_slots: int = 0
    num_busy_slots: int = 0
    num_allowed_slots: int = 0
    batch_size: int = 0
    num_running_requests: int = 0
    num_queued_requests: int = 0
    num_queued_images: int = 0
    queued_tokens: int = 0
    queued_tokens_by_tier: Mapping[str, int] = field(default_factory=dict)
    in_flight_tokens: int = 0
    oldest_queued_age_seconds: float = 0.0
    max_queued_requests: int = 0
    max_queued_tokens: int = 0
    tokens_per_second: float = 0.0
    capacity_tokens_per_second: float = 0.0
    kv_cache_usage_ratio: float = 0.0
    busy_seconds_total: float = 0.0
    num_steps_total: int = 0
    image_tokens_total: int = 0
    prompt_tokens_total: int = 0
    cancelled_tokens_total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One step, for histograms.

    Attributes:
        ended_at: When it ended.
        step_seconds: How long it took.
        batch_size: Rows in it.
        num_new_tokens: Image tokens that it drew.
        num_first_tokens: How many of them were the first of their image.
        num_prompt_tokens: Prompt tokens of the images that began with it.
        inter_token_seconds: Time since the step before, for the other ``num_new_tokens - num_first_tokens`` ones.
    """

    ended_at: float
    step_seconds: float
    batch_size: int
    num_new_tokens: int
    num_first_tokens: int
    num_prompt_tokens: int
    inter_token_seconds: float


class StepObserver(Protocol):
    """Receives a report after every step, in the engine's thread: it must be quick and must not raise."""

    def step_finished(self, report: StepReport) -> None:
        """Take note of one step."""
        ...


class ImageCodec(Protocol):
    """Turns what the engine sends into an image file; may take milliseconds, from any thread."""

    def png(self, content: ImageContent) -> bytes:
        """Return a PNG of the whole size; rows that are not there yet are in the background colour."""
        ...


class PromptReader(Protocol):
    """Maps prompts to what the model can draw."""

    def read(self, prompt: str) -> Conditioning:
        """Return what the prompt means; raises UnsupportedPromptError, which says what the model can draw."""
        ...


class ImageEngine(Protocol):
    """Generates images. Every method may be called from any thread and returns at once, but for `close`."""

    @property
    def model(self) -> ModelDescription:
        """The model that it serves."""
        ...

    @property
    def prompts(self) -> PromptReader:
        """Reads prompts for that model."""
        ...

    @property
    def codec(self) -> ImageCodec:
        """Encodes what that model generates."""
        ...

    def start(self) -> None:
        """Begin to load, check and warm up in the background; the snapshot says when that is done, or failed."""
        ...

    def submit(self, request: GenerationRequest) -> GenerationHandle:
        """Queue a request.

        Args:
            request: What to generate.

        Returns:
            Its handle.

        Raises:
            QueueFullError: A limit in requests or in tokens is reached.
            DrainingError: It takes no more requests.
            UnsupportedRequestError: The model cannot do this.
            EngineFailedError: It broke.
        """
        ...

    def estimated_wait_seconds(self, request: GenerationRequest) -> float:
        """Return how long the request's first image would wait for a slot, if it were submitted now.

        Counts the work in flight and that of the queue which goes first, at the measured speed and the bound in force;
        infinite while the bound is zero. Lengths are known, so this is exact but for later arrivals and cancellations;
        who will come and go first is for admission to count (`inference.admission.waiting`).
        """
        ...

    def set_bound(self, bound: WorkBound) -> None:
        """Bound the work from the next step on; the last one holds."""
        ...

    def set_observer(self, observer: StepObserver | None) -> None:
        """Report every step to this observer from now on."""
        ...

    def begin_drain(self, deadline_at: float) -> None:
        """Take no more requests, and finish what is there until a monotonic time.

        Queued requests that cannot finish by then are handed back at once, all others at the deadline, as
        ``Stopped(DRAINING)``. Idempotent; an earlier deadline replaces a later one.
        """
        ...

    def snapshot(self) -> EngineSnapshot:
        """Return the state now; cheap enough for every scrape and every admission."""
        ...

    def close(self, timeout_seconds: float) -> bool:
        """Stop everything (requests end as ``Stopped(CANCELLED)``) and wait; False if it did not stop in time."""
        ...
