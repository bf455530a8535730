"""The bounds of the page on noise, and what it says of every rule."""

import json
import math

import pytest

from tools.checks.repository import ROOT
from tools.docs.noise_reference import MEASURED, noise_page, poisson_upper
from tools.monitoring.catalogue import ALERTS
from tools.monitoring.model import Severity


@pytest.mark.parametrize(("count", "bound"), [(0, 3.689), (1, 5.572), (3, 8.767), (10, 18.390)])
def test_the_bound_is_the_one_of_garwood(count, bound):
    """The upper end of the exact interval of 95 % for a Poisson count, as tables have it."""
    assert poisson_upper(count) == pytest.approx(bound, abs=1e-3)


def test_the_bound_leaves_its_tail():
    """At the bound a count as small as the one seen has the probability of one tail."""
    bound = poisson_upper(2, confidence=0.9)
    assert math.exp(-bound) * (1.0 + bound + bound**2 / 2.0) == pytest.approx(0.05)


def test_every_rule_was_tried_with_events():
    """The kept measurement has events for each rule of the catalogue, and the page a row for each of them."""
    measured = json.loads((ROOT / MEASURED).read_text(encoding="utf-8"))["faults"]
    assert {each["alert"] for each in measured.values()} == {
        alert.name for alert in ALERTS if alert.severity is not Severity.NONE
    }
    assert len(measured) == len(ALERTS) - 1
    page = noise_page()
    assert all(f"| {name} |" in page for name in measured)
