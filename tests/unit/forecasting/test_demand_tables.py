"""The reader of counts names every fault by file, line and cure."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from forecasting.errors import ForecastingError, InputError, NotEnoughDataError
from forecasting.tables import SeriesTable, TableLimits, TableRequest, csv_rows, parse_table

HEADER = "timestamp,requests\n"


def read(text: str, **options: object) -> SeriesTable:
    """Parse text as the file ``counts.csv``."""
    request = TableRequest(source="counts.csv", **options)  # type: ignore[arg-type]
    return parse_table(csv_rows(text.splitlines(keepends=True), source="counts.csv"), request)


def rows(*counts: str, step_seconds: int = 300) -> str:
    """Return rows with unix seconds from 0 on."""
    return HEADER + "".join(f"{index * step_seconds},{count}\n" for index, count in enumerate(counts))


def test_counts_land_on_a_regular_grid_with_gaps_as_missing() -> None:
    """An absent row and an empty cell are both missing, never zero."""
    text = HEADER + "2025-01-01T00:00Z,1\n2025-01-01T00:05Z,2\n2025-01-01T00:15Z,4\n2025-01-01T00:20:00+00:00,\n"
    series = read(text).series[0]
    assert series.step_seconds == pytest.approx(300.0)
    assert series.start == datetime(2025, 1, 1, tzinfo=UTC)
    assert series.values[:2] == pytest.approx([1.0, 2.0])
    assert np.isnan(series.values[[2, 4]]).all()


def test_a_time_that_marks_the_end_is_shifted_by_one_step() -> None:
    """With ``:end`` the first interval begins one step before its time."""
    series = read(rows("1", "2", "3"), marks_end=True).series[0]
    assert series.start.timestamp() == pytest.approx(-300.0)


def test_a_counter_is_differenced_and_a_reset_is_a_gap() -> None:
    """Each count is the rise since the reading before; a fall is unknown, not negative."""
    series = read(rows("10", "15", "2", "9", "9"), counter=True).series[0]
    assert series.values[[0, 2, 3]] == pytest.approx([5.0, 7.0, 0.0])
    assert math.isnan(series.values[1])
    assert series.start.timestamp() == pytest.approx(0.0)


def test_a_wider_step_sums_whole_intervals_on_the_clock() -> None:
    """Ten-minute sums start on a multiple of ten minutes and a missing part makes the sum missing."""
    text = HEADER + "".join(f"{300 + 300 * index},{count}\n" for index, count in enumerate("123456789"))
    series = read(text.replace("1500,5", "1500,"), step_seconds=600.0).series[0]
    assert series.start.timestamp() == pytest.approx(600.0)
    assert series.values[[0, 2, 3]] == pytest.approx([5.0, 13.0, 17.0])
    assert math.isnan(series.values[1])


def test_region_and_tier_split_a_file_into_series() -> None:
    """Rows of several regions may alternate; each region keeps its own order."""
    text = "timestamp,region,tier,requests\n" + "".join(
        f"{index * 60},{region},free,{index}\n" for index in range(4) for region in ("us", "eu")
    )
    table = read(text)
    assert [(series.key.region, series.key.tier) for series in table.series] == [("eu", "free"), ("us", "free")]
    assert table.series[0].values == pytest.approx([0.0, 1.0, 2.0, 3.0])


def test_times_without_a_zone_are_utc_and_said_so() -> None:
    """A local time is not guessed."""
    text = HEADER + "2025-01-01 00:00,1\n2025-01-01 01:00,1\n2025-01-01 02:00,1\n"
    assert "no zone" in read(text).notes[0]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("", ":1:", "empty"),
        ("\n1,2\n", ":1:", "empty or starts with a blank line"),
        (HEADER, ":1:", "no rows"),
        ("time,requests\n0,1\n", ":1:", "--time-column"),
        ("timestamp,a,b\n0,1,2\n", ":1:", "cannot tell which"),
        (rows("1", "many", "3"), ":3:", "not a number"),
        (rows("1", "-4", "3"), ":3:", "not negative"),
        (rows("1", "inf", "3"), ":3:", "finite"),
        (HEADER + "0,1\n600,2\n300,3\n", ":4:", "earlier"),
        (HEADER + "0,1\n300,2\n300,3\n", ":4:", "repeats"),
        (HEADER + "0,1\nyesterday,2\n", ":3:", "not a time"),
        (HEADER + "1e300,1\n", ":2:", "not a time"),
        (HEADER + "0,1,9\n", ":2:", "3 cells"),
        (HEADER + '0,"1\n', ":2:", "CSV"),
        (HEADER + "0,1\n100,1\n200,1\n230,1\n300,1\n400,1\n", "counts.csv", "must be regular"),
        (HEADER + "0,1\n1,1\n2,1\n99999999999,1\n", "counts.csv", "are the times right"),
    ],
)
def test_bad_input_is_refused_with_file_and_line(text: str, line: str, part: str) -> None:
    """One line says where and what."""
    with pytest.raises(InputError) as caught:
        read(text)
    assert line in str(caught.value)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_rows_are_too_few() -> None:
    """The input is right but too short, which is another error than wrong input."""
    with pytest.raises(NotEnoughDataError, match="only 2 counts"):
        read(rows("1", "2"))


def test_rows_and_series_are_bounded() -> None:
    """A file that goes on and on ends at the bound."""
    with pytest.raises(InputError, match="more than 2 rows"):
        read(rows("1", "2", "3"), limits=TableLimits(max_rows=2))
    text = "timestamp,region,requests\n0,a,1\n0,b,1\n0,c,1\n"
    with pytest.raises(InputError, match="more than 2 series"):
        read(text, limits=TableLimits(max_series=2))


def test_a_column_that_is_not_there_lists_those_that_are() -> None:
    """The message names the columns at hand."""
    with pytest.raises(ForecastingError, match="'requests'"):
        read(rows("1", "2", "3"), column="request")
