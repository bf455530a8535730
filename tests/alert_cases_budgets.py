"""The cases of the alerts on error budgets; see ``tests.alert_cases``."""

from __future__ import annotations

from collections.abc import Iterator

from tests.alert_cases import REGION, Case

MINUTE = 60
# Ten good events a second for an hour, then a share of bad ones: where the long window crosses its limit follows from
# share * t / (60 min + t) > limit.
BURNS: tuple[tuple[str, str, float, str], ...] = (
    ("1h", "critical", 1.0, "1h11m"),
    ("6h", "critical", 0.107, "2h32m"),
    ("1d", "warning", 0.041, "4h44m"),
    ("3d", "warning", 0.0131, "7h14m"),
)


def _course(share: float, per_minute: float = 600.0) -> str:
    return f"0+{per_minute}x60 {60 * per_minute + share * per_minute}+{share * per_minute}x480"


def _first_token(share_bad: float, per_minute: float = 600.0) -> dict[str, str]:
    series = f'meltguard_inference_time_to_first_token_seconds_%s{{{REGION},instance="p1"%s}}'
    return {
        series % ("count", ""): _course(1.0, per_minute),
        series % ("bucket", ',le="2.5"'): _course(1.0 - share_bad, per_minute),
    }


def _refused(share_bad: float, outcome: str = "contended", tier: str = "paid") -> dict[str, str]:
    series = f'meltguard_inference_requests_received_total{{{REGION},tier="{tier}",attempt="first",outcome="%s"}}'
    bad = 600.0 * share_bad
    return {series % "admitted": _course(1.0 - share_bad), series % outcome: f"0x60 {bad}+{bad}x480"}


def _budgets() -> Iterator[Case]:
    for long, severity, share, fires in BURNS:
        for alert, series in (
            ("InferenceTTFTBudgetBurn", _first_token(share)),
            ("InferenceAvailabilityBudgetBurn", _refused(share)),
        ):
            yield Case(
                alert=alert,
                why=f"{share:.2%} bad events in {long}",
                series=series,
                fires=fires,
                where=f'long="{long}",severity="{severity}"',
                step=MINUTE,
            )
    yield Case(
        alert="InferenceTTFTBudgetBurn",
        why="everything is slow, but hardly anybody is there",
        series=_first_token(1.0, per_minute=5.0),
        where='severity="critical"',
        step=MINUTE,
        until="4h",
    )
    yield Case(
        alert="InferenceTTFTBudgetBurn",
        why="everything is slow, but the region is on rung 3 and the cause is worked on",
        series={**_first_token(1.0), "region:meltguard_controller_rung:max{" + REGION + "}": "3x540"},
        where='severity="critical"',
        step=MINUTE,
        until="4h",
    )
    yield Case(
        alert="InferenceTTFTBudgetBurn",
        why="nine slow requests in a thousand are within the promise",
        series=_first_token(0.009),
        step=MINUTE,
        until="9h",
    )
    yield Case(
        alert="InferenceAvailabilityBudgetBurn",
        why="quotas that are used up, and free users who are shed",
        series={**_refused(0.5, outcome="quota"), **_refused(0.9, outcome="shed", tier="free")},
        step=MINUTE,
        until="9h",
    )


BUDGET_CASES: tuple[Case, ...] = tuple(_budgets())
