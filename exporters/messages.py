"""What a collector process tells the serving process: typed messages over a pipe, in base units.

The collector (``exporters.collector``) encodes, the supervisor decodes; nobody else touches the wire. None means "not
supported or not read", never zero. Times named ``_monotonic`` come from the host's monotonic clock, which both
processes share; ``_unix`` are wall-clock seconds. Structs rather than dataclasses, because msgspec needs tagged
structs to tell the messages apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

MAX_MESSAGE_BYTES = 1 << 20
"""A longer frame means that the stream is out of step; the collector is replaced."""

_LENGTH = struct.Struct("<I")


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True, gc=False):
    """Base of all messages: the class name is the tag."""


class DeviceIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What a GPU is; does not change while it is present.

    Attributes:
        uuid: ``GPU-…`` as the driver names it.
        index: Position in the driver's order.
        model: Product name.
        pci_bus_id: ``00000000:07:00.0``.
        minor: Number N of ``/dev/nvidiaN``; None when unknown.
    """

    uuid: str
    index: int
    model: str
    pci_bus_id: str
    minor: int | None = None


PLACEHOLDER_PREFIX = "unidentified-"


def placeholder_uuid(index: int) -> str:
    """Return the name of a GPU that the driver counts but that does not say who it is."""
    return f"{PLACEHOLDER_PREFIX}{index}"


class Hello(_Message, frozen=True, kw_only=True):
    """The collector has opened its source and found these GPUs."""

    driver_version: str
    devices: tuple[DeviceIdentity, ...]


class FastReading(_Message, frozen=True, kw_only=True):
    """What changes within seconds, read every period.

    Attributes:
        margin_celsius: The driver's own margin (T.Limit); None on generations without it.
        energy_joules: Hardware counter since the driver was loaded.
        clocks_hertz: By clock name.
        throttle_bits: NVML's bit mask of reasons why clocks are held down.
        throttled_seconds: Hardware counters by reason name; empty where the driver has none.
        nvlink_bytes: By direction, over all links.
        pcie_bytes: By direction.
        engine_ratios: Activity of graphics, sm, sm_occupancy, tensor and dram, where the GPU measures it (Hopper on).
    """

    uuid: str
    taken_at_monotonic: float
    taken_at_unix: float
    temperature_celsius: float | None = None
    memory_temperature_celsius: float | None = None
    margin_celsius: float | None = None
    power_watts: float | None = None
    power_average_watts: float | None = None
    power_instant_watts: float | None = None
    energy_joules: float | None = None
    utilization_ratio: float | None = None
    memory_utilization_ratio: float | None = None
    encoder_utilization_ratio: float | None = None
    decoder_utilization_ratio: float | None = None
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None
    memory_reserved_bytes: float | None = None
    performance_state: int | None = None
    clocks_hertz: dict[str, float] = {}
    throttle_bits: int | None = None
    throttled_seconds: dict[str, float] = {}
    nvlink_bytes: dict[str, float] = {}
    pcie_bytes: dict[str, float] = {}
    pcie_replays: float | None = None
    engine_ratios: dict[str, float] = {}


class MigInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of a GPU."""

    uuid: str
    profile: str
    gpu_instance: int
    compute_instance: int
    memory_used_bytes: float | None = None
    memory_total_bytes: float | None = None


class ProcessShare(msgspec.Struct, frozen=True, kw_only=True):
    """One process on a GPU.

    Attributes:
        pid: Process id in the host's namespace.
        compute_ratio: Share of the streaming multiprocessors' time, 0..1; None when the driver does not say.
    """

    pid: int
    compute_ratio: float | None = None


class SlowReading(_Message, frozen=True, kw_only=True):
    """What changes rarely, read every slow period.

    Attributes:
        limit_offsets_celsius: T.Limit offsets by limit name: the margin at which that limit acts (slowdown -2).
        thresholds_celsius: Absolute thresholds of older generations by limit name.
    """

    uuid: str
    limit_offsets_celsius: dict[str, float] = {}
    thresholds_celsius: dict[str, float] = {}
    power_limit_watts: float | None = None
    power_limit_range_watts: dict[str, float] = {}
    clocks_max_hertz: dict[str, float] = {}
    ecc_errors: dict[str, float] = {}
    remapped_rows: dict[str, float] = {}
    row_remap_pending: bool | None = None
    row_remap_failed: bool | None = None
    retired_pages: dict[str, float] = {}
    fan_ratios: tuple[float, ...] = ()
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    nvlink_errors: dict[str, float] = {}
    mig_enabled: bool | None = None
    mig_instances: tuple[MigInstance, ...] = ()
    processes: tuple[ProcessShare, ...] | None = None


class Down(_Message, frozen=True, kw_only=True):
    """A GPU does not answer; the reason goes to ``meltguard_gpu_up``."""

    uuid: str
    reason: str
    detail: str = ""


class XidEvent(_Message, frozen=True, kw_only=True):
    """The driver reported an XID."""

    uuid: str
    xid: int
    at_unix: float


class CallInFlight(msgspec.Struct, frozen=True, kw_only=True):
    """A driver call that has not returned; an empty uuid means that it concerns no single GPU."""

    uuid: str
    call: str
    since_monotonic: float


class CallStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Cost of one driver function since the collector began.

    Attributes:
        max_seconds: Slowest call since the last report.
    """

    call: str
    num_calls: int
    total_seconds: float
    max_seconds: float


class Heartbeat(_Message, frozen=True, kw_only=True):
    """The collector is alive; lists the calls that hang and, now and then, what its calls cost."""

    at_monotonic: float
    in_flight: tuple[CallInFlight, ...] = ()
    statistics: tuple[CallStatistics, ...] = ()


class TopologyChanged(_Message, frozen=True, kw_only=True):
    """GPUs were added or removed: a fresh collector must enumerate them."""

    detail: str


class Failed(_Message, frozen=True, kw_only=True):
    """The collector is about to end because its source cannot be used."""

    reason: str
    detail: str


Message = Hello | FastReading | SlowReading | Down | XidEvent | Heartbeat | TopologyChanged | Failed

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


class StreamError(Exception):
    """The byte stream of a collector makes no sense; it must be replaced."""


def encode(message: Message) -> bytes:
    """Return ``message`` as one frame: four bytes of length (little endian), then MessagePack."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into messages; keeps at most one partial frame."""

    def __init__(self) -> None:
        """Start with an empty buffer."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that ``data`` completes.

        Raises:
            StreamError: If a frame is too long or does not decode.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE_BYTES:
                raise StreamError(f"a frame of {length} bytes exceeds {MAX_MESSAGE_BYTES}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                yield _decoder.decode(body)
            except msgspec.MsgspecError as error:
                raise StreamError(f"a frame does not decode: {error}") from error
