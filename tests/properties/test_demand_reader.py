"""Whatever a file holds, reading it ends with a series or with one line."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.errors import ForecastingError
from forecasting.io import read_series
from forecasting.tables import TableRequest

CELLS = st.one_of(
    st.sampled_from(["", "nan", "0", "1", "-1", "1e308", "inf", "2025-01-01T00:00Z", "2025-01-01", '"', "a,b", "0x1"]),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.text(max_size=8),
)
LINES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=8).map("\n".join)


def read_bytes(content: bytes, *, counter: bool) -> None:
    """Read a file with this content; a refusal must be one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counts.csv"
        path.write_bytes(content)
        request = TableRequest(source=str(path), counter=counter)
        try:
            table = read_series(str(path), request)
        except ForecastingError as error:
            assert "\n" not in str(error).strip("\n")
            assert error.exit_code in {1, 2}
        else:
            for series in table.series:
                assert not (series.values < 0.0).any()


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200), counter=st.booleans())
def test_any_bytes_end_with_a_series_or_one_line(content: bytes, counter: bool) -> None:
    """No content whatever makes the reader fail otherwise."""
    read_bytes(content, counter=counter)


@settings(max_examples=300, deadline=None)
@given(body=LINES, counter=st.booleans())
def test_any_table_ends_with_a_series_or_one_line(body: str, counter: bool) -> None:
    """Plausible tables with odd cells do not either."""
    read_bytes(("timestamp,requests\n" + body).encode("utf-8", "surrogatepass"), counter=counter)
