"""Numbers in words."""

import pytest

from controller.reporting.wording import celsius_text, count_text, duration_text, ratio_text, terminal_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (1e-9, "< 0.1 %"), (0.5, "50.0 %"), (0.99999, "> 99.9 %"), (1.0, "100 %"), (float("nan"), "–")],
)
def test_a_share_is_nothing_or_everything_only_when_it_is(value: float, text: str) -> None:
    """0 % and 100 % are written for exactly that."""
    assert ratio_text(value) == text


def test_a_temperature_just_below_the_line_is_not_written_as_the_line() -> None:
    """Rounding never makes a temperature equal to the line that it stayed below, or the other way round."""
    assert celsius_text(86.96, against=87.0) == "86.96 °C"
    assert celsius_text(87.0, against=87.0) == "87.0 °C"
    assert celsius_text(80.31, against=87.0) == "80.3 °C"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 s"), (45.5, "45.5 s"), (1380.0, "23.0 min"), (187_200.0, "52.0 h"), (-240.0, "-4.0 min")],
)
def test_durations_use_the_unit_that_people_would_use(seconds: float, text: str) -> None:
    """Seconds up to two minutes, minutes up to two hours, hours beyond."""
    assert duration_text(seconds) == text


def test_counts_keep_three_figures() -> None:
    """Counts are written out up to a million."""
    assert [count_text(value) for value in (0.0, 999.0, 12345.0, 1_230_000.0)] == ["0", "999", "12,345", "1.23 million"]


def test_terminal_text_cannot_steer_a_terminal() -> None:
    """An escape sequence in a name is shown, not obeyed."""
    assert "\x1b" not in terminal_text("a\x1b[2Jb\r\n")
