"""The flags of one request as typed values, asked for through OpenFeature."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode

from inference.admission.callers import Caller
from inference.admission.flags.document import FlagKey
from inference.admission.flags.provider import GuardedFlagProvider
from inference.admission.tiers import Tier

_domains = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagValues:
    """What admission needs to know.

    Attributes:
        generation_enabled: False closes the region for the tier.
        images_per_day: Daily quota of a user.
        images_per_hour: Hourly quota of a user.
        max_concurrent_images: Images of one user in work at once.
        admission_ratio: Share of requests that is admitted, 0..1.
        limit_reason: Message id that users are shown; empty for the usual one.
        batch_admitted: False defers batch work.
    """

    generation_enabled: bool
    images_per_day: int
    images_per_hour: int
    max_concurrent_images: int
    admission_ratio: float
    limit_reason: str
    batch_admitted: bool


def normal_values(tier: Tier) -> FlagValues:
    """Return a tier's values when nothing is limited."""
    return FlagValues(
        generation_enabled=True,
        images_per_day=tier.images_per_day,
        images_per_hour=tier.images_per_hour,
        max_concurrent_images=tier.max_concurrent_images,
        admission_ratio=1.0,
        limit_reason="",
        batch_admitted=True,
    )


def evaluation_contexts(tiers: tuple[str, ...], regions: tuple[str, ...], model: str) -> tuple[EvaluationContext, ...]:
    """Return one context for each tier and region, in which a flag set must evaluate well.

    Args:
        tiers: Names of the tiers.
        regions: Names of the regions.
        model: Name of the model.

    Returns:
        The contexts of a user who does not exist.
    """
    return tuple(
        _context("user:check", region=region, tier=tier, model=model)
        for region, tier in itertools.product(regions, tiers)
    )


class FlagReader:
    """Asks OpenFeature for the flags of callers."""

    def __init__(self, provider: GuardedFlagProvider, model: str) -> None:
        """Register ``provider`` under a domain of its own, and ask it.

        Args:
            provider: Holds the flags.
            model: Name of the model, part of every evaluation context.
        """
        self._domain = f"meltguard-{next(_domains)}"
        self._model = model
        api.set_provider_and_wait(provider, self._domain)
        self._client: OpenFeatureClient = api.get_client(self._domain)
        self.num_errors = 0

    def read(self, caller: Caller, tier: Tier) -> FlagValues:
        """Return the flags of a caller; a flag that the set does not name has the tier's normal value.

        Args:
            caller: Who asks.
            tier: The caller's tier.

        Returns:
            The values, in range.
        """
        context = _context(caller.user, region=caller.region, tier=caller.tier, model=self._model)
        normal = normal_values(tier)
        return FlagValues(
            generation_enabled=self._boolean(FlagKey.GENERATION_ENABLED, normal.generation_enabled, context),
            images_per_day=self._count(FlagKey.IMAGES_PER_DAY, normal.images_per_day, context),
            images_per_hour=self._count(FlagKey.IMAGES_PER_HOUR, normal.images_per_hour, context),
            max_concurrent_images=self._count(FlagKey.MAX_CONCURRENT_IMAGES, normal.max_concurrent_images, context),
            admission_ratio=self._ratio(FlagKey.ADMISSION_RATIO, normal.admission_ratio, context),
            limit_reason=self._text(FlagKey.LIMIT_REASON, normal.limit_reason, context),
            batch_admitted=self._boolean(FlagKey.BATCH_ADMITTED, normal.batch_admitted, context),
        )

    def _boolean(self, key: FlagKey, default: bool, context: EvaluationContext) -> bool:
        details = self._client.get_boolean_details(key.value, default, context)
        self._note(details.error_code)
        return details.value

    def _count(self, key: FlagKey, default: int, context: EvaluationContext) -> int:
        details = self._client.get_integer_details(key.value, default, context)
        self._note(details.error_code)
        return max(details.value, 0)

    def _ratio(self, key: FlagKey, default: float, context: EvaluationContext) -> float:
        details = self._client.get_float_details(key.value, default, context)
        self._note(details.error_code)
        return min(max(details.value, 0.0), 1.0)

    def _text(self, key: FlagKey, default: str, context: EvaluationContext) -> str:
        details = self._client.get_string_details(key.value, default, context)
        self._note(details.error_code)
        return details.value

    def _note(self, error_code: ErrorCode | None) -> None:
        """Count evaluations that failed; a flag that the set does not name is no failure."""
        if error_code is not None and error_code is not ErrorCode.FLAG_NOT_FOUND:
            self.num_errors += 1


def _context(user: str, *, region: str, tier: str, model: str) -> EvaluationContext:
    return EvaluationContext(targeting_key=user, attributes={"region": region, "tier": tier, "model": model})
