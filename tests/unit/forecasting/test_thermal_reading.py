"""Reading logs, replaying them, keeping state, and asking Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.errors import ForecastingError, InputError, NotEnoughDataError
from forecasting.thermal.history import forecast_log
from forecasting.thermal.io import read_log
from forecasting.thermal.log_replay import LogRequest, PowerMode, power_limit_of
from forecasting.thermal.persistence import persisting_power_watts, power_spread_watts
from forecasting.thermal.priors import GainRecord
from forecasting.thermal.prometheus import PrometheusSource, read_prometheus
from forecasting.thermal.settings import ThermalSettings
from forecasting.thermal.state import StateError, StoredGpu, ThermalState, decode_state, encode_state
from forecasting.thermal.storage import load_state, save_state
from forecasting.thermal.telemetry import GpuTelemetry

CONSTANTS = ThermalSettings().time_constants_seconds
NAN = float("nan")

CONTRACT = """timestamp,gpu,temperature_celsius,power_watts,utilization_ratio,memory_temperature_celsius
2026-01-01T00:00:00Z,0,40,100,0.5,50
2026-01-01T00:00:05Z,0,41,,0.5,51
2026-01-01T00:00:05Z,1,30,80,0,
"""
DRIVER = """timestamp, index, uuid, temperature.gpu, power.draw [W], power.limit [W], utilization.gpu [%], \
temperature.memory, clocks_event_reasons.active
2026/01/01 00:00:00.000, 0, GPU-a, 40, 100.25 W, 700.00 W, 50 %, [N/A], 0x0000000000000004
2026/01/01 00:00:01.000, 0, GPU-a, 86, 500.00 W, 700.00 W, 100 %, [N/A], 0x0000000000000020
"""
TABLE = """Sat Jan 24 23:59:58 2026
|   0  NVIDIA A40                     On  |   00000000:31:00.0 Off |                    0 |
|  0%   27C    P0             24W /  300W |       0MiB /  46068MiB |      7%      Default |
|   1  NVIDIA A40                     On  |   00000000:32:00.0 Off |                    0 |
| N/A   N/A    P0             N/A /  300W |       0MiB /  46068MiB |      0%      Default |
Sun Jan 25 00:00:58 2026
|   0  NVIDIA A40                     On  |   00000000:31:00.0 Off |                    0 |
|  0%   29C    P0             97W /  300W |       0MiB /  46068MiB |     50%      Default |
"""


def _file(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _series(num: int = 400, *, seed: int = 0, gpu: str = "0") -> GpuTelemetry:
    """Return a log of five-second readings under varied load."""
    random = np.random.default_rng(seed)
    power = np.repeat(random.uniform(80.0, 690.0, num // 20 + 1), 20)[:num] + random.normal(0.0, 2.0, num)
    rise = np.zeros(num)
    for index in range(1, num):
        rise[index] = rise[index - 1] + (0.06 * power[index] - rise[index - 1]) * 0.4
    nothing = np.full(num, NAN)
    return GpuTelemetry(
        gpu=gpu,
        seconds=1.8e9 + np.arange(0.0, 5.0 * num, 5.0),
        temperature_celsius=np.round(25.0 + rise),
        power_watts=power,
        utilization_ratio=nothing,
        memory_temperature_celsius=np.round(35.0 + rise),
        throttled=nothing,
    )


def _request(mode: PowerMode = PowerMode.KNOWN) -> LogRequest:
    return LogRequest(horizons_seconds=np.array([30.0, 60.0, 300.0]), mode=mode, watts=600.0, limit_celsius=70.0)


def test_the_contract_csv_is_read_per_gpu(tmp_path: Path) -> None:
    """Empty cells are missing, GPUs are apart, times are unix seconds."""
    log = read_log(_file(tmp_path, CONTRACT))
    assert [series.gpu for series in log.gpus] == ["0", "1"]
    first = log.gpus[0]
    assert first.seconds.tolist() == [1767225600.0, 1767225605.0]
    assert np.isnan(first.power_watts[1])
    assert first.utilization_ratio[0] == 0.5
    assert first.memory_temperature_celsius.tolist() == [50.0, 51.0]
    assert log.warnings == ()


def test_the_driver_csv_is_read_as_it_comes(tmp_path: Path) -> None:
    """Units, [N/A], driver times, UUIDs and the bits of thermal slowdown are understood; a power cap is no slowdown."""
    log = read_log(_file(tmp_path, DRIVER))
    series = log.gpus[0]
    assert series.gpu == "GPU-a"
    assert series.power_watts.tolist() == [100.25, 500.0]
    assert series.utilization_ratio.tolist() == [0.5, 1.0]
    assert series.throttled.tolist() == [0.0, 1.0]
    assert series.power_limit_watts == 700.0
    assert np.isnan(series.memory_temperature_celsius).all()
    assert log.warnings == ("times carry no zone; read as UTC",)


def test_printed_tables_are_read_across_midnight(tmp_path: Path) -> None:
    """Each table takes the time of the date line above it; N/A stays missing."""
    log = read_log(_file(tmp_path, TABLE, "gpu.log"))
    assert np.diff(log.gpus[0].seconds).tolist() == [60.0]
    assert log.gpus[0].temperature_celsius.tolist() == [27.0, 29.0]
    assert log.gpus[0].power_watts.tolist() == [24.0, 97.0]
    assert log.gpus[0].power_limit_watts == 300.0
    assert np.isnan(log.gpus[1].temperature_celsius).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timestamp,power_watts\n", "line 1: no column for temperature"),
        ("timestamp,temperature_celsius,power_watts\n0,hot,5\n1,5,5\n", "line 2: temperature is 'hot'"),
        ("timestamp,temperature_celsius,power_watts\nnoon,5,5\n1,5,5\n", "line 2: time 'noon'"),
        ("timestamp,temperature_celsius,power_watts\n1800000000000,5,5\n1,1,1\n", "divided by 1000"),
        ("timestamp,temperature_celsius,power_watts\n0,5\n1,5,5\n", "line 2: 2 columns"),
    ],
)
def test_bad_input_names_the_line_and_the_cure(tmp_path: Path, text: str, message: str) -> None:
    """What cannot be read says where it stands; the exit code is that of wrong usage."""
    with pytest.raises(InputError, match="log.csv") as caught:
        read_log(_file(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_empty_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    """A log without readings has too little data; a file that is not there is wrong input."""
    with pytest.raises(NotEnoughDataError):
        read_log(_file(tmp_path, "timestamp,temperature_celsius,power_watts\n"))
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "absent.csv")


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    """A log that is still being written is read up to its last whole line."""
    log = read_log(_file(tmp_path, CONTRACT + "2026-01-01T00:00:10Z,0,4"))
    assert log.gpus[0].seconds.size == 2
    assert "cut off" in log.warnings[0]


@given(text=st.text(max_size=300))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Any text is either a log or a typed error."""
    path = tmp_path_factory.mktemp("any") / "log.csv"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        read_log(path)
    except ForecastingError as error:
        assert "log.csv" in str(error)


@pytest.mark.parametrize("mode", list(PowerMode))
def test_temperature_after_the_moment_is_never_read(mode: PowerMode) -> None:
    """Changing every later temperature (and, unless it is known, every later power) changes nothing."""
    series, moment = _series(), 1.8e9 + 900.0
    later = series.seconds > moment
    changed = {"temperature_celsius": np.where(later, 99.0, series.temperature_celsius)}
    if mode is not PowerMode.KNOWN:
        changed["power_watts"] = np.where(later, 5.0, series.power_watts)
    fields = {name: getattr(series, name) for name in GpuTelemetry.__dataclass_fields__}
    other = GpuTelemetry(**(fields | changed))
    original = forecast_log((series,), (moment,), _request(mode))[0]
    altered = forecast_log((other,), (moment,), _request(mode))[0]
    np.testing.assert_array_equal(original.forecast.temperature_celsius, altered.forecast.temperature_celsius)
    assert original.forecast.seconds_to_slowdown == altered.forecast.seconds_to_slowdown


def test_a_moment_is_the_same_alone_and_among_others() -> None:
    """Forecasts from several moments of one log equal those from each moment alone."""
    series = _series()
    moments = (1.8e9 + 500.0, 1.8e9 + 1000.0, 1.8e9 + 1500.0)
    together = forecast_log((series,), moments, _request())
    for moment, result in zip(moments, together, strict=True):
        alone = forecast_log((series,), (moment,), _request())[0]
        np.testing.assert_allclose(result.forecast.temperature_celsius, alone.forecast.temperature_celsius)


def test_known_power_is_predicted_within_two_kelvin() -> None:
    """On a log with a fitted model the median under known power is near what came, in core and memory."""
    series, moment = _series(), 1.8e9 + 1600.0
    result = forecast_log((series,), (moment,), _request())[0]
    actual = np.interp(moment + np.array([30.0, 60.0, 300.0]), series.seconds, series.temperature_celsius)
    np.testing.assert_allclose(result.forecast.temperature_celsius[1], actual, atol=3.0)
    assert result.memory is not None
    np.testing.assert_allclose(result.memory.temperature_celsius[1], actual + 10.0, atol=3.0)


def test_a_moment_before_the_log_is_refused() -> None:
    """A forecast needs two readings; the message says when the log starts."""
    with pytest.raises(NotEnoughDataError, match="starts at 2027"):
        forecast_log((_series(),), (1.7e9,), _request())


def test_an_unknown_power_limit_is_the_class_that_power_fits() -> None:
    """690 W is a 700 W part, 350 W before the moment a 350 W part, and a stated limit wins."""
    series = _series()
    late, early = _request(), float(series.seconds[0])
    assert power_limit_of(series, late, known_until_seconds=1.9e9) == 700.0
    assert power_limit_of(series, late, known_until_seconds=early) >= series.power_watts[0] / 1.02
    stated = LogRequest(horizons_seconds=np.array([60.0]), power_limit_watts=650.0)
    assert power_limit_of(series, stated, known_until_seconds=1.9e9) == 650.0


def test_mean_power_of_the_path_keeps_the_energy() -> None:
    """Steps of any length carry the energy of the readings that they cover."""
    series = _series()
    fine, covered = series.mean_power_watts(start_seconds=1.8e9 + 50.0, edges_seconds=np.arange(5.0, 301.0, 5.0))
    coarse, _ = series.mean_power_watts(start_seconds=1.8e9 + 50.0, edges_seconds=np.array([300.0]))
    assert covered
    np.testing.assert_allclose(fine.mean(), coarse[0])
    np.testing.assert_allclose(fine[0], series.power_watts[11])
    beyond, covered = series.mean_power_watts(start_seconds=3e9, edges_seconds=np.array([60.0]))
    assert not covered
    np.testing.assert_allclose(beyond, series.power_watts[-1])


def _state() -> ThermalState:
    record = GainRecord(uuid="GPU-a", slot="0", gpu_model="M", node="n", plateau_gains_celsius=np.arange(8.0))
    return ThermalState(
        saved_at_seconds=1.8e9,
        time_constants_seconds=CONSTANTS,
        gpus=(StoredGpu(record=record, baseline_celsius_per_watt=0.06),),
    )


def test_state_survives_a_restart(tmp_path: Path) -> None:
    """What is saved is read back, and nothing else lies in the folder."""
    path = tmp_path / "deep" / "state.json"
    save_state(path, _state())
    loaded, problem = load_state(path, time_constants_seconds=CONSTANTS)
    assert problem is None
    assert loaded is not None
    assert loaded.gpus[0].record.uuid == "GPU-a"
    assert loaded.gpus[0].baseline_celsius_per_watt == 0.06
    np.testing.assert_array_equal(loaded.gpus[0].record.plateau_gains_celsius, np.arange(8.0))
    assert [entry.name for entry in path.parent.iterdir()] == ["state.json"]


@pytest.mark.parametrize("cut", [0, 1, 40, 200, 400])
def test_a_corrupt_state_is_reported_and_ignored(tmp_path: Path, cut: int) -> None:
    """A truncated file, another version and another bank start from priors with a reason; no file is no reason."""
    path = tmp_path / "state.json"
    path.write_bytes(encode_state(_state())[:cut])
    loaded, problem = load_state(path, time_constants_seconds=CONSTANTS)
    assert loaded is None
    assert problem is not None
    assert "starting from priors" in problem
    assert load_state(tmp_path / "absent", time_constants_seconds=CONSTANTS) == (None, None)
    with pytest.raises(StateError, match="other time constants"):
        decode_state(encode_state(_state()), time_constants_seconds=(1.0,))


@given(content=st.binary(max_size=200))
def test_no_bytes_break_the_state_reader(content: bytes) -> None:
    """Any bytes are refused with a typed error."""
    with pytest.raises(StateError):
        decode_state(content, time_constants_seconds=CONSTANTS)


def test_impossible_gains_in_a_state_are_refused() -> None:
    """A negative gain in a well-formed file is damage."""
    document = json.loads(encode_state(_state()))
    document["gpus"][0]["plateau_gains_celsius"][0] = -1.0
    with pytest.raises(StateError, match="impossible"):
        decode_state(json.dumps(document).encode(), time_constants_seconds=CONSTANTS)


class _Prometheus(BaseHTTPRequestHandler):
    """Answers range queries from two GPUs; the first request of a server fails with 503."""

    asked: list[str]
    failures: int

    def do_GET(self) -> None:
        """Answer one query."""
        query = parse_qs(urlsplit(self.path).query)
        type(self).asked.append(query["query"][0])
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_error(503)
            return
        start, end, step = (float(query[name][0]) for name in ("start", "end", "step"))
        value = "50" if "temperature" in query["query"][0] else "400"
        values = [[moment, value] for moment in np.arange(start, end + 1e-6, step).tolist()]
        result = [{"metric": {"uuid": name}, "values": values} for name in ("GPU-a", "GPU-b")]
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def prometheus() -> Iterator[tuple[str, type[_Prometheus]]]:
    """A server on loopback, and its class with what it was asked."""
    handler = type("Handler", (_Prometheus,), {"asked": [], "failures": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()
    thread.join(timeout=5.0)


def test_prometheus_is_read_in_stretches_and_tried_again(prometheus: tuple[str, type[_Prometheus]]) -> None:
    """A long look-back is split below the server's point limit, and one failure does not lose the answer."""
    url, handler = prometheus
    handler.failures = 1
    source = PrometheusSource(
        url=url, step_seconds=1.0, memory_query="", utilization_query="", margin_query="", throttled_query="",
        power_limit_query="", retry_seconds=0.01,
    )  # fmt: skip
    log = read_prometheus(source, start_seconds=1.8e9, end_seconds=1.8e9 + 15_000.0)
    assert [series.gpu for series in log.gpus] == ["GPU-a", "GPU-b"]
    assert log.gpus[0].seconds.size == 15_001
    assert (log.gpus[0].power_watts == 400.0).all()
    assert len(handler.asked) == 5


def test_a_server_that_does_not_answer_is_named(prometheus: tuple[str, type[_Prometheus]]) -> None:
    """After its tries the reader says which server failed and what to check."""
    url, handler = prometheus
    handler.failures = 100
    source = PrometheusSource(url=url, num_tries=2, retry_seconds=0.01)
    with pytest.raises(ForecastingError, match="HTTP 503"):
        read_prometheus(source, start_seconds=0.0, end_seconds=60.0)
    assert len(handler.asked) == 2
    with pytest.raises(InputError, match="--prometheus"):
        PrometheusSource(url="file:///etc/passwd")


def test_noisy_single_readings_persist_at_their_longer_mean() -> None:
    """Readings that alternate once a minute persist at their mean, a load step persists at its last half minute."""
    minutes = 60.0 * np.arange(40.0)
    noisy = np.where(np.arange(40) % 2, 100.0, 200.0)
    assert 120.0 < persisting_power_watts(minutes, noisy) < 180.0
    seconds = 5.0 * np.arange(400.0)
    stepped = np.where(seconds < 1000.0, 300.0, 600.0)
    assert persisting_power_watts(seconds[:205], stepped[:205]) > 500.0
    assert np.isnan(persisting_power_watts(minutes[:0], noisy[:0]))


def test_load_changes_that_were_seen_widen_persisting_power_only() -> None:
    """A log with load steps has wider quantiles when power persists than when it is known; the median is the same."""
    series, moment = _series(), 1.8e9 + 1500.0
    powers = persisting_power_watts(series.seconds[:301], series.power_watts[:301])
    request = _request(PowerMode.CONSTANT)
    constant = LogRequest(
        horizons_seconds=request.horizons_seconds, mode=PowerMode.CONSTANT, watts=powers, limit_celsius=70.0
    )
    narrow = forecast_log((series,), (moment,), constant)[0].forecast.temperature_celsius
    wide = forecast_log((series,), (moment,), _request(PowerMode.PERSIST))[0].forecast.temperature_celsius
    np.testing.assert_allclose(wide[1], narrow[1])
    assert (np.ptp(wide, axis=0) > 1.5 * np.ptp(narrow, axis=0)).all()
    assert (power_spread_watts(series.seconds[:5], series.power_watts[:5], np.array([30.0])) == 0.0).all()
