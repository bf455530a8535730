"""The shipped rules in accelerated time: the same expressions with shorter ranges and holds, for tests that wait.

An hour becomes four seconds; nothing becomes shorter than Prometheus can see at two scrapes a second. Two ages that are
compared with a number of seconds (the exporter's snapshot, the memory of an XID) shrink, too. Everything else is as
shipped.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tools.monitoring.catalogue import GROUPS
from tools.monitoring.model import Alert, Group, Recording, duration_seconds
from tools.monitoring.render import dump_yaml, group_document, groups_by_file
from tools.monitoring.thresholds import SNAPSHOT_AGE, XID_MEMORY

FACTOR = 900.0
MIN_RANGE_SECONDS = 5.0
_RANGE = re.compile(r"\[(\w+)(?::(\w+))?\]")
_AGES = (
    (f"snapshot_age_seconds) > {SNAPSHOT_AGE}", "snapshot_age_seconds) > 4"),
    (f'class="hardware"}}) < {XID_MEMORY}', 'class="hardware"}) < 10'),
)


def _shorter(text: str, least_seconds: float) -> str:
    milliseconds = round(1000 * max(least_seconds, duration_seconds(text) / FACTOR))
    return f"{milliseconds // 1000}s{milliseconds % 1000}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _range(match: re.Match[str]) -> str:
    if match[2]:
        return "[12s:500ms]"
    return f"[{_shorter(match[1], MIN_RANGE_SECONDS)}]"


def _expr(expr: str) -> str:
    for shipped, shorter in _AGES:
        expr = expr.replace(shipped, shorter)
    return _RANGE.sub(_range, expr)


def _rule(rule: Recording | Alert) -> Recording | Alert:
    if isinstance(rule, Recording):
        return replace(rule, expr=_expr(rule.expr))
    hold = _shorter(rule.hold, 1.0) if rule.hold else ""
    keep = _shorter(rule.keep, 2.0) if rule.keep else ""
    return replace(rule, expr=_expr(rule.expr), hold=hold, keep=keep)


def accelerated_groups(interval: str = "500ms") -> tuple[Group, ...]:
    """Return every group in accelerated time."""
    return tuple(
        replace(group, interval=interval, rules=tuple(_rule(rule) for rule in group.rules)) for group in GROUPS
    )


def accelerated_files() -> dict[str, str]:
    """Return the text of every rule file in accelerated time, by file name."""
    return {
        f"{file}.yaml": dump_yaml({"groups": [group_document(group) for group in groups]})
        for file, groups in groups_by_file(accelerated_groups()).items()
    }
