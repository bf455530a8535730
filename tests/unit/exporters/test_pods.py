"""Which pod holds which GPU, and what it is charged: the kubelet's real protobuf over a real socket, and the laws."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.gpu_state import GpuState
from exporters.messages import MigInstance
from exporters.pods.ledger import KEEP_SECONDS, Ledger, shares_of
from exporters.pods.pod_map import Holder, PodMap
from exporters.pods.pod_resources import Allocation, PodResourcesClient, PodResourcesError, decode_reply
from exporters.pods.processes import ProcessPods, pod_uid_of_cgroup
from tests.exporter_samples import UUID, fast_reading, fleet_of, identity, slow_reading
from tests.kubelet import TYPES, dynamic_pod, pod, running_kubelet


def _reply(*pods: object) -> bytes:
    return bytes(TYPES["ListPodResourcesResponse"](pod_resources=pods).SerializeToString())


def _allocation(name: str, device: str = UUID) -> Allocation:
    return Allocation(namespace="models", pod=name, container="server", resource="nvidia.com/gpu", device_id=device)


def _holder(name: str, *, container: str = "server", share: float | None = None, is_shared: bool = False) -> Holder:
    return Holder(namespace="models", pod=name, container=container, resource="r", share=share, is_shared=is_shared)


def test_real_kubelet_is_read_over_its_socket(tmp_path: Path) -> None:
    """Real protobuf over real gRPC comes back as allocations of GPUs, and nothing else."""
    with running_kubelet(tmp_path / "kubelet.sock") as kubelet:
        kubelet.pods = [pod("a", UUID), pod("b", "cpu-1", resource="example.com/fpga"), dynamic_pod("c", "gpu-3")]
        client = PodResourcesClient(kubelet.socket)
        found = client.list()
        client.close()
    assert [(entry.pod, entry.device_id) for entry in found] == [("a", UUID), ("c", "gpu-3")]
    assert found[0] == _allocation("a")


def test_replies_beyond_the_usual_limit_are_read(tmp_path: Path) -> None:
    """A node with many pods answers with more than gRPC's default of 4 MiB."""
    with running_kubelet(tmp_path / "kubelet.sock") as kubelet:
        filler = "x" * 900
        kubelet.pods = [pod(f"{filler}-{number}", f"GPU-{number}") for number in range(6000)]
        assert len(_reply(*kubelet.pods)) > 5 << 20
        client = PodResourcesClient(kubelet.socket)
        assert len(client.list()) == 6000
        client.close()


def test_absent_kubelet_is_one_error(tmp_path: Path) -> None:
    """No socket, no crash."""
    client = PodResourcesClient(tmp_path / "nobody.sock")
    with pytest.raises(PodResourcesError, match="does not answer"):
        client.list()
    client.close()


@given(st.binary(max_size=200))
def test_any_bytes_are_allocations_or_one_error(data: bytes) -> None:
    """A reply that makes no sense raises the one error that the caller expects."""
    try:
        decode_reply(data)
    except PodResourcesError:
        pass


@given(st.data())
def test_damaged_replies_never_crash(data: st.DataObject) -> None:
    """A real reply with any byte changed or cut is read or refused."""
    reply = bytearray(_reply(pod("a", UUID), pod("b", "GPU-2", "GPU-3"), dynamic_pod("c", "gpu-1")))
    position = data.draw(st.integers(min_value=0, max_value=len(reply) - 1))
    reply[position] = data.draw(st.integers(min_value=0, max_value=255))
    try:
        decode_reply(bytes(reply[: data.draw(st.integers(min_value=0, max_value=len(reply)))]))
    except PodResourcesError:
        pass


def test_devices_are_found_by_uuid_replica_index_and_partition() -> None:
    """Every naming of the device plugin leads to the physical GPU."""
    fleet = fleet_of(4)
    instance = MigInstance(
        uuid="MIG-1", profile="1g.18gb", gpu_instance=7, compute_instance=0, memory_total_bytes=143_771.0 * 2**18
    )
    uuids = list(fleet.gpus)
    fleet.apply(slow_reading(uuid=uuids[3], mig_enabled=True, mig_instances=(instance,)))
    pods = PodMap()
    devices = [uuids[0], f"{uuids[1]}::5", "2", "MIG-1", "GPU-unknown"]
    pods.update([_allocation(f"pod-{number}", device) for number, device in enumerate(devices)], 100.0)
    holders = pods.holders(fleet)
    assert {uuid: [holder.pod for holder in held] for uuid, held in holders.items()} == {
        uuids[0]: ["pod-0"],
        uuids[1]: ["pod-1"],
        uuids[2]: ["pod-2"],
        uuids[3]: ["pod-3"],
    }
    assert [held[0].is_shared for held in holders.values()] == [False, True, False, True]
    assert holders[uuids[3]][0].share == pytest.approx(0.25)


def test_ended_pod_that_is_still_listed_is_dropped() -> None:
    """Of two pods with the same device, the one that was listed first has ended."""
    fleet, pods = fleet_of(1), PodMap()
    pods.update([_allocation("old")], 100.0)
    pods.update([_allocation("new"), _allocation("old")], 110.0)
    assert [holder.pod for holder in pods.holders(fleet)[UUID]] == ["new"]
    pods.update([_allocation("old"), _allocation("new")], 120.0)
    assert [holder.pod for holder in pods.holders(fleet)[UUID]] == ["new"]
    pods.update([], 130.0)
    assert pods.holders(fleet) == {}


def test_failure_keeps_the_last_answer_and_says_so() -> None:
    """A kubelet that is away leaves the map as it was, ageing."""
    fleet, pods = fleet_of(1), PodMap()
    pods.update([_allocation("a")], 100.0)
    pods.note_failure()
    assert not pods.is_answering
    assert pods.answered_at == 100.0
    assert UUID in pods.holders(fleet)


def test_single_holder_pays_for_everything() -> None:
    """A GPU with one holder belongs to it, idle draw included."""
    assert shares_of((_holder("a"),), {}) == {("models", "a", "server"): 1.0}


def test_shared_gpu_is_split_by_process_share() -> None:
    """Time-slicing pods pay for their processes' share, and the rest is idle."""
    holders = (_holder("a", is_shared=True), _holder("b", is_shared=True))
    parts = shares_of(holders, {("models", "a"): 0.5, ("models", "b"): 0.2})
    assert parts == {("models", "a", "server"): 0.5, ("models", "b", "server"): 0.2}


_RATIO = st.floats(min_value=0.0, max_value=1.5)
_STEP = st.tuples(
    st.floats(min_value=0.0, max_value=5000.0),
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.one_of(st.none(), _RATIO)), max_size=5),
    st.dictionaries(st.sampled_from("abcd"), _RATIO, max_size=4),
)


@given(st.lists(_STEP, min_size=1, max_size=20))
def test_energy_of_all_holders_adds_up_to_the_counter(
    steps: list[tuple[float, list[tuple[str, bool, float | None]], dict[str, float]]],
) -> None:
    """Whoever comes and goes, the increases of pods and idle together are the counter's."""
    ledger, gpu = Ledger(), GpuState(identity())
    joules, now = 1000.0, 100.0
    gpu.apply_fast(fast_reading(now, energy_joules=joules))
    ledger.settle(gpu, (), {}, now)
    for grown, held, ratios in steps:
        now += 1.0
        joules += grown
        gpu.apply_fast(fast_reading(now, energy_joules=joules))
        holders = tuple(_holder(name, share=share, is_shared=shared) for name, shared, share in held)
        ledger.settle(gpu, holders, {("models", name): ratio for name, ratio in ratios.items()}, now)
    assert sum(ledger.joules().values()) == pytest.approx(joules - 1000.0, abs=1e-6)
    assert min(ledger.joules().values()) >= 0.0


def test_pod_that_left_is_published_a_while_and_then_dropped() -> None:
    """Its last joules are scraped, and then its series end."""
    ledger, gpu = Ledger(), GpuState(identity())
    gpu.apply_fast(fast_reading(100.0, energy_joules=1000.0))
    ledger.settle(gpu, (_holder("a"),), {}, 100.0)
    gpu.apply_fast(fast_reading(101.0, energy_joules=1600.0))
    ledger.settle(gpu, (_holder("a"),), {}, 101.0)
    ledger.settle(gpu, (), {}, 101.0 + KEEP_SECONDS - 1.0)
    assert ledger.joules()[UUID, "models", "a", "server"] == 600.0
    ledger.settle(gpu, (), {}, 101.0 + KEEP_SECONDS + 1.0)
    assert (UUID, "models", "a", "server") not in ledger.joules()


def test_reset_counter_charges_nobody() -> None:
    """A driver reload sets the counter back; what was used in between is unknown and never negative."""
    ledger, gpu = Ledger(), GpuState(identity())
    for at, joules in [(100.0, 9000.0), (101.0, 50.0), (102.0, 100.0), (103.0, 150.0), (104.0, 200.0)]:
        gpu.apply_fast(fast_reading(at, energy_joules=joules))
        ledger.settle(gpu, (_holder("a"),), {}, at)
    total = sum(ledger.joules().values())
    assert 0.0 <= total <= 200.0


@pytest.mark.parametrize(
    ("cgroup", "uid"),
    [
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_1111_2222_3333_0123456789ab.slice/x",
            "0a1b2c3d-1111-2222-3333-0123456789ab",
        ),
        ("0::/kubepods/besteffort/pod0a1b2c3d-1111-2222-3333-0123456789ab/9f", "0a1b2c3d-1111-2222-3333-0123456789ab"),
        ("0::/system.slice/sshd.service", None),
    ],
)
def test_pod_uid_is_found_in_both_cgroup_drivers(cgroup: str, uid: str | None) -> None:
    """The systemd driver writes underscores, the other one dashes."""
    assert pod_uid_of_cgroup(cgroup) == uid


def test_process_leads_to_its_pod(tmp_path: Path) -> None:
    """From the process's cgroup to the UID, from the log folder to the name."""
    uid = "0a1b2c3d-1111-2222-3333-0123456789ab"
    (tmp_path / "proc" / "41").mkdir(parents=True)
    (tmp_path / "proc" / "41" / "cgroup").write_text(f"0::/kubepods/besteffort/pod{uid}/9f\n")
    (tmp_path / "pods" / f"models_image-server-7d9_{uid}").mkdir(parents=True)
    lookup = ProcessPods(proc=tmp_path / "proc", pod_logs=tmp_path / "pods")
    assert lookup.pods_of({41, 42}) == {41: ("models", "image-server-7d9")}
