"""Settings of ``meltguard serve``, parsed once at the edge into a frozen object."""

from __future__ import annotations

from dataclasses import dataclass

from inference.admission.callers import Network
from inference.admission.tiers import DEFAULT_TIERS, Tier
from inference.errors import InferenceSettingsError

MAX_REGIONS = 16
MAX_BODY_BYTES = 256 * 1024
MAX_CONNECTIONS = 2_000
MAX_HEADER_BYTES = 8_190
MAX_PROMPT_CHARACTERS = 32_000
KEEP_ALIVE_SECONDS = 5.0
"""Between two signs of life on a stream that has nothing to say."""
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Everything that the server is told.

    Attributes:
        host: Where to listen.
        port: Where to listen; 0 lets the system choose.
        region: The pod's own region.
        other_regions: Regions whose users may be sent here; their names may stand in labels.
        flags: Where flags come from; None means that nothing is ever limited by flag.
        redis_url: Store of quotas; None keeps them in memory.
        exporter_url: ``/api/v1/gpus`` of the node's exporter; None switches the local guard off.
        gpu: UUID or index of the GPU that the engine uses, as the exporter names it.
        trusted: Networks whose headers about users are believed.
        drain_delay_seconds: Time after SIGTERM in which requests are still admitted while readiness fails, since
            whatever routes requests learns of that only after a while.
        grace_seconds: Time that work gets to finish once admission has stopped.
        max_wait_seconds: Longest wait for a slot that is admitted.
        body_seconds: Longest time that a client may take to send its request's body.
        write_seconds: Longest time that a client may take to accept one piece of an answer.
        idle_seconds: A connection without a complete request for so long is closed; this bounds slow heads, too.
        hang_seconds: An engine whose loop has not gone round for so long fails liveness.
        tiers: Classes of users; the first is that of everybody unknown.
    """

    host: str
    port: int
    region: str
    other_regions: tuple[str, ...] = ()
    flags: str | None = None
    redis_url: str | None = None
    exporter_url: str | None = None
    gpu: str = "0"
    trusted: tuple[Network, ...] = ()
    drain_delay_seconds: float = 0.0
    grace_seconds: float = 30.0
    max_wait_seconds: float = 30.0
    body_seconds: float = 10.0
    write_seconds: float = 10.0
    idle_seconds: float = 15.0
    hang_seconds: float = 10.0
    tiers: tuple[Tier, ...] = DEFAULT_TIERS

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region that a label may name, the pod's own first."""
        return (self.region, *(name for name in self.other_regions if name != self.region))


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``; the host may be an IPv6 address in brackets, or empty for all.

    Raises:
        InferenceSettingsError: If the text is no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise InferenceSettingsError(f"--listen {text}: use HOST:PORT, such as 0.0.0.0:8000 or [::]:8000")
    return host.strip("[]") or "0.0.0.0", int(port)


def parse_redis(text: str | None) -> str | None:
    """Return the address of the store of quotas; None keeps them in memory.

    Raises:
        InferenceSettingsError: If it is no address of Redis.
    """
    if text is not None and not text.startswith(("redis://", "rediss://")):
        raise InferenceSettingsError(f"--redis {text}: use redis://HOST:PORT/DB, or rediss:// for TLS")
    return text


def parse_url(text: str | None, flag: str) -> str | None:
    """Return an address of HTTP.

    Raises:
        InferenceSettingsError: If it is none.
    """
    if text is not None and not text.startswith(("http://", "https://")):
        raise InferenceSettingsError(f"{flag} {text}: use an address such as http://HOST:PORT/PATH")
    return text


def parse_regions(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list.

    Raises:
        InferenceSettingsError: If there are too many for a label.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if len(names) > MAX_REGIONS:
        raise InferenceSettingsError(f"--other-regions: {len(names)} regions, at most {MAX_REGIONS}; name fewer")
    return names


def parse_seconds(text: str, flag: str) -> float:
    """Return the seconds of ``30s``, ``500ms``, ``2m``, ``1h`` or a plain number.

    Raises:
        InferenceSettingsError: If the text is none of them, or negative.
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
    stripped = text.strip()
    unit = next((unit for unit in units if unit and stripped.endswith(unit)), "")
    try:
        seconds = float(stripped.removesuffix(unit)) * units[unit]
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise InferenceSettingsError(f"{flag} {text}: use a duration such as 30s or 500ms")
    return seconds
