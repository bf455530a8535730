"""Keeps the pod map fresh in the background and charges pods for what their GPUs use.

``exporters.service`` runs ``follow`` as a task and calls ``settle`` before each rendering. A scrape never waits for the
kubelet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporters import metric_names as names
from exporters.exposition import Sample
from exporters.fleet import Fleet
from exporters.logs import Log
from exporters.pods.ledger import Ledger
from exporters.pods.pod_map import Holder, PodMap
from exporters.pods.pod_resources import PodResourcesClient, PodResourcesError
from exporters.pods.processes import ProcessPods
from exporters.samples import gpu_labels

REFRESH_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class PodAttribution:
    """Pods and their GPUs on this node.

    Attributes:
        client: The kubelet.
        fleet: The GPUs.
        node: Value of the label ``node``.
        log: Where to report a kubelet that stops answering.
        lookup: From processes to pods.
    """

    client: PodResourcesClient
    fleet: Fleet
    node: str
    log: Log
    lookup: ProcessPods = field(default_factory=ProcessPods)
    _map: PodMap = field(default_factory=PodMap)
    _ledger: Ledger = field(default_factory=Ledger)
    _holders: Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
    _pods_by_pid: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    async def follow(self) -> None:
        """Ask the kubelet again and again."""
        while True:
            try:
                allocations = await asyncio.to_thread(self.client.list)
                self._map.update(allocations, time.monotonic())
            except PodResourcesError as error:
                if self._map.is_answering or self._map.answered_at is None:
                    self.log.warning("exporter.pod_resources_failed", detail=str(error))
                self._map.note_failure()
            self._pods_by_pid = await asyncio.to_thread(self.lookup.pods_of, self._shared_pids())
            await asyncio.sleep(REFRESH_SECONDS if self._map.is_answering else REFRESH_SECONDS / 5.0)

    def _shared_pids(self) -> set[int]:
        """Return the processes whose pod matters: those on GPUs that several pods may hold."""
        return {
            process.pid
            for uuid, holders in self._map.holders(self.fleet).items()
            if any(holder.is_shared for holder in holders) or len({(h.namespace, h.pod) for h in holders}) > 1
            for process in self._processes(uuid)
        }

    def _processes(self, uuid: str) -> tuple[_Process, ...]:
        gpu = self.fleet.gpus.get(uuid)
        if gpu is None or gpu.slow is None or gpu.slow.processes is None:
            return ()
        return tuple(_Process(pid=process.pid, ratio=process.compute_ratio or 0.0) for process in gpu.slow.processes)

    def settle(self) -> None:
        """Charge what was used since the last call."""
        now = time.monotonic()
        self._holders = self._map.holders(self.fleet)
        for uuid, gpu in self.fleet.gpus.items():
            ratios: dict[tuple[str, str], float] = {}
            for process in self._processes(uuid):
                pod = self._pods_by_pid.get(process.pid)
                if pod is not None:
                    ratios[pod] = ratios.get(pod, 0.0) + process.ratio
            self._ledger.settle(gpu, self._holders.get(uuid, ()), ratios, now)

    def samples(self, now_monotonic: float) -> Iterator[Sample]:
        """Yield the families on pods."""
        labels = {uuid: gpu_labels(gpu, self.node) for uuid, gpu in self.fleet.gpus.items()}
        for uuid, holders in self._holders.items():
            if uuid not in labels:
                continue
            for holder in holders:
                of_holder = (*labels[uuid], holder.namespace, holder.pod, holder.container, holder.resource)
                yield Sample(family=names.GPU_POD_INFO, labels=of_holder, value=1)
        yield from self._ledger.samples(labels)
        yield Sample(family=names.EXPORTER_POD_MAP_UP, labels=(), value=int(self._map.is_answering))
        if self._map.answered_at is not None:
            age = round(now_monotonic - self._map.answered_at, 3)
            yield Sample(family=names.EXPORTER_POD_MAP_AGE, labels=(), value=age)

    def dcgm_pods(self) -> dict[str, tuple[str, str, str]]:
        """Return container, namespace and pod by GPU UUID, as dcgm-exporter labels them: one holder per GPU."""
        return {
            uuid: (holders[0].container, holders[0].namespace, holders[0].pod)
            for uuid, holders in self._holders.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """A process on a GPU and its share of the multiprocessors."""

    pid: int
    ratio: float
