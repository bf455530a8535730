"""Writes docs/reference/metrics.md: every family of every part, as its one contract has it. Called by `make docs`."""

from collections.abc import Iterable, Sequence

from exporters.dcgm import LEGACY
from exporters.metric_names import (
    CONTROLLER_METRICS,
    EXPORTER_METRICS,
    FORECAST_METRICS,
    GPU_LABELS,
    INFERENCE_METRICS,
    VLLM_METRICS,
    Metric,
    MetricType,
)
from tools.docs.tables import code, table
from tools.monitoring.catalogue import GROUPS
from tools.monitoring.promql import selectors

_OPENING = f"""\
# Metrics

Every family that a part of meltguard publishes, written by `make docs` from `exporters/metric_names.py`, where alone
they are defined. Units are base units and stand last in the name; a family without one counts, or says a state. What is
unknown is absent, never 0. A histogram has `_bucket`, `_sum` and `_count`.

Prometheus adds `job`, `instance` and, from the labels of nodes and pods, `cluster`, `region` and `pool`
([Signals](signals.md) says how). The last column says how many of the shipped [alerts and recording
rules](alerts.md) read a family.

Every series of a GPU carries {", ".join(code(name) for name in GPU_LABELS)}; the tables call them GPU.
"""

_PARTS: tuple[tuple[str, str, tuple[Metric, ...]], ...] = (
    (
        "The GPU exporter",
        "Served at `:9400/metrics` by `meltguard exporter` ([its page](exporter.md)).",
        EXPORTER_METRICS,
    ),
    ("The demand forecast", "Served by the operator, by region and tier.", FORECAST_METRICS),
    (
        "The controller",
        "Served at `:8080/metrics` by `meltguard operator`. Only the leader's word counts: join with "
        "`meltguard_controller_leader == 1`, as the rules do.",
        CONTROLLER_METRICS,
    ),
    ("The inference server", "Served by `meltguard serve`, with the flags that it works with.", INFERENCE_METRICS),
    (
        "The inference server under vLLM's names",
        "The same server, with the names, types and labels of vLLM, so that its dashboards and gateways work.",
        VLLM_METRICS,
    ),
)

_DCGM = """\
## The GPU exporter under DCGM's names

Beside ours, as dcgm-exporter up to 4.8.2 wrote them, units included (MHz, mJ, MiB, percent); `--dcgm-names none` leaves
them out.
"""


def metrics_page() -> str:
    """Return the page: one section a part, one row a family."""
    read = _readers()
    pieces = [_OPENING]
    for title, text, metrics in _PARTS:
        heads = ("metric", "type", "unit", "labels", "meaning", "rules")
        pieces += [f"## {title}\n\n{text} {len(metrics)} families.\n", table(heads, _rows(metrics, read))]
    pieces += [_DCGM, table(("metric", "type", "meaning"), ((code(f.name), f.type, f.help) for f in LEGACY))]
    return "\n".join(pieces)


def _readers() -> dict[str, int]:
    """Return how many rules of the catalogue read a series, by its name."""
    counts: dict[str, int] = {}
    for group in GROUPS:
        for rule in group.rules:
            for name in {selector.metric for selector in selectors(rule.expr)}:
                counts[name] = counts.get(name, 0) + 1
    return counts


def _rows(metrics: Sequence[Metric], read: dict[str, int]) -> Iterable[tuple[str, ...]]:
    for metric in metrics:
        names = [metric.name]
        if metric.type is MetricType.HISTOGRAM:
            names = [metric.name + ending for ending in ("_bucket", "_sum", "_count")]
        number = sum(read.get(name, 0) for name in names)
        yield (
            code(metric.name),
            metric.type.value,
            (metric.unit or "").replace("_per_", " per "),
            _label_words(metric.labels),
            metric.help,
            str(number) if number else "",
        )


def _label_words(labels: tuple[str, ...]) -> str:
    if labels[: len(GPU_LABELS)] != GPU_LABELS:
        return ", ".join(code(label) for label in labels)
    return ", ".join(["GPU", *(code(label) for label in labels[len(GPU_LABELS) :])])
