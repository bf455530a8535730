"""The names of our metrics are a contract: shape, units and uniqueness."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from exporters import metric_names
from exporters.metric_names import Metric, MetricType

OURS = [metric for metric in metric_names.ALL_METRICS if metric.name.startswith(metric_names.PREFIX)]


def test_names_are_unique() -> None:
    """Two families never share a name."""
    names = [metric.name for metric in metric_names.ALL_METRICS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_name_follows_the_conventions(metric: Metric) -> None:
    """A name is lower snake case, its labels are distinct and its help is a sentence."""
    assert re.fullmatch(r"meltguard_[a-z][a-z0-9_]*", metric.name)
    assert len(set(metric.labels)) == len(metric.labels)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in metric.labels)
    assert metric.help.endswith(".")


@pytest.mark.parametrize("metric", OURS, ids=lambda metric: metric.name)
def test_unit_is_named_and_declared(metric: Metric) -> None:
    """A name that ends in a base unit declares it, and only base units occur."""
    assert not re.search(r"milli|mega|percent|_ms(_|$)|_mhz|_mb(_|$)", metric.name)
    last = metric.family.rsplit("_", 1)[-1]
    if last in {"celsius", "watts", "joules", "bytes", "hertz", "ratio"}:
        assert metric.unit == last


def test_every_gpu_series_names_its_gpu() -> None:
    """Families of one GPU begin with uuid, gpu and node."""
    for metric in metric_names.metrics_with_prefix("gpu_", "pod_gpu_"):
        assert metric.labels[:3] == ("uuid", "gpu", "node")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("meltguard_gpu_energy_joules_total", MetricType.GAUGE), ("meltguard_gpu_power_watts", MetricType.COUNTER)],
)
def test_a_wrong_suffix_is_refused(name: str, kind: MetricType) -> None:
    """Counters, and only counters, end in _total."""
    with pytest.raises(ValueError, match="_total"):
        Metric(name=name, type=kind, help="Help.")


def test_a_unit_elsewhere_is_refused() -> None:
    """A unit that is not the last word of the name is an error."""
    with pytest.raises(ValueError, match="last word"):
        Metric(name="meltguard_watts_gpu", type=MetricType.GAUGE, help="Help.", unit="watts")


def test_import_is_light() -> None:
    """Importing the contract pulls in neither our other packages nor anything outside the standard library."""
    heavy = ("numpy", "msgspec", "typer", "prometheus_client", "forecasting", "controller")
    code = f"import sys, exporters.metric_names; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
