"""What advisory mode would have done, against what happened: read from the audit log alone. Pure.

A region is called in trouble when a pool of it is at or past its first thermal intervention, or throttled. An alarm is
a stretch in which the planner would have limited demand or added nodes; it came true when trouble began within the
policy's horizon after the stretch began, or before it ended. Trouble without an alarm before it was missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.planning.audit import DecisionRecord
from controller.types import PoolAction, Rung

REPORT_SCHEMA = "meltguard.report/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A stretch in which the planner would have acted.

    Attributes:
        began_at: When it began.
        ended_at: When it ended; None while it lasts.
        highest_rung: Highest rung in it.
        why: The reason at its beginning.
        trouble_at: When trouble began that it announced; None when none came.
    """

    began_at: datetime
    ended_at: datetime | None
    highest_rung: int
    why: str
    trouble_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionReport:
    """One region.

    Attributes:
        region: The region.
        minutes_at_rung: Minutes that it would have stood on each rung.
        nodes_ordered: Nodes that would have been ordered.
        nodes_returned: Nodes that would have been given back.
        alarms: Stretches in which the planner would have acted.
        missed: When trouble began without an alarm.
        trouble_minutes: Minutes in trouble.
        least_margin_celsius: Least margin that was seen; None without metrics.
    """

    region: str
    minutes_at_rung: dict[str, float]
    nodes_ordered: int
    nodes_returned: int
    alarms: tuple[Alarm, ...]
    missed: tuple[datetime, ...]
    trouble_minutes: float
    least_margin_celsius: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryReport:
    """``meltguard.report/v1``."""

    schema: str
    policy: str
    begins_at: datetime | None
    ends_at: datetime | None
    num_decisions: int
    num_advisory: int
    regions: tuple[RegionReport, ...]


@dataclass(slots=True)
class _Tally:
    """What is counted of one region, record after record."""

    minutes: dict[int, float] = field(default_factory=dict)
    ordered: dict[str, int] = field(default_factory=dict)
    num_ordered: int = 0
    num_returned: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    troubles: list[datetime] = field(default_factory=list)
    trouble_minutes: float = 0.0
    in_trouble: bool = False
    least_margin: float | None = None


def advisory_report(records: Iterable[DecisionRecord], since: timedelta | None) -> tuple[AdvisoryReport, ...]:
    """Return a report a policy.

    Args:
        records: Of an audit log, in order.
        since: Only the last so long before the newest record; None for all.

    Returns:
        The reports, by name of the policy.
    """
    by_policy: dict[str, list[DecisionRecord]] = {}
    for record in records:
        by_policy.setdefault(record.policy.name, []).append(record)
    reports = []
    for name in sorted(by_policy):
        rows = by_policy[name]
        kept = rows if since is None else [row for row in rows if row.now >= rows[-1].now - since]
        reports.append(_report(name, kept))
    return tuple(reports)


def _report(name: str, records: list[DecisionRecord]) -> AdvisoryReport:
    """Return one policy's report."""
    tallies: dict[str, _Tally] = {}
    horizon = timedelta(seconds=max((row.policy.horizon_seconds for row in records), default=0.0))
    for index, record in enumerate(records):
        # Quiet decisions are not all written: each one speaks until the next.
        minutes = (records[index + 1].now - record.now).total_seconds() / 60.0 if index + 1 < len(records) else 0.0
        for verdict in record.plan.regions:
            _count(tallies.setdefault(verdict.region, _Tally()), record, verdict.region, minutes)
    return AdvisoryReport(
        schema=REPORT_SCHEMA,
        policy=name,
        begins_at=records[0].now if records else None,
        ends_at=records[-1].now if records else None,
        num_decisions=len(records),
        num_advisory=sum(record.policy.mode == "advisory" for record in records),
        regions=tuple(_region(region, tally, horizon) for region, tally in sorted(tallies.items())),
    )


def _count(tally: _Tally, record: DecisionRecord, region: str, minutes: float) -> None:
    """Count one decision of one region."""
    verdict = record.plan.verdict(region)
    assert verdict is not None
    rung = int(verdict.rung)
    tally.minutes[rung] = tally.minutes.get(rung, 0.0) + minutes
    mine = {spec.name for spec in record.policy.pools if spec.region == region}
    for action in record.plan.actions:
        # In advisory mode the same order comes again at every pass, since nobody carries it out: it counts once.
        if isinstance(action, PoolAction) and action.pool in mine and tally.ordered.get(action.pool) != action.to_nodes:
            tally.ordered[action.pool] = action.to_nodes
            change = action.to_nodes - action.from_nodes
            tally.num_ordered += max(change, 0)
            tally.num_returned += max(-change, 0)
    pools = [pool for pool in record.snapshot.pools if pool.name in mine]
    margins = [pool.margin.value.minimum_celsius for pool in pools if pool.margin.value is not None]
    throttled = any((pool.throttled_ratio.value or 0.0) > 0.0 for pool in pools)
    if margins:
        tally.least_margin = min(margins) if tally.least_margin is None else min(tally.least_margin, *margins)
    trouble = throttled or any(margin <= 0.0 for margin in margins)
    if trouble and not tally.in_trouble:
        tally.troubles.append(record.now)
    tally.in_trouble = trouble
    tally.trouble_minutes += minutes if trouble else 0.0
    acts = rung >= Rung.PROVISION
    last = tally.alarms[-1] if tally.alarms else None
    if acts and (last is None or last.ended_at is not None):
        tally.alarms.append(
            Alarm(began_at=record.now, ended_at=None, highest_rung=rung, why=verdict.why.text, trouble_at=None)
        )
    elif last is not None and last.ended_at is None:
        tally.alarms[-1] = Alarm(
            began_at=last.began_at,
            ended_at=None if acts else record.now,
            highest_rung=max(last.highest_rung, rung),
            why=last.why,
            trouble_at=None,
        )


def _region(region: str, tally: _Tally, horizon: timedelta) -> RegionReport:
    """Return one region's report: alarms matched with the trouble that they announced."""
    alarms, announced = [], set()
    for alarm in tally.alarms:
        ends = max(alarm.ended_at or datetime.max.replace(tzinfo=alarm.began_at.tzinfo), alarm.began_at + horizon)
        came = [at for at in tally.troubles if alarm.began_at <= at <= ends]
        announced |= set(came)
        alarms.append(
            Alarm(
                began_at=alarm.began_at,
                ended_at=alarm.ended_at,
                highest_rung=alarm.highest_rung,
                why=alarm.why,
                trouble_at=came[0] if came else None,
            )
        )
    return RegionReport(
        region=region,
        minutes_at_rung={str(rung): round(minutes, 2) for rung, minutes in sorted(tally.minutes.items())},
        nodes_ordered=tally.num_ordered,
        nodes_returned=tally.num_returned,
        alarms=tuple(alarms),
        missed=tuple(at for at in tally.troubles if at not in announced),
        trouble_minutes=round(tally.trouble_minutes, 2),
        least_margin_celsius=tally.least_margin,
    )


def report_text(report: AdvisoryReport) -> str:
    """Return a report as a person reads it."""
    lines = [f"{report.policy}: {report.num_decisions} decisions written, {report.num_advisory} of them advisory"]
    if report.begins_at is not None and report.ends_at is not None:
        lines[0] += f", {report.begins_at:%Y-%m-%d %H:%M}Z to {report.ends_at:%Y-%m-%d %H:%M}Z"
    for row in report.regions:
        came = [alarm for alarm in row.alarms if alarm.trouble_at is not None]
        leads = [(alarm.trouble_at - alarm.began_at).total_seconds() / 60.0 for alarm in came if alarm.trouble_at]
        lines.append(f"\n{row.region}")
        spent = ", ".join(f"rung {rung} {minutes:.0f} min" for rung, minutes in row.minutes_at_rung.items())
        lines.append(f"  would have stood on: {spent}")
        lines.append(f"  would have ordered {row.nodes_ordered} nodes and given back {row.nodes_returned}")
        lead = f", first action {min(leads):.0f} to {max(leads):.0f} min ahead" if leads else ""
        lines.append(f"  alarms: {len(row.alarms)}, of which {len(came)} came true{lead}; missed: {len(row.missed)}")
        least = "no margin seen" if row.least_margin_celsius is None else f"{row.least_margin_celsius:.1f} °C"
        lines.append(f"  what happened: {row.trouble_minutes:.0f} min in trouble, least margin {least}")
    return "\n".join(lines)
