"""The load generator's schedule and figures: open loop, cohorts, and latencies that nothing can hide in."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.admission.tiers import FREE, PAID
from inference.errors import InferenceSettingsError
from inference.load.command import load_text
from inference.load.generator import LoadGenerator, RequestShape
from inference.load.outcomes import Fate, WishRecord, percentile, percentiles, report
from inference.load.plan import Arrival, LoadSettings, User, parse_shares, schedule
from tests.inference_server import running_server


def test_the_schedule_is_drawn_by_its_seed_alone() -> None:
    """The same seed gives the same load, another one another."""
    settings = LoadSettings(requests_per_second=20.0, signups_per_second=2.0)
    assert schedule(settings) == schedule(settings)
    assert schedule(settings) != schedule(LoadSettings(requests_per_second=20.0, signups_per_second=2.0, seed=1))


def test_rates_and_shares_are_those_asked_for() -> None:
    """Over a long run the mean rate, the tiers and the regions come out as set."""
    settings = LoadSettings(
        requests_per_second=50.0, duration_seconds=200.0, regions={"eu": 3.0, "us": 1.0}, num_users=5_000
    )
    arrivals = schedule(settings)
    moments = [arrival.at_seconds for arrival in arrivals]
    assert moments == sorted(moments) and moments[0] > 0.0 and moments[-1] < 200.0
    assert len(arrivals) == pytest.approx(10_000, rel=0.05)
    assert statistics.mean(arrival.user.tier == "paid" for arrival in arrivals) == pytest.approx(0.1, abs=0.02)
    assert statistics.mean(arrival.user.region == "eu" for arrival in arrivals) == pytest.approx(0.75, abs=0.03)


def test_cohorts_follow_their_signups() -> None:
    """New users ask soon after they signed up and then again, the asked number of times in the mean."""
    settings = LoadSettings(
        requests_per_second=0.0, signups_per_second=5.0, requests_per_signup=3.0, pause_seconds=1.0,
        duration_seconds=300.0,
    )  # fmt: skip
    arrivals = schedule(settings)
    users = {arrival.user.name for arrival in arrivals}
    assert all(arrival.user.is_new for arrival in arrivals)
    assert len(users) == pytest.approx(1_500, rel=0.1)
    assert len(arrivals) / len(users) == pytest.approx(3.0, rel=0.1)


def test_a_load_that_is_too_large_is_refused() -> None:
    """The schedule is bounded, and the message says what to lower."""
    with pytest.raises(InferenceSettingsError, match="lower --rate or --duration"):
        schedule(LoadSettings(requests_per_second=10_000.0, duration_seconds=3_600.0))


def test_shares_are_parsed() -> None:
    """NAME=SHARE with commas; a name alone counts 1; nonsense is refused by name."""
    assert parse_shares("free=0.9, paid", "--tiers") == {"free": 0.9, "paid": 1.0}
    assert parse_shares("", "--regions") == {}
    for bad in ("free=much", "free=-1", "=1", "free=0", "free=inf"):
        with pytest.raises(InferenceSettingsError, match="--tiers"):
            parse_shares(bad, "--tiers")


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_a_value_that_enough_are_not_above(values: list[float], share: float) -> None:
    """Nearest rank: at least that share of values lies at or below it, and it is one of them."""
    ascending = sorted(values)
    found = percentile(ascending, share)
    assert found in [round(value, 4) for value in ascending]
    assert sum(round(value, 4) <= found for value in ascending) >= share * len(ascending)


def test_no_value_has_no_percentile() -> None:
    """What was never seen is null, not zero."""
    assert percentiles([None]).p99 is None


def record(**changes: object) -> WishRecord:
    fields = {"tier": "free", "region": "", "is_new": False, "wanted_at": 0.0}
    return WishRecord(**{**fields, **changes})


def test_the_report_tells_wishes_from_attempts() -> None:
    """A wish that needed two retries is one wish and three attempts; refusals count by code; goodput ends in time."""
    served = record(
        fate=Fate.SERVED, ended_at=8.0, num_retries=2, codes=["contended", "contended"], served_seconds=1.5,
        num_images=1, estimated_wait_seconds=1.1, actual_wait_seconds=1.0,
    )  # fmt: skip
    late = record(
        tier="paid", fate=Fate.SERVED, ended_at=12.0, served_seconds=2.0, num_images=1,
        estimated_wait_seconds=2.0, actual_wait_seconds=1.0,
    )  # fmt: skip
    limited = record(fate=Fate.LIMITED, ended_at=1.0, codes=["quota_exceeded"])
    found = report("http://pod", 10.0, [served, late, limited, record(fate=Fate.NOT_SENT)])
    assert (found.total.offered, found.total.attempts, found.total.served) == (4, 5, 2)
    assert found.total.refusals == {"contended": 2, "quota_exceeded": 1}
    assert found.served_images_per_second == 0.1
    assert found.total.estimate_within_20_percent_ratio == 0.5
    assert found.total.to_image_seconds.max == 12.0
    assert set(found.tiers) == {"free", "paid"}
    text = load_text(found)
    assert "tier paid" in text and "quota_exceeded 1" in text and "not sent" in text


def test_a_request_that_was_sent_late_counts_from_when_it_was_wanted() -> None:
    """What held the generator up is part of the latency: a wish of two seconds ago waited at least two seconds."""
    user = User(name="late", tier="free", region="", honours_retry_after=True, is_new=False)
    arrivals = [Arrival(at_seconds=-2.0, user=user, digit=7), Arrival(at_seconds=0.01, user=user, digit=7)]
    with running_server() as server:
        generator = LoadGenerator(server.url, LoadSettings(duration_seconds=5.0), RequestShape())
        late, in_time = asyncio.run(generator.run(arrivals))
    assert late.fate is in_time.fate is Fate.SERVED
    assert late.sent_late_seconds >= 2.0
    assert late.served_seconds is not None and late.served_seconds >= 2.0
    assert in_time.served_seconds is not None and 0.0 < in_time.served_seconds < late.served_seconds
    assert in_time.actual_wait_seconds is not None and in_time.estimated_wait_seconds is not None


def test_users_come_back_as_they_are() -> None:
    """Who honours Retry-After comes back when told and gives up if that is too late; who does not, asks at once."""
    patient = User(name="patient", tier="free", region="", honours_retry_after=True, is_new=False)
    hasty = User(name="hasty", tier="free", region="", honours_retry_after=False, is_new=False)
    settings = LoadSettings(duration_seconds=600.0, max_retries=2)
    with running_server(tiers=(replace(FREE, images_per_day=0), PAID)) as server:
        generator = LoadGenerator(server.url, settings, RequestShape())
        arrivals = [Arrival(at_seconds=0.0, user=user, digit=1) for user in (patient, hasty)]
        waited, asked = asyncio.run(generator.run(arrivals))
        # The quota returns in a day: the patient user goes away, the hasty one asks until the retries are used up.
        assert (waited.num_retries, waited.codes) == (0, ["quota_exceeded"])
        assert (asked.num_retries, asked.codes) == (2, ["quota_exceeded"] * 3)
        assert waited.fate is asked.fate is Fate.LIMITED
        received = "meltguard_inference_requests_received_total"
        assert server.metric(received, attempt="retry") == 2
        assert server.metric(received, attempt="first") == 2
