"""The pod's gauges, and the totals that others keep, as they are at the scrape: nothing here can go stale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporters import metric_names as names
from exporters.metric_names import Metric
from inference.admission.flags.provider import FlagState
from inference.admission.quotas import StoreHealth
from inference.engine.ports import EngineSnapshot
from inference.serving.instruments import Labels

BLOCK_TOKENS = 16
"""The KV cache is kept in slots; vLLM's names count it in blocks of so many positions."""

Sample = tuple[Metric, Labels, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """Everything that gauges are made of.

    Attributes:
        engine: The engine.
        flags: The flags in force.
        quotas: The store of quotas.
        estimated_wait_seconds: Wait that a new request of the first tier faces.
        is_ready: Fit for work.
        is_draining: About to end.
        guard_ratio: Share of full work that the local guard allows.
        guard_reading_age_seconds: Age of its last usable reading; None without one.
        num_connections: Open connections.
        quota_remaining: Images left over the users seen lately, by tier.
        max_image_tokens: Longest image, for the size of the KV cache.
    """

    engine: EngineSnapshot
    flags: FlagState
    quotas: StoreHealth
    estimated_wait_seconds: float
    is_ready: bool
    is_draining: bool
    guard_ratio: float
    guard_reading_age_seconds: float | None
    num_connections: int
    quota_remaining: dict[str, int]
    max_image_tokens: int


def gauges(state: PodState, model_labels: Labels) -> Iterator[Sample]:
    """Yield every gauge.

    Args:
        state: The pod at this moment.
        model_labels: Values of ``model_name`` and ``engine``.

    Yields:
        Metric, labels and value.
    """
    engine = state.engine
    yield names.INFERENCE_QUEUE_DEPTH, (), engine.num_queued_requests
    yield names.INFERENCE_QUEUE_TOKENS, (), engine.queued_tokens
    yield names.INFERENCE_QUEUE_OLDEST, (), engine.oldest_queued_age_seconds
    yield names.INFERENCE_ESTIMATED_WAIT, (), state.estimated_wait_seconds
    free = max(engine.num_allowed_slots - engine.num_busy_slots, 0)
    yield names.INFERENCE_SLOTS, ("busy",), engine.num_busy_slots
    yield names.INFERENCE_SLOTS, ("free",), free
    yield names.INFERENCE_SLOTS, ("held_back",), max(engine.num_slots - engine.num_busy_slots - free, 0)
    yield names.INFERENCE_BATCH_SIZE, (), engine.batch_size
    yield names.INFERENCE_CAPACITY, (), engine.capacity_tokens_per_second
    yield names.INFERENCE_KV_CACHE, (), engine.kv_cache_usage_ratio
    yield names.INFERENCE_READY, (), float(state.is_ready)
    yield names.INFERENCE_DRAINING, (), float(state.is_draining)
    yield names.INFERENCE_THERMAL_GUARD, (), state.guard_ratio
    if state.guard_reading_age_seconds is not None:
        yield names.INFERENCE_GUARD_READING_AGE, (), state.guard_reading_age_seconds
    if engine.heartbeat_at > 0.0:
        yield names.INFERENCE_HEARTBEAT_AGE, (), max(engine.taken_at - engine.heartbeat_at, 0.0)
    yield names.INFERENCE_CONNECTIONS, (), state.num_connections
    yield names.INFERENCE_QUOTA_STORE_UP, (), float(state.quotas.is_up)
    for tier, remaining in state.quota_remaining.items():
        yield names.INFERENCE_QUOTA_REMAINING, (tier,), remaining
    yield names.FLAGS_REVISION, (), state.flags.revision
    if state.flags.age_seconds is not None:
        yield names.FLAGS_AGE, (), state.flags.age_seconds
    if state.flags.accepted_at_unix is not None:
        yield names.FLAGS_ACCEPTED, (), state.flags.accepted_at_unix
    yield names.VLLM_RUNNING, model_labels, engine.num_running_requests
    yield names.VLLM_WAITING, model_labels, engine.num_queued_requests
    yield names.VLLM_WAITING_WHY, (*model_labels, "capacity"), engine.num_queued_requests
    yield names.VLLM_WAITING_WHY, (*model_labels, "deferred"), 0.0
    yield names.VLLM_KV_CACHE, model_labels, engine.kv_cache_usage_ratio
    num_blocks = engine.num_slots * -(-state.max_image_tokens // BLOCK_TOKENS)
    yield names.VLLM_CACHE_CONFIG, (str(BLOCK_TOKENS), str(num_blocks), model_labels[1]), 1.0


def totals(state: PodState, model_labels: Labels) -> Iterator[Sample]:
    """Yield every counter that the engine, the flags and the quotas keep.

    Args:
        state: The pod at this moment.
        model_labels: Values of ``model_name`` and ``engine``.

    Yields:
        Metric, labels and value.
    """
    engine = state.engine
    yield names.INFERENCE_ENGINE_BUSY, (), engine.busy_seconds_total
    yield names.INFERENCE_TOKENS, (), engine.image_tokens_total
    yield names.INFERENCE_CANCELLED_TOKENS, (), engine.cancelled_tokens_total
    yield names.INFERENCE_QUOTA_STORE_FAILURES, (), state.quotas.num_failures
    yield names.INFERENCE_QUOTA_WITHOUT_STORE, ("open",), state.quotas.num_failed_open
    yield names.INFERENCE_QUOTA_WITHOUT_STORE, ("local",), state.quotas.num_counted_locally
    for problem, count in state.flags.num_refused.items():
        yield names.FLAGS_REFUSED, (problem.value,), count
    yield names.VLLM_PROMPT_TOKENS, model_labels, engine.prompt_tokens_total
    yield names.VLLM_GENERATION_TOKENS, model_labels, engine.image_tokens_total
