"""Flag sets for tests: the sample policy at given positions, and what a real consumer makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from controller.adapters.flags.rendering import FlagRequest, render_flags
from controller.adapters.ports import RenderedFlags
from controller.planning.flags import flag_set
from controller.types import Ladder, Policy, Rung
from tests import planning_samples

USERS = tuple(f"user-{number}" for number in range(400))
CODE_DEFAULT = -1
"""What the consumer's own default is in these tests, so that a flag that leaves it to the consumer can be seen."""
QUOTAS, SHARES = (10, 5, 3), (0.5, 0.25, 0.1)
"""Steps of the two rungs with steps: few, so that the documents stay short, and fixed, so that they stay the same."""


def policy(*arguments: int, **changes: object) -> Policy:
    """Return the sample policy with a ladder of few steps."""
    made = planning_samples.policy(*arguments, **changes)
    kept = [
        step
        for step in made.ladder.steps
        if not (step.rung is Rung.LOWER_FREE_QUOTA and step.images_per_day not in QUOTAS)
        and not (step.rung is Rung.SHED and step.admission_ratio not in SHARES)
    ]
    return replace(made, ladder=Ladder(steps=tuple(kept)))


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
