"""What the play has shown: each claim with its evidence, true or not. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.lab.watch import Moment
from tools.real_parts.nvml_stub import LIMIT_CELSIUS

LIMITING_RUNG = 3
DEATH_REASONS = frozenset({"http_502", "http_503", "draining"})
"""What users see of a pod that was killed: the front says that it is gone, or that none is left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What was seen of one play.

    Attributes:
        moments: The timeline.
        peak_celsius: Highest temperature by node.
        throttled_seconds: Longest thermal slowdown of a GPU by node.
        users: Reports of the load generator that were finished.
        num_decisions: Decisions that the audit log explains.
        explained: Decisions that changed something, with the words that explain them.
        restarts: How often each process was started again.
        down: Processes that did not run at the end.
    """

    moments: Sequence[Moment]
    peak_celsius: Mapping[str, float]
    throttled_seconds: Mapping[str, float]
    users: Sequence[Mapping[str, Any]]
    num_decisions: int
    explained: Mapping[str, str]
    restarts: Mapping[str, int]
    down: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        name: What is claimed.
        holds: Whether it is so.
        evidence: The figures.
    """

    name: str
    holds: bool
    evidence: str


def claims_with(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims about a play in which meltguard acts."""
    free, paid = tier_of(evidence, "free"), tier_of(evidence, "paid")
    limited = sum(free["refusals"].values())
    rungs = [moment.rung for moment in evidence.moments if moment.rung is not None]
    return (
        _heat(evidence, should_pass=False),
        Claim(
            name="free users are limited, with a reason",
            holds=limited > 0 and max(rungs, default=0) >= LIMITING_RUNG,
            evidence=f"{limited} refusals: {_counts(free['refusals'])}; highest rung {max(rungs, default=0)}",
        ),
        Claim(
            name="paid users are not limited",
            holds=paid["offered"] > 0 and not paid["refusals"] and paid["served"] == paid["offered"],
            evidence=f"{paid['served']} of {paid['offered']} served, refusals: {_counts(paid['refusals'])}",
        ),
        _restored(evidence),
        _audit(evidence),
    )


def claims_killed(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims about a play in which meltguard acts and processes are killed."""
    last, paid = evidence.moments[-1], tier_of(evidence, "paid")
    refused = {name: count for name, count in paid["refusals"].items() if name not in DEATH_REASONS}
    return (
        _heat(evidence, should_pass=False),
        Claim(
            name="paid users are refused by nobody but a pod that was killed",
            holds=paid["offered"] > 0 and not refused,
            evidence=f"{paid['served']} of {paid['offered']} served, refusals: {_counts(paid['refusals'])}",
        ),
        Claim(
            name="every process that was killed is back",
            holds=sum(evidence.restarts.values()) > 0 and not evidence.down and last.rung is not None,
            evidence=f"started again: {_counts(evidence.restarts)}; down: {', '.join(evidence.down) or 'none'}",
        ),
        _restored(evidence),
        _audit(evidence),
    )


def claims_without(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims about a play in which meltguard only reports."""
    limits = {limit for moment in evidence.moments for limit in moment.limits}
    return (
        _heat(evidence, should_pass=True),
        Claim(name="nothing is limited by flags", holds=not limits, evidence=", ".join(sorted(limits)) or "no limit"),
        _audit(evidence),
    )


def tier_of(evidence: Evidence, tier: str) -> dict[str, Any]:
    """Return offered, served and refusals of a tier, over all reports."""
    total: dict[str, Any] = {"offered": 0, "served": 0, "failed": 0, "refusals": Counter()}
    for report in evidence.users:
        group = report["tiers"].get(tier)
        if group is not None:
            for key in ("offered", "served", "failed"):
                total[key] += group[key]
            total["refusals"].update(group["refusals"])
    return total


def _restored(evidence: Evidence) -> Claim:
    """Return whether nothing is limited any more."""
    last = evidence.moments[-1]
    return Claim(
        name="everything is restored",
        holds=last.rung is not None and last.rung < LIMITING_RUNG and not last.limits,
        evidence=f"rung {last.rung}, limits in force: {', '.join(last.limits) or 'none'}",
    )


def _heat(evidence: Evidence, *, should_pass: bool) -> Claim:
    """Return what became of the GPUs."""
    peak = max(evidence.peak_celsius.values(), default=0.0)
    throttled = max(evidence.throttled_seconds.values(), default=0.0)
    guard = min((moment.guard_ratio for moment in evidence.moments), default=1.0)
    passed = peak >= LIMIT_CELSIUS or throttled > 0.0
    name = "GPUs pass slowdown" if should_pass else "no GPU passes slowdown"
    return Claim(
        name=name,
        holds=bool(evidence.peak_celsius) and passed == should_pass,
        evidence=f"hottest {peak:.1f} °C of {LIMIT_CELSIUS:.0f} °C, slowed down for {throttled:.1f} s at most; "
        f"the pods' own guards allowed {guard:.0%} at least",
    )


def _audit(evidence: Evidence) -> Claim:
    """Return whether every step is explained."""
    return Claim(
        name="the audit log explains each step",
        holds=bool(evidence.explained) and all(evidence.explained.values()),
        evidence=f"{evidence.num_decisions} decisions, {len(evidence.explained)} of them acted",
    )


def _counts(counts: Mapping[str, int]) -> str:
    """Return counts in words."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
