"""Which requests can be found again as traces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.serving.traces import trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("header", [f"00-{TRACE}-{SPAN}-01", f" 00-{TRACE}-{SPAN}-03 ", f"01-{TRACE}-{SPAN}-01-more"])
def test_a_sampled_trace_is_named(header):
    """A valid header of a trace that is kept gives its id, in later versions of the format as well."""
    assert trace_id_of(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-" + "x" * 1000,
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_anything_else_is_no_trace(header):
    """Without a valid header, or for a trace that nobody keeps, there is no id."""
    assert trace_id_of(header) == ""


@given(st.text(max_size=300))
def test_an_id_is_nothing_but_hexadecimal(header):
    """Whatever a client sends, what reaches the page is empty or 32 hexadecimal digits."""
    assert set(trace_id_of(header)) <= set("0123456789abcdef")
