"""The status page at ``/``: what the operator is doing, why, how hot it is and how near, on one page without a script.

Made on the server from the same values as ``/api/v1/status``. It says the most urgent thing first: a sentence on what
is being done, then trouble, then regions, pools, forecasts, limits and decisions. Pure; called by the web server.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from controller.operator.conditions import Problem
from controller.operator.status_style import STYLE
from controller.operator.status_view import (
    DecisionView,
    FanView,
    PolicyView,
    PoolView,
    RegionView,
    StatusView,
)
from controller.types import FlagInForce

REFRESH_SECONDS = 10
MAX_FANS = 6
"""Fans drawn a policy, the largest first; the JSON has all."""
MAX_POOLS = 200
"""Pools listed a policy, the hottest first; the JSON has all."""
MAX_LIMITS = 100
MAX_PROBLEMS = 20
FAN_WIDTH, FAN_HEIGHT = 320.0, 110.0
FAN_LEFT, FAN_BOTTOM = 44.0, 20.0
UNKNOWN = "unknown"
RUNG_NAMES = (
    "observe",
    "hold",
    "provision",
    "shape quietly",
    "lower free quota",
    "shed",
    "free tier off",
    "paid impact",
)


class Markup(str):
    """Text that is markup already; everything else is escaped."""

    __slots__ = ()


def element(name: str, attributes: dict[str, str], *children: str) -> Markup:
    """Return one element.

    Args:
        name: Its name, ours.
        attributes: Names are ours, values are escaped.
        children: Plain text is escaped, :class:`Markup` is not.

    Returns:
        The element.
    """
    written = "".join(f' {key}="{html.escape(value, quote=True)}"' for key, value in attributes.items())
    return Markup(f"<{name}{written}>{_joined(children)}</{name}>")


def render_status_page(view: StatusView) -> bytes:
    """Return the page.

    Args:
        view: What to show.

    Returns:
        A whole HTML document, UTF-8.
    """
    policies = [_policy(policy, view.as_of) for policy in view.policies]
    if not policies:
        policies = [element("p", {"class": "muted"}, "No SurgePolicy has been decided on yet.")]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><title>meltguard</title><style>{STYLE}</style>'
    )
    body = _joined([_header(view), _problems(view.problems), *policies, _footer()])
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'.encode()


def _header(view: StatusView) -> Markup:
    """Return who says this, and when."""
    role = "leading" if view.leading else "standing by: another replica leads, this page may lag"
    epoch = "" if view.epoch is None else f", epoch {view.epoch}"
    parts = [
        element("h1", {}, "meltguard"),
        element("span", {"class": "muted"}, f"{view.replica}, {role}{epoch}"),
        element("span", {"class": "muted"}, "as of ", _time(view.as_of)),
    ]
    if view.advisory:
        parts.append(element("strong", {}, "advisory: decides and reports, writes nothing"))
    return element("header", {}, *parts)


def _footer() -> Markup:
    """Return where to find more."""
    links = {"/api/v1/status": "the same as JSON", "/metrics": "metrics", "/readyz": "readiness"}
    shown = [element("a", {"href": path}, text) for path, text in links.items()]
    return element("footer", {}, *shown, element("span", {}, f"refreshes every {REFRESH_SECONDS} seconds"))


def _problems(problems: Sequence[Problem]) -> Markup:
    """Return what is wrong, in the operator's own words; nothing where nothing is."""
    if not problems:
        return Markup("")
    rows = [element("li", {}, problem.text) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        rows.append(element("li", {}, f"and {len(problems) - MAX_PROBLEMS} more"))
    return element("ul", {"class": "problems", "aria-label": "Problems"}, *rows)


def _policy(policy: PolicyView, now: datetime) -> Markup:
    """Return one policy, the most urgent first."""
    sections = [
        element("p", {"class": "name"}, f"policy {policy.name}"),
        element("h2", {}, policy.doing),
        _facts(policy),
        _problems(policy.problems),
        _section("Regions", element("div", {"class": "regions"}, *[_region(row, now) for row in policy.regions])),
        _section("Pools", _pools(policy.pools)),
        _section("Active limits", _limits(policy.limits, now)),
        _section("Forecast of requests", _fans(policy.forecasts)),
        _section("Last decisions", _decisions(policy.decisions)),
    ]
    return element("article", {}, *sections)


def _section(title: str, content: Markup) -> Markup:
    """Return a titled part."""
    return element("section", {}, element("h3", {}, title), content)


def _facts(policy: PolicyView) -> Markup:
    """Return the policy's figures in a line."""
    surge = policy.surge
    if policy.doubling_seconds is not None:
        surge += f", doubling every {duration_text(policy.doubling_seconds)}"
    facts = [("demand", surge), ("mode", "advisory" if policy.advisory else policy.mode)]
    if policy.paused != "none":
        facts.append(("paused", policy.paused))
    if policy.flags_revision is not None:
        held = (
            "" if policy.consumers is None else f", held by {policy.consumers_holding} of {policy.consumers} consumers"
        )
        facts.append(("flags", f"revision {policy.flags_revision}{held}"))
    facts.append(("decided", f"{policy.decided_at:%H:%M:%S} UTC ({policy.decision_id})"))
    return element("p", {"class": "facts"}, *[element("span", {}, f"{n} ", element("strong", {}, t)) for n, t in facts])


def _region(region: RegionView, now: datetime) -> Markup:
    """Return one region: its rung, what that means for users, and why."""
    rung = min(max(region.rung, 0), len(RUNG_NAMES) - 1)
    badge = element("span", {"class": f"badge rung-{rung}"}, f"{rung} {RUNG_NAMES[rung]}")
    since = "" if region.since is None else f"for {duration_text((now - region.since).total_seconds())}; "
    margin = region.predicted_min_margin_celsius
    margin_text = "least margin ahead unknown" if margin is None else f"least margin ahead {margin:.1f} °C"
    parts = [
        element("div", {"class": "region-head"}, element("strong", {}, region.name), badge),
        element("p", {}, region.meaning),
        element("p", {"class": "why"}, region.why),
        element("small", {}, since + margin_text),
    ]
    if region.breaker_open:
        parts.append(element("p", {"class": "alarm"}, "breaker open: a person must look before anything escalates"))
    return element("div", {"class": "card"}, *parts)


def _pools(pools: Sequence[PoolView]) -> Markup:
    """Return the pools, the hottest first and the unknown before all."""
    ranked = sorted(pools, key=lambda pool: (_or(pool.min_margin_celsius, -math.inf), pool.name))
    rows = [_pool(pool) for pool in ranked[:MAX_POOLS]]
    columns = ("pool", "hottest GPU", "margin", "slowdown in", "nodes", "state")
    table = _table(columns, rows, numbers=(1, 2, 3, 4))
    return _with_rest(table, len(pools) - MAX_POOLS, "pools")


def _pool(pool: PoolView) -> list[str]:
    """Return the cells of one pool."""
    known = pool.freshness == "fresh"
    # The view does not tell "beyond the horizon" from "not forecast", so neither is claimed.
    slowdown = "none known" if known else UNKNOWN
    if pool.seconds_to_slowdown is not None:
        slowdown = duration_text(pool.seconds_to_slowdown)
    state = [*pool.conditions] if known else [f"metrics {pool.freshness}", *pool.conditions]
    pending = f", {pool.pending} on the way" if pool.pending else ""
    nodes = UNKNOWN if pool.serving is None else f"{pool.serving} of {_or(pool.desired, UNKNOWN)} serve{pending}"
    margin = _celsius(pool.min_margin_celsius)
    alarming = pool.min_margin_celsius is not None and pool.min_margin_celsius <= 0.0
    name = f"{pool.name} ({pool.region}{', ' + pool.gpu_model if pool.gpu_model else ''})"
    return [
        name,
        _celsius(pool.hottest_celsius),
        element("span", {"class": "alarm"}, margin) if alarming else margin,
        slowdown,
        nodes,
        element("span", {"class": "alarm"}, ", ".join(state)) if state else "ok",
    ]


def _limits(limits: Sequence[FlagInForce], now: datetime) -> Markup:
    """Return the limits in force and when each ends by itself, the next to end first."""
    live = sorted(
        (row for row in limits if row.expires_at > now), key=lambda row: (row.expires_at, row.region, row.key)
    )
    if not live:
        return element("p", {"class": "muted"}, "None. Nobody is limited.")
    rows = [
        [
            f"{row.region}, {row.tier or 'every tier'}",
            row.key,
            _value_text(row.value),
            f"{duration_text((row.expires_at - now).total_seconds())} ({row.expires_at:%H:%M:%S} UTC)",
        ]
        for row in live[:MAX_LIMITS]
    ]
    table = _table(("for", "limit", "value", "ends unless renewed in"), rows, numbers=(2, 3))
    return _with_rest(table, len(live) - MAX_LIMITS, "limits")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int]) -> Markup:
    """Return a table whose rows become cards on a narrow screen."""
    heads = [_cell("th", {"scope": "col"}, name, index in numbers) for index, name in enumerate(columns)]
    lines = []
    for row in rows:
        cells = [element("th", {"scope": "row"}, row[0])]
        for index, (column, text) in enumerate(zip(columns[1:], row[1:], strict=True), start=1):
            cells.append(_cell("td", {"data-label": column}, element("span", {}, text), index in numbers))
        lines.append(element("tr", {}, *cells))
    return element("table", {}, element("thead", {}, element("tr", {}, *heads)), element("tbody", {}, *lines))


def _cell(name: str, attributes: dict[str, str], content: str, is_number: bool) -> Markup:
    """Return one cell."""
    return element(name, {**attributes, **({"class": "number"} if is_number else {})}, content)


def _with_rest(content: Markup, num_left_out: int, what: str) -> Markup:
    """Return a list with a word on what it leaves out."""
    if num_left_out <= 0:
        return content
    return _joined([content, element("p", {"class": "muted"}, f"{num_left_out} further {what} stand in the JSON.")])


def _fans(fans: Sequence[FanView]) -> Markup:
    """Return the forecasts, the largest first."""
    drawable = [fan for fan in fans if _is_drawable(fan)]
    if not drawable:
        return element("p", {"class": "muted"}, "No forecast yet; nothing is given back until there is one.")
    ranked = sorted(drawable, key=lambda fan: -max(fan.values[-1]))
    content = element("div", {"class": "fans"}, *[_fan(fan) for fan in ranked[:MAX_FANS]])
    return _with_rest(content, len(drawable) - MAX_FANS, "forecasts")


def _is_drawable(fan: FanView) -> bool:
    """Return whether a fan has the numbers of a drawing."""
    lengths = {len(row) for row in fan.values}
    return len(fan.values) >= 2 and len(lengths) == 1 and max(lengths) >= 2


def _fan(fan: FanView) -> Markup:
    """Return one forecast: the band of its outer levels and its middle, in requests a second."""
    per_second = [[max(value, 0.0) / fan.step_seconds for value in row] for row in fan.values]
    top = max(max(row) for row in per_second) or 1.0
    minutes = fan.step_seconds * len(per_second[0]) / 60.0
    lower, upper, middle = (_points(per_second[row], top) for row in (0, -1, len(per_second) // 2))
    band = Markup(f'<path class="band" d="M{" L".join([*lower, *reversed(upper)])} Z"/>')
    median = Markup(f'<path class="median" d="M{" L".join(middle)}"/>')
    base = FAN_HEIGHT - FAN_BOTTOM
    axis = Markup(f'<path class="axis" d="M{FAN_LEFT},4 V{base} H{FAN_WIDTH}"/>')
    words = [
        _text(FAN_LEFT - 5.0, 13.0, _number(top), "end"),
        _text(FAN_LEFT - 5.0, base, "0", "end"),
        _text(FAN_LEFT, FAN_HEIGHT - 5.0, f"{fan.issued_at:%H:%M}", "start"),
        _text(FAN_WIDTH, FAN_HEIGHT - 5.0, f"+{minutes:.0f} min", "end"),
    ]
    place = f"{fan.region or 'all regions'}, {fan.tier or 'all tiers'}"
    low, high = (f"{fan.levels[row] * 100:g} %" for row in (0, -1))
    ends = f"{_number(per_second[0][-1])} to {_number(per_second[-1][-1])}"
    title = element("title", {}, f"Requests a second, {place}: {ends} in {minutes:.0f} minutes, {low} to {high}")
    box = {"viewBox": f"0 0 {FAN_WIDTH:g} {FAN_HEIGHT:g}", "role": "img"}
    drawing = element("svg", box, title, band, axis, median, *words)
    caption = element("figcaption", {}, element("strong", {}, place), element("small", {}, "requests a second"))
    return element("figure", {"class": "card"}, caption, drawing)


def _points(values: Sequence[float], top: float) -> list[str]:
    """Return the points of a line in the drawing."""
    width, height = FAN_WIDTH - FAN_LEFT, FAN_HEIGHT - FAN_BOTTOM - 4.0
    last = len(values) - 1
    return [
        f"{FAN_LEFT + width * index / last:.1f},{4.0 + height * (1.0 - min(value / top, 1.0)):.1f}"
        for index, value in enumerate(values)
    ]


def _text(x: float, y: float, words: str, anchor: str) -> Markup:
    """Return words in the drawing."""
    return element("text", {"x": f"{x:g}", "y": f"{y:g}", "text-anchor": anchor}, words)


def _decisions(decisions: Sequence[DecisionView]) -> Markup:
    """Return the last decisions that changed something."""
    if not decisions:
        return element("p", {"class": "muted"}, "None has changed anything yet.")
    return element("ul", {"class": "card decisions"}, *[_decision(decision) for decision in decisions])


def _decision(decision: DecisionView) -> Markup:
    """Return one decision: what was done, what became of it, and why."""
    head = element("p", {}, _time(decision.issued_at), " ", element("small", {}, decision.decision_id))
    deeds = [
        element("p", {}, element("strong", {}, f"{done.subject}: {done.change}"), f" ({done.result})")
        for done in decision.actions
    ]
    reasons = [element("p", {"class": "muted"}, reason) for reason in decision.reasons]
    return element("li", {}, head, *deeds, *reasons)


def duration_text(seconds: float) -> str:
    """Write a duration as people say it: 45 s, 5 min 20 s, 3 h 5 min; never longer than it is."""
    if not math.isfinite(seconds):
        return UNKNOWN
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 and whole % 60 else f"{whole // 60} min"
    if whole < 172_800:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} days"


def _time(at: datetime) -> Markup:
    """Return a time of day, with the whole time for machines."""
    return element("time", {"datetime": at.isoformat()}, f"{at:%d %b %H:%M:%S} UTC")


def _celsius(value: float | None) -> str:
    """Write degrees."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.1f} °C".replace("-", "−")


def _number(value: float) -> str:
    """Write a number in three figures or so."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def _value_text(value: bool | int | float | str) -> str:
    """Write a flag's value."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _or(value: object, otherwise: object) -> object:
    """Return a value, or another where there is none."""
    return otherwise if value is None else value


def _joined(parts: Iterable[str]) -> Markup:
    """Join parts; plain text is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part, quote=True) for part in parts))
