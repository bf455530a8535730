"""A pod without HTTP in virtual time, offered any load: the real core, estimates, corrections and decisions."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from inference.admission.callers import Caller, CallerKind
from inference.admission.decision import Ask, refusal_of, speed_tokens_per_second
from inference.admission.flags.values import normal_values
from inference.admission.tiers import FREE, PAID, Tier
from inference.admission.waiting import WaitCorrection
from inference.engine.estimates import WaitMemory, snapshot_of
from inference.engine.events import Finished
from inference.engine.settings import EngineSettings
from tests.inference_samples import CURVE, LARGE, VirtualEngine, noise_request

NUM_SLOTS = 16
NUM_TOKENS = 64
CAPACITY = NUM_SLOTS / CURVE.seconds(NUM_SLOTS) / NUM_TOKENS
MAX_WAIT_SECONDS = 10.0
PAID_SHARE = 0.1
LEAST_JUDGED_SECONDS = 0.25


@dataclass(kw_only=True)
class Course:
    """What came of a run.

    Attributes:
        told: Estimated and actual wait of each admitted request that began.
        latencies: By tier, from arrival to image.
        served_per_second: Images in the second half of the run, by second.
        max_queued: Most requests that waited.
        num_refused: Requests that were not admitted.
    """

    told: list[tuple[float, float]] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    served_per_second: float = 0.0
    max_queued: int = 0
    num_refused: int = 0


class Pod:
    """Admission and engine of one pod, without HTTP."""

    def __init__(self) -> None:
        self.engine = VirtualEngine(EngineSettings(num_slots=NUM_SLOTS, reserved_slots={"paid": NUM_SLOTS // 8}))
        self.waits = WaitCorrection({tier.name: tier.priority_weight for tier in (FREE, PAID)}, 0.0)
        self.memory = WaitMemory()

    def arrive(self, name: str, tier: Tier) -> tuple[float, float] | None:
        """Admit a request if the rules do; return its modelled wait and the one that it is told."""
        core, now = self.engine.core, self.engine.now
        request = noise_request(name, size=LARGE, tier=tier.name, priority_weight=tier.priority_weight)
        state = replace(snapshot_of(core, now), is_warm=True)
        estimated = self.memory.wait_seconds(core, request, now)
        modelled = self.waits.modelled(tier.name, estimated, speed_tokens_per_second(state), now)
        told = self.waits.corrected(tier.name, modelled)
        ask = Ask(
            caller=Caller(user=name, kind=CallerKind.NAMED, tier=tier.name, region="eu"),
            tier=tier,
            flags=normal_values(tier),
            num_images=1,
            num_tokens=NUM_TOKENS,
            num_in_work=0,
            engine=state,
            estimated_wait_seconds=told,
            promised_tokens=0.0,
            max_wait_seconds=MAX_WAIT_SECONDS,
            guard_recovery_seconds=10.0,
            is_draining=False,
            flags_change_at_unix=None,
            now_unix=1e9 + now,
        )
        if refusal_of(ask) is not None:
            return None
        self.engine.submit(name, size=LARGE, tier=tier.name, priority_weight=tier.priority_weight)
        self.waits.admitted(tier.name, NUM_TOKENS, now)
        return modelled, told


def run(load: float, seconds: float, seed: int = 8) -> Course:
    """Offer a share of the capacity, with a tenth of the users paid.

    Args:
        load: Over the capacity.
        seconds: How long, in virtual time.
        seed: Of the arrivals.

    Returns:
        What came of it.
    """
    pod, course, draw = Pod(), Course(), random.Random(seed)
    engine = pod.engine
    waiting: dict[str, tuple[Tier, float, float]] = {}
    next_at, num_arrived, num_late = 0.0, 0, 0
    while engine.now < seconds:
        while next_at <= engine.now:
            num_arrived += 1
            tier = PAID if draw.random() < PAID_SHARE else FREE
            admitted = pod.arrive(f"{num_arrived}", tier)
            if admitted is None:
                course.num_refused += 1
            else:
                waiting[f"{num_arrived}"] = (tier, *admitted)
            next_at += draw.expovariate(load * CAPACITY)
        course.max_queued = max(course.max_queued, sum(job.is_queued for job in engine.core.jobs.values()))
        if not engine.step():
            engine.now = next_at
        for name in [name for name in waiting if name not in engine.core.jobs]:
            tier, modelled, told = waiting.pop(name)
            counts = next(event.counts for event in engine.events(name) if isinstance(event, Finished))
            assert counts.admitted_at is not None and counts.ended_at is not None
            wait = counts.admitted_at - counts.submitted_at
            pod.waits.learn(tier.name, modelled, wait, counts.ended_at)
            course.told.append((told, wait))
            course.latencies.setdefault(tier.name, []).append(counts.ended_at - counts.submitted_at)
            num_late += counts.ended_at >= seconds / 2
    course.served_per_second = num_late / (engine.now - seconds / 2)
    return course


def percentile_99(values: list[float]) -> float:
    """Return the 99th percentile, by nearest rank."""
    return sorted(values)[int(0.99 * (len(values) - 1))]


def share_told_rightly(course: Course) -> float:
    """Return the share of waits of at least a quarter of a second that were told within a fifth."""
    judged = [abs(told - wait) <= 0.2 * wait for told, wait in course.told if wait >= LEAST_JUDGED_SECONDS]
    return sum(judged) / len(judged)
