"""NVML as a source of readings: enumerates GPUs, waits for XIDs, hands out one reader per GPU.

Runs in the collector process. A GPU that cannot even be identified (lost or hanging at start) is named by its index, so
that it still shows up as down.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from exporters.calls import CallTracker
from exporters.errors import DriverGoneError, SourceError
from exporters.messages import DeviceIdentity, XidEvent, placeholder_uuid
from exporters.nvml import driver
from exporters.nvml.device import NvmlDeviceReader
from exporters.nvml.driver import DeviceCalls, pynvml, read_text

MAX_DEVICES = 64
"""More than any node has; bounds the threads of the collector."""

IDENTIFY_SECONDS = 2.0
"""A GPU that does not say in time who it is goes under its index until a later enumeration."""

_PROC_GPUS = Path("/proc/driver/nvidia/gpus")


class NvmlSource:
    """The GPUs of this host."""

    def __init__(self, library: str | None) -> None:
        """Use ``library`` instead of the system's NVML, if given."""
        self._library = library
        self._driver_version = ""
        self._event_set: object | None = None
        self._uuid_by_handle: dict[int, str] = {}
        self._handles: dict[str, object] = {}

    @property
    def driver_version(self) -> str:
        """Version of the driver; valid after ``open``."""
        return self._driver_version

    def open(self, tracker: CallTracker) -> tuple[DeviceIdentity, ...]:
        """Load the library and enumerate the GPUs.

        Raises:
            LibraryError: If the binding or the library is missing.
            DriverGoneError: If the driver does not answer.
        """
        tracker.call("nvmlInit", driver.load_library, self._library)
        try:
            self._driver_version = read_text(tracker.call("version", pynvml.nvmlSystemGetDriverVersion))
            num_devices = int(tracker.call("nvmlDeviceGetCount", pynvml.nvmlDeviceGetCount))
        except pynvml.NVMLError as error:
            raise DriverGoneError(f"NVML does not count its GPUs: {driver.describe(error.value)}") from None
        try:
            self._event_set = tracker.call("nvmlEventSetCreate", pynvml.nvmlEventSetCreate)
        except (pynvml.NVMLError, AttributeError):
            # A driver without events leaves the XID counters at zero.
            self._event_set = None
        return self._identify_all(min(num_devices, MAX_DEVICES))

    def _identify_all(self, num_devices: int) -> tuple[DeviceIdentity, ...]:
        """Identify each GPU in a thread of its own: one that hangs must not hide the others."""
        found: dict[int, DeviceIdentity] = {}
        threads = [
            threading.Thread(target=self._identify, args=(index, found), daemon=True) for index in range(num_devices)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + IDENTIFY_SECONDS
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return tuple(
            found.get(index)
            or DeviceIdentity(uuid=placeholder_uuid(index), index=index, model="unknown", pci_bus_id="")
            for index in range(num_devices)
        )

    def _identify(self, index: int, found: dict[int, DeviceIdentity]) -> None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            uuid = read_text(pynvml.nvmlDeviceGetUUID(handle))
        except pynvml.NVMLError:
            return
        calls = DeviceCalls(CallTracker(uuid), handle)
        try:
            identity = DeviceIdentity(
                uuid=uuid,
                index=index,
                model=calls.get("nvmlDeviceGetName", read_text) or "unknown",
                pci_bus_id=calls.get("nvmlDeviceGetPciInfo", lambda info: read_text(info.busId)) or "",
                minor=calls.get("nvmlDeviceGetMinorNumber", int),
            )
        except SourceError:
            return
        self._handles[uuid] = handle
        address = driver.address_of(handle)
        if address is not None:
            self._uuid_by_handle[address] = uuid
        found[index] = identity

    def reader(self, device: DeviceIdentity, tracker: CallTracker) -> NvmlDeviceReader:
        """Return the reader of ``device``."""
        return NvmlDeviceReader(device.uuid, DeviceCalls(tracker, self._handles[device.uuid]), self._event_set)

    def wait_for_events(self, timeout_seconds: float) -> list[XidEvent]:
        """Return the XIDs of the next ``timeout_seconds`` at most; empty at once where the driver has no events.

        Raises:
            DriverGoneError: If the driver is gone.
        """
        if self._event_set is None:
            return []
        try:
            data = pynvml.nvmlEventSetWait_v2(self._event_set, int(timeout_seconds * 1000))
        except pynvml.NVMLError as error:
            if error.value not in {3, 10, 13}:
                driver.raise_if_gone_for_all(int(error.value), "nvmlEventSetWait_v2")
            return []
        address = driver.address_of(data.device)
        uuid = self._uuid_by_handle.get(address) if address is not None else None
        if uuid is None or not data.eventType & pynvml.nvmlEventTypeXidCriticalError:
            return []
        return [XidEvent(uuid=uuid, xid=int(data.eventData), at_unix=driver.unix_seconds())]

    def topology(self) -> str:
        """Return the driver's list of PCI addresses and NVML's count; either changes when GPUs come or go."""
        try:
            listed = sorted(os.listdir(_PROC_GPUS))
        except OSError:
            listed = []
        try:
            count = str(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError:
            count = "?"
        return f"{count} {listed}"
