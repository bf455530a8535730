"""A policy against the world: the same seed gives the same bytes, and the figures add up."""

import math

import msgspec
import pytest

from controller.simulator.closed_loop import Progress, run_policy, run_set
from controller.simulator.policies import CONTROLLERS
from controller.simulator.record import RunRecord, RunSet
from tests.simulator_samples import small_scenario

SCENARIO = small_scenario()


@pytest.fixture(scope="module")
def results() -> RunSet:
    """One run of every policy on one seed."""
    return run_set(SCENARIO, policies=("none", "reactive", "meltguard"), seeds=(2,))


@pytest.mark.parametrize("policy", ["none", "reactive", "meltguard"])
def test_same_seed_gives_the_same_bytes(policy: str, results: RunSet) -> None:
    """A run is a function of scenario, policy and seed: its record is identical to the byte."""
    again = run_policy(SCENARIO, policy=policy, seed=2)
    first = next(run for run in results.runs if run.policy == policy)
    # The lead over the unmitigated run is only known in the set.
    plain = msgspec.structs.replace(
        first, figures=msgspec.structs.replace(first.figures, first_action_lead_seconds=None)
    )
    assert msgspec.json.encode(again) == msgspec.json.encode(plain)


def test_another_seed_gives_another_run(results: RunSet) -> None:
    """Seeds are not decoration: another one changes users and hardware."""
    other = run_policy(SCENARIO, policy="none", seed=3)
    first = next(run for run in results.runs if run.policy == "none")
    assert msgspec.json.encode(other) != msgspec.json.encode(first)


def test_record_survives_a_round_trip(results: RunSet) -> None:
    """The record read back from its JSON is the record."""
    assert msgspec.json.decode(msgspec.json.encode(results), type=RunSet) == results


def test_figures_are_finite_and_requests_add_up(results: RunSet) -> None:
    """Every figure is a number, and what was offered became something or still waits."""
    for run in results.runs:
        figures = run.figures
        assert math.isfinite(figures.cost) and math.isfinite(figures.max_temperature_celsius)
        for tier in figures.tiers.values():
            requests = tier.requests
            settled = requests.served + requests.limited + requests.dropped + requests.abandoned
            assert 0.0 <= requests.offered - settled <= requests.offered * 0.05 + 200.0


def test_tracks_have_one_value_a_sample(results: RunSet) -> None:
    """All series of a run have the length of its time axis, one sample a minute."""
    for run in results.runs:
        assert list(run.seconds) == [60.0 * (index + 1) for index in range(20)]
        lengths = {len(run.hottest_celsius), len(run.signups_per_hour)}
        lengths |= {len(track.offered) for track in run.tiers.values()}
        lengths |= {len(track.rung) for track in run.regions.values()}
        assert lengths == {20}


def test_policies_see_the_same_users(results: RunSet) -> None:
    """Sign-ups of one seed are equal under every policy."""
    assert len({run.signups_per_hour for run in results.runs}) == 1


def test_watcher_sees_the_whole_run() -> None:
    """The watcher is called about once a virtual minute, with a share that grows to one."""
    seen: list[Progress] = []
    run_policy(SCENARIO, policy="none", seed=0, watch=seen.append)
    shares = [progress.progress_ratio for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(shares) == 20


def test_unknown_policy_is_an_error() -> None:
    """A policy that does not exist is a mistake of the caller."""
    with pytest.raises(KeyError):
        run_policy(SCENARIO, policy="wishful", seed=0)
    assert {"none", "reactive", "meltguard"} <= set(CONTROLLERS)


def test_none_does_nothing(results: RunSet) -> None:
    """Without a policy no size changes and no flag moves."""
    run: RunRecord = next(run for run in results.runs if run.policy == "none")
    assert run.figures.actions == 0
    assert run.figures.flag_changes == 0
    assert set(run.regions["north"].nodes_serving) == {2}
