from prometheus_client import CollectorRegistry

from controller.telemetry.forecast_gauges import PUBLISHED_HORIZONS_SECONDS, PUBLISHED_LEVELS, ForecastGauges
from tests.planning_samples import NOW, forecasts, policy


def published(*batches):
    """The registry after publishing some batches of forecasts in turn."""
    registry = CollectorRegistry()
    gauges = ForecastGauges(registry)
    for batch in batches:
        gauges.publish("images", batch, policy().capacity)
    return registry


def values(registry, name):
    """Every value of a family, by its labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def test_demand_and_gpus_belong_together():
    """The GPUs that are published are what the policy's capacity makes of the published demand."""
    demand = forecasts(policy()).demand
    registry = published(demand)
    counts, gpus = values(registry, "meltguard_forecast_demand"), values(registry, "meltguard_forecast_gpus_needed")

    assert counts.keys() == gpus.keys()
    in_reach = [s for s in PUBLISHED_HORIZONS_SECONDS if s <= demand[0].step_seconds * demand[0].num_steps]
    assert len(counts) == len(demand) * len(PUBLISHED_LEVELS) * len(in_reach) > 0
    for key, count in counts.items():
        needed = policy().capacity.gpus_needed(count, step_seconds=demand[0].step_seconds)
        assert abs(gpus[key] - needed) < 1e-9


def test_one_surge_state_holds_for_each_series():
    """Of the four states exactly one is 1 for every region and tier."""
    demand = forecasts(policy()).demand
    states = values(published(demand), "meltguard_forecast_surge_state")

    assert len(states) == 4 * len(demand)
    assert sum(states.values()) == len(demand)


def test_what_is_no_longer_forecast_disappears():
    """A series without a forecast is absent afterwards; the time of the last success stays, so that its age shows."""
    registry = published(forecasts(policy()).demand, ())

    assert values(registry, "meltguard_forecast_demand") == {}
    assert values(registry, "meltguard_forecast_last_success_timestamp_seconds") == {(): NOW.timestamp()}


def test_nothing_is_published_before_the_first_forecast():
    """Before any forecast no demand is told: absent is not zero."""
    registry = published()

    assert values(registry, "meltguard_forecast_demand") == {}
    assert values(registry, "meltguard_forecast_surge_state") == {}
