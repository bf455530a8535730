"""The lease against the real API: one leader at a time, by its own clock, with an epoch that only grows."""

import threading

import pytest

from controller.operator.kubernetes.lease import LeaseElector, LeaseSettings, NotLeadingError
from tools.real_parts.fault_proxy import Fault, FaultKind


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def elector(cluster):
    """Makes electors that share a clock."""
    clock = Clock()

    def make(identity, url=None, **times):
        client = cluster.client_at(url or cluster.control_plane.url, read_seconds=0.3)
        settings = LeaseSettings(namespace=cluster.namespace, name="lease", identity=identity, **times)
        return LeaseElector(client, settings, clock=clock)

    make.clock = clock
    return make


def test_one_leads_and_the_other_waits(elector):
    """The first leads with epoch 1; the second leads when the first has been silent for the stated duration."""
    first, second = elector("a"), elector("b")
    assert first.attempt() and first.fence() == 1
    assert not second.attempt()
    elector.clock.now += 14.9
    assert not second.attempt()
    elector.clock.now += 0.2
    assert second.attempt() and second.fence() == 2


def test_a_follower_tries_when_the_lease_runs_out(elector):
    """A follower waits its retry time, but never beyond the moment at which it may take the lease."""
    first, second = elector("a"), elector("b")
    first.attempt()
    second.attempt()
    elector.clock.now += 9.0
    assert 1.2 <= second.pause_seconds() <= 1.8
    elector.clock.now += 5.5
    assert 0.4 < second.pause_seconds() <= 0.5
    elector.clock.now += 1.0
    assert 1.2 <= second.pause_seconds() <= 1.8, "a lease that is free and cannot be taken is no reason to hurry"


def test_a_renewed_lease_is_not_free(elector):
    """Renewals keep followers away, whatever the wall clock says."""
    first, second = elector("a"), elector("b")
    for _ in range(4):
        assert first.attempt()
        assert not second.attempt()
        elector.clock.now += 9.0
    assert first.attempt() and first.fence() == 1


def test_a_leader_that_cannot_renew_stops_before_another_may_begin(elector, api_fault_proxy):
    """With a hung API the term ends at the renew deadline, and nothing has to come back for that."""
    first, second = elector("a", api_fault_proxy.url), elector("b")
    first.attempt()
    second.attempt()
    api_fault_proxy.inject(Fault(kind=FaultKind.HANG))
    elector.clock.now += 5.0
    assert first.attempt(), "the term lasts until its deadline"
    elector.clock.now += 5.1
    with pytest.raises(NotLeadingError):
        first.fence()
    assert not second.attempt(), "there is a gap without a leader"
    elector.clock.now += 5.0
    assert second.attempt()


def test_a_lost_answer_does_not_make_two_leaders(elector, api_fault_proxy):
    """When the API took us but we never heard, we do not lead; the next try leads under a new epoch."""
    first = elector("a", api_fault_proxy.url)
    api_fault_proxy.inject(Fault(kind=FaultKind.LOSE_ANSWER, method="POST", times=1))
    assert not first.attempt()
    assert first.attempt() and first.fence() == 2


def test_a_released_lease_is_taken_at_once(elector):
    """Giving the lease back spares the next leader the wait."""
    first, second = elector("a"), elector("b")
    first.attempt()
    first.release()
    assert not first.is_leading
    assert second.attempt() and second.fence() == 2


def test_a_former_leader_does_not_release_its_successors_lease(elector):
    """Release touches only a lease that is still ours."""
    first, second = elector("a"), elector("b")
    first.attempt()
    second.attempt()
    elector.clock.now += 16.0
    second.attempt()
    first.release()
    elector.clock.now += 1.0
    assert second.attempt() and second.fence() == 2


def test_after_a_late_renewal_the_epoch_is_new(elector):
    """A leader that comes back after its deadline begins a new term, for others may have acted meanwhile."""
    first = elector("a")
    first.attempt()
    elector.clock.now += 11.0
    assert not first.is_leading
    assert first.attempt() and first.fence() == 2


def test_a_deleted_lease_cannot_take_the_epoch_back(cluster, elector):
    """Where stored state carries a higher epoch, the next term outranks it."""
    first = elector("a")
    first.attempt()
    cluster.client.delete(cluster.leases, "lease")
    first.outrank(7)
    assert not first.is_leading
    assert first.attempt() and first.fence() == 8


def test_the_process_is_told_when_leading_begins_and_ends(cluster, api_fault_proxy, wait_until):
    """With real clocks and a hung renewal, the watchdog tells the process within the deadline."""
    told = []
    settings = LeaseSettings(
        namespace=cluster.namespace,
        name="lease",
        identity="a",
        duration_seconds=2,
        renew_deadline_seconds=1.0,
        retry_seconds=0.2,
    )
    # The call may hang for far longer than the deadline.
    client = cluster.client_at(api_fault_proxy.url, read_seconds=30.0)
    elector = LeaseElector(client, settings, on_change=told.append)
    stop = threading.Event()
    threads = [
        threading.Thread(target=task, args=(stop,), daemon=True) for task in (elector.run, elector.watch_deadline)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: told == [True])
    api_fault_proxy.inject(Fault(kind=FaultKind.HANG))
    wait_until(lambda: told == [True, False], timeout_seconds=5.0)
    stop.set()
    api_fault_proxy.clear()
    for thread in threads:
        thread.join(timeout=20.0)
    assert not any(thread.is_alive() for thread in threads)


def test_unsafe_times_are_refused():
    """A renew deadline that is not below the duration would let two replicas lead."""
    with pytest.raises(ValueError, match="retry < renew deadline < duration"):
        LeaseSettings(namespace="n", name="l", identity="a", duration_seconds=10, renew_deadline_seconds=10.0)
