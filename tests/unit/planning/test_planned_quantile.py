"""The quantile of demand that is prepared for, from what both kinds of mistake cost."""

from dataclasses import replace

import pytest

from controller.planning.demand import HIGHEST_QUANTILE, LOWEST_QUANTILE, planned_quantile
from controller.types import Policy
from tests.planning_samples import forecasts, policy, pool_spec


def _with_node_price(price: float) -> Policy:
    return policy(1, pools=(pool_spec("r0-h", "r0", cost_per_node_hour=price),))


def test_quantile_is_the_newsvendors_critical_ratio() -> None:
    """With harm 0.0942 a lost request and a cent for its capacity the level is their ratio."""
    rules = _with_node_price(28.8)
    under = 1.5 * (0.7 * 0.02 + 0.2 * 0.4 + 0.1 * 0.002)
    over = 28.8 / 8 * 10.0 / 3600.0
    assert planned_quantile("r0", forecasts(rules), rules) == pytest.approx(under / (under + over))


def test_dearer_nodes_lower_the_quantile_within_its_bounds() -> None:
    """The dearer a spare node, the less is prepared for; free and absurd prices end at the bounds."""
    levels = [
        planned_quantile("r0", forecasts(rules), rules) for rules in map(_with_node_price, (0.0, 10.0, 99.0, 1e9))
    ]
    assert levels == sorted(levels, reverse=True)
    assert (levels[0], levels[-1]) == (HIGHEST_QUANTILE, LOWEST_QUANTILE)


def test_stated_quantile_overrides() -> None:
    """A policy that names its quantile gets it."""
    rules = replace(_with_node_price(10.0), demand_quantile=0.7)
    assert planned_quantile("r0", forecasts(rules), rules) == 0.7
