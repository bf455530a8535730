"""Everything that a serving pod is made of, put together once; the HTTP handlers ask it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from inference.admission.callers import CallerRules
from inference.admission.counters import counter_store
from inference.admission.flags.provider import GuardedFlagProvider
from inference.admission.flags.values import evaluation_contexts
from inference.admission.gate import AdmissionGate
from inference.admission.quotas import QuotaLedger
from inference.engine.ports import ImageEngine
from inference.engine.requests import Conditioning, GenerationRequest
from inference.serving.gauges import PodState, gauges, totals
from inference.serving.generation import GenerationRunner
from inference.serving.images import ImageEncoder
from inference.serving.instruments import render
from inference.serving.pod_metrics import PodMetrics
from inference.serving.settings import ServeSettings
from inference.serving.thermal_reader import ThermalReader


@dataclass(slots=True, kw_only=True)
class Pod:
    """The parts, and what follows from them.

    Attributes:
        settings: What the server was told.
        engine: What generates.
        provider: Flags in force.
        gate: Admission.
        metrics: What is counted.
        runner: Runs admitted requests.
        encoder: Encodes images.
        thermal: The local guard; None where no exporter was named.
        num_connections: Open connections, kept up to date by the server.
        is_leaving: It was told to end: readiness fails, though requests may still be admitted for a while.
    """

    settings: ServeSettings
    engine: ImageEngine
    provider: GuardedFlagProvider
    gate: AdmissionGate
    metrics: PodMetrics
    runner: GenerationRunner
    encoder: ImageEncoder
    thermal: ThermalReader | None
    num_connections: int = 0
    is_leaving: bool = False
    started_at: float = field(default_factory=time.monotonic)

    @property
    def guard_ratio(self) -> float:
        """Share of full work that the local guard allows."""
        return 1.0 if self.thermal is None else self.thermal.ratio

    def missing(self) -> list[str]:
        """Return what the pod lacks to be fit for work; empty when it is ready."""
        engine = self.engine.snapshot()
        lacks = {
            "engine is not warm": not engine.is_warm,
            f"engine failed: {engine.failure}": engine.failure is not None,
            "engine hangs": self.is_hung(),
            "draining": self.is_leaving or self.gate.is_draining or engine.is_draining,
        }
        return [what for what, is_lacking in lacks.items() if is_lacking]

    def is_hung(self) -> bool:
        """Return whether the engine's loop has stopped going round; loading a model may take as long as it does."""
        engine = self.engine.snapshot()
        return engine.is_warm and engine.taken_at - engine.heartbeat_at > self.settings.hang_seconds

    def is_alive(self) -> bool:
        """Return whether a restart would not help: the engine neither hangs nor broke."""
        return not self.is_hung() and self.engine.snapshot().failure is None

    def metrics_page(self, accept: str) -> tuple[bytes, str]:
        """Return the page for Prometheus and its content type, in the format that ``accept`` asks for."""
        state, labels = self._state(), self.metrics.model_labels
        families = self.metrics.instruments.families(gauges(state, labels), totals(state, labels))
        return render(families, accept)

    def _state(self) -> PodState:
        engine = self.engine.snapshot()
        return PodState(
            engine=engine,
            flags=self.provider.state(),
            quotas=self.gate.ledger.health,
            estimated_wait_seconds=self._wait_of_a_new_request(),
            is_ready=not self.missing(),
            is_draining=self.is_leaving or self.gate.is_draining,
            guard_ratio=self.guard_ratio,
            guard_reading_age_seconds=None if self.thermal is None else self.thermal.reading_age_seconds,
            num_connections=self.num_connections,
            quota_remaining=self.gate.ledger.remaining_by_tier(tuple(tier.name for tier in self.settings.tiers)),
            max_image_tokens=max(self.engine.model.tokens_by_size.values(), default=0),
        )

    def _wait_of_a_new_request(self) -> float:
        tier = self.settings.tiers[0]
        request = GenerationRequest(
            request_id="estimate",
            conditioning=Conditioning(tokens=(0,)),
            size=self.engine.model.default_size,
            seed=0,
            tier=tier.name,
            priority_weight=tier.priority_weight,
        )
        wait = self.gate.wait_of(request)
        return wait if not math.isnan(wait) else math.inf


def build_pod(settings: ServeSettings, engine: ImageEngine) -> Pod:
    """Put a pod together; nothing of it runs yet.

    Args:
        settings: What the server was told.
        engine: What generates.

    Returns:
        The pod.
    """
    tiers = tuple(tier.name for tier in settings.tiers)
    provider = GuardedFlagProvider(evaluation_contexts(tiers, settings.regions, engine.model.name))
    gate = AdmissionGate(
        engine=engine,
        tiers=settings.tiers,
        rules=CallerRules(tiers=tiers, regions=settings.regions, trusted=settings.trusted),
        provider=provider,
        ledger=QuotaLedger(counter_store(settings.redis_url)),
        max_wait_seconds=settings.max_wait_seconds,
    )
    metrics = PodMetrics(engine.model, tiers, settings.regions)
    engine.set_observer(metrics)
    thermal = None if settings.exporter_url is None else ThermalReader(engine, settings.exporter_url, settings.gpu)
    return Pod(
        settings=settings,
        engine=engine,
        provider=provider,
        gate=gate,
        metrics=metrics,
        runner=GenerationRunner(gate, metrics),
        encoder=ImageEncoder(engine.codec),
        thermal=thermal,
    )
