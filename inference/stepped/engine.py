"""The stand-in engine: a thread that gives every image in a slot one token a step, at a stated speed.

For tests of the front, for trying the server without a model, and as the load generator's counterpart; it honours the
seam as the real engine does (the same contract tests hold both to it).
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

from inference.engine.errors import DrainingError, QueueFullError, QueueLimit, UnsupportedRequestError
from inference.engine.events import (
    Admitted,
    Counts,
    Finished,
    FinishedImage,
    PartialImage,
    Progress,
    Stopped,
    StopReason,
    TokenImage,
)
from inference.engine.ports import EngineSnapshot, StepObserver, StepReport, WorkBound
from inference.engine.requests import GenerationRequest, ImageSize, ModelDescription
from inference.engine.stream import EventStream
from inference.models.pictures import WordReader
from inference.stepped.picture import PatternCodec, pattern_token
from inference.stepped.schedule import SECONDS_PER_WEIGHT, Course, Row, Work, play_forward

SMALL = ImageSize(width=8, height=8)
LARGE = ImageSize(width=16, height=16)
MODEL = ModelDescription(
    name="test-pattern",
    draws="the digits 0 to 9",
    tokens_by_size={SMALL: 64, LARGE: 256},
    default_size=SMALL,
)
WORDS = {
    word: (digit,)
    for words in (
        "0 1 2 3 4 5 6 7 8 9",
        "zero one two three four five six seven eight nine",
        "cero uno dos tres cuatro cinco seis siete ocho nueve",
        "zero uno due tre quattro cinque sei sette otto nove",
    )
    for digit, word in enumerate(words.split())
}
"""Words for each digit: numerals, English, Spanish and Italian."""
IDLE_SECONDS = 0.02
MAX_LAG_STEPS = 50
"""A thread that was held up makes good for at most this many steps."""


class SteppedEngine:
    """Paints test patterns; see the seam for what the methods promise."""

    def __init__(
        self,
        *,
        num_slots: int = 4,
        tokens_per_second: float = 2_560.0,
        warm_up_seconds: float = 0.0,
        max_queued_requests: int = 64,
        max_queued_tokens: int = 16_384,
    ) -> None:
        """Describe the engine; `start` runs it.

        Args:
            num_slots: Images in work at once, above 0.
            tokens_per_second: Of all slots together, above 0.
            warm_up_seconds: Time before it is ready.
            max_queued_requests: Limit of the queue.
            max_queued_tokens: Limit of the queue.
        """
        self.model, self.prompts, self.codec = MODEL, WordReader(WORDS, MODEL.draws), PatternCodec()
        self._num_slots, self._warm_up_seconds = num_slots, warm_up_seconds
        self._step_seconds = num_slots / tokens_per_second
        self._max_requests, self._max_tokens = max_queued_requests, max_queued_tokens
        self._lock = threading.Condition()
        self._works: dict[str, Work] = {}
        self._bound = WorkBound()
        self._observer: StepObserver | None = None
        self._drain_at: float | None = None
        self._is_closing, self._is_warm, self._is_hung = False, False, False
        self._thread: threading.Thread | None = None
        self._totals = EngineSnapshot(taken_at=0.0)
        self._last_step_at: float | None = None

    def start(self) -> None:
        """Run the thread."""
        self._thread = threading.Thread(target=self._run, name="stepped-engine", daemon=True)
        self._thread.start()

    def hang(self, is_hung: bool = True) -> None:
        """Play dead, or come back; for tests of liveness."""
        with self._lock:
            self._is_hung = is_hung
            self._lock.notify_all()

    def submit(self, request: GenerationRequest) -> EventStream:
        """Queue a request.

        Raises:
            QueueFullError: A limit of the queue is reached.
            DrainingError: It drains.
            UnsupportedRequestError: It draws no such size.
        """
        length = MODEL.tokens_by_size.get(request.size)
        if length is None:
            sizes = ", ".join(map(str, MODEL.tokens_by_size))
            raise UnsupportedRequestError("size", f"size {request.size}: this model draws {sizes}")
        with self._lock:
            if self._drain_at is not None:
                raise DrainingError("the engine finishes what it has and takes no more; ask another one")
            queued = [work for work in self._works.values() if not work.running]
            tokens = sum(row.remaining for work in self._works.values() for row in work.waiting)
            if len(queued) >= self._max_requests:
                raise QueueFullError(QueueLimit.REQUESTS, maximum=self._max_requests, queued=len(queued))
            if tokens + length * request.num_images > self._max_tokens:
                raise QueueFullError(QueueLimit.TOKENS, maximum=self._max_tokens, queued=tokens)
            stream = EventStream(request, self._cancel)
            counts = Counts(submitted_at=time.monotonic(), prompt_tokens=request.num_images)
            work = Work(request, stream, length, counts)
            work.waiting = [Row(work, index) for index in range(request.num_images)]
            self._works[request.request_id] = work
            self._totals = replace(
                self._totals, prompt_tokens_total=self._totals.prompt_tokens_total + request.num_images
            )
            self._lock.notify_all()
        return stream

    def estimated_wait_seconds(self, request: GenerationRequest) -> float:
        """Return how long the first image would wait for a slot."""
        with self._lock:
            return self._seconds(self._course(request, None).start_steps)

    def set_bound(self, bound: WorkBound) -> None:
        """Bound the work from the next step on."""
        with self._lock:
            self._bound = bound
            self._lock.notify_all()

    def set_observer(self, observer: StepObserver | None) -> None:
        """Report every step to this observer."""
        self._observer = observer

    def begin_drain(self, deadline_at: float) -> None:
        """Take no more; hand back what cannot finish by the deadline."""
        with self._lock:
            self._drain_at = deadline_at if self._drain_at is None else min(self._drain_at, deadline_at)
            steps_left = int(max(self._drain_at - time.monotonic(), 0.0) / self._step_seconds)
            for work in list(self._works.values()):
                if work.running:
                    continue
                if self._course(work.request, work).finish_steps > steps_left:
                    self._stop(work, StopReason.DRAINING, "handed back before it began")
            self._lock.notify_all()

    def close(self, timeout_seconds: float) -> bool:
        """Stop everything and wait."""
        with self._lock:
            self._is_closing = True
            for work in list(self._works.values()):
                self._stop(work, StopReason.CANCELLED, "the engine was closed")
            self._lock.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def snapshot(self) -> EngineSnapshot:
        """Return the state now."""
        with self._lock:
            now = time.monotonic()
            works = list(self._works.values())
            queued = [work for work in works if not work.running]
            waiting = [row for work in works for row in work.waiting]
            running = [row for work in works for row in work.running]
            by_tier: dict[str, int] = {}
            for row in waiting:
                tier = row.work.request.tier
                by_tier[tier] = by_tier.get(tier, 0) + row.remaining
            speed = self._num_slots / self._step_seconds
            effective = speed * min(self._num_allowed / self._num_slots, self._duty(len(running)))
            return replace(
                self._totals,
                taken_at=now,
                is_warm=self._is_warm,
                is_draining=self._drain_at is not None,
                is_drained=self._drain_at is not None and not works,
                last_step_at=self._last_step_at,
                bound=self._bound,
                num_slots=self._num_slots,
                num_busy_slots=len(running),
                num_allowed_slots=self._num_allowed,
                batch_size=len(running),
                num_running_requests=len(works) - len(queued),
                num_queued_requests=len(queued),
                num_queued_images=len(waiting),
                queued_tokens=sum(by_tier.values()),
                queued_tokens_by_tier=by_tier,
                in_flight_tokens=sum(row.remaining for row in running),
                oldest_queued_age_seconds=max((now - work.counts.submitted_at for work in queued), default=0.0),
                max_queued_requests=self._max_requests,
                max_queued_tokens=self._max_tokens,
                tokens_per_second=effective if self._totals.num_steps_total else 0.0,
                capacity_tokens_per_second=speed,
                kv_cache_usage_ratio=sum(len(row.tokens) for row in running) / (self._num_slots * 256),
            )

    # --- inside; everything below holds the lock ---

    @property
    def _num_allowed(self) -> int:
        return 0 if self._bound.duty_ratio <= 0.0 else math.floor(self._num_slots * self._bound.occupancy_ratio + 1e-9)

    def _duty(self, num_busy: int) -> float:
        """Share of the time that steps may take: bounded, and less when more slots are busy than allowed."""
        if num_busy <= self._num_allowed:
            return self._bound.duty_ratio
        return min(self._bound.duty_ratio, self._bound.occupancy_ratio * self._num_slots / num_busy)

    def _seconds(self, num_steps: int) -> float:
        return math.inf if self._num_allowed == 0 else num_steps * self._step_seconds / self._bound.duty_ratio

    def _course(self, request: GenerationRequest, work: Work | None) -> Course:
        """Return the course of a request that is queued as ``work``, or would be queued now."""
        rank = time.monotonic() - request.priority_weight * SECONDS_PER_WEIGHT if work is None else work.rank
        ahead = sorted((other for other in self._works.values() if other is not work), key=lambda other: other.rank)
        queued = [row.remaining for other in ahead if other.rank <= rank for row in other.waiting]
        running = [row.remaining for other in self._works.values() for row in other.running]
        own = [MODEL.tokens_by_size[request.size]] * request.num_images
        return play_forward(running, queued, max(self._num_allowed, 1), own)

    def _cancel(self, request_id: str) -> None:
        with self._lock:
            work = self._works.get(request_id)
            if work is not None:
                self._stop(work, StopReason.CANCELLED, "given up")

    def _stop(self, work: Work, reason: StopReason, message: str) -> None:
        self._works.pop(work.request.request_id, None)
        work.is_over = True
        work.waiting, work.running = [], []
        work.counts = replace(work.counts, ended_at=time.monotonic())
        cancelled = self._totals.cancelled_tokens_total + work.counts.image_tokens
        self._totals = replace(self._totals, cancelled_tokens_total=cancelled)
        work.stream.put(Stopped(reason=reason, message=message, counts=work.counts))

    def _run(self) -> None:
        time.sleep(self._warm_up_seconds)
        due_at = time.monotonic()
        while True:
            with self._lock:
                self._is_warm = True
                while self._is_hung and not self._is_closing:
                    self._lock.wait()
                if self._is_closing:
                    return
                now = time.monotonic()
                self._totals = replace(self._totals, heartbeat_at=now)
                self._expire(now)
                self._fill(now)
                rows = [row for work in self._works.values() for row in work.running]
                duty = self._duty(len(rows))
                if not rows or duty <= 0.0:
                    self._lock.wait(IDLE_SECONDS)
                    due_at = time.monotonic()
                    continue
            due_at = max(due_at + self._step_seconds / duty, time.monotonic() - MAX_LAG_STEPS * self._step_seconds)
            time.sleep(max(due_at - time.monotonic(), 0.0))
            with self._lock:
                report = self._step([row for row in rows if not row.work.is_over])
            if self._observer is not None:
                self._observer.step_finished(report)

    def _expire(self, now: float) -> None:
        for work in list(self._works.values()):
            deadline = work.request.deadline_at
            if deadline is not None and now >= deadline:
                self._stop(work, StopReason.DEADLINE, "its deadline passed")
            elif self._drain_at is not None and now >= self._drain_at:
                self._stop(work, StopReason.DRAINING, "handed back at the end of the grace period")

    def _fill(self, now: float) -> None:
        free = self._num_allowed - sum(len(work.running) for work in self._works.values())
        for work in sorted(self._works.values(), key=lambda work: work.rank):
            while work.waiting and free > 0:
                if work.counts.admitted_at is None:
                    work.counts = replace(work.counts, admitted_at=now)
                    work.stream.put(Admitted(at=now))
                work.running.append(work.waiting.pop(0))
                free -= 1

    def _step(self, rows: list[Row]) -> StepReport:
        now = time.monotonic()
        num_first = sum(not row.tokens for row in rows)
        for row in rows:
            self._advance(row, now)
        totals, self._last_step_at = self._totals, now
        self._totals = replace(
            totals,
            busy_seconds_total=totals.busy_seconds_total + self._step_seconds,
            num_steps_total=totals.num_steps_total + 1,
            image_tokens_total=totals.image_tokens_total + len(rows),
        )
        return StepReport(
            ended_at=now,
            step_seconds=self._step_seconds,
            batch_size=len(rows),
            num_new_tokens=len(rows),
            num_first_tokens=num_first,
            # One of each image, taken with its first image token.
            num_prompt_tokens=num_first,
            inter_token_seconds=self._step_seconds,
        )

    def _advance(self, row: Row, now: float) -> None:
        """Draw one token of an image, and say what follows from it."""
        work, request = row.work, row.work.request
        digit = request.conditioning.tokens[0] if request.conditioning.tokens else 0
        row.tokens.append(pattern_token(digit, request.seed + row.image_index, len(row.tokens)))
        work.add(image_tokens=1)
        if work.counts.first_token_at is None:
            work.counts = replace(work.counts, first_token_at=now)
        if request.with_progress and len(row.tokens) % request.size.width == 0:
            total = work.tokens_per_image * request.num_images
            work.stream.put(Progress(image_tokens_done=work.counts.image_tokens, image_tokens=total))
        share = (row.num_partials + 1) / (request.num_partial_images + 1)
        content = TokenImage(tokens=tuple(row.tokens), size=request.size)
        if row.remaining == 0:
            work.add(num_images=1)
            work.stream.put(FinishedImage(image_index=row.image_index, content=content))
            work.running.remove(row)
        elif row.num_partials < request.num_partial_images and len(row.tokens) >= share * work.tokens_per_image:
            event = PartialImage(image_index=row.image_index, partial_index=row.num_partials, content=content)
            work.stream.put(event)
            row.num_partials += 1
        if not work.running and not work.waiting:
            self._works.pop(request.request_id)
            work.is_over = True
            work.counts = replace(work.counts, ended_at=now)
            work.stream.put(Finished(counts=work.counts))
