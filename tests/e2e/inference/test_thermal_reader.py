"""The local guard against a real exporter: it bounds the engine by the margin of its GPU, and goes on when blind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from inference.engine.ports import WorkBound
from inference.guard import GuardSettings
from inference.serving.thermal_reader import ThermalReader, UnusableReadingError, reading_of, work_bound
from inference.stepped.engine import SteppedEngine
from tests.exporter_process import ExporterProcess, running_exporter
from tests.inference_server import running_server
from tests.nvml_stub.stub import StubState, build_stub


@contextmanager
def warm_engine() -> Iterator[SteppedEngine]:
    engine = SteppedEngine(num_slots=8)
    engine.start()
    try:
        yield engine
    finally:
        assert engine.close(5.0)


def turns(reader: ThermalReader, number: int) -> None:
    """Let the guard read so many times, without waiting between."""

    async def read() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
            for _ in range(number):
                await reader.turn(session)

    asyncio.run(read())


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExporterProcess]:
    directory = tmp_path_factory.mktemp("exporter")
    with running_exporter("--source", "simulated:2", directory=directory) as running:
        running.wait(lambda: len(running.gpus()) == 2)
        yield running


def test_a_cool_gpu_lets_the_bound_rise_from_its_start(exporter: ExporterProcess) -> None:
    """A pod begins at half its work; with margin to spare the bound rises, and the reading's age is known."""
    with warm_engine() as engine:
        reader = ThermalReader(engine, f"{exporter.address}/api/v1/gpus", "0")
        turns(reader, 2)
        assert reader.ratio > GuardSettings().start_ratio
        assert reader.reading_age_seconds is not None and reader.reading_age_seconds < 5.0
        assert engine.snapshot().bound == work_bound(reader.ratio, 8)


def test_a_gpu_without_margin_holds_the_engine_back(exporter: ExporterProcess) -> None:
    """When the margin is less than the guard keeps, slots are given up, at once downwards; the pod says why."""
    margin = exporter.gpus()[1]["thermal_margin_celsius"]
    with warm_engine() as engine:
        url, uuid = f"{exporter.address}/api/v1/gpus", exporter.gpus()[1]["uuid"]
        # The simulated GPU is cool: a guard that keeps more margin than it has stands for a hot one.
        reader = ThermalReader(engine, url, uuid, GuardSettings(margin_celsius=margin + 100.0))
        turns(reader, 1)
        assert reader.ratio == 0.0
        assert engine.snapshot().bound == WorkBound(occupancy_ratio=0.0, duty_ratio=0.0)
        assert engine.snapshot().num_allowed_slots == 0


def test_the_server_reads_the_exporter_by_itself(exporter: ExporterProcess) -> None:
    """A pod that is told of its exporter publishes the bound and the age of the reading."""
    with running_server(exporter_url=f"{exporter.address}/api/v1/gpus", gpu="0") as server:
        server.wait(lambda: server.server.pod.thermal.reading_age_seconds is not None)
        assert 0.5 <= server.metric("meltguard_inference_thermal_guard_ratio") <= 1.0
        assert server.metric("meltguard_inference_thermal_guard_reading_age_seconds") < 10.0
        assert server.draw().status == 200


def test_a_blind_guard_holds_its_bound_and_then_lets_it_decay(exporter: ExporterProcess) -> None:
    """Without readings the bound never rises, and after the time to hold it goes to the floor."""
    with warm_engine() as engine:
        settings = GuardSettings(hold_seconds=1000.0, start_ratio=0.8)
        holding = ThermalReader(engine, "http://127.0.0.1:9/none", "0", settings)
        turns(holding, 2)
        assert holding.ratio == 0.8
        decayed = ThermalReader(
            engine, "http://127.0.0.1:9/none", "0", GuardSettings(hold_seconds=0.0, decay_seconds=1e-6)
        )
        turns(decayed, 2)
        assert decayed.ratio == pytest.approx(0.5)
        unknown = ThermalReader(engine, f"{exporter.address}/api/v1/gpus", "7", settings)
        turns(unknown, 1)
        assert unknown.reading_age_seconds is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"up": False}, "no margin"),
        ({"thermal_margin_celsius": None}, "no margin"),
        ({"power_watts": None}, "no margin"),
        ({"age_seconds": 9.0}, "9.0 s old"),
        ({"age_seconds": None}, "None s old"),
        ({"gpu": 3}, "knows no GPU"),
    ],
)
def test_a_reading_that_says_nothing_is_no_reading(change: dict[str, object], says: str) -> None:
    """A GPU that is down, stale, unknown or without margin or power bounds nothing."""
    gpu = {"uuid": "u", "gpu": 0, "up": True, "age_seconds": 0.5, "thermal_margin_celsius": 9.0, "power_watts": 300.0}
    assert reading_of(json.dumps({"gpus": [gpu]}).encode(), "0").margin_celsius == 9.0
    with pytest.raises(UnusableReadingError, match=says):
        reading_of(json.dumps({"gpus": [{**gpu, **change}]}).encode(), "0")


def test_the_margin_of_a_gpu_that_would_overheat_is_kept(tmp_path: Path) -> None:
    """Closed loop on the stub's physics, through exporter and HTTP: at full work the GPU would pass its limit by far.

    The power follows the bound as a pod's would; the margin has to stay positive at every reading, and work go on.
    """
    state = StubState(tmp_path / "stub.state")
    # 45 + 0.09 * 690 is 107 degrees; the hardware slows down at 87; it begins at 81.
    state.set(count=1, ambient_celsius=45, gpu__0__power_watts=400)
    arguments = ("--nvml-library", str(build_stub(tmp_path)), "--period", "250ms", "--no-derived-thermals")
    settings = GuardSettings()
    margins: list[float] = []
    with (
        running_exporter(*arguments, directory=tmp_path, environment={"MELTGUARD_STUB_STATE": str(state.path)}) as gpus,
        warm_engine() as engine,
    ):
        gpus.wait(lambda: gpus.reasons() == {0: "ok"})
        reader = ThermalReader(engine, f"{gpus.address}/api/v1/gpus", "0")

        async def loop() -> None:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as session:
                for _ in range(12):
                    await reader.turn(session)
                    span = settings.busy_watts - settings.idle_watts
                    state.set(gpu__0__power_watts=settings.idle_watts + span * reader.ratio)
                    await asyncio.sleep(1.0)
                    margins.append(gpus.gpus()[0]["thermal_margin_celsius"])

        asyncio.run(loop())
    assert min(margins) > 0.0, margins
    assert 0.0 < reader.ratio < 1.0


def test_garbage_is_no_reading(tmp_path: Path) -> None:
    """An answer that is not the exporter's is refused as such."""
    with pytest.raises(UnusableReadingError, match="not the exporter's"):
        reading_of(b"<html>", "0")


@pytest.mark.parametrize(
    ("ratio", "num_slots", "occupancy", "duty"),
    [(1.0, 8, 1.0, 1.0), (0.5, 8, 0.5, 1.0), (0.0625, 8, 0.125, 0.5), (0.0, 8, 0.0, 0.0), (0.005, 8, 0.0, 0.0)],
)
def test_a_share_becomes_slots_and_then_duty(ratio: float, num_slots: int, occupancy: float, duty: float) -> None:
    """Whole slots go first; a last slot works part of the time; next to nothing is nothing."""
    bound = work_bound(ratio, num_slots)
    assert (bound.occupancy_ratio, bound.duty_ratio) == (pytest.approx(occupancy), pytest.approx(duty))
