"""The feed of the demand forecasters: history once, then only what is new; silence is never taken for calm."""

from __future__ import annotations

import json
import math
import threading
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from controller.adapters.demand_feed import DemandFeed, DemandSettings
from forecasting.errors import ForecastingError
from forecasting.io import HttpLimits
from tests.planning_samples import NOW, policy

POLICY = policy(1)
SETTINGS = DemandSettings(requests_query="requests", signups_query="signups", lookback_seconds=7200.0)


class Counts:
    """A Prometheus in whose range queries every interval has a count."""

    def __init__(self) -> None:
        """Count from long ago, in two tiers, and sign-ups of the whole world."""
        self.silent_from: dict[str, datetime] = {}
        self.refusing: set[str] = set()
        self.born: dict[str, datetime] = {}
        self.spans: list[float] = []

    def fetch(self, address: str, limits: HttpLimits) -> bytes:
        """Answer one range query."""
        del limits
        asked = {key: values[0] for key, values in parse_qs(urlsplit(address).query).items()}
        if asked["query"] in self.refusing:
            raise ForecastingError("refused")
        start, end, step = float(asked["start"]), float(asked["end"]), float(asked["step"])
        self.spans.append(end - start)
        names = ("free", "paid") if asked["query"] == "requests" else ("",)
        rows = []
        for name in names:
            times = [start + step * index for index in range(int((end - start) / step) + 1)]
            silent = self.silent_from.get(name, NOW + timedelta(days=9)).timestamp()
            born = self.born.get(name, NOW - timedelta(days=9)).timestamp()
            values = [[at, str(100 + 10 * math.sin(at / 900))] for at in times if born < at <= silent]
            labels = {"region": "r0", "tier": name} if name else {}
            rows += [{"metric": labels, "values": values}] if values else []
        return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}}).encode()


def feed_of(counts: Counts) -> DemandFeed:
    """Return a feed."""
    return DemandFeed("http://prometheus", SETTINGS, fetch=counts.fetch)


def test_history_is_fetched_once_and_then_only_what_is_new() -> None:
    """The first refresh reads the whole lookback, the next ones minutes; no interval is missed or seen twice."""
    counts = Counts()
    feed = feed_of(counts)
    first = feed.forecasts(POLICY, NOW)
    assert counts.spans == [7140.0, 7140.0]
    assert {(one.key.region, one.key.tier) for one in first.demand} == {("r0", "free"), ("r0", "paid")}
    assert len(first.signups) == 1

    again = feed.forecasts(POLICY, NOW + timedelta(seconds=30))
    assert again is first
    later = feed.forecasts(POLICY, NOW + timedelta(seconds=180))

    assert max(counts.spans[2:]) < 1800.0
    assert later.demand[0].issued_at - first.demand[0].issued_at == timedelta(seconds=180)
    assert later.demand[0].model.num_points == first.demand[0].model.num_points + 3
    assert later.of("r0", "free").num_steps == 30


def test_a_series_that_falls_silent_keeps_its_time_of_issue() -> None:
    """Without new counts a forecast is not issued anew, so that it grows stale while the others go on."""
    counts = Counts()
    feed = feed_of(counts)
    feed.forecasts(POLICY, NOW)
    counts.silent_from["free"] = NOW - timedelta(seconds=60)

    later = feed.forecasts(POLICY, NOW + timedelta(seconds=600))

    assert later.of("r0", "free").issued_at <= NOW
    assert later.of("r0", "paid").issued_at > NOW + timedelta(seconds=500)
    assert any("stale" in problem for problem in feed.problems)


def test_a_query_that_fails_leaves_the_old_forecasts_and_is_made_up_for() -> None:
    """While Prometheus refuses, the forecasts stand with their times; afterwards the gap is filled from its counts."""
    counts = Counts()
    feed = feed_of(counts)
    first = feed.forecasts(POLICY, NOW)
    counts.refusing = {"requests"}
    during = feed.forecasts(POLICY, NOW + timedelta(seconds=1200))
    assert during.of("r0", "free").issued_at == first.of("r0", "free").issued_at
    assert during.signups[0].issued_at > first.signups[0].issued_at
    assert "refused" in feed.problems[0]

    counts.refusing = set()
    after = feed.forecasts(POLICY, NOW + timedelta(seconds=2400))
    assert after.of("r0", "free").model.num_points == first.of("r0", "free").model.num_points + 40


def test_a_new_series_does_not_hold_up_the_others() -> None:
    """A tier that has been counted twice so far is left out with a note, and forecast as soon as it can be."""
    counts = Counts()
    counts.born["paid"] = NOW - timedelta(seconds=140)
    feed = feed_of(counts)
    first = feed.forecasts(POLICY, NOW)
    assert first.of("r0", "paid") is None
    assert first.of("r0", "free") is not None

    later = feed.forecasts(POLICY, NOW + timedelta(seconds=300))
    assert later.of("r0", "paid") is not None


def test_in_its_own_thread_a_refresh_delays_nobody() -> None:
    """A pass gets what is there, at once, and the renewed forecasts in a later pass."""
    counts = Counts()
    gate = threading.Event()
    feed = DemandFeed("http://p", SETTINGS, fetch=lambda a, b: (gate.wait(30), counts.fetch(a, b))[1])
    feed.start()
    try:
        assert feed.forecasts(POLICY, NOW).demand == ()
        gate.set()
        pause = threading.Event()
        for number in range(600):
            if feed.forecasts(POLICY, NOW + timedelta(seconds=number)).demand:
                break
            pause.wait(0.05)
        assert feed.forecasts(POLICY, NOW).demand
    finally:
        feed.stop()
