"""Real hardware keeps the invariants that the stub keeps; what differs from the stub is printed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporter_process import ExporterProcess, running_exporter

pytestmark = pytest.mark.gpu

STUB_FAMILIES = Path(__file__).parents[1] / "golden" / "exporters" / "own_names.prom"


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExporterProcess]:
    """An exporter on the system's own NVML, warm for half a minute."""
    with running_exporter(directory=tmp_path_factory.mktemp("exporter")) as running:
        running.wait(lambda: "ok" in running.reasons().values(), seconds=60.0)
        time.sleep(30.0)
        yield running


def test_readings_are_plausible(exporter: ExporterProcess) -> None:
    """Temperature, power, margin and energy of every GPU are there and make sense."""
    first = exporter.gpus()
    time.sleep(3.0)
    second = exporter.gpus()
    for index, gpu in first.items():
        assert gpu["up"], gpu
        assert 10.0 <= gpu["temperature_celsius"] <= 110.0
        assert 1.0 <= gpu["power_watts"] <= 3000.0
        assert gpu["age_seconds"] <= 2.5
        if gpu["energy_joules"] is not None:
            grown = second[index]["energy_joules"] - gpu["energy_joules"]
            assert 0.0 < grown < 3000.0 * 10.0
        if gpu["thermal_margin_celsius"] is not None:
            limits = gpu["temperature_limits_celsius"]
            assert 60.0 <= gpu["temperature_celsius"] + gpu["thermal_margin_celsius"] <= 120.0
            if {"slowdown", "shutdown"} <= limits.keys():
                assert limits["slowdown"] <= limits["shutdown"]


def test_nothing_is_rejected_on_healthy_hardware(exporter: ExporterProcess) -> None:
    """The plausibility gates let real readings pass."""
    rejected = exporter.samples().get("meltguard_exporter_rejected_samples_total", [])
    assert [(labels["reading"], labels["why"], value) for labels, value in rejected] == []


def test_what_differs_from_the_stub_is_recorded(exporter: ExporterProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """The families that only one of hardware and stub has, and what calls cost, are printed for the reader."""
    samples = exporter.samples()
    real = {name for name in samples if name.startswith("meltguard_gpu_")}
    stub = {
        line.split()[2] for line in STUB_FAMILIES.read_text().splitlines() if line.startswith("# TYPE meltguard_gpu_")
    }
    counts = {labels["call"]: value for labels, value in samples["meltguard_exporter_driver_calls_total"]}
    seconds = {labels["call"]: value for labels, value in samples["meltguard_exporter_driver_call_seconds_total"]}
    slowest = {labels["call"]: value for labels, value in samples["meltguard_exporter_driver_call_max_seconds"]}
    report = {
        "only_on_hardware": sorted(real - stub),
        "only_on_stub": sorted(stub - real),
        "mean_call_ms": {call: round(1e3 * seconds[call] / count, 4) for call, count in counts.items() if count},
        "slowest_call_ms": {call: round(1e3 * value, 3) for call, value in slowest.items()},
        "gpus": exporter.gpus(),
    }
    with capsys.disabled():
        print("\n" + json.dumps(report, indent=2))
    assert "meltguard_gpu_temperature_celsius" in real
