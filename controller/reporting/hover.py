"""The only script of the page: a line under the pointer and the values there. The page is complete without it.

The values lie in the page as data, thinned to what can be told apart by eye.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from controller.reporting.markup import Html, joined, json_island, tag
from controller.reporting.selection import Selection, node_totals
from controller.reporting.wording import clock_text, policy_name
from controller.simulator.record import RunRecord

MAX_POINTS = 240
"""Times at which values can be read."""
_MAX_RUNS = 4

_SCRIPT = """
(function () {
  var data = JSON.parse(document.getElementById('hover-data').textContent);
  var box = document.getElementById('hover-box');
  var plots = Array.prototype.slice.call(document.querySelectorAll('svg.plot'));
  var lines = plots.map(function (plot) {
    var line = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    line.setAttribute('y1', 0);
    line.setAttribute('y2', '100%');
    line.setAttribute('class', 'cursor');
    plot.appendChild(line);
    return line;
  });
  function hide() {
    box.hidden = true;
    lines.forEach(function (line) { line.style.visibility = 'hidden'; });
  }
  function show(plot, event) {
    var frame = plot.getBoundingClientRect();
    var ratio = Math.min(Math.max((event.clientX - frame.left) / frame.width, 0), 1);
    var index = data.places.findIndex(function (place) { return place >= ratio; });
    if (index === -1) { index = data.places.length - 1; }
    lines.forEach(function (line) {
      line.setAttribute('x1', ratio * 100 + '%');
      line.setAttribute('x2', ratio * 100 + '%');
      line.style.visibility = 'visible';
    });
    box.textContent = '';
    [data.times[index]].concat(data.series.map(function (one) {
      return one.label + ': ' + one.values[index];
    })).forEach(function (text) {
      var row = document.createElement('div');
      row.textContent = text;
      box.appendChild(row);
    });
    box.hidden = false;
    var room = window.innerWidth - box.offsetWidth - 8;
    box.style.left = Math.min(event.clientX + 16, room) + 'px';
    box.style.top = Math.max(event.clientY - box.offsetHeight - 12, 8) + 'px';
  }
  if (data.places.length) {
    hide();
    plots.forEach(function (plot) {
      plot.addEventListener('pointermove', function (event) { show(plot, event); });
      plot.addEventListener('pointerleave', hide);
    });
  }
})();
"""


def hover_assets(selection: Selection) -> Html:
    """Return the read-out box, its data and the script."""
    document = hover_document(selection)
    box = tag("div", {"id": "hover-box", "hidden": "hidden", "aria-hidden": "true"})
    return joined([box, json_island("hover-data", document), Html(f"<script>{_SCRIPT}</script>")])


def hover_document(selection: Selection) -> dict[str, object]:
    """Return places, times and the texts of each series at them."""
    run = selection.featured
    usable = [index for index, second in enumerate(run.seconds) if math.isfinite(second)]
    chosen = usable[:: max(1, -(-len(usable) // MAX_POINTS))]
    seconds = [run.seconds[index] for index in chosen]
    series = [_series("sign-ups an hour", run.signups_per_hour, chosen, 0)]
    for each in selection.runs[:_MAX_RUNS]:
        series.append(_series(f"hottest GPU, {policy_name(each.policy)}, °C", each.hottest_celsius, chosen, 1))
    series += _request_series(run, chosen)
    serving, pending = node_totals(run)
    series += [_series("nodes serving", serving, chosen, 0), _series("nodes pending", pending, chosen, 0)]
    return {
        "places": [round(selection.time.ratio(second), 4) for second in seconds],
        "times": [f"{clock_text(selection.time.time(second))} UTC" for second in seconds],
        "series": series,
    }


def _request_series(run: RunRecord, chosen: Sequence[int]) -> list[dict[str, object]]:
    """Return served and limited requests of all tiers together."""
    series: list[dict[str, object]] = []
    for outcome in ("offered", "served", "limited"):
        columns = zip(*(getattr(tier, outcome) for tier in run.tiers.values()), strict=False)
        totals = tuple(sum(column) for column in columns)
        series.append(_series(f"requests {outcome} a second", totals, chosen, 1))
    return series


def _series(label: str, values: Sequence[float], chosen: Sequence[int], decimals: int) -> dict[str, object]:
    """Return one series as short texts; a gap is a dash."""
    texts = [_short(values[index], decimals) if index < len(values) else "–" for index in chosen]
    return {"label": label, "values": texts}


def _short(value: float, decimals: int) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:,.{decimals}f}" if abs(value) < 1e12 else f"{value:.2e}"
