"""Counters and histograms of the pod, and their page for Prometheus.

Values are kept here and rendered by prometheus-client. Its own instruments are not used: they add ``_created`` series,
and each would be a global. Gauges are not kept at all: whoever renders gives them as they are at that moment.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as PrometheusFamily
from prometheus_client.samples import Exemplar

from exporters.metric_names import Metric, MetricType

Labels = tuple[str, ...]
Gauges = Iterable[tuple[Metric, Labels, float]]
Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Distribution:
    """One histogram series."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Count into buckets up to ``bounds``, ascending, and one without bound."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[Exemplar | None] = [None] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1, exemplar: Exemplar | None = None) -> None:
        """Count a value; a bucket keeps its last exemplar.

        Args:
            value: What was seen.
            times: How many equal values were seen.
            exemplar: Where it was seen; None: not said.
        """
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += times
        self.sum += value * times
        if exemplar is not None:
            self.exemplars[bucket] = exemplar

    def buckets(self) -> list[Bucket]:
        """Return cumulative counts by upper bound, with the bucket's exemplar where it has one."""
        total, found = 0, list[Bucket]()
        bounds = [*(repr(float(bound)) for bound in self.bounds), "+Inf"]
        for bound, count, exemplar in zip(bounds, self.counts, self.exemplars, strict=True):
            total += count
            found.append((bound, float(total)) if exemplar is None else (bound, float(total), exemplar))
        return found


class Instruments:
    """Every counter and histogram; may be used from any thread."""

    def __init__(self, bounds: Mapping[Metric, Sequence[float]]) -> None:
        """Begin with nothing counted.

        Args:
            bounds: Upper bounds of each histogram's buckets, ascending.
        """
        self._lock = threading.Lock()
        self._bounds = dict(bounds)
        self._counters: dict[Metric, dict[Labels, float]] = {}
        self._histograms: dict[Metric, dict[Labels, Distribution]] = {metric: {} for metric in bounds}

    def initialise(self, metric: Metric, label_sets: Iterable[Labels]) -> None:
        """Let series exist with zero, so that a first event is an increase."""
        with self._lock:
            for labels in label_sets:
                if metric.type is MetricType.HISTOGRAM:
                    self._histograms[metric].setdefault(labels, Distribution(self._bounds[metric]))
                else:
                    self._counters.setdefault(metric, {}).setdefault(labels, 0.0)

    def add(self, metric: Metric, labels: Labels = (), amount: float = 1.0) -> None:
        """Add to a counter.

        Args:
            metric: Which.
            labels: Values of its labels, in its order.
            amount: What to add, 0 or more.
        """
        with self._lock:
            series = self._counters.setdefault(metric, {})
            series[labels] = series.get(labels, 0.0) + amount

    def observe(self, metric: Metric, value: float, labels: Labels = (), times: int = 1, *, trace_id: str = "") -> None:
        """Count into a histogram.

        Args:
            metric: Which.
            value: What was seen.
            labels: Values of its labels, in its order.
            times: How many equal values were seen.
            trace_id: The trace that the value is from, shown as the bucket's exemplar; empty: none.
        """
        exemplar = Exemplar({"trace_id": trace_id}, value, time.time()) if trace_id else None
        with self._lock:
            series = self._histograms[metric]
            if labels not in series:
                series[labels] = Distribution(self._bounds[metric])
            series[labels].observe(value, times, exemplar)

    def value(self, metric: Metric, labels: Labels = ()) -> float:
        """Return a counter's present value, 0 where nothing was counted."""
        with self._lock:
            return self._counters.get(metric, {}).get(labels, 0.0)

    def families(self, gauges: Gauges, totals: Gauges) -> Iterator[PrometheusFamily]:
        """Yield everything as prometheus-client wants it.

        Args:
            gauges: Gauges as they are now.
            totals: Counters that somebody else keeps, as they are now.

        Yields:
            One family a metric.
        """
        with self._lock:
            counters = {metric: dict(series) for metric, series in self._counters.items()}
            histograms = {
                metric: {labels: (series.buckets(), series.sum) for labels, series in every.items()}
                for metric, every in self._histograms.items()
            }
        for metric, labels, value in totals:
            counters.setdefault(metric, {})[labels] = value
        for metric, series in counters.items():
            counter = CounterMetricFamily(metric.family, metric.help, labels=metric.labels)
            for labels, value in series.items():
                counter.add_metric(labels, value)
            yield counter
        for metric, distributions in histograms.items():
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, (buckets, total) in distributions.items():
                histogram.add_metric(labels, buckets, total)
            yield histogram
        grouped: dict[Metric, GaugeMetricFamily] = {}
        for metric, labels, value in gauges:
            if metric not in grouped:
                grouped[metric] = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            grouped[metric].add_metric(labels, value)
        yield from grouped.values()


class _Page:
    """What prometheus-client's encoders ask for families."""

    def __init__(self, families: Iterable[PrometheusFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[PrometheusFamily]:
        return self._families


def render(families: Iterable[PrometheusFamily], accept: str) -> tuple[bytes, str]:
    """Return the page and its content type, in the format that an ``Accept`` header asks for."""
    encoder, content_type = choose_encoder(accept)
    return encoder(_Page(families)), content_type
