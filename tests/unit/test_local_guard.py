"""The local guard: down at once, up slowly, blind with care."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.guard import GuardSettings, bounded_ratio, seen_drift, stale_ratio, within_sustainable

SETTINGS = GuardSettings()
ratios = st.floats(0.0, 1.0)


def _bound(previous: float, margin: float, power: float, elapsed: float = 1.0) -> float:
    found = bounded_ratio(
        np.array([previous]),
        margin_celsius=np.array([margin]),
        power_watts=np.array([power]),
        elapsed_seconds=elapsed,
    )
    return float(found[0])


@given(ratios, st.floats(-50.0, 80.0), st.floats(0.0, 700.0), st.floats(0.0, 60.0))
def test_bound_is_a_share_and_rises_slowly(previous: float, margin: float, power: float, elapsed: float) -> None:
    """The bound lies in 0..1 and never rises faster than its rate."""
    found = _bound(previous, margin, power, elapsed)
    assert 0.0 <= found <= 1.0
    assert found <= previous + SETTINGS.rise_ratio_per_second * elapsed + 1e-12


@given(ratios, st.floats(-20.0, 40.0), st.floats(-20.0, 40.0), st.floats(75.0, 700.0))
def test_less_margin_never_allows_more(previous: float, a: float, b: float, power: float) -> None:
    """Of two margins at the same power the smaller allows no more work."""
    low, high = sorted((a, b))
    assert _bound(previous, low, power) <= _bound(previous, high, power)


def test_guard_stops_work_when_the_margin_is_gone() -> None:
    """Far below its margin a GPU at full power gets no work at once."""
    assert _bound(1.0, -30.0, 690.0) == 0.0
    assert _bound(1.0, 40.0, 690.0) == 1.0


def test_missing_reading_keeps_the_bound() -> None:
    """A reading that is not a number neither frees nor stops a GPU."""
    assert _bound(0.4, float("nan"), 300.0) == 0.4
    assert _bound(0.4, 20.0, float("nan")) == 0.4


@given(ratios, st.floats(0.0, 1e5), st.floats(0.0, 1e5))
def test_blind_bound_holds_then_falls_to_its_floor_and_never_rises(last: float, a: float, b: float) -> None:
    """Without readings the bound is held, then goes to the floor; a bound below the floor stays where it is."""
    young, old = sorted((a, b))
    at = [float(stale_ratio(np.array([last]), age_seconds=age)[0]) for age in (0.0, young, old)]
    assert at[0] == last
    assert at[0] >= at[1] >= at[2] >= min(last, SETTINGS.floor_ratio) - 1e-12


def test_close_to_the_limit_the_bound_stays_within_what_is_sustainable() -> None:
    """Where sustainable power is known it caps the bound at a small margin, and says nothing at a large one."""

    def bound(margin: float, sustainable: float) -> float:
        found = within_sustainable(
            np.array([0.95]), margin_celsius=np.array([margin]), sustainable_power_watts=np.array([sustainable])
        )
        return float(found[0])

    span_watts = (SETTINGS.busy_watts - SETTINGS.idle_watts) * SETTINGS.leakage_ratio
    half = SETTINGS.idle_watts + 0.5 * span_watts
    assert abs(bound(6.0, half) - 0.5) < 1e-9
    assert bound(20.0, half) == 0.95
    assert bound(6.0, float("nan")) == 0.95
    assert bound(float("nan"), half) == 0.95


@given(ratios, st.floats(-20.0, 40.0), st.floats(75.0, 700.0), st.floats(-1.0, 1.0), st.floats(0.0, 1.0))
def test_a_warming_room_never_allows_more(
    previous: float, margin: float, power: float, drift: float, more: float
) -> None:
    """The faster sink and room warm up by themselves, the less work is allowed; cooling allows nothing extra."""
    bounds = [
        bounded_ratio(
            np.array([previous]),
            margin_celsius=np.array([margin]),
            power_watts=np.array([power]),
            elapsed_seconds=10.0,
            drift_celsius_per_second=np.array([value]),
        )[0]
        for value in (drift, drift + more, 0.0)
    ]
    assert bounds[1] <= bounds[0]
    assert bounds[0] <= bounds[2]


def test_drift_is_what_power_does_not_explain() -> None:
    """A rise that the added power explains is no drift; one at steady power is, smoothed; a lost reading keeps it."""
    explained = SETTINGS.fast_resistance_celsius_per_watt * 100.0
    start = np.zeros(3)
    found = seen_drift(
        start,
        cooled_celsius=np.array([-explained, -2.0, np.nan]),
        added_watts=np.array([100.0, 0.0, 0.0]),
        elapsed_seconds=10.0,
    )
    assert abs(found[0]) < 1e-12
    assert 0.0 < found[1] < 0.2
    assert found[2] == 0.0
    for _ in range(50):
        found = seen_drift(found, cooled_celsius=np.full(3, -2.0), added_watts=np.zeros(3), elapsed_seconds=10.0)
    np.testing.assert_allclose(found, 0.2, rtol=1e-3)
