"""Gauges whose rows come and go: what is no longer told is no longer shown."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from controller.telemetry.gauge_rows import GaugeRows

TOLD = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from([0.0, 1.0, 2.0]))


def shown(registry):
    """Return the rows that a scrape would see."""
    return {sample.labels["pool"]: sample.value for family in registry.collect() for sample in family.samples}


def rows_of(registry):
    return GaugeRows(Gauge("nodes", "Nodes.", ["pool"], registry=registry))


@given(st.lists(st.tuples(st.sampled_from(["first", "second"]), st.none() | TOLD), max_size=12))
def test_what_is_shown_is_what_the_owners_tell_now(steps):
    """After any sequence of tellings a row is there while an owner tells it, with the larger of their values."""
    registry = CollectorRegistry()
    rows, told = rows_of(registry), {}
    for owner, values in steps:
        if values is None:
            rows.drop(owner)
            told.pop(owner, None)
        else:
            rows.replace(owner, {(name,): value for name, value in values.items()})
            told[owner] = values
    names = {name for values in told.values() for name in values}
    assert shown(registry) == {name: max(v[name] for v in told.values() if name in v) for name in names}


def test_after_clearing_the_same_value_is_shown_again():
    """A replica that leads again shows what it knows, even where nothing has changed since its last term."""
    registry = CollectorRegistry()
    rows = rows_of(registry)
    rows.replace("images", {("a",): 4.0})
    rows.clear()
    assert shown(registry) == {}
    rows.replace("images", {("a",): 4.0})
    assert shown(registry) == {"a": 4.0}
