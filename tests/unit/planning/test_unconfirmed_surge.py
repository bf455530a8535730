"""A surge that sign-ups alone show orders no nodes for its upper quantiles until requests follow or time passes."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from controller.planning.demand import CONFIRMING_RATIO, UNCONFIRMED_SECONDS
from controller.types import FleetSnapshot, ForecastSet, Rung, Sample
from forecasting.types import SurgePhase, SurgeState
from tests.planning_samples import NOW, decide, forecasts, policy, pool_actions, snapshot

RULES = policy(num_regions=1)
LOAD = 0.6
YOUNG = NOW - timedelta(seconds=120)


def _fan(since: datetime | None, *, phase: SurgePhase = SurgePhase.SURGE) -> ForecastSet:
    """Forecasts whose middle stays where it is while their upper quantile grows tenfold."""
    calm = forecasts(RULES, LOAD)
    rows = []
    for entry in calm.demand:
        growth = np.linspace(1.0, 10.0, entry.num_steps)
        quantiles = np.vstack([entry.quantiles[0], entry.quantiles[1], entry.quantiles[2] * growth])
        rows.append(replace(entry, quantiles=quantiles, surge=SurgeState(phase=phase, since=since)))
    return replace(calm, demand=tuple(rows))


def _seen(factor: float) -> FleetSnapshot:
    """A fleet whose requests are a multiple of the upper quantile that was expected of them."""
    return snapshot(RULES, LOAD * 1.1 * factor)


def test_sign_ups_alone_hold_the_fleet_and_order_nothing() -> None:
    """While requests stay within their forecast the region is held on rung 1."""
    made = decide(RULES, _seen(0.9), _fan(YOUNG))
    assert pool_actions(made) == []
    assert made.regions[0].rung is Rung.HOLD


def test_requests_above_their_forecast_confirm_the_surge() -> None:
    """A tenth above the upper quantile is no chance any more: nodes are ordered at once."""
    assert pool_actions(decide(RULES, _seen(CONFIRMING_RATIO * 0.99), _fan(YOUNG))) == []
    assert pool_actions(decide(RULES, _seen(CONFIRMING_RATIO * 1.01), _fan(YOUNG))) != []


def test_after_ten_minutes_the_sign_ups_are_believed() -> None:
    """A lasting surge is provided for although its users have not come yet; one without a beginning, too."""
    old = NOW - timedelta(seconds=UNCONFIRMED_SECONDS)
    assert pool_actions(decide(RULES, _seen(0.9), _fan(old + timedelta(seconds=1)))) == []
    assert pool_actions(decide(RULES, _seen(0.9), _fan(old))) != []
    assert pool_actions(decide(RULES, _seen(0.9), _fan(None))) != []


def test_requests_that_nobody_sees_confirm_nothing_and_deny_nothing() -> None:
    """With a stale rate the forecast is followed as it is: missing data never lowers capacity."""
    seen = _seen(0.9)
    tiers = seen.regions[0].tiers
    stale = replace(tiers[0], first_attempt_rate=Sample.absent())
    blind = replace(seen, regions=(replace(seen.regions[0], tiers=(stale, *tiers[1:])),))
    assert pool_actions(decide(RULES, blind, _fan(YOUNG))) != []


def test_without_a_surge_the_upper_quantiles_count_as_ever() -> None:
    """The doubt is about young surges only."""
    assert pool_actions(decide(RULES, _seen(0.9), _fan(YOUNG, phase=SurgePhase.CALM))) != []


def test_a_stated_quantile_is_a_persons_word() -> None:
    """A policy that names its quantile provides for it, confirmed or not."""
    rules = replace(RULES, demand_quantile=0.9)
    assert pool_actions(decide(rules, _seen(0.9), _fan(YOUNG))) != []
