"""What the state of the core means for others: snapshots, and how long a request would wait.

Pure: these read and never change it. The engine calls them under its lock.
"""

from __future__ import annotations

import math

from inference.engine.core import EngineCore
from inference.engine.outlook import Load, Outlook, Pace, outlook
from inference.engine.pace import allowance_of
from inference.engine.ports import EngineSnapshot, WorkBound
from inference.engine.requests import GenerationRequest
from inference.engine.stream import EventStream
from inference.engine.work import ImageTask, Job

NOW = Outlook(starts_after_seconds=0.0, ends_after_seconds=0.0)
NEVER = Outlook(starts_after_seconds=float("inf"), ends_after_seconds=float("inf"))


def load_of(image: ImageTask) -> Load:
    """Return an image as far as time is concerned."""
    return Load(key=image.key, tier=image.tier, num_rows=image.num_rows, num_steps=image.num_left)


def pace_of(core: EngineCore) -> Pace | None:
    """Return how fast the core goes; None before the warm-up."""
    curve = core.speed.curve
    if curve is None:
        return None
    settings = core.settings
    return Pace(curve=curve, bound=core.bound, num_rows=settings.num_slots, reserved_by_tier=settings.reserved_slots)


def outlook_of_request(core: EngineCore, request: GenerationRequest, now: float) -> tuple[Outlook, Outlook]:
    """Return the outlook of the first and the last image of a request, if it were submitted now.

    Args:
        core: The state.
        request: One that the model can do.
        now: The time.

    Returns:
        When the first image starts and ends, and when the last one does, if nothing else came.
    """
    core.check(request)
    pace = pace_of(core)
    if pace is None:
        return NEVER, NEVER
    job = core.new_job(request, EventStream(request, lambda request_id: None), now)
    loads = [load_of(image) for image in job.images]
    found = outlook(
        [load_of(image) for image in core.rows.images], [load_of(image) for image in core.queue.images], pace, loads
    )
    return found[loads[0].key], found[loads[-1].key]


class WaitMemory:
    """The waits that were asked for a moment ago.

    While nothing is submitted and nothing ends early, a wait only draws nearer, and to play the whole queue forward for
    each of many refused requests would take the time of those that are admitted.
    """

    FRESH_SECONDS = 0.1
    """A moment: the measured speed hardly changes in it."""
    MAX_KINDS = 256

    def __init__(self) -> None:
        self._state: tuple[int, WorkBound] | None = None
        self._waits: dict[tuple[object, ...], tuple[float, float]] = {}

    def wait_seconds(self, core: EngineCore, request: GenerationRequest, now: float) -> float:
        """Return how long a request's first image would wait for rows, if it were submitted now.

        Args:
            core: The state.
            request: One that the model can do.
            now: The time.

        Returns:
            Seconds; infinite while the bound is zero and before the warm-up.
        """
        state = (core.num_changes, core.bound)
        if state != self._state or len(self._waits) >= self.MAX_KINDS:
            self._state, self._waits = state, {}
        rows = request.sampling.rows_per_image
        kind = (request.tier, request.priority_weight, request.size, request.num_images, rows)
        found_at, wait_seconds = self._waits.get(kind, (-math.inf, 0.0))
        if now - found_at > self.FRESH_SECONDS:
            found_at, wait_seconds = now, outlook_of_request(core, request, now)[0].starts_after_seconds
            self._waits[kind] = (found_at, wait_seconds)
        return max(wait_seconds - (now - found_at), 0.0)


def jobs_later_than(core: EngineCore, ends_at: float, now: float) -> list[Job]:
    """Find the queued requests that cannot be finished in time.

    Args:
        core: The state.
        ends_at: When everything has to be finished.
        now: The time.

    Returns:
        Requests; before the speed is known, all of them: nothing can be promised.
    """
    pace = pace_of(core)
    if pace is None:
        return [job for job in core.jobs.values() if job.is_queued]
    waiting = [load_of(image) for image in core.queue.images]
    found = outlook([load_of(image) for image in core.rows.images], waiting, pace)
    return [
        job
        for job in core.jobs.values()
        if job.is_queued and now + max(found[image.key].ends_after_seconds for image in job.images) > ends_at
    ]


def snapshot_of(core: EngineCore, now: float) -> EngineSnapshot:
    """Return what the core knows of itself; the engine adds what it knows of its thread.

    Args:
        core: The state.
        now: The time.

    Returns:
        The snapshot.
    """
    settings, totals = core.settings, core.totals
    running = core.rows.images
    queued = [job for job in core.jobs.values() if job.is_queued]
    allowance = allowance_of(core.bound, num_rows=settings.num_slots, num_busy=core.rows.num_busy)
    longest = max(core.model.description.tokens_by_size.values()) + core.model.description.max_prompt_tokens
    positions = sum((image.num_done + len(image.job.request.conditioning.tokens)) * image.num_rows for image in running)
    return EngineSnapshot(
        taken_at=now,
        is_draining=core.drain_at is not None,
        is_drained=core.drain_at is not None and not core.jobs,
        last_step_at=core.last_step_at,
        bound=core.bound,
        num_slots=settings.num_slots,
        num_busy_slots=core.rows.num_busy,
        num_allowed_slots=allowance.num_rows,
        batch_size=core.batch_size,
        num_running_requests=len({image.job.request.request_id for image in running}),
        num_queued_requests=len(queued),
        num_queued_images=len(core.queue),
        queued_tokens=core.queue.num_tokens,
        queued_tokens_by_tier=core.queue.tokens_by_tier,
        in_flight_tokens=sum(image.num_left for image in running),
        oldest_queued_age_seconds=max((now - job.submitted_at for job in queued), default=0.0),
        max_queued_requests=settings.max_queued_requests,
        max_queued_tokens=settings.max_queued_tokens,
        tokens_per_second=core.speed.tokens_per_second,
        capacity_tokens_per_second=core.speed.capacity(settings.num_slots),
        kv_cache_usage_ratio=positions / (settings.num_slots * longest),
        busy_seconds_total=totals.busy_seconds,
        num_steps_total=totals.num_steps,
        image_tokens_total=totals.image_tokens,
        prompt_tokens_total=totals.prompt_tokens,
        cancelled_tokens_total=totals.cancelled_tokens,
    )
