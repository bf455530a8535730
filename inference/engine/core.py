"""The engine without thread, lock or clock: admit, step, emit, as plain calls with times as arguments.

`inference.engine.engine` calls it under its lock, and the runner between `begin_step` and `end_step` without it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from inference.engine.errors import DrainingError, QueueFullError, QueueLimit, UnsupportedRequestError
from inference.engine.events import (
    Admitted,
    Finished,
    FinishedImage,
    ImageContent,
    PartialImage,
    Progress,
    Stopped,
    StopReason,
    TokenImage,
)
from inference.engine.pace import Allowance, SpeedMeter, allowance_of
from inference.engine.ports import StepReport, WorkBound
from inference.engine.requests import GenerationRequest
from inference.engine.rows import RowTable
from inference.engine.rules import check_request
from inference.engine.runner import DrawingModel, RowMove, RowStart
from inference.engine.settings import EngineSettings
from inference.engine.stream import EventStream
from inference.engine.waiting import WaitingQueue, next_tier
from inference.engine.work import ImageTask, Job, partial_marks

DEADLINES_PER_JOB = 16
"""Deadlines kept for each request under way, at most, before those of ended requests are forgotten."""


@dataclass(slots=True)
class StepWork:
    """What the runner has to do in one round, in this order.

    Attributes:
        moves: Rows that take another number.
        pairs: Rows of guided images that have new numbers, conditional one first.
        starts: Rows of images that begin.
        images: Those images, each once.
        num_rows: Rows of the step; 0 for none.
        duty_ratio: Share of the time that this step may take.
    """

    moves: list[RowMove] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    starts: list[RowStart] = field(default_factory=list)
    images: list[ImageTask] = field(default_factory=list)
    num_rows: int = 0
    duty_ratio: float = 1.0


@dataclass(slots=True)
class Totals:
    """Numbers that only grow; their meaning stands at `EngineSnapshot`."""

    busy_seconds: float = 0.0
    num_steps: int = 0
    image_tokens: int = 0
    prompt_tokens: int = 0
    cancelled_tokens: int = 0


class EngineCore:
    """All of the engine's state and every change of it.

    Args:
        model: What is served.
        settings: Bounds.
        read_tokens: Reads the first image tokens of a row from the runner.
    """

    def __init__(
        self, model: DrawingModel, settings: EngineSettings, read_tokens: Callable[[int, int], tuple[int, ...]]
    ) -> None:
        self.model = model
        self.settings = settings
        self.jobs: dict[str, Job] = {}
        self.queue = WaitingQueue(settings.seconds_per_weight)
        self.rows = RowTable()
        self.bound = WorkBound()
        self.speed = SpeedMeter()
        self.totals = Totals()
        self.drain_at: float | None = None
        self.last_step_at: float | None = None
        self.batch_size = 0
        self.num_changes = 0
        self._read_tokens = read_tokens
        self._work = StepWork()
        self._moved_pairs: list[ImageTask] = []
        self._given_up: dict[str, StopReason] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._has_gap = True
        self._has_rested = False

    # ------------------------------------------------------------------------------------------ what comes in

    def submit(self, request: GenerationRequest, stream: EventStream, now: float) -> None:
        """Queue a request, or refuse it.

        Args:
            request: What to generate.
            stream: Where its events go.
            now: The time.

        Raises:
            DrainingError: No more requests are taken.
            QueueFullError: A limit is reached.
            UnsupportedRequestError: The model cannot do this.
        """
        if self.drain_at is not None:
            raise DrainingError("the server is shutting down and takes no more requests; try again elsewhere")
        self.check(request)
        num_queued = sum(job.is_queued for job in self.jobs.values())
        if num_queued >= self.settings.max_queued_requests:
            maximum = self.settings.max_queued_requests
            raise QueueFullError(QueueLimit.REQUESTS, maximum=maximum, queued=num_queued)
        num_tokens = self.num_tokens(request) * request.num_images
        queued_tokens = self.queue.num_tokens
        if queued_tokens and queued_tokens + num_tokens > self.settings.max_queued_tokens:
            maximum = self.settings.max_queued_tokens
            raise QueueFullError(QueueLimit.TOKENS, maximum=maximum, queued=queued_tokens)
        job = self.new_job(request, stream, now)
        self.jobs[request.request_id] = job
        if request.deadline_at is not None:
            self._note_deadline(request.deadline_at, request.request_id)
        self.queue.add(job)
        self.num_changes += 1

    def _note_deadline(self, deadline_at: float, request_id: str) -> None:
        heapq.heappush(self._deadlines, (deadline_at, request_id))
        # Deadlines of what has ended long before them would pile up.
        if len(self._deadlines) > DEADLINES_PER_JOB * (len(self.jobs) + 1):
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self.jobs]
            heapq.heapify(self._deadlines)

    def new_job(self, request: GenerationRequest, stream: EventStream, now: float) -> Job:
        """Make a job for a request as it would be queued now, without queueing it.

        Args:
            request: One that `check` lets pass.
            stream: Where its events go.
            now: The time.

        Returns:
            The job.
        """
        job = Job(request=request, stream=stream, submitted_at=now)
        num_tokens = self.num_tokens(request)
        num_columns = self.model.columns_by_size[request.size]
        arrived_at, number, _ = self.queue.next_key(request.priority_weight, now)
        job.images = [
            ImageTask(
                job=job,
                image_index=index,
                key=(arrived_at, number, index),
                num_tokens=num_tokens,
                num_columns=num_columns,
                partial_after=partial_marks(num_tokens, num_columns, request.num_partial_images),
            )
            for index in range(request.num_images)
        ]
        return job

    def num_tokens(self, request: GenerationRequest) -> int:
        """Return the image tokens of one image of a request that `check` lets pass."""
        return self.model.description.tokens_by_size[request.size]

    def check(self, request: GenerationRequest) -> None:
        """Refuse what the model cannot do.

        Raises:
            UnsupportedRequestError: With the field and what can be done instead.
        """
        check_request(request, self.model)
        if request.request_id in self.jobs:
            raise UnsupportedRequestError("request_id", f"request_id {request.request_id} is in use")

    def give_up(self, request_id: str, reason: StopReason = StopReason.CANCELLED) -> None:
        """Note that a request shall end; it does so before the next step."""
        if request_id in self.jobs:
            self._given_up.setdefault(request_id, reason)

    # ------------------------------------------------------------------------------------------ one round

    def begin_step(self, now: float) -> StepWork:
        """Let go of what is given up or too late, admit what may start, and say what the runner has to do."""
        self.let_go(now)
        self._admit(now)
        work, self._work = self._work, StepWork()
        # Only now, since a pair that moved once may have moved again, or be gone.
        work.pairs = [(image.rows[0], image.rows[1]) for image in self._moved_pairs if image.rows]
        self._moved_pairs.clear()
        allowance = self._allowance()
        work.duty_ratio = allowance.duty_ratio
        work.num_rows = self.rows.num_busy if allowance.duty_ratio > 0.0 else 0
        if work.num_rows == 0:
            self._has_gap, self.batch_size = True, 0
        return work

    def let_go(self, now: float) -> None:
        """End what is given up or too late."""
        self._expire(now)
        for request_id, reason in self._given_up.items():
            if request_id in self.jobs:
                self.stop(self.jobs[request_id], reason, now)
        self._given_up.clear()

    def _expire(self, now: float) -> None:
        if self.drain_at is not None and now >= self.drain_at:
            for request_id in self.jobs:
                self.give_up(request_id, StopReason.DRAINING)
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline_at, request_id = heapq.heappop(self._deadlines)
            job = self.jobs.get(request_id)
            # An id may be used again once its request has ended; the deadline tells them apart.
            if job is not None and job.request.deadline_at == deadline_at:
                self.give_up(request_id, StopReason.DEADLINE)

    def _admit(self, now: float) -> None:
        while len(self.queue) and (num_free_rows := self._allowance().num_rows - self.rows.num_busy) > 0:
            tier = next_tier(
                self.queue.heads(),
                num_free_rows=num_free_rows,
                busy_by_tier=self.rows.busy_by_tier,
                reserved_by_tier=self.settings.reserved_slots,
            )
            if tier is None:
                return
            self._start(self.queue.pop(tier), now)

    def _start(self, image: ImageTask, now: float) -> None:
        self.rows.take(image)
        self._work.images.append(image)
        job, request = image.job, image.job.request
        if job.admitted_at is None:
            job.admitted_at = now
            job.stream.put(Admitted(at=now))
        self.totals.prompt_tokens += len(request.conditioning.tokens)
        for place, row in enumerate(image.rows):
            is_conditional = place == 0
            prompt = request.conditioning.tokens
            start = RowStart(
                row=row,
                prompt_tokens=prompt if is_conditional else self.model.unconditional_tokens(request.conditioning),
                num_image_tokens=image.num_tokens,
                seed=request.seed,
                image_index=image.image_index,
                sampling=request.sampling,
                conditional_row=image.rows[0],
                unconditional_row=image.rows[-1],
            )
            self._work.starts.append(start)

    def end_step(self, work: StepWork, *, started_at: float, now: float) -> StepReport | None:
        """Take the step into account and tell everybody what there is of their images.

        Args:
            work: What `begin_step` returned.
            started_at: When its round began.
            now: When the runner was done.

        Returns:
            The report of the step; None if there was none.
        """
        if not work.num_rows:
            return None
        images = self.rows.images
        marked: list[ImageTask] = []
        for image in images:
            image.num_done += 1
            if image.num_done == image.next_mark:
                marked.append(image)
        num_first = sum(image.num_done == 1 for image in marked)
        gap_seconds = now - started_at if self._has_gap or self.last_step_at is None else now - self.last_step_at
        totals = self.totals
        totals.num_steps += 1
        totals.busy_seconds += now - started_at
        totals.image_tokens += len(images)
        # What passes between two steps, such as waiting for other threads, belongs to their speed; a rest does not.
        self.speed.add_step(work.num_rows, now - started_at if self._has_rested else gap_seconds)
        self._has_rested = work.duty_ratio < 1.0
        self.speed.add_tokens(len(images), gap_seconds)
        self.last_step_at, self._has_gap, self.batch_size = now, False, work.num_rows
        # All that is sent is read before any row gets another number: the runner still has the old ones.
        for image in marked:
            self._tell(image, now)
        # From the last row down: images that end together then leave no gap that another of them would be moved into.
        for image in sorted(marked, key=lambda image: image.rows[0], reverse=True):
            if image.is_done:
                self._finish(image, now)
        return StepReport(
            ended_at=now,
            step_seconds=now - started_at,
            batch_size=work.num_rows,
            num_new_tokens=len(images),
            num_first_tokens=num_first,
            num_prompt_tokens=sum(len(image.job.request.conditioning.tokens) for image in work.images),
            inter_token_seconds=gap_seconds,
        )

    def _tell(self, image: ImageTask, now: float) -> None:
        """Send what this number of tokens stands for, and set the next one that stands for something."""
        job = image.job
        if job.first_token_at is None:
            job.first_token_at = now
        if job.request.with_progress and image.num_done % image.num_columns == 0:
            job.stream.put(Progress(image_tokens_done=job.image_tokens, image_tokens=job.total_tokens))
        if image.num_done in image.partial_after:
            partial_index = image.partial_after.index(image.num_done)
            content, index = self._content(image), image.image_index
            job.stream.put(PartialImage(image_index=index, partial_index=partial_index, content=content))
        if image.is_done:
            job.stream.put(FinishedImage(image_index=image.image_index, content=self._content(image)))
        image.set_next_mark()

    def _content(self, image: ImageTask) -> TokenImage:
        return TokenImage(tokens=self._read_tokens(image.rows[0], image.num_done), size=image.job.request.size)

    def _finish(self, image: ImageTask, now: float) -> None:
        job = image.job
        job.num_images_done += 1
        self._release(image)
        if job.num_images_done == len(job.images):
            del self.jobs[job.request.request_id]
            job.stream.put(Finished(counts=job.counts(now)))

    def _release(self, image: ImageTask) -> None:
        moves, moved_pairs = self.rows.release(image)
        self._work.moves += moves
        self._moved_pairs += moved_pairs

    # ------------------------------------------------------------------------------------------ ends

    def deliver(self, image: ImageTask, content: ImageContent, now: float) -> None:
        """Finish an image that somebody else has drawn.

        Args:
            image: One that has rows.
            content: What was drawn.
            now: The time.
        """
        self.totals.image_tokens += image.num_tokens
        image.num_done = image.num_tokens
        image.job.first_token_at = image.job.first_token_at or now
        image.job.stream.put(FinishedImage(image_index=image.image_index, content=content))
        self._finish(image, now)

    def stop(self, job: Job, reason: StopReason, now: float, message: str = "") -> None:
        """End a request early: its rows are free, its stream ends.

        Args:
            job: The request.
            reason: Why.
            now: The time.
            message: For logs; a sentence of its own for each reason where there is none.
        """
        counts = job.counts(now)
        self.num_changes += 1
        self.queue.remove(job)
        for image in job.images:
            if image.rows:
                self._release(image)
        del self.jobs[job.request.request_id]
        self.totals.cancelled_tokens += job.image_tokens
        job.stream.put(Stopped(reason=reason, message=message or STOP_MESSAGES[reason], counts=counts))

    def stop_all(self, reason: StopReason, now: float, message: str = "") -> None:
        """End every request early.

        Args:
            reason: Why.
            now: The time.
            message: For logs.
        """
        for job in list(self.jobs.values()):
            self.stop(job, reason, now, message)

    def _allowance(self) -> Allowance:
        return allowance_of(self.bound, num_rows=self.settings.num_slots, num_busy=self.rows.num_busy)


STOP_MESSAGES = {
    StopReason.CANCELLED: "the request was cancelled",
    StopReason.DEADLINE: "the request's deadline passed before its images were finished",
    StopReason.DRAINING: "the server is shutting down; try again elsewhere",
    StopReason.ERROR: "the engine failed",
}
