"""What the thermal model learned outlives its GPUs' set, their power limits and the process."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.logs import Log
from exporters.thermal_memory import MAX_RECORDS, ThermalMemory, gains_at_limit
from exporters.thermal_state_file import SAVE_SECONDS, ThermalStateFile
from exporters.thermals import ThermalEstimate, ThermalInput, ThermalTracker
from forecasting.thermal.bank import saturate
from forecasting.thermal.priors import GainRecord
from forecasting.thermal.settings import ThermalSettings
from forecasting.thermal.state import StoredGpu, ThermalState, decode_state, encode_state

CONSTANTS = ThermalSettings().time_constants_seconds
SATURATION = ThermalSettings().saturation
CLASS_RESISTANCE = ThermalSettings().prior_rise_celsius / 700.0


def _input(
    uuid: str, celsius: float, watts: float, *, power_limit: float = 700.0, slot: str = "", limit: float = 87.0
) -> ThermalInput:
    return ThermalInput(
        uuid=uuid,
        slot=slot or f"slot-of-{uuid}",
        gpu_model="NVIDIA H200",
        temperature_celsius=celsius,
        power_watts=watts,
        power_limit_watts=power_limit,
        limit_celsius=limit,
        utilization_ratio=0.9,
        throttled=False,
    )


class _Gpu:
    """One RC stage: plateau 30 + 0.09 W, time constant 20 s; its load changes every 40 s."""

    def __init__(self) -> None:
        self.celsius = 48.0
        self.watts = 200.0

    def step(self, second: int) -> tuple[float, float]:
        self.watts = 200.0 if (second // 40) % 2 == 0 else 650.0
        self.celsius += (30.0 + 0.09 * self.watts - self.celsius) / 20.0
        return self.celsius, self.watts


def _learn(
    tracker: ThermalTracker, seconds: int = 400, *, limit: float = 87.0
) -> tuple[_Gpu, dict[str, ThermalEstimate]]:
    """Show ``tracker`` the GPU ``a`` until it knows it."""
    gpu, estimates = _Gpu(), dict[str, ThermalEstimate]()
    for second in range(seconds):
        celsius, watts = gpu.step(second)
        estimates = tracker.step(float(second), [_input("a", celsius, watts, limit=limit)])
    assert estimates["a"].confidence == "fitted"
    return gpu, estimates


def test_estimates_do_not_move_with_the_load() -> None:
    """When the load falls from one second to the next, resistance, inlet and sustainable power stay what they are."""
    tracker = ThermalTracker("n")
    gpu, before = _learn(tracker, limit=70.0)
    after = tracker.step(400.0, [_input("a", gpu.celsius, 20.0, limit=70.0)])
    assert after["a"].resistance == pytest.approx(before["a"].resistance, rel=0.02)
    assert after["a"].inlet_celsius == pytest.approx(before["a"].inlet_celsius, abs=1.0)
    assert 0.0 < (before["a"].sustainable_power_watts or 0.0) < 700.0
    assert after["a"].sustainable_power_watts == pytest.approx(before["a"].sustainable_power_watts, rel=0.02)


def test_gains_survive_a_change_of_the_set() -> None:
    """A GPU that comes or goes costs the others nothing; a new one starts from its siblings' gains."""
    tracker = ThermalTracker("n")
    gpu, before = _learn(tracker)
    after = tracker.step(400.0, [_input("a", gpu.celsius, gpu.watts), _input("b", 48.0, 200.0)])
    assert after["a"].resistance == pytest.approx(before["a"].resistance, rel=1e-6)
    assert after["b"].resistance == pytest.approx(before["a"].resistance, rel=1e-6)
    assert (after["a"].confidence, after["b"].confidence) == ("fleet_prior", "fleet_prior")
    again = tracker.step(401.0, [_input("a", gpu.celsius, gpu.watts)])
    assert again["a"].resistance == pytest.approx(before["a"].resistance, rel=1e-6)


@pytest.mark.parametrize("power_limit", [400.0, 600.0])
def test_gains_survive_a_change_of_the_power_limit(power_limit: float) -> None:
    """Below the old limit the plateau of a given power is what was learned."""
    tracker = ThermalTracker("n")
    gpu, before = _learn(tracker)
    after = tracker.step(400.0, [_input("a", gpu.celsius, 300.0, power_limit=power_limit)])
    rise_before = before["a"].resistance * 700.0 * float(saturate(np.array([power_limit / 700.0]), SATURATION)[0])
    assert after["a"].resistance * power_limit == pytest.approx(rise_before, rel=1e-6)
    assert after["a"].confidence == "fleet_prior"


@given(watts=st.floats(50.0, 2000.0), other=st.floats(50.0, 2000.0))
def test_gains_at_the_same_limit_stay_and_never_turn_negative(watts: float, other: float) -> None:
    """The scaling is 1 at the same limit and positive at any."""
    gains = np.arange(8.0)
    same = gains_at_limit(gains, from_watts=watts, to_watts=watts, saturation=SATURATION)
    np.testing.assert_allclose(same, gains)
    scaled = gains_at_limit(gains, from_watts=watts, to_watts=other, saturation=SATURATION)
    assert np.all(scaled[1:] > 0.0)
    assert np.all(np.isfinite(scaled))


def test_an_unproven_model_leaves_memories_alone() -> None:
    """A model that has not fitted anything yet overwrites nothing that was learned before."""
    tracker = ThermalTracker("n")
    _learn(tracker)
    first = tracker.learned(saved_at_seconds=1.0)
    tracker.step(500.0, [_input("a", 50.0, 300.0, power_limit=600.0)])
    second = tracker.learned(saved_at_seconds=1.0)
    assert first is not None
    assert second is not None
    assert encode_state(first) == encode_state(second)


def test_memory_is_bounded() -> None:
    """However many GPUs a file names, so many are kept, and the last of the file at that."""
    memory = ThermalMemory("n")
    memory.recall(_state(MAX_RECORDS + 50))
    kept = memory.state(saved_at_seconds=0.0, time_constants_seconds=CONSTANTS)
    assert kept is not None
    assert len(kept.gpus) == MAX_RECORDS
    assert kept.gpus[-1].record.uuid == f"GPU-{MAX_RECORDS + 49}"


def _state(num_gpus: int = 1) -> ThermalState:
    return ThermalState(
        saved_at_seconds=1.8e9,
        time_constants_seconds=CONSTANTS,
        gpus=tuple(
            StoredGpu(
                record=GainRecord(
                    uuid=f"GPU-{n}", slot=str(n), gpu_model="M", node="n", plateau_gains_celsius=np.full(8, 5.0)
                ),
                power_limit_watts=700.0,
            )
            for n in range(num_gpus)
        ),
    )


def _events(stream: io.StringIO) -> Sequence[str]:
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def _open(path: Path) -> tuple[ThermalTracker, ThermalStateFile, io.StringIO]:
    tracker, stream = ThermalTracker("n"), io.StringIO()
    return tracker, ThermalStateFile(path, tracker, Log(stream=stream)), stream


def test_gains_survive_a_restart(tmp_path: Path) -> None:
    """What one process saved, the next starts from: by GPU, and by slot where the GPU was swapped."""
    path = tmp_path / "state" / "thermal.json"
    tracker, file, stream = _open(path)
    file.load()
    _, before = _learn(tracker)
    assert file.save_if_due(1000.0)
    assert _events(stream) == []
    reborn, file, stream = _open(path)
    file.load()
    assert _events(stream) == ["exporter.thermal_state_loaded"]
    after = reborn.step(5.0, [_input("a", 50.0, 300.0), _input("new", 50.0, 300.0, slot="slot-of-a")])
    for estimate in after.values():
        assert estimate.resistance == pytest.approx(before["a"].resistance, rel=1e-4)
        assert estimate.confidence == "fleet_prior"
    assert abs(before["a"].resistance - CLASS_RESISTANCE) > 0.005


def test_at_most_one_write_a_minute(tmp_path: Path) -> None:
    """The file is written when there is something to keep, and then not again within a minute."""
    path = tmp_path / "thermal.json"
    tracker, file, _ = _open(path)
    assert not file.save_if_due(0.0)
    assert not path.exists()
    tracker.memory.recall(_state())
    assert file.save_if_due(1.0)
    path.unlink()
    assert not file.save_if_due(1.0 + SAVE_SECONDS - 0.1)
    assert not path.exists()
    assert file.save_if_due(1.0 + SAVE_SECONDS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thermal.json"]


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A folder that is a file is named in a warning, and nothing is raised."""
    (tmp_path / "occupied").write_text("")
    tracker, file, stream = _open(tmp_path / "occupied" / "thermal.json")
    tracker.memory.recall(_state())
    assert file.save_if_due(0.0)
    assert _events(stream) == ["exporter.thermal_state_not_saved"]


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.just(10**400),
        st.floats(),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=8), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
_TOP = ("schema", "saved_at_seconds", "time_constants_seconds", "gpus")
_OF_GPU = (
    "uuid",
    "slot",
    "gpu_model",
    "node",
    "plateau_gains_celsius",
    "baseline_celsius_per_watt",
    "power_limit_watts",
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """Draw a file: a good one with values exchanged, keys missing, bytes cut or flipped, or plain noise."""
    document = json.loads(encode_state(_state(2)))
    for key in draw(st.lists(st.sampled_from(_TOP), max_size=1)):
        document[key] = draw(_JSON)
    if isinstance(document["gpus"], list) and document["gpus"] and isinstance(document["gpus"][0], dict):
        for key in draw(st.lists(st.sampled_from(_OF_GPU), max_size=2, unique=True)):
            if draw(st.booleans()):
                document["gpus"][0][key] = draw(_JSON)
            else:
                document["gpus"][0].pop(key, None)
        if draw(st.booleans()):
            document["gpus"][0]["plateau_gains_celsius"] = draw(st.lists(st.floats(), min_size=8, max_size=8))
    content = json.dumps(document).encode()
    if draw(st.booleans()):
        content = content[: draw(st.integers(0, len(content)))]
    if draw(st.booleans()):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=20)) + content[place:]
    return content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(_damaged(), st.binary(max_size=300)))
def test_any_state_file_is_used_or_reported(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, the tracker steps and saves; a file that cannot be used is reported, once."""
    path = tmp_path / "thermal.json"
    path.write_bytes(content)
    tracker, file, stream = _open(path)
    file.load()
    assert _events(stream) in (["exporter.thermal_state_loaded"], ["exporter.thermal_state_ignored"])
    estimates = tracker.step(1.0, [_input("GPU-0", 50.0, 300.0, slot="0"), _input("GPU-9", 50.0, 300.0)])
    assert all(math.isfinite(estimate.resistance) and estimate.resistance >= 0.0 for estimate in estimates.values())
    if file.save_if_due(0.0):
        decode_state(path.read_bytes(), time_constants_seconds=CONSTANTS)
