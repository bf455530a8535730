"""No replay file crashes the exporter: it is played, or refused with file and line."""

from __future__ import annotations

import math
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporters.calls import CallTracker
from exporters.errors import SettingsError
from exporters.messages import FastReading, FrameReader, encode
from exporters.replay import ReplaySource

_NAMES = (
    "timestamp",
    "gpu",
    "uuid",
    "index",
    "temperature_celsius",
    "power_watts",
    "power.draw [W]",
    "utilization_ratio",
    "utilization.gpu [%]",
    "temperature.memory",
    "",
)
_CELLS = st.one_of(
    st.integers(-(10**6), 10**12).map(str),
    st.floats().map(str),
    st.sampled_from(
        ("[N/A]", "97 %", "1e400", "9" * 400, '"', "\x00", "2025/03/26 12:00:00.1", "0001-01-01T00:00+23:59")
    ),
    st.text(max_size=8),
)


@st.composite
def _logs(draw: st.DrawFn) -> bytes:
    """Draw a table of known columns with cells that mean something, nothing or trouble."""
    header = ["timestamp", "temperature_celsius", *draw(st.lists(st.sampled_from(_NAMES), max_size=5))]
    rows = [",".join(header)]
    for number in range(draw(st.integers(0, 6))):
        # Mostly sound times, so that rows get past the first check.
        time = draw(st.one_of(st.just(str(number)), st.just(str(number)), st.just(str(number)), _CELLS))
        rows.append(",".join([time, *draw(st.lists(_CELLS, max_size=len(header)))]))
    return "\n".join(rows).encode(errors="replace")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(content=st.one_of(_logs(), _logs(), st.binary(max_size=300)), elapsed=st.floats(0.0, 1e9))
@example(content=b'timestamp,temperature_celsius\n0,"' + b"a" * 200_000, elapsed=0.0)
@example(content=b"timestamp,temperature_celsius\nnan,50\n1,51\n", elapsed=0.0)
@example(content=b"timestamp,temperature_celsius\ninf,50\ninf,51\n", elapsed=0.0)
@example(content=b"timestamp,temperature_celsius,power_watts\n0,50,1e308\n1e300,51,1\n", elapsed=0.0)
@example(content=b"timestamp,temperature_celsius\n-1e308,50\n1e308,51\n", elapsed=0.0)
def test_any_replay_file_is_played_or_refused(tmp_path: Path, content: bytes, elapsed: float) -> None:
    """What is not refused with the file's name yields readings that a collector can send: no NaN, no infinity."""
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    try:
        source = ReplaySource(str(log))
    except SettingsError as error:
        assert "log.csv" in str(error)
        return
    for device in source.open(CallTracker()):
        reader = source.reader(device, CallTracker())
        for began in (reader._began, reader._began - elapsed):
            reader._began = began
            sent = reader.read_fast()
            (received,) = FrameReader().feed(encode(sent))
            assert isinstance(received, FastReading)
            values = (sent.temperature_celsius, sent.power_watts, sent.energy_joules, sent.utilization_ratio)
            assert all(value is None or math.isfinite(value) for value in values)
