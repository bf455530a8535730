"""What ``meltguard load`` does once its options are checked, and its text report."""

from __future__ import annotations

import asyncio

import msgspec

from inference.load.generator import LoadGenerator, RequestShape
from inference.load.outcomes import Group, LoadReport, Percentiles, report
from inference.load.plan import LoadSettings, schedule


def run_load(url: str, settings: LoadSettings, shape: RequestShape) -> LoadReport:
    """Offer load and return what came of it.

    Args:
        url: Address of the server.
        settings: What load.
        shape: What each request asks for.

    Returns:
        The report.
    """
    arrivals = schedule(settings)
    records = asyncio.run(LoadGenerator(url, settings, shape).run(arrivals))
    return report(url, settings.duration_seconds, records)


def load_json(found: LoadReport) -> str:
    """Return the report as one line of JSON."""
    return msgspec.json.encode(found).decode()


def load_text(found: LoadReport) -> str:
    """Return the report as a table."""
    lines = [
        f"{found.url}: {found.offered_per_second:g} requests/s offered for {found.duration_seconds:g} s, "
        f"{found.served_images_per_second:g} images/s served in that time",
        f"the generator itself was late by {_seconds(found.generator_lag_seconds.p99)} s (p99)",
        "",
        f"{'':<18}{'offered':>9}{'tries':>8}{'served':>8}{'limited':>9}{'failed':>8}"
        f"{'p50':>8}{'p95':>8}{'p99':>8}{'wait p99':>10}{'told ±20 %':>12}",
    ]
    groups = {"all": found.total}
    groups |= {f"tier {name}": each for name, each in found.tiers.items()}
    if set(found.regions) != {"-"}:
        groups |= {f"region {name}": each for name, each in found.regions.items()}
    if len(found.cohorts) > 1:
        groups |= {f"users {name}": each for name, each in found.cohorts.items()}
    lines += [_row(name, each) for name, each in groups.items()]
    refusals = ", ".join(f"{code} {count}" for code, count in found.total.refusals.items())
    lines += ["", f"refused attempts: {refusals or 'none'}"]
    if found.total.not_sent:
        lines.append(f"{found.total.not_sent} requests were not sent: too many were in flight")
    lines.append("seconds from the moment that the schedule wanted a request, whenever it was sent")
    return "\n".join(lines)


def _row(name: str, each: Group) -> str:
    latency: Percentiles = each.latency_seconds
    told = each.estimate_within_20_percent_ratio
    return (
        f"{name:<18}{each.offered:>9}{each.attempts:>8}{each.served:>8}{each.limited:>9}"
        f"{each.failed + each.not_sent:>8}{_seconds(latency.p50):>8}{_seconds(latency.p95):>8}"
        f"{_seconds(latency.p99):>8}{_seconds(each.wait_seconds.p99):>10}{'-' if told is None else f'{told:.1%}':>12}"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
