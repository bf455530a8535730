"""The exporter goes on telling the truth while GPUs, calls, drivers and collectors fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exporter_process import ExporterProcess, running_states
from tests.nvml_stub.stub import StubState, uuid_of

pytestmark = pytest.mark.real_parts

Start = Callable[..., ExporterProcess]
LIGHT = "--no-derived-thermals"


def test_hang_and_garbage_cost_only_their_own_series(start: Start, hardware: StubState) -> None:
    """A GPU whose call hangs and one that returns garbage vanish with a reason; the other six stay fresh."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    hardware.set(gpu__2__hang="nvmlDeviceGetPowerUsage", gpu__5__garbage=1)
    exporter.wait(lambda: exporter.reasons() == running_states(8, gpu2="stuck", gpu5="implausible"))
    worst = 0.0
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        gpus = exporter.gpus()
        worst = max([worst, *(gpus[index]["age_seconds"] for index in (0, 1, 3, 4, 6, 7))])
        time.sleep(0.05)
    assert worst < 3.0
    samples = exporter.samples()
    with_temperature = {labels["gpu"] for labels, _ in samples["meltguard_gpu_temperature_celsius"]}
    assert with_temperature == {"0", "1", "3", "4", "6", "7"}
    stuck = {
        labels["gpu"]: (labels["call"], value) for labels, value in samples["meltguard_exporter_call_stuck_seconds"]
    }
    assert stuck.keys() == {"2"}
    assert stuck["2"][0] == "nvmlDeviceGetPowerUsage"
    assert stuck["2"][1] > 2.0
    rejected = {labels["reading"] for labels, _ in samples["meltguard_exporter_rejected_samples_total"]}
    assert {"temperature_celsius", "power_watts", "energy_joules", "memory_used_bytes"} <= rejected


def test_a_lock_in_the_driver_costs_the_others_seconds(start: Start, hardware: StubState) -> None:
    """While a hung GPU holds a lock that every call of its process waits for, a fresh process reads the others."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    hardware.set(lock_hang=1, gpu__2__hang="nvmlDeviceGetPowerUsage")

    def others_are_fresh() -> bool:
        gpus = exporter.gpus()
        ages = [gpu["age_seconds"] for gpu in gpus.values() if gpu["reason"] == "ok"]
        assert max(ages, default=0.0) <= 3.6
        return exporter.reasons() == running_states(8, gpu2="stuck") and max(ages) < 1.5

    exporter.wait(others_are_fresh, seconds=20.0)
    end = time.monotonic() + 4.0
    while time.monotonic() < end:
        assert exporter.reasons() == running_states(8, gpu2="stuck")
        time.sleep(0.1)


def test_every_reading_is_served_with_its_age(start: Start, hardware: StubState) -> None:
    """A GPU with a temperature has an age, and no published reading is older than three and a half seconds."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    hardware.set(gpu__0__hang="all")
    end = time.monotonic() + 6.0
    while time.monotonic() < end:
        samples = exporter.samples()
        ages = {labels["uuid"]: age for labels, age in samples["meltguard_gpu_reading_age_seconds"]}
        for labels, _ in samples["meltguard_gpu_temperature_celsius"]:
            assert ages[labels["uuid"]] <= 3.6
        time.sleep(0.1)
    assert exporter.reasons()[0] == "stuck"


def test_stuck_gpu_is_let_in_again(start: Start, hardware: StubState) -> None:
    """A GPU whose calls hang is probed after a pause and comes back once it answers."""
    exporter = start(LIGHT)

    def starts() -> dict[str, float]:
        rows = exporter.samples()["meltguard_exporter_collector_starts_total"]
        return {labels["why"]: value for labels, value in rows}

    exporter.wait(lambda: exporter.reasons() == running_states(8))
    hardware.set(gpu__3__hang="all")
    exporter.wait(lambda: exporter.reasons() == running_states(8, gpu3="stuck"))
    exporter.wait(lambda: starts()["stuck"] == 1 and len(exporter.pids()) == 1)
    hardware.set(gpu__3__hang="none")
    exporter.wait(lambda: exporter.reasons() == running_states(8), seconds=25.0)
    exporter.wait(lambda: starts()["probe"] >= 1)
    exporter.wait(lambda: starts()["released"] == 1)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.15, 0.4])
def test_killed_collector_is_replaced(start: Start, hardware: StubState, delay_seconds: float) -> None:
    """After SIGKILL of the collector the next readings arrive within three seconds and no scrape fails."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    time.sleep(delay_seconds)
    (collector,) = exporter.pids().values()
    before = exporter.samples()["meltguard_exporter_collections_total"][0][1]
    os.kill(collector, signal.SIGKILL)
    killed_at = time.monotonic()
    while exporter.samples()["meltguard_exporter_collections_total"][0][1] < before + 8:
        assert time.monotonic() - killed_at < 3.0, exporter.log.read_text()
        assert exporter.get("/metrics")[0] == 200
        time.sleep(0.02)
    assert exporter.reasons() == running_states(8)


def test_lost_gpu_is_named_and_returns(start: Start, hardware: StubState) -> None:
    """A GPU that falls off the bus stays listed as lost, the others go on, and it comes back by itself."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    hardware.set(gpu__6__status=15)
    exporter.wait(lambda: exporter.reasons() == running_states(8, gpu6="lost"))
    hardware.set(gpu__6__status=0)
    exporter.wait(lambda: exporter.reasons() == running_states(8))


def test_added_gpu_appears(start: Start, hardware: StubState) -> None:
    """A GPU that is added while the exporter runs is read without a restart of the serving process."""
    hardware.set(count=6)
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(6))
    hardware.set(count=8)
    exporter.wait(lambda: exporter.reasons() == running_states(8), seconds=25.0)


@pytest.mark.parametrize("trouble", [{"gpu__3__hang": "all"}, {"gpu__3__status": 15}])
def test_gpu_that_never_said_its_name_is_listed(start: Start, hardware: StubState, trouble: dict[str, object]) -> None:
    """A GPU that hangs or is lost from the start shows up under its index, and under its name when it returns."""
    hardware.set(**trouble)
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8, gpu3="unidentified"))
    hardware.set(gpu__3__hang="none", gpu__3__status=0)
    exporter.wait(lambda: exporter.reasons() == running_states(8), seconds=25.0)
    assert exporter.gpus()[3]["uuid"] == uuid_of(3)


def test_unloaded_driver_is_said_and_survived(start: Start, hardware: StubState) -> None:
    """While the driver is gone every GPU is down for that reason and readyz says so; its return needs no restart."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))
    hardware.set(status=1, init_status=9)
    exporter.wait(lambda: set(exporter.reasons().values()) == {"driver_gone"})
    status, _, body = exporter.get("/readyz")
    assert status == 503
    assert b"driver_gone" in body
    assert exporter.get("/healthz")[0] == 200
    hardware.set(status=0, init_status=0)
    exporter.wait(lambda: exporter.reasons() == running_states(8), seconds=25.0)
    assert exporter.get("/readyz")[0] == 200


def test_hang_while_opening_blocks_nothing(start: Start, hardware: StubState) -> None:
    """A driver that hangs in its initialisation leaves the server answering, and not ready."""
    hardware.set(init_hang=1)
    exporter = start(LIGHT)
    status, _, body = exporter.get("/readyz")
    assert status == 503
    assert b"starting" in body
    assert exporter.get("/metrics")[0] == 200
    hardware.set(init_hang=0)
    exporter.wait(lambda: exporter.reasons() == running_states(8))


def test_xid_is_counted_across_collectors(start: Start, hardware: StubState) -> None:
    """Each XID counts once, under its class, also after the collector was replaced."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))

    def count(xid: str) -> float:
        rows = exporter.samples()["meltguard_gpu_xid_errors_total"]
        return sum(value for labels, value in rows if labels["xid"] == xid and labels["uuid"] == uuid_of(1))

    hardware.set(gpu__1__xid=79, gpu__1__xid_sequence=1)
    exporter.wait(lambda: count("79") == 1)
    (collector,) = exporter.pids().values()
    os.kill(collector, signal.SIGKILL)
    hardware.set(gpu__1__xid_sequence=2)
    exporter.wait(lambda: count("79") == 2)
    last = exporter.samples()["meltguard_gpu_xid_last_timestamp_seconds"]
    assert [labels["class"] for labels, _ in last] == ["hardware"]
    assert abs(last[0][1] - time.time()) < 30.0


def test_energy_counter_survives_the_collector(start: Start, hardware: StubState) -> None:
    """Counters never fall when a collector is replaced."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))

    def joules() -> dict[str, float]:
        return {labels["uuid"]: value for labels, value in exporter.samples()["meltguard_gpu_energy_joules_total"]}

    before = joules()
    (collector,) = exporter.pids().values()
    os.kill(collector, signal.SIGKILL)
    exporter.wait(lambda: all(joules()[uuid] > value for uuid, value in before.items()))


_VALUES = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.floats().map(str),
    st.sampled_from(("none", "all", "nvmlDeviceGetPowerUsage", "", "nan", "x" * 300)),
)
_KEYS = st.one_of(
    st.sampled_from(("count", "init_status", "status", "gpu.", "gpu.-1.status", "gpu.99.hang", "gpu.0.", "=", "")),
    st.builds(
        "gpu.{}.{}".format,
        st.integers(0, 8),
        st.sampled_from(
            ("power_watts", "ambient_celsius", "utilization", "memory_used_mib", "garbage", "status", "xid", "mig")
            + ("xid_sequence", "processes", "pid", "sm_util")
        ),
    ),
)
_STATES = st.one_of(
    st.lists(st.builds("{}={}".format, _KEYS, _VALUES), max_size=12).map("\n".join),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200),
)


def test_nonsense_state_files_break_nothing(start: Start, hardware: StubState) -> None:
    """Whatever the hardware is told, the server answers, and comes back to itself with the hardware."""
    exporter = start(LIGHT)
    exporter.wait(lambda: exporter.reasons() == running_states(8))

    @settings(max_examples=40, deadline=None)
    @given(text=_STATES)
    def answers(text: str) -> None:
        hardware.write_text(text)
        # Long enough for a reading of the one or the other kind, not for a judgement on it.
        time.sleep(0.25)
        assert exporter.get("/metrics")[0] == 200
        assert exporter.get("/api/v1/gpus")[0] == 200

    answers()
    hardware.set(count=8)
    exporter.wait(lambda: exporter.reasons() == running_states(8), seconds=40.0)
