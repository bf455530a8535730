"""Every fault in the middle of an escalation: what the operator says, what it must not do, and how soon it rests again.

A real API behind a fault proxy, or killed with -9; a fleet that is made up. For each fault: the worst problem that the
operator tells while it lasts, whether a limit ended or a pool shrank meanwhile, and the seconds from its end until the
operator leads, passes and reports nothing wrong. Lease 2 s, pass 0.3 s; with the defaults of 15 s and 10 s everything
that waits for the lease or a pass takes longer by that. `.venv/bin/python benchmarks/operator_faults.py --markdown`
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.operator_cluster import DEFINITIONS, Cluster, cluster_of, install_definitions
from tests.operator_fakes import in_seconds, make_operator
from tests.operator_samples import pool_object
from tests.operator_surge import API_FAULTS, METRICS_FAULTS, Surge, begin_surge, hot_fleet
from tools.real_parts.control_plane import ControlPlane, running_control_plane
from tools.real_parts.fault_proxy import Fault, FaultKind, running_fault_proxy

UNDER_WAY_SECONDS = 60.0
LASTS_SECONDS = 5.0
REST_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault: what it is called, how it begins, and how it ends; without an end it is over at once."""

    name: str
    begin: Callable[[Surge], None]
    end: Callable[[Surge], None] = lambda surge: None


def wait(condition: Callable[[], object], seconds: float) -> float | None:
    """Return after how many seconds a condition held; None when it did not."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.02)
    return None


def of_api(fault: Fault) -> Case:
    """Return a fault of the API's connections."""

    def begin(surge: Surge) -> None:
        surge.proxy.inject(fault)
        surge.proxy.cut_connections()

    names = {
        FaultKind.LATENCY: "every request waits 0.4 s, longer than a renewal may take",
        FaultKind.HANG: "requests hang",
        FaultKind.DROP: "connections are reset",
        FaultKind.LOSE_ANSWER: "requests are carried out, answers are lost",
        FaultKind.TRUNCATE: "answers and watches break off",
    }
    return Case(
        name=names.get(fault.kind, f"API answers {fault.status}"), begin=begin, end=lambda surge: surge.proxy.clear()
    )


def of_metrics(change: Callable[..., object]) -> Case:
    """Return a fault of the metrics, while the surge looks over."""
    names = {
        "not_numbers": "metrics are NaN",
        "nothing": "Prometheus down",
        "from_the_future": "clock jumps, samples lie an hour ahead",
        "of_yesterday": "clock jumps, samples are a day old",
    }

    def begin(surge: Surge) -> None:
        surge.fleet.load_ratio, surge.fleet.growth, surge.fleet.offset_celsius = 0.05, 1.0, 25.0
        surge.fleet.change = change  # type: ignore[assignment]

    def end(surge: Surge) -> None:
        surge.fleet.change = lambda snapshot: snapshot

    return Case(name=names[change.__name__], begin=begin, end=end)


def _edit_flags(surge: Surge) -> None:
    patch = {"data": {"flags.json": '{"flags":{},"metadata":{"revision":1}}'}}
    surge.cluster.client.merge_patch(surge.cluster.config_maps, "images-flags", patch)


def _edit_pool(surge: Surge) -> None:
    # Larger than what we asked for, or the fault itself would be a pool that shrinks.
    patch = {"spec": {"replicas": surge.size() + 1}}
    surge.cluster.client.merge_patch(surge.cluster.deployments, "eu-h100", patch, subresource="scale")


def _delete_definition(surge: Surge) -> None:
    surge.cluster.client.delete(DEFINITIONS, "gpupools.meltguard.dev")
    wait(lambda: surge.cluster.client.call("GET", surge.cluster.pools.path()).status == 404, 30.0)
    surge.proxy.cut_connections()


def _restore_definition(surge: Surge) -> None:
    install_definitions(surge.cluster.client)
    surge.cluster.create(surge.cluster.pools, pool_object())


def _deleted(plural: str, name: str) -> Callable[[Surge], None]:
    return lambda surge: surge.cluster.client.delete(getattr(surge.cluster, plural), name)


def _restart_etcd(surge: Surge) -> None:
    surge.cluster.control_plane.restart_etcd()
    wait(surge.cluster.control_plane.is_ready, REST_SECONDS)


CASES = (
    *(of_api(fault) for fault in API_FAULTS),
    *(of_metrics(change) for change in METRICS_FAULTS),
    Case(name="flags edited by hand", begin=_edit_flags),
    Case(name="pool edited by another controller", begin=_edit_pool),
    Case(
        name="pool's target deleted",
        begin=_deleted("deployments", "eu-h100"),
        end=lambda surge: surge.cluster.deployment("eu-h100", 6) and None,
    ),
    Case(name="Lease deleted", begin=_deleted("leases", "meltguard-operator")),
    Case(name="state deleted", begin=_deleted("config_maps", "images-meltguard-state")),
    Case(name="CRD GPUPool deleted", begin=_delete_definition, end=_restore_definition),
    Case(
        name="kill -9 of the API server",
        begin=lambda surge: surge.cluster.control_plane.api_server.kill(),
        end=lambda surge: surge.cluster.control_plane.restart_api_server(),
    ),
    Case(name="kill -9 of etcd", begin=lambda surge: surge.cluster.control_plane.etcd.kill(), end=_restart_etcd),
)


def measure(case: Case, surge: Surge) -> dict[str, object]:
    """Return what one fault did."""
    assert wait(surge.is_under_way, UNDER_WAY_SECONDS) is not None, "the surge did not begin"
    assert wait(surge.is_at_rest, UNDER_WAY_SECONDS) is not None, surge.problems()
    limits, size = limits_of(surge) or set(), surge.size()
    told: dict[str, str] = {}
    led = True
    case.begin(surge)
    until = time.monotonic() + LASTS_SECONDS
    while time.monotonic() < until:
        for problem in surge.problems():
            told.setdefault(problem.code, problem.text)
        led = led and surge.running.operator.is_leading
        time.sleep(0.02)
    kept = is_kept(surge, limits, size)
    case.end(surge)
    passes = surge.num_passes()
    rest_seconds = wait(lambda: surge.num_passes() > passes and surge.is_at_rest(), REST_SECONDS)
    # Behind a killed API nobody sees them until it is back.
    kept = is_kept(surge, limits, size) if kept is None else kept
    return {
        "fault": case.name,
        "says": told,
        "stepped_down": not led,
        "limits_kept": bool(kept),
        "nodes": surge.size(),
        "rest_seconds": None if rest_seconds is None else round(rest_seconds, 1),
        "defects": surge.running.passes("defect"),
    }


def limits_of(surge: Surge) -> set[tuple[str, str, str | None]] | None:
    """Return what is limited now; None while the store does not answer."""
    stored = surge.store.read(in_seconds(0.0)).value
    return None if stored is None else {(flag.key, flag.region, flag.tier) for flag in stored.rendered.flags}


def is_kept(surge: Surge, limits: set[tuple[str, str, str | None]], size: int) -> bool | None:
    """Return whether no limit has ended and the pool, while it is there, has not shrunk; None while nobody knows."""
    held = limits_of(surge)
    if held is None:
        return None
    answer = surge.cluster.client.call("GET", surge.cluster.deployments.path("eu-h100"))
    return limits <= held and (not answer.ok or surge.size() >= size)


@contextmanager
def running_surge(plane: ControlPlane, directory: Path) -> Iterator[Surge]:
    """Run a surge in a namespace of its own."""
    directory.mkdir()
    with (
        cluster_of(plane, directory) as cluster,
        running_fault_proxy(plane.url, credentials=plane.credentials) as proxy,
    ):
        surge = begin_surge(cluster, proxy)
        try:
            yield surge
        finally:
            proxy.clear()
            surge.running.operator.stop()


def kill_operator(plane: ControlPlane, directory: Path) -> dict[str, object]:
    """Kill a leading process with -9 in mid-escalation; return how soon its successor rests."""
    with running_surge(plane, directory) as surge:
        assert wait(surge.is_under_way, UNDER_WAY_SECONDS) is not None
        surge.running.operator.stop()
        kubeconfig = surge.cluster.account.kubeconfig_at(plane.url)
        command = [sys.executable, __file__, "--child", str(kubeconfig), surge.cluster.namespace]
        leader = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            lease = lambda: surge.cluster.client.get(surge.cluster.leases, "meltguard-operator")["spec"]  # noqa: E731
            assert wait(lambda: lease().get("holderIdentity") == "child", UNDER_WAY_SECONDS) is not None
            follower = make_operator(surge.cluster, hot_fleet(), identity="b")
            follower.operator.start()
            successor = Surge(surge.cluster, surge.fleet, follower, surge.proxy)
            time.sleep(2.0)
            limits, size = surge.limits(), surge.size()
            leader.kill()
            rest_seconds = wait(lambda: successor.num_passes() > 0 and successor.is_at_rest(), REST_SECONDS)
            kept = {flag.key for flag in limits} <= {flag.key for flag in surge.limits()} and surge.size() >= size
            follower.operator.stop()
        finally:
            leader.kill()
            leader.wait(10.0)
    return {
        "fault": "kill -9 of the leading operator",
        "says": {},
        "stepped_down": True,
        "limits_kept": kept,
        "nodes": surge.size(),
        "rest_seconds": None if rest_seconds is None else round(rest_seconds, 1),
        "defects": follower.passes("defect"),
    }


def child(kubeconfig: Path, namespace: str) -> None:
    """Lead until killed."""
    place = Cluster.__new__(Cluster)
    place.namespace = namespace
    made = make_operator(place, hot_fleet(), kubeconfig=kubeconfig, identity="child")
    made.operator.start()
    time.sleep(300.0)


def markdown(rows: list[dict[str, object]]) -> str:
    """Return the rows as a table."""
    lines = ["| fault | what the operator says | steps down | limits and nodes kept | back to rest |", "|" + "---|" * 5]
    for row in rows:
        says = row["says"]
        assert isinstance(says, dict)
        words = "; ".join(f"`{code}`" for code in says) or "nothing: it is mended within a pass"
        rest = "never" if row["rest_seconds"] is None else f"{row['rest_seconds']} s"
        down, kept = (("no", "yes")[bool(row[key])] for key in ("stepped_down", "limits_kept"))
        lines.append(f"| {row['fault']} | {words} | {down} | {kept} | {rest} |")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark and print one JSON line a fault, or a table; exit 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--markdown", action="store_true", help="a table for people instead")
    parser.add_argument("--child", nargs=2, metavar=("KUBECONFIG", "NAMESPACE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if options.child:
        child(Path(options.child[0]), options.child[1])
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="meltguard-faults-") as folder:
        root = Path(folder)
        (root / "control-plane").mkdir()
        with running_control_plane(root / "control-plane") as plane:
            for number, case in enumerate(CASES):
                if options.only not in case.name:
                    continue
                with running_surge(plane, root / f"case-{number}") as surge:
                    rows.append(measure(case, surge))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            if options.only in "kill -9 of the leading operator":
                rows.append(kill_operator(plane, root / "case-operator"))
    if options.markdown:
        print(markdown(rows))
        print(f"\nload average {os.getloadavg()[0]:.1f}")
    else:
        for row in rows:
            print(json.dumps(row))
    return int(any(row["rest_seconds"] is None or not row["limits_kept"] or row["defects"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
