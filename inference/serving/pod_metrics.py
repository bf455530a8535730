"""What the pod counts: requests as they come, requests as they end, and steps of the engine.

Every series that can exist is there with zero from the start. Gauges are in ``gauges``, computed at the scrape.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from exporters import metric_names as names
from inference.admission.attempts import Attempt
from inference.admission.flags.document import FlagProblem
from inference.admission.gate import Admission, Sender
from inference.admission.verdicts import LimitReason, Outcome, Refusal
from inference.engine.events import Counts
from inference.engine.ports import StepReport
from inference.engine.requests import ModelDescription
from inference.serving.buckets import BOUNDS
from inference.serving.instruments import Instruments

ENGINE_LABEL = "0"
FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")
DEFAULT_SIZE_LABEL = "upstream"


class Ending(StrEnum):
    """How an admitted request ended; the label ``outcome``."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    DRAINING = "draining"
    ERROR = "error"


_FINISHED_REASON = {
    Ending.COMPLETED: "length",
    Ending.CANCELLED: "abort",
    Ending.DEADLINE: "abort",
    Ending.DRAINING: "abort",
    Ending.ERROR: "error",
}


class DropReason(StrEnum):
    """Why a client was dropped."""

    SLOW = "slow"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """What is known of an admitted request at its end.

    Attributes:
        admission: Its admission.
        ending: How it ended.
        counts: What the engine says that it did and when.
        size: Size of its images, as a label.
        num_tokens: Image tokens asked for.
        ended_at: Monotonic seconds.
        trace_id: The trace that it belongs to; empty: none that anybody keeps.
    """

    admission: Admission
    ending: Ending
    counts: Counts
    size: str
    num_tokens: int
    ended_at: float
    trace_id: str = ""


class PodMetrics:
    """Counts what happens; also observes the engine's steps, in its thread."""

    def __init__(self, model: ModelDescription, tiers: tuple[str, ...], regions: tuple[str, ...]) -> None:
        """Let every series exist.

        Args:
            model: The model that is served.
            tiers: Names of the tiers.
            regions: Names of the regions.
        """
        self.instruments = Instruments(BOUNDS)
        self.model_labels = (model.name, ENGINE_LABEL)
        sizes = [str(size) for size in model.tokens_by_size] or [DEFAULT_SIZE_LABEL]
        begin = self.instruments.initialise
        begin(names.INFERENCE_REQUESTS, product(regions, tiers, [*Attempt], [*Outcome]))
        begin(names.INFERENCE_TOKENS_REQUESTED, product(regions, tiers))
        begin(names.INFERENCE_IMAGES, product(tiers, sizes))
        begin(names.INFERENCE_REFUSED, product(tiers, [*LimitReason]))
        begin(names.INFERENCE_ENDED, product(tiers, [*Ending]))
        begin(names.INFERENCE_WAIT, product(tiers))
        begin(names.INFERENCE_WAIT_RATIO, product(tiers))
        begin(names.INFERENCE_CLIENTS_DROPPED, product([*DropReason]))
        begin(names.FLAGS_REFUSED, product([*FlagProblem]))
        for metric in (
            names.INFERENCE_TIME_TO_FIRST_TOKEN,
            names.INFERENCE_INTER_TOKEN,
            names.INFERENCE_IMAGE_SECONDS,
            names.INFERENCE_FIRST_PARTIAL,
        ):
            begin(metric, [()])
        self._begin_vllm(model.name)

    def _begin_vllm(self, model_name: str) -> None:
        for metric in names.VLLM_METRICS:
            if metric.labels == ("model_name", "engine") and metric in BOUNDS:
                self.instruments.initialise(metric, [self.model_labels])
        counters = (names.VLLM_PREEMPTIONS, names.VLLM_PREFIX_QUERIES, names.VLLM_PREFIX_HITS)
        for counter in counters:
            self.instruments.initialise(counter, [self.model_labels])
        self.instruments.initialise(names.VLLM_SUCCESS, [(*self.model_labels, reason) for reason in FINISHED_REASONS])
        reasons = ("max_num_queued_reqs", "max_num_queued_tokens")
        self.instruments.initialise(names.VLLM_REJECTIONS, product([model_name], reasons))

    def received(self, sender: Sender, outcome: Outcome, num_tokens: int) -> None:
        """Count offered load.

        Args:
            sender: Who offered it.
            outcome: What became of it at the gate.
            num_tokens: Image tokens asked for; 0 where the request makes no sense.
        """
        place = (sender.caller.region, sender.caller.tier)
        self.instruments.add(names.INFERENCE_REQUESTS, (*place, sender.attempt.value, outcome.value))
        self.instruments.add(names.INFERENCE_TOKENS_REQUESTED, place, num_tokens)

    def refused(self, sender: Sender, refusal: Refusal) -> None:
        """Count a refusal by its reason."""
        self.instruments.add(names.INFERENCE_REFUSED, (sender.caller.tier, refusal.reason.value))
        if refusal.reason is LimitReason.QUEUE_FULL:
            what = "max_num_queued_reqs" if refusal.limit == "queue-requests" else "max_num_queued_tokens"
            self.instruments.add(names.VLLM_REJECTIONS, (self.model_labels[0], what))

    def dropped(self, reason: DropReason) -> None:
        """Count a client that went or was too slow."""
        self.instruments.add(names.INFERENCE_CLIENTS_DROPPED, (reason.value,))

    def first_partial(self, seconds: float) -> None:
        """Count the time to a request's first partial image."""
        self.instruments.observe(names.INFERENCE_FIRST_PARTIAL, seconds)

    def ended(self, ended: EndedRequest) -> None:
        """Count a request at its end, by all its times."""
        see, counts, labels = self.instruments.observe, ended.counts, self.model_labels
        tier = ended.admission.sender.tier.name
        self.instruments.add(names.INFERENCE_ENDED, (tier, ended.ending.value))
        self.instruments.add(names.INFERENCE_IMAGES, (tier, ended.size), counts.num_images)
        self.instruments.add(names.VLLM_SUCCESS, (*labels, _FINISHED_REASON[ended.ending]))
        see(names.VLLM_REQUEST_PROMPT_TOKENS, counts.prompt_tokens, labels)
        see(names.VLLM_REQUEST_TOKENS, counts.image_tokens, labels)
        see(names.VLLM_REQUEST_MAX_TOKENS, ended.num_tokens, labels)
        see(names.VLLM_REQUEST_N, ended.admission.num_images, labels)
        total = ended.ended_at - counts.submitted_at
        see(names.VLLM_END_TO_END, total, labels)
        if ended.ending is Ending.COMPLETED:
            see(names.INFERENCE_IMAGE_SECONDS, total)
        if counts.admitted_at is None:
            return
        wait = counts.admitted_at - counts.submitted_at
        see(names.VLLM_QUEUE_TIME, wait, labels)
        see(names.VLLM_INFERENCE_TIME, ended.ended_at - counts.admitted_at, labels)
        see(names.INFERENCE_WAIT, wait, (tier,))
        if wait > 0.0:
            see(names.INFERENCE_WAIT_RATIO, ended.admission.estimated_wait_seconds / wait, (tier,))
        if counts.first_token_at is None:
            return
        decode = ended.ended_at - counts.first_token_at
        to_first_token = counts.first_token_at - counts.submitted_at
        see(names.INFERENCE_TIME_TO_FIRST_TOKEN, to_first_token, trace_id=ended.trace_id)
        see(names.VLLM_FIRST_TOKEN, to_first_token, labels, trace_id=ended.trace_id)
        see(names.VLLM_PREFILL_TIME, counts.first_token_at - counts.admitted_at, labels)
        see(names.VLLM_DECODE_TIME, decode, labels)
        if counts.image_tokens > 1:
            see(names.VLLM_PER_OUTPUT_TOKEN, decode / (counts.image_tokens - 1), labels)

    def step_finished(self, report: StepReport) -> None:
        """Count tokens and the time between them; called in the engine's thread."""
        num_tokens = report.num_prompt_tokens + report.num_new_tokens
        self.instruments.observe(names.VLLM_ITERATION_TOKENS, num_tokens, self.model_labels)
        others = report.num_new_tokens - report.num_first_tokens
        if others > 0:
            self.instruments.observe(names.INFERENCE_INTER_TOKEN, report.inter_token_seconds, (), others)
            self.instruments.observe(names.VLLM_INTER_TOKEN, report.inter_token_seconds, self.model_labels, others)
