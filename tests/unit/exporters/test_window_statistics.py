"""The window shows what happened between scrapes, to every scraper."""

from __future__ import annotations

from exporters.window import MAX_SCRAPERS, ScrapeIntervals, Window, WindowSample


def _sample(at: float, celsius: float | None) -> WindowSample:
    return WindowSample(
        at_seconds=at, temperature_celsius=celsius, margin_celsius=None, power_watts=100.0, utilization_ratio=None
    )


def test_extremes_inside_the_window() -> None:
    """Minimum, maximum and mean run over the window and leave out older samples and missing values."""
    window = Window()
    for at, celsius in [(0.0, 99.0), (6.0, 50.0), (7.0, None), (8.0, 60.0), (9.0, 55.0)]:
        window.add(_sample(at, celsius))
    statistics = window.statistics(10.0, 5.0)
    assert statistics.temperature_celsius is not None
    assert statistics.temperature_celsius.minimum == 50.0
    assert statistics.temperature_celsius.maximum == 60.0
    assert statistics.temperature_celsius.mean == 55.0
    assert statistics.margin_celsius is None


def test_two_replicas_both_see_the_extreme() -> None:
    """The window is as long as the slowest scraper's interval, so an offset replica misses nothing."""
    scrapes = ScrapeIntervals()
    for second in (0.0, 15.0, 30.0):
        scrapes.note("10.0.0.1", second)
        scrapes.note("10.0.0.2", second + 7.0)
    assert scrapes.window_seconds(40.0) == 15.0


def test_window_is_bounded() -> None:
    """Neither a frantic nor a sleepy scraper sets a window outside the bounds."""
    scrapes = ScrapeIntervals()
    assert scrapes.window_seconds(0.0) == 5.0
    for second in (0.0, 0.02, 0.04):
        scrapes.note("fast", second)
    assert scrapes.window_seconds(1.0) == 5.0
    for second in (1.0, 500.0):
        scrapes.note("slow", second)
    assert scrapes.window_seconds(501.0) == 120.0


def test_scrapers_are_bounded() -> None:
    """However many clients come, few are remembered."""
    scrapes = ScrapeIntervals()
    for number in range(1000):
        scrapes.note(str(number), float(number))
    assert len(scrapes._scrapers) <= MAX_SCRAPERS
