"""Flag sets for tests: the sample policy at given positions, and what a real consumer makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from controller.adapters.flags.rendering import FlagRequest, render_flags
from controller.adapters.ports import RenderedFlags
from controller.planning.flags import flag_set
from controller.types import Approval, Ladder, LadderStep, Policy, Rung
from tests import planning_samples

USERS = tuple(f"user-{number}" for number in range(400))
CODE_DEFAULT = -1
"""What the consumer's own default is in these tests, so that a flag that leaves it to the consumer can be seen."""


def ladder() -> Ladder:
    """Return a ladder of these tests' own, so that a change of the default one changes no flag here."""
    calm = LadderStep(
        rung=Rung.OBSERVE,
        enter_margin_celsius=6.0,
        exit_margin_celsius=7.0,
        min_dwell_seconds=60.0,
        max_duration_seconds=3600.0,
    )
    quiet = replace(calm, rung=Rung.SHAPE_QUIETLY, batch_admitted=False)
    quotas = [replace(quiet, rung=Rung.LOWER_FREE_QUOTA, images_per_day=images) for images in (10, 5, 3)]
    shed = [replace(quotas[-1], rung=Rung.SHED, admission_ratio=ratio) for ratio in (0.5, 0.25, 0.1)]
    disabled = replace(quiet, rung=Rung.DISABLE_FREE, generation_enabled=False)
    paid = replace(disabled, rung=Rung.PAID_IMPACT, admission_ratio=0.5, approval=Approval.MANUAL)
    held = [replace(calm, rung=rung) for rung in (Rung.HOLD, Rung.PROVISION)]
    return Ladder(steps=(calm, *held, quiet, *quotas, *shed, disabled, paid))


def policy(num_regions: int = 2) -> Policy:
    """Return the planner's sample policy with that ladder."""
    return replace(planning_samples.policy(num_regions), ladder=ladder())


def first_of(rung: Rung, given: Policy | None = None) -> int:
    """Return the sample ladder's first position of a rung."""
    return (given or policy()).ladder.first_of(rung)


def rendered(
    positions: dict[str, int],
    *,
    expires_at: datetime,
    revision: int = 7,
    explicit_defaults: bool = False,
    region_weights: dict[str, float] | None = None,
    given: Policy | None = None,
) -> RenderedFlags:
    """Render the sample policy (of two regions, r0 and r1) at some positions."""
    used = given or policy()
    request = FlagRequest(
        policy=used,
        positions=positions,
        reasons=dict.fromkeys(positions, "forecast_margin_low"),
        flags=flag_set(used, positions, revision=revision, expires_at=expires_at),
        decision_id=f"d-{revision}",
        revision=revision,
        expires_at=expires_at,
        region_weights=region_weights or {},
    )
    flags = render_flags(request, with_feature_flag=True)
    return replace(flags, text=str(flags.feature_flag_text)) if explicit_defaults else flags


def rendered_ago(positions: dict[str, int], *, seconds_past_expiry: float, **options: object) -> RenderedFlags:
    """Render a set that expired so long ago, by the real clock, which is the one that consumers go by."""
    expires_at = datetime.now(tz=UTC) - timedelta(seconds=seconds_past_expiry)
    return rendered(positions, expires_at=expires_at, **options)  # type: ignore[arg-type]


class Consumer:
    """flagd's own evaluation of a flag set."""

    def __init__(self, flags: RenderedFlags) -> None:
        """Load the set."""
        self._core = FlagdCore()
        self._core.set_flags(flags.text)

    def integer(self, key: str, *, region: str, tier: str, user: str = "user-1") -> int:
        """Resolve a number; :data:`CODE_DEFAULT` where the flag leaves it to the consumer."""
        return self._core.resolve_integer_value(key, CODE_DEFAULT, _context(region, tier, user)).value

    def boolean(self, key: str, *, region: str, tier: str, user: str = "user-1", default: bool = True) -> bool:
        """Resolve a switch."""
        return self._core.resolve_boolean_value(key, default, _context(region, tier, user)).value

    def ratio(self, key: str, *, region: str, tier: str, user: str = "user-1") -> float:
        """Resolve a ratio."""
        return self._core.resolve_float_value(key, -1.0, _context(region, tier, user)).value

    def text(self, key: str, *, region: str, tier: str) -> str:
        """Resolve a string."""
        return self._core.resolve_string_value(key, "?", _context(region, tier, "user-1")).value

    def object(self, key: str) -> object:
        """Resolve an object."""
        return self._core.resolve_object_value(key, {"default": 1}, _context("r0", "free", "user-1")).value

    @property
    def metadata(self) -> dict[str, object]:
        """The set's metadata."""
        return dict(self._core.get_flag_set_metadata())


def _context(region: str, tier: str, user: str) -> EvaluationContext:
    return EvaluationContext(targeting_key=user, attributes={"region": region, "tier": tier, "model": "m"})
