"""Asks the kubelet which container was given which device: PodResources v1 over its unix socket.

Called from a worker thread of the serving process. gRPC is imported only when a socket is given (21 MiB); messages are
decoded by ``exporters.pods.wire``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporters.errors import ExporterError, SettingsError
from exporters.pods.wire import WireError, fields, text

LIST_METHOD = "/v1.PodResourcesLister/List"
MAX_REPLY_BYTES = 64 << 20
"""gRPC's own limit of 4 MiB is too small for a node with many pods."""
TIMEOUT_SECONDS = 5.0
MAX_ALLOCATIONS = 100_000
GPU_RESOURCE_PREFIX = "nvidia.com/"
DRA_DRIVER = "gpu.nvidia.com"


class PodResourcesError(ExporterError):
    """The kubelet did not answer, or not in a way that makes sense; the map keeps its last answer and ages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """One device that a container holds.

    Attributes:
        resource: Resource name, such as ``nvidia.com/gpu``; for dynamic resources the driver's.
        device_id: As the device plugin names it: a UUID, a replica ``UUID::3``, or an index.
    """

    namespace: str
    pod: str
    container: str
    resource: str
    device_id: str


def decode_reply(reply: bytes) -> tuple[Allocation, ...]:
    """Return the GPU allocations of a ListPodResourcesResponse.

    Raises:
        PodResourcesError: If the bytes make no sense or list too much.
    """
    found: list[Allocation] = []
    try:
        for number, pod in fields(memoryview(reply)):
            if number == 1:
                found.extend(_of_pod(pod))
            if len(found) > MAX_ALLOCATIONS:
                raise PodResourcesError(f"the kubelet lists more than {MAX_ALLOCATIONS} devices")
    except WireError as error:
        raise PodResourcesError(f"the kubelet's reply makes no sense: {error}") from error
    return tuple(found)


def _of_pod(pod: memoryview) -> Iterator[Allocation]:
    name, namespace, containers = "", "", []
    for number, content in fields(pod):
        if number == 1:
            name = text(content)
        elif number == 2:
            namespace = text(content)
        elif number == 3:
            containers.append(content)
    for container in containers:
        yield from _of_container(container, name, namespace)


def _of_container(container: memoryview, pod: str, namespace: str) -> Iterator[Allocation]:
    name = ""
    devices: list[tuple[str, str]] = []
    for number, content in fields(container):
        if number == 1:
            name = text(content)
        elif number == 2:
            devices.extend(_devices(content))
        elif number == 5:
            devices.extend(_dynamic_devices(content))
    for resource, device_id in devices:
        yield Allocation(namespace=namespace, pod=pod, container=name, resource=resource, device_id=device_id)


def _devices(devices: memoryview) -> list[tuple[str, str]]:
    resource = ""
    ids: list[str] = []
    for number, content in fields(devices):
        if number == 1:
            resource = text(content)
        elif number == 2:
            ids.append(text(content))
    return [(resource, device_id) for device_id in ids] if resource.startswith(GPU_RESOURCE_PREFIX) else []


def _dynamic_devices(resource: memoryview) -> Iterator[tuple[str, str]]:
    """Yield devices of dynamic resource allocation: ClaimResource has driver 2 and device 4."""
    for number, claim in fields(resource):
        if number != 4:
            continue
        names = {field: text(content) for field, content in fields(claim) if field in {2, 4}}
        if names.get(2) == DRA_DRIVER and 4 in names:
            yield names[2], names[4]


class PodResourcesClient:
    """A channel to the kubelet."""

    def __init__(self, socket: Path) -> None:
        """Prepare to ask at ``socket``; nothing is sent yet.

        Raises:
            SettingsError: If gRPC is not installed.
        """
        # The collectors are started by exec, which gRPC's fork handlers would only slow down.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        try:
            import grpc  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise SettingsError("--pod-resources needs the package grpcio: install meltguard[pods]") from None
        self._rpc_error: type[Exception] = grpc.RpcError
        options = (("grpc.max_receive_message_length", MAX_REPLY_BYTES), ("grpc.enable_http_proxy", 0))
        self._channel: Any = grpc.insecure_channel(f"unix:{socket}", options=options)
        self._list: Any = self._channel.unary_unary(
            LIST_METHOD, request_serializer=lambda request: request, response_deserializer=lambda reply: reply
        )

    def list(self) -> tuple[Allocation, ...]:
        """Return what is allocated now; blocks for ``TIMEOUT_SECONDS`` at most.

        Raises:
            PodResourcesError: If the kubelet does not answer.
        """
        try:
            reply = self._list(b"", timeout=TIMEOUT_SECONDS)
        except self._rpc_error as error:
            code = getattr(error, "code", lambda: "unknown")()
            raise PodResourcesError(f"the kubelet does not answer at its PodResources socket: {code}") from error
        return decode_reply(reply)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
