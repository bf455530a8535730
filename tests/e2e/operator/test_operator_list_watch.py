"""The list-watch against the real API and the fault proxy: it goes on, it begins anew, it says how fresh it is."""

import threading

import pytest

from controller.operator.kubernetes.list_watch import ListWatch, WatchSettings
from tools.real_parts.fault_proxy import Fault, FaultKind

SETTINGS = WatchSettings(timeout_seconds=5.0, silence_seconds=1.5, relist_seconds=600.0, most_backoff_seconds=0.3)


@pytest.fixture
def watched(cluster, api_fault_proxy, wait_until):
    """A list-watch of ConfigMaps through the proxy, running."""
    stops = []

    def make(settings=SETTINGS):
        client = cluster.client_at(api_fault_proxy.url)
        copy = ListWatch(
            client,
            cluster.config_maps,
            lambda entry: (entry["metadata"]["name"], (entry.get("data") or {}).get("a")),
            settings=settings,
        )
        stop = threading.Event()
        stops.append(stop)
        threading.Thread(target=copy.run, args=(stop,), daemon=True).start()
        wait_until(lambda: copy.num_watches > 0)
        return copy

    yield make
    for stop in stops:
        stop.set()


def put(cluster, name, value):
    cluster.client.apply(
        cluster.config_maps,
        name,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}},
        force=True,
    )


def test_it_follows_changes(cluster, watched, wait_until):
    """What is added, changed and deleted shows in the copy, without a second list."""
    put(cluster, "one", "1")
    copy = watched()
    assert copy.items() == (("one", "1"),)
    put(cluster, "two", "2")
    put(cluster, "one", "3")
    wait_until(lambda: copy.items() == (("one", "3"), ("two", "2")))
    cluster.client.delete(cluster.config_maps, "one")
    wait_until(lambda: copy.items() == (("two", "2"),))
    assert copy.num_lists == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.TRUNCATE, path="watch=", after_bytes=40, times=2),
        Fault(kind=FaultKind.DROP, times=3),
        Fault(kind=FaultKind.STATUS, status=500, times=3),
        Fault(kind=FaultKind.STATUS, status=429, times=1),
        Fault(kind=FaultKind.STATUS, status=403, path="watch=", times=2),
        Fault(kind=FaultKind.LATENCY, delay_seconds=0.5, times=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_it_comes_back_after_every_fault(cluster, watched, api_fault_proxy, wait_until, fault):
    """After a fault and a cut connection the copy shows what happened meanwhile, with few requests."""
    copy = watched()
    api_fault_proxy.inject(fault)
    api_fault_proxy.cut_connections()
    put(cluster, "after", "1")
    wait_until(lambda: copy.items() == (("after", "1"),))
    assert copy.num_lists + copy.num_watches < 20


def test_an_expired_version_means_a_new_list(cluster, watched, api_fault_proxy, wait_until):
    """410 is answered by one list, not by the same watch again."""
    copy = watched()
    api_fault_proxy.inject(Fault(kind=FaultKind.STATUS, status=410, path="watch=", times=1))
    api_fault_proxy.cut_connections()
    put(cluster, "after", "1")
    wait_until(lambda: copy.items() == (("after", "1"),))
    assert copy.num_lists == 2


def test_a_quiet_watch_is_proved_again_and_again(watched, wait_until):
    """A list in which nothing happens stays younger than the silence that is allowed, without new lists."""
    copy = watched()
    before = copy.num_watches
    wait_until(lambda: copy.num_watches >= before + 2)
    assert copy.age_seconds() < 2.0 * SETTINGS.silence_seconds
    assert copy.num_lists == 1 and copy.problem == ""


def test_a_dead_api_shows_in_the_age(watched, api_fault_proxy, wait_until):
    """While the API hangs the copy keeps its items and grows old; afterwards it is young again."""
    copy = watched(WatchSettings(timeout_seconds=5.0, silence_seconds=0.5, most_backoff_seconds=0.2))
    api_fault_proxy.inject(Fault(kind=FaultKind.HANG))
    wait_until(lambda: copy.age_seconds() > 2.0)
    assert copy.problem != ""
    api_fault_proxy.clear()
    wait_until(lambda: copy.age_seconds() < 1.0 and copy.problem == "")


def test_failures_are_not_hammered(watched, api_fault_proxy, wait_until):
    """A server that refuses everything is asked a bounded number of times."""
    copy = watched(WatchSettings(silence_seconds=0.5, most_backoff_seconds=30.0))
    fault = Fault(kind=FaultKind.STATUS, status=500)
    api_fault_proxy.inject(fault)
    api_fault_proxy.cut_connections()
    wait_until(lambda: copy.age_seconds() > 3.0)
    assert 1 <= api_fault_proxy.num_hits(fault) < 15
