"""Public traces become requests per step."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forecasting.errors import InputError, NotEnoughDataError
from forecasting.traces import TraceFormat, TraceRequest, parse_trace
from forecasting.types import DemandSeries

EPOCH = datetime(2025, 1, 6, tzinfo=UTC)


def read(text: str, trace_format: TraceFormat, step_seconds: float = 10.0) -> DemandSeries:
    """Parse the lines of a trace."""
    request = TraceRequest(source="trace", trace_format=trace_format, step_seconds=step_seconds)
    return parse_trace(text.splitlines(keepends=True), request)


def test_burstgpt_counts_requests_from_its_start() -> None:
    """Seconds from the start fall into steps; an empty step is zero, because a trace is complete."""
    header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    rows = "".join(f"{seconds},ChatGPT,5,6,11,Conversation log\n" for seconds in (5, 6, 35, 36, 37, 45))
    series = read(header + rows, TraceFormat.BURSTGPT)
    assert series.start == EPOCH
    assert series.values == pytest.approx([2.0, 0.0, 0.0, 3.0])


def test_azure_keeps_its_calendar_in_both_years() -> None:
    """2023 writes seven decimals and no zone, 2024 a zone; both are UTC on the clock's steps."""
    old = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"2023-11-16 18:17:{seconds:02d}.9799600,4808,10\n" for seconds in (3, 4, 14, 25, 31)
    )
    series = read(old, TraceFormat.AZURE_LLM)
    assert series.start == datetime(2023, 11, 16, 18, 17, tzinfo=UTC)
    assert series.values == pytest.approx([2.0, 1.0, 1.0])
    new = old.replace("2023-11-16", "2024-05-10").replace("9799600", "979960+00:00")
    assert read(new, TraceFormat.AZURE_LLM).values == pytest.approx([2.0, 1.0, 1.0])


def test_mooncake_is_json_lines_in_milliseconds() -> None:
    """The time is in milliseconds from the start."""
    text = "".join(
        f'{{"timestamp": {ms}, "input_length": 9, "output_length": 2}}\n' for ms in (0, 1, 10_000, 25_000, 31_000)
    )
    assert read(text, TraceFormat.MOONCAKE).values == pytest.approx([2.0, 1.0, 1.0])


def test_servegen_rates_hold_until_the_next_row() -> None:
    """A rate times the time that it holds is a count, whatever the step."""
    text = "0,1.0,x\n20,3.0,x\n40,0.0,x\n60,0.5,x\n"
    assert read(text, TraceFormat.SERVEGEN).values == pytest.approx([10, 10, 30, 30, 0, 0, 5, 5])


@pytest.mark.parametrize(
    ("text", "trace_format", "part"),
    [
        ("a,b\n1,2\n", TraceFormat.BURSTGPT, "trace:1: no column"),
        ("Timestamp,Model\nsoon,x\n", TraceFormat.BURSTGPT, "trace:2: 'soon' is no number"),
        ("TIMESTAMP\nnever\n", TraceFormat.AZURE_LLM, "trace:2: 'never' is no time"),
        ("nonsense\n", TraceFormat.MOONCAKE, "trace:1: not a JSON object"),
        ("5\n", TraceFormat.SERVEGEN, "trace:1: expected"),
        ("5,1\n5,1\n", TraceFormat.SERVEGEN, "trace:2: the times must ascend"),
    ],
)
def test_another_format_is_refused_with_the_line(text: str, trace_format: TraceFormat, part: str) -> None:
    """The first line that does not fit is named."""
    with pytest.raises(InputError, match=part):
        read(text, trace_format)


def test_a_short_trace_is_too_little() -> None:
    """Fewer than three whole steps are no series."""
    with pytest.raises(NotEnoughDataError):
        read("Timestamp\n1\n", TraceFormat.BURSTGPT)
