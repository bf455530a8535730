"""Energy and throttled time per pod, from the hardware's counters. Pure state.

The law: between two readings of a GPU, what its counter grew by is handed out whole, to holders and to ``idle``. A GPU
with one holder belongs to it, idle draw included. A shared one is split by the processes' share of the multiprocessors
(or a MIG instance's share of the memory); the rest is idle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporters import metric_names as names
from exporters.exposition import Sample
from exporters.gpu_state import GpuState
from exporters.pods.pod_map import Holder

KEEP_SECONDS = 60.0
"""A pod that gave its GPU back stays published this long, so that its last joules are scraped."""
MAX_ACCOUNTS = 4096
THROTTLE_REASONS = ("sw_power_cap", "sw_thermal", "hw_thermal", "hw_power_brake", "hw_slowdown")

Key = tuple[str, str, str, str]
"""GPU UUID, namespace, pod, container; the last three empty for idle."""


@dataclass(slots=True, kw_only=True)
class Account:
    """What one holder has used of one GPU since the exporter started."""

    joules: float = 0.0
    throttled_seconds: dict[str, float] = field(default_factory=dict)
    seen_at: float = 0.0


def shares_of(
    holders: tuple[Holder, ...], pod_ratios: Mapping[tuple[str, str], float]
) -> dict[tuple[str, str, str], float]:
    """Divide a GPU's energy among its holders.

    Args:
        holders: Who holds the GPU.
        pod_ratios: Share of the multiprocessors by namespace and pod, from its processes.

    Returns:
        Each holder's part by namespace, pod and container; they add up to 1 at most.
    """
    pods = {(holder.namespace, holder.pod) for holder in holders}
    if len(pods) == 1 and not any(holder.is_shared for holder in holders):
        first = holders[0]
        return {(first.namespace, first.pod, first.container): 1.0}
    parts: dict[tuple[str, str, str], float] = {}
    served: set[tuple[str, str]] = set()
    for holder in holders:
        pod = (holder.namespace, holder.pod)
        key = (*pod, holder.container)
        if holder.share is not None:
            parts[key] = parts.get(key, 0.0) + holder.share
        elif pod not in served:
            # Processes are known by pod only: a pod of several containers is charged at its first.
            parts[key] = parts.get(key, 0.0) + pod_ratios.get(pod, 0.0)
            served.add(pod)
    total = sum(parts.values())
    return {key: part / total for key, part in parts.items()} if total > 1.0 else parts


class Ledger:
    """The accounts of all pods on this node's GPUs."""

    def __init__(self) -> None:
        """Begin with nothing used."""
        self._accounts: dict[Key, Account] = {}
        self._joules_before: dict[str, float] = {}
        self._throttled_before: dict[str, dict[str, float]] = {}

    def settle(
        self,
        gpu: GpuState,
        holders: tuple[Holder, ...],
        pod_ratios: Mapping[tuple[str, str], float],
        now_monotonic: float,
    ) -> None:
        """Hand out what the GPU's counters grew by since the last call.

        Args:
            gpu: The GPU.
            holders: Who holds it.
            pod_ratios: Share of the multiprocessors by namespace and pod, 0..1, from their processes.
            now_monotonic: Seconds.
        """
        uuid = gpu.identity.uuid
        for holder in holders:
            self._account((uuid, holder.namespace, holder.pod, holder.container), now_monotonic)
        joules = None if gpu.fast is None else gpu.fast.energy_joules
        if joules is not None:
            before = self._joules_before.get(uuid, joules)
            self._joules_before[uuid] = joules
            # A counter that fell was reset by the driver; what was used in between is unknown.
            self._hand_out(uuid, max(joules - before, 0.0), shares_of(holders, pod_ratios), now_monotonic)
        self._count_throttling(gpu, holders, now_monotonic)
        self._forget(now_monotonic)

    def _hand_out(
        self, uuid: str, joules: float, parts: Mapping[tuple[str, str, str], float], now_monotonic: float
    ) -> None:
        rest = joules
        for holder, part in parts.items():
            given = min(joules * part, rest)
            rest -= given
            self._account((uuid, *holder), now_monotonic).joules += given
        self._account((uuid, "", "", ""), now_monotonic).joules += rest

    def _count_throttling(self, gpu: GpuState, holders: tuple[Holder, ...], now_monotonic: float) -> None:
        """Charge throttled time to everyone who holds the GPU: each of them waits for all of it."""
        uuid = gpu.identity.uuid
        present = {reason: gpu.throttled_seconds.get(reason, 0.0) for reason in THROTTLE_REASONS}
        before = self._throttled_before.get(uuid, present)
        self._throttled_before[uuid] = present
        for holder in holders:
            account = self._account((uuid, holder.namespace, holder.pod, holder.container), now_monotonic)
            for reason, seconds in present.items():
                grown = max(seconds - before.get(reason, seconds), 0.0)
                account.throttled_seconds[reason] = account.throttled_seconds.get(reason, 0.0) + grown

    def _account(self, key: Key, now_monotonic: float) -> Account:
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                del self._accounts[min(self._accounts, key=lambda other: self._accounts[other].seen_at)]
            account = self._accounts[key] = Account()
        account.seen_at = now_monotonic
        return account

    def _forget(self, now_monotonic: float) -> None:
        gone = [key for key, account in self._accounts.items() if now_monotonic - account.seen_at > KEEP_SECONDS]
        for key in gone:
            del self._accounts[key]

    def joules(self) -> dict[Key, float]:
        """Return the energy by account."""
        return {key: account.joules for key, account in self._accounts.items()}

    def samples(self, labels: Mapping[str, tuple[str, ...]]) -> Iterator[Sample]:
        """Yield the accounts; ``labels`` holds the values of ``GPU_LABELS`` by UUID."""
        for (uuid, *holder), account in self._accounts.items():
            if uuid not in labels:
                continue
            kind = "pod" if holder[1] else "idle"
            of_holder = (*labels[uuid], *holder)
            yield Sample(family=names.POD_GPU_ENERGY, labels=(*of_holder, kind), value=round(account.joules, 3))
            for reason, seconds in account.throttled_seconds.items():
                yield Sample(
                    family=names.POD_GPU_THROTTLED_SECONDS, labels=(*of_holder, reason), value=round(seconds, 6)
                )
