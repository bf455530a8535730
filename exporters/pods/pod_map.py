"""Which pod holds which GPU, from the kubelet's answers and the GPUs' identities. Pure state.

The kubelet may go on listing a pod that has ended. A device can be given to one running pod at a time, so when two pods
list the same device, the one that was listed first has ended and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from exporters.fleet import Fleet
from exporters.pods.pod_resources import Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A container that holds a GPU or a part of it.

    Attributes:
        share: Fixed part of the GPU (a MIG instance's share of the memory), 0..1; None when it is not fixed.
        is_shared: Whether other pods may hold the same GPU.
    """

    namespace: str
    pod: str
    container: str
    resource: str
    share: float | None = None
    is_shared: bool = False


class PodMap:
    """The last answer of the kubelet.

    Attributes:
        answered_at: Monotonic time of the last answer; None before the first.
        is_answering: Whether the last attempt succeeded.
    """

    def __init__(self) -> None:
        """Begin without an answer."""
        self.answered_at: float | None = None
        self.is_answering = False
        self._allocations: tuple[Allocation, ...] = ()
        self._first_listed: dict[tuple[str, str], int] = {}
        self._num_answers = 0

    def update(self, allocations: Iterable[Allocation], now_monotonic: float) -> None:
        """Take in an answer."""
        listed = tuple(allocations)
        self._num_answers += 1
        pods = {(entry.namespace, entry.pod) for entry in listed}
        self._first_listed = {pod: self._first_listed.get(pod, self._num_answers) for pod in pods}
        newest: dict[tuple[str, str], Allocation] = {}
        for entry in listed:
            key = (entry.resource, entry.device_id)
            other = newest.get(key)
            if other is None or self._order(entry) >= self._order(other):
                newest[key] = entry
        self._allocations = tuple(newest.values())
        self.answered_at = now_monotonic
        self.is_answering = True

    def _order(self, entry: Allocation) -> int:
        return self._first_listed[entry.namespace, entry.pod]

    def note_failure(self) -> None:
        """Note that the kubelet did not answer; the last answer stands and ages."""
        self.is_answering = False

    def holders(self, fleet: Fleet) -> dict[str, tuple[Holder, ...]]:
        """Return the holders by GPU UUID; devices that no GPU is known for are left out."""
        by_mig = {
            instance.uuid: (uuid, instance.memory_total_bytes)
            for uuid, gpu in fleet.gpus.items()
            if gpu.slow is not None
            for instance in gpu.slow.mig_instances
        }
        by_index = {str(gpu.identity.index): uuid for uuid, gpu in fleet.gpus.items()}
        found: dict[str, list[Holder]] = {}
        for entry in self._allocations:
            device, _, replica = entry.device_id.partition("::")
            device = (
                device
                if device in fleet.gpus or device in by_mig
                else by_index.get(device.removeprefix("gpu-"), device)
            )
            uuid, memory_bytes = by_mig.get(device, (device, None))
            gpu = fleet.gpus.get(uuid)
            if gpu is None:
                continue
            total_bytes = None if gpu.fast is None else gpu.fast.memory_total_bytes
            share = memory_bytes / total_bytes if memory_bytes is not None and total_bytes else None
            found.setdefault(uuid, []).append(
                Holder(
                    namespace=entry.namespace,
                    pod=entry.pod,
                    container=entry.container,
                    resource=entry.resource,
                    share=share,
                    is_shared=bool(replica) or device in by_mig,
                )
            )
        return {uuid: tuple(dict.fromkeys(holders)) for uuid, holders in found.items()}
