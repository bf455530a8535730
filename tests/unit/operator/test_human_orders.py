"""What people write on a policy: understood when it is an order, reported when it is not, over when its time is."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.operator.human import (
    APPROVE_PREFIX,
    BREAKER_PREFIX,
    LIMIT_PREFIX,
    MAX_HOURS,
    read_orders,
    write_order,
)
from tests.planning_samples import NOW

REGIONS = frozenset({"eu", "us-east.1"})


def test_an_order_that_is_written_is_read():
    """Rung, end, author and reason arrive as they were given."""
    text = write_order(rung=4, until=NOW + timedelta(hours=1), by="alice smith", reason="load test; reason=none")
    orders = read_orders({LIMIT_PREFIX + "eu": text, APPROVE_PREFIX + "us-east.1": text}, REGIONS, NOW)
    (override,), (grant,) = orders.overrides, orders.approvals
    assert (override.region, int(override.rung), override.set_by) == ("eu", 4, "alice.smith")
    assert override.reason == "load test; reason=none"
    assert grant.region == "us-east.1" and grant.expires_at == NOW + timedelta(hours=1)
    assert orders.problems == ()


def test_an_order_ends_at_its_time_and_within_a_day():
    """An order of yesterday steers nothing, and none holds for longer than a day."""
    over = write_order(rung=7, until=NOW - timedelta(seconds=1), by="a")
    ever = write_order(rung=7, until=NOW + timedelta(days=300), by="a")
    assert read_orders({APPROVE_PREFIX + "eu": over}, REGIONS, NOW).approvals == ()
    (grant,) = read_orders({APPROVE_PREFIX + "eu": ever}, REGIONS, NOW).approvals
    assert grant.expires_at == NOW + timedelta(hours=MAX_HOURS)


@pytest.mark.parametrize(
    "text",
    ["", "rung=9 until=2030-01-01T00:00:00Z", "rung=4", "rung=4 until=soon", "rung=4 until=2030-01-01T00:00:00", "on"],
)
def test_what_cannot_be_understood_is_no_order(text):
    """A damaged order is reported with its annotation and never obeyed."""
    orders = read_orders({LIMIT_PREFIX + "eu": text}, REGIONS, NOW)
    assert orders.overrides == () and LIMIT_PREFIX + "eu" in orders.problems[0]


def test_an_order_for_no_region_of_ours_is_reported():
    """A misspelt region must not look as if the order held."""
    text = write_order(rung=4, until=NOW + timedelta(hours=1), by="a")
    assert "no region 'eus'" in read_orders({LIMIT_PREFIX + "eus": text}, REGIONS, NOW).problems[0]


def test_other_annotations_are_none_of_ours():
    """Annotations of other tools are neither orders nor problems; breaker resets keep their text."""
    found = read_orders({"kubectl.kubernetes.io/x": "rung=4", BREAKER_PREFIX + "eu": "now by=a"}, REGIONS, NOW)
    assert found.problems == () and found.breaker_resets == (("eu", "now by=a"),)


@given(st.dictionaries(st.sampled_from([LIMIT_PREFIX + "eu", APPROVE_PREFIX + "eu"]), st.text(max_size=60)))
def test_no_text_crashes_the_reader(annotations):
    """Whatever somebody writes there, the reader answers."""
    read_orders(annotations, REGIONS, NOW)
