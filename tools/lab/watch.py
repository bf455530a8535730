"""Watches the lab: what the hardware went through, what the operator said, and what users were told meanwhile."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from tools.lab.provider import NodeProvider

TURN_SECONDS = 0.5
MAX_MOMENTS = 20_000
STATUS_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One look at the lab.

    Attributes:
        at_seconds: Since the play began.
        hottest_celsius: Hottest GPU of any node; None before any was read.
        load_ratio: Mean share of the nodes' speed that is at work.
        guard_ratio: Least share of full work that a pod's own guard allows.
        desired: Nodes that are asked for.
        ready: Nodes that are ready.
        rung: The region's rung; None while the operator does not answer.
        limits: Limits in force, ``tier flag=value``.
    """

    at_seconds: float
    hottest_celsius: float | None
    load_ratio: float
    guard_ratio: float
    desired: int
    ready: int
    rung: int | None
    limits: tuple[str, ...]


class Watch:
    """Looks twice a second, from its start to its end.

    Attributes:
        moments: What was seen.
        peak_celsius: Highest temperature of each node's GPUs.
        throttled_seconds: Longest time that a GPU of each node has spent in a thermal slowdown.
    """

    def __init__(self, provider: NodeProvider, operator_address: str) -> None:
        """Have seen nothing."""
        self.moments: list[Moment] = []
        self.peak_celsius: dict[str, float] = {}
        self.throttled_seconds: dict[str, float] = {}
        self._provider, self._address = provider, operator_address
        self._began_at = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin the clock of the play."""
        self._began_at = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(10.0)

    @property
    def age_seconds(self) -> float:
        """Time since the play began."""
        return time.monotonic() - self._began_at

    def _run(self) -> None:
        while not self._stop.wait(TURN_SECONDS) and len(self.moments) < MAX_MOMENTS:
            self.moments.append(self._look())

    def _look(self) -> Moment:
        nodes = self._provider.nodes
        hottest: list[float] = []
        for node in nodes:
            for gpu in node.hardware():
                hottest.append(gpu.celsius)
                self.peak_celsius[node.name] = max(self.peak_celsius.get(node.name, 0.0), gpu.celsius)
                self.throttled_seconds[node.name] = max(
                    self.throttled_seconds.get(node.name, 0.0), gpu.throttled_seconds
                )
        rung, limits = status_of(self._address)
        return Moment(
            at_seconds=self.age_seconds,
            hottest_celsius=max(hottest, default=None),
            load_ratio=sum(node.load_ratio for node in nodes) / max(len(nodes), 1),
            guard_ratio=min((node.guard_ratio for node in nodes), default=1.0),
            desired=self._provider.desired,
            ready=self._provider.num_ready,
            rung=rung,
            limits=limits,
        )


def status_of(address: str) -> tuple[int | None, tuple[str, ...]]:
    """Return rung and limits as the operator's status says; no rung while it says nothing.

    Args:
        address: ``host:port`` of the operator.

    Returns:
        The rung and the limits in force.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/status", timeout=STATUS_SECONDS) as answer:
            document: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None, ()
    policies = document.get("policies") or []
    if not policies:
        return None, ()
    rung = max((int(region["rung"]) for region in policies[0]["regions"]), default=0)
    limits = tuple(f"{each['tier']} {each['key']}={each['value']}" for each in policies[0]["limits"])
    return rung, limits
