"""The controller's own metrics: one registry a process, families from :mod:`exporters.metric_names` only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from controller.telemetry.forecast_gauges import ForecastGauges
from controller.telemetry.gauge_rows import GaugeRows
from exporters import metric_names as names
from exporters.metric_names import Metric

PASS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
PROPAGATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class ControllerMetrics:
    """Every family that the operator publishes."""

    def __init__(self) -> None:
        """Register the families; gauges of single values start at 0."""
        self.registry = CollectorRegistry()
        self._of_policies: list[GaugeRows] = []
        self.rung = self._rows(names.CONTROLLER_RUNG)
        self.breaker_open = self._rows(names.CONTROLLER_BREAKER_OPEN)
        self.leader = self._gauge(names.CONTROLLER_LEADER)
        self.epoch = self._gauge(names.CONTROLLER_EPOCH)
        self.last_pass = self._gauge(names.CONTROLLER_LAST_PASS)
        self.input_age = self._rows(names.CONTROLLER_INPUT_AGE)
        self.watch_age = self._gauge(names.CONTROLLER_WATCH_AGE)
        self.queue_depth = self._gauge(names.CONTROLLER_QUEUE_DEPTH)
        self.condition = self._rows(names.CONTROLLER_CONDITION)
        self.pool_nodes = self._rows(names.POOL_NODES)
        self.pool_lead_time = self._rows(names.POOL_LEAD_TIME)
        self.pool_nodes_limit = self._rows(names.POOL_NODES_LIMIT)
        self.pool_gpus_per_node = self._rows(names.POOL_GPUS_PER_NODE)
        self.forecasts = ForecastGauges(self.registry)
        self.actions = self._counter(names.CONTROLLER_ACTIONS)
        self.decisions = self._counter(names.CONTROLLER_DECISIONS)
        self.passes = self._counter(names.CONTROLLER_PASSES)
        self.queue_refused = self._counter(names.CONTROLLER_QUEUE_REFUSED)
        self.pass_duration = self._histogram(names.CONTROLLER_PASS_DURATION, PASS_BUCKETS)
        self.propagation = self._histogram(names.CONTROLLER_FLAG_PROPAGATION, PROPAGATION_BUCKETS)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Measure one step of a pass, whether it ends well or not."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.pass_duration.labels(step).observe(time.perf_counter() - began)

    def drop(self, policy: str) -> None:
        """Take away what was told of a policy that is gone."""
        self.forecasts.drop(policy)
        for rows in self._of_policies:
            rows.drop(policy)

    def forget(self) -> None:
        """Take away what was told of every policy: this replica no longer knows it."""
        self.forecasts.clear()
        for rows in self._of_policies:
            rows.clear()

    def render(self) -> bytes:
        """Return the text format."""
        return generate_latest(self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        """Register a gauge."""
        return Gauge(metric.name, metric.help, metric.labels, registry=self.registry)

    def _rows(self, metric: Metric) -> GaugeRows:
        """Register a gauge whose rows tell of policies."""
        rows = GaugeRows(self._gauge(metric))
        self._of_policies.append(rows)
        return rows

    def _counter(self, metric: Metric) -> Counter:
        """Register a counter."""
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)

    def _histogram(self, metric: Metric, buckets: tuple[float, ...]) -> Histogram:
        """Register a histogram."""
        return Histogram(metric.name, metric.help, metric.labels, registry=self.registry, buckets=buckets)
