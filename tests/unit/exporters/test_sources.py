"""Messages, simulation, replay and thermals: what feeds the pipeline without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.calls import CallTracker
from exporters.errors import SettingsError
from exporters.messages import FrameReader, Heartbeat, StreamError, encode
from exporters.replay import ReplaySource, parse_time, read_rows
from exporters.simulated import SimulatedSource, energy_joules
from exporters.thermals import EnergyMeter, ThermalInput, ThermalTracker
from tests.exporter_samples import fast_reading, fleet_of, slow_reading


@given(st.lists(st.integers(min_value=1, max_value=50), max_size=60))
def test_messages_survive_any_cutting_of_the_stream(cuts: list[int]) -> None:
    """However a pipe chops the bytes, the same messages come out."""
    sent = [fast_reading(), slow_reading(), Heartbeat(at_monotonic=5.0)]
    stream = b"".join(encode(message) for message in sent)
    reader, received, position = FrameReader(), [], 0
    for cut in [*cuts, len(stream)]:
        received += list(reader.feed(stream[position : position + cut]))
        position += cut
    assert received == sent


@given(st.binary(min_size=1, max_size=300))
def test_nonsense_on_the_stream_is_one_error_or_silence(data: bytes) -> None:
    """A broken collector is noticed and never crashes the reader otherwise."""
    try:
        list(FrameReader().feed(data))
    except StreamError:
        pass


def test_too_long_a_frame_is_refused_before_it_is_read() -> None:
    """A length beyond the bound does not make the server wait for a gigabyte."""
    with pytest.raises(StreamError, match="exceeds"):
        list(FrameReader().feed(b"\xff\xff\xff\x7f"))


def test_simulated_energy_only_grows() -> None:
    """The simulated counter is the integral of a positive power."""
    joules = [energy_joules(3, second * 7.0) for second in range(200)]
    assert all(later > earlier for earlier, later in zip(joules, joules[1:], strict=False))


def test_simulated_gpus_are_whole() -> None:
    """A simulated GPU reports what a real one reports."""
    source = SimulatedSource(2)
    devices = source.open(CallTracker())
    reading = source.reader(devices[1], CallTracker()).read_fast()
    assert reading.uuid == devices[1].uuid
    assert reading.temperature_celsius is not None
    assert reading.margin_celsius == 87.0 - reading.temperature_celsius


def test_replay_reads_the_thermal_log(tmp_path: Path) -> None:
    """Rows come back by GPU with energy integrated from power."""
    log = tmp_path / "log.csv"
    log.write_text("timestamp,gpu,temperature_celsius,power_watts\n0,a,50,100\n0,b,51,200\n10,a,52,150\n")
    rows = read_rows(log)
    assert [row.temperature_celsius for row in rows["a"]] == [50.0, 52.0]
    assert rows["a"][1].energy_joules == 1000.0


def test_replay_reads_nvidia_smi_as_it_comes(tmp_path: Path) -> None:
    """Names with units, driver time stamps and [N/A] are understood."""
    log = tmp_path / "smi.csv"
    log.write_text(
        "timestamp, index, temperature.gpu, utilization.gpu [%], power.draw [W], temperature.memory\n"
        "2025/03/26 12:00:00.000, 0, 50, 97 %, 612.50 W, [N/A]\n"
        "2025/03/26 12:00:01.000, 0, 51, 98 %, [N/A], 44\n"
    )
    (rows,) = read_rows(log).values()
    assert (rows[0].power_watts, rows[0].utilization_ratio, rows[0].memory_temperature_celsius) == (612.5, 0.97, None)
    assert (rows[1].at_seconds, rows[1].power_watts, rows[1].memory_temperature_celsius) == (1.0, None, 44.0)
    assert ReplaySource(str(log)).open(CallTracker())[0].uuid == "GPU-replay-0"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "log.csv:1"),
        ("time,temp\n1,2\n", "log.csv:1"),
        ("timestamp,temperature_celsius\nyesterday,50\n", "log.csv:2"),
        ("timestamp,temperature_celsius\n10,50\n5,50\n", "log.csv:3"),
        ("timestamp,temperature_celsius\n", "holds no rows"),
    ],
)
def test_replay_names_file_and_line(tmp_path: Path, text: str, place: str) -> None:
    """A log that cannot be used is refused with the place."""
    log = tmp_path / "log.csv"
    log.write_text(text)
    with pytest.raises(SettingsError, match="log.csv") as refused:
        read_rows(log)
    assert place in str(refused.value)


def test_times_of_all_kinds() -> None:
    """ISO, Unix and the driver's own format mean the same moment."""
    assert parse_time("2025-03-26T12:00:00Z") == parse_time("2025/03/26 12:00:00.000") == parse_time("1742990400")


def test_mean_power_comes_from_the_energy_counter() -> None:
    """The counter sees bursts between readings that sampled power misses."""
    fleet, meter = fleet_of(1), EnergyMeter()
    (gpu,) = fleet.gpus.values()
    meter.mean_watts(gpu)
    gpu.apply_fast(fast_reading(103.0, energy_joules=1627.4 + 1000.0, power_watts=90.0, power_average_watts=90.0))
    assert meter.mean_watts(gpu) == pytest.approx(500.0)


def test_thermal_model_follows_a_heating_gpu() -> None:
    """At the limit the time to slowdown is finite, far from it there is none; an unread GPU has no estimate."""
    tracker, celsius = ThermalTracker(), 48.0
    estimates = {}
    for second in range(180):
        watts = 200.0 if second < 60 else 690.0
        # One RC stage: plateau 30 + 0.09 W, time constant 20 s.
        celsius += (30.0 + 0.09 * watts - celsius) / 20.0
        estimates = tracker.step(
            100.0 + second,
            [
                _input("a", temperature=round(celsius), power=watts),
                _input("b", temperature=45.0, power=200.0),
                _input("c", temperature=None, power=None),
            ],
        )
    assert set(estimates) == {"a", "b"}
    assert estimates["b"].seconds_to_slowdown["0.05"] is None
    assert estimates["a"].seconds_to_slowdown["0.05"] == 0.0
    assert estimates["a"].resistance > 0.0
    sustainable = estimates["a"].sustainable_power_watts
    assert sustainable is not None
    assert sustainable < 690.0


def _input(uuid: str, *, temperature: float | None, power: float | None, limit: float = 87.0) -> ThermalInput:
    return ThermalInput(
        uuid=uuid,
        temperature_celsius=temperature,
        power_watts=power,
        power_limit_watts=700.0,
        limit_celsius=limit,
        utilization_ratio=0.9,
        throttled=False,
    )
