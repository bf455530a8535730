"""Writes docs/reference/alert-noise.md from what `benchmarks/alert_noise.py` measured. Called by `make docs`.

The measurements lie beside the page as JSON; this module only adds up and bounds, so that no table says anything else
than its figures.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tools.checks.repository import ROOT
from tools.docs.tables import code, table
from tools.monitoring.catalogue import ALERTS
from tools.monitoring.model import Severity

MEASURED = "docs/reference/alert-noise.json"
CONFIDENCE = 0.95
_MAX_BISECTIONS = 200
Measured = Mapping[str, Any]

_OPENING = """\
# How noisy the alerts are, and what they miss

The shipped rules over series, evaluated by promtool in virtual time. `benchmarks/alert_noise.py` measures, one part a
run, and keeps its figures in [alert-noise.json](alert-noise.json); this page is written from them by `make docs`. A
notification is one group (alert, severity, region, pool) that begins to fire; inhibition, which would take some away,
is not applied, and the Watchdog is left out.
"""

_ORDINARY = """\
A small fleet (one region, a pool of two nodes with eight GPUs each, two inference pods, two replicas of the operator)
in the simulator, planner, forecasts and thermal model at work, with the day's swing and no wave. Over it lies what
happens in a healthy fleet all the time and calls for nobody:
"""

_BOUND = """\
The upper bound is the one of Garwood (1936) for a count of Poisson events, both sides together {percent:g} %: with
no false alarm in T weeks it is 3.69 / T. It holds for this simulated fleet, each alert by itself; a fleet ten times as
large has ten times as many GPUs that can look faulty. Alerts that nothing in a calm simulated week can come near are
bounded only by the time that was looked at.
"""

_MISSED = """\
Every rule of the catalogue, with events drawn at random: magnitude, beginning and length vary, sensors are noisy, and
one scrape in a hundred is lost, with every series of its target. An event is called if its rule fires within the time
in the table; it is late if the rule fires after that, and missed if it never does. Delays are from the beginning of the
event to the alert's firing, the hold included; Alertmanager adds its group's wait.
"""

_ELSEWHERE = """\
## Elsewhere

| replayed | hours | pages | tickets | what fired | command |
|---|---|---|---|---|---|
"""

_LIMITS = """\
## What this does not say

The rates of what is ordinary are assumptions, and a real fleet has its own: what fires in yours for nothing is worth an
issue. Events are drawn from ranges that a person would want to hear of; what lies below a threshold is not among them.
`absent()` sees all fleets of a replay at once, so that the rules on absence (no exporter at all, no operator at all)
are tried by events, each alone, and not in the ordinary weeks. Samples of the ordinary weeks stand {step} s apart,
those of the events 15 s or, for the budgets, 60 s.
"""


def poisson_upper(count: int, *, confidence: float = CONFIDENCE) -> float:
    """Return Garwood's upper bound on the mean of a Poisson count.

    Args:
        count: Events that were counted, 0 or more.
        confidence: Two-sided, inside 0..1.

    Returns:
        The mean at which so few events or fewer have the probability (1 - confidence) / 2.
    """
    tail = (1.0 - confidence) / 2.0
    low, high = float(count), 2.0 * count + 20.0
    for _ in range(_MAX_BISECTIONS):
        middle = (low + high) / 2.0
        at_most = math.fsum(math.exp(-middle + k * math.log(middle) - math.lgamma(k + 1)) for k in range(count + 1))
        low, high = (middle, high) if at_most > tail else (low, middle)
    return high


def noise_page() -> str:
    """Return the page.

    Raises:
        FileNotFoundError: If nothing was measured yet; run the benchmark.
    """
    measured: Measured = json.loads((ROOT / MEASURED).read_text(encoding="utf-8"))
    runs = measured["ordinary"]
    weeks = sum(run["weeks"] for run in runs.values())
    steps = {run["step_seconds"] for run in runs.values()}
    pieces = [
        _OPENING,
        "## False alarms in ordinary weeks\n",
        _ORDINARY,
        table(("who", "what is ordinary"), next(iter(runs.values()))["disturbances"]),
        _totals(runs, weeks),
        _BOUND.format(percent=100.0 * CONFIDENCE),
        table(
            ("alert", "severity", "false alarms", "a week", f"upper bound a week ({100.0 * CONFIDENCE:g} %)"),
            _false_rows(runs, weeks),
        ),
        "## Events that were called, late and missed\n",
        _MISSED,
        table(
            ("rule", "event", "drawn", "called", "late", "missed", "median delay", "longest", "called means within"),
            [_event_row(measured["faults"][name]) for name in sorted(measured["faults"])],
        ),
        _ELSEWHERE + "".join(_elsewhere_row(name, each) for name, each in measured["elsewhere"].items()),
        _LIMITS.format(step=", ".join(f"{step:g}" for step in sorted(steps))),
    ]
    return "\n".join(pieces)


def _totals(runs: Mapping[str, Measured], weeks: float) -> str:
    counts = Counter[str]()
    for run in runs.values():
        counts.update(_by_severity(run["notifications"]))
    pages, tickets = counts[Severity.CRITICAL], counts[Severity.WARNING]
    return (
        f"{weeks:.2f} fleet-weeks ({', '.join(sorted(runs))}): {pages} pages, "
        f"at most {poisson_upper(pages) / weeks:.2f} a week; {tickets} tickets, "
        f"at most {poisson_upper(tickets) / weeks:.2f} a week; {counts[Severity.INFO]} times information that notifies "
        "nobody.\n"
    )


def _by_severity(notifications: Mapping[str, int]) -> Counter[str]:
    counts = Counter[str]()
    for name, number in notifications.items():
        counts[name.rpartition(" ")[2]] += number
    return counts


def _false_rows(runs: Mapping[str, Measured], weeks: float) -> Iterable[tuple[str, ...]]:
    names = dict.fromkeys((alert.name, alert.severity) for alert in ALERTS if alert.severity is not Severity.NONE)
    for name, severity in names:
        count = sum(run["notifications"].get(f"{name} {severity}", 0) for run in runs.values())
        yield (name, severity.value, str(count), f"{count / weeks:.2f}", f"{poisson_upper(count) / weeks:.2f}")


def _event_row(each: Measured) -> tuple[str, ...]:
    called = each["called"]
    early = f", {each['early']} before the event" if each["early"] else ""
    return (
        " ".join((each["alert"], *each["labels"])),
        each["says"],
        str(each["drawn"]),
        str(called),
        str(each["late"]),
        f"{each['missed']}{early}",
        _duration(each["median_seconds"]) if called else "",
        _duration(each["longest_seconds"]) if called else "",
        _duration(each["within_seconds"]),
    )


def _duration(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.1f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"


def _elsewhere_row(name: str, each: Measured) -> str:
    fired = ", ".join(f"{alert} {number}" for alert, number in sorted(each["notifications"].items())) or "nothing"
    cells = (name, f"{each['hours']:g}", str(each["pages"]), str(each["tickets"]), fired, code(each["command"]))
    return f"| {' | '.join(cells)} |\n"
