"""A kubelet for tests: a real gRPC server on a unix socket that speaks PodResources v1 with real protobuf.

The message types are built from descriptors written here (field numbers as in kubelet's podresources v1 API),
so that encoding is protobuf's own and independent of the decoder under test.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGES: dict[str, list[tuple[str, int, str, bool]]] = {
    "ListPodResourcesRequest": [],
    "ListPodResourcesResponse": [("pod_resources", 1, "PodResources", True)],
    "PodResources": [
        ("name", 1, "string", False),
        ("namespace", 2, "string", False),
        ("containers", 3, "ContainerResources", True),
    ],
    "ContainerResources": [
        ("name", 1, "string", False),
        ("devices", 2, "ContainerDevices", True),
        ("cpu_ids", 3, "int64", True),
        ("dynamic_resources", 5, "DynamicResource", True),
    ],
    "ContainerDevices": [("resource_name", 1, "string", False), ("device_ids", 2, "string", True)],
    "DynamicResource": [
        ("claim_name", 2, "string", False),
        ("claim_namespace", 3, "string", False),
        ("claim_resources", 4, "ClaimResource", True),
    ],
    "ClaimResource": [
        ("driver_name", 2, "string", False),
        ("pool_name", 3, "string", False),
        ("device_name", 4, "string", False),
    ],
}
_FIELD = descriptor_pb2.FieldDescriptorProto


def _message_types() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="podresources_test.proto", package="v1", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, repeated in fields:
            entry = message.field.add(name=field_name, number=number)
            entry.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if kind in {"string", "int64"}:
                entry.type = _FIELD.TYPE_STRING if kind == "string" else _FIELD.TYPE_INT64
            else:
                entry.type, entry.type_name = _FIELD.TYPE_MESSAGE, f".v1.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"v1.{name}")) for name in _MESSAGES}


TYPES = _message_types()


def pod(
    name: str, *devices: str, namespace: str = "models", container: str = "server", resource: str = "nvidia.com/gpu"
) -> Any:
    """Return a PodResources message of one container that holds ``devices``."""
    held = TYPES["ContainerDevices"](resource_name=resource, device_ids=devices)
    return TYPES["PodResources"](
        name=name,
        namespace=namespace,
        containers=[TYPES["ContainerResources"](name=container, devices=[held], cpu_ids=[0, 1])],
    )


def dynamic_pod(name: str, device: str, *, namespace: str = "models", container: str = "server") -> Any:
    """Return a PodResources message of one container that got ``device`` through dynamic resource allocation."""
    claim = TYPES["ClaimResource"](driver_name="gpu.nvidia.com", pool_name="node", device_name=device)
    dynamic = TYPES["DynamicResource"](claim_name="c", claim_namespace=namespace, claim_resources=[claim])
    held = TYPES["ContainerResources"](name=container, dynamic_resources=[dynamic])
    return TYPES["PodResources"](name=name, namespace=namespace, containers=[held])


@dataclass
class Kubelet:
    """What the kubelet answers; change it at any time."""

    socket: Path
    pods: list[Any] = field(default_factory=list)
    raw_reply: bytes | None = None
    num_calls: int = 0

    def allocate(self, *pods: tuple[str, str]) -> None:
        """List pods by name and device."""
        self.pods = [pod(name, device) for name, device in pods]

    def reply(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer List."""
        del context
        TYPES["ListPodResourcesRequest"].FromString(request)
        self.num_calls += 1
        if self.raw_reply is not None:
            return self.raw_reply
        return bytes(TYPES["ListPodResourcesResponse"](pod_resources=self.pods).SerializeToString())


@contextmanager
def running_kubelet(socket: Path) -> Iterator[Kubelet]:
    """Serve PodResources at ``socket``."""
    kubelet = Kubelet(socket)
    server = grpc.server(ThreadPoolExecutor(max_workers=2), options=[("grpc.max_send_message_length", -1)])
    method = grpc.unary_unary_rpc_method_handler(kubelet.reply)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": method}),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    try:
        yield kubelet
    finally:
        server.stop(grace=0).wait()
