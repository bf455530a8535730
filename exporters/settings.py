"""Settings of ``meltguard exporter``, parsed once at the edge into a frozen object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from exporters.errors import SettingsError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
MIN_PERIOD_SECONDS = 0.1
MAX_PERIOD_SECONDS = 60.0


class DcgmNames(StrEnum):
    """Which DCGM names are published beside ours."""

    LEGACY = "legacy"
    V4_9 = "v4.9"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens; port 0 lets the system choose."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSettings:
    """Everything that the exporter is told.

    Attributes:
        listen: Where to serve.
        period_seconds: Between two readings of a GPU.
        source: ``nvml``, ``simulated[:N]`` or ``replay:FILE``.
        nvml_library: A library to use instead of the system's; None takes the system's.
        dcgm_names: Which DCGM names to publish.
        pod_resources: Socket of the kubelet; None leaves pods out.
        web_config: TLS and users; None serves plainly to everyone.
        node: Value of the label ``node``.
        derived_thermals: Whether to fit the thermal model and publish what follows from it.
        thermal_state: File that keeps the model's gains across restarts; None keeps them in memory only.
    """

    listen: Address
    period_seconds: float
    source: str
    nvml_library: Path | None
    dcgm_names: DcgmNames
    pod_resources: Path | None
    web_config: Path | None
    node: str
    derived_thermals: bool = True
    thermal_state: Path | None = None

    @property
    def stale_after_seconds(self) -> float:
        """A reading older than this is not published any more: three periods and a half."""
        return 3.5 * max(self.period_seconds, 1.0)


def parse_duration(text: str, flag: str) -> float:
    """Return the seconds of ``1s``, ``200ms``, ``1m`` or a plain number of seconds.

    Raises:
        SettingsError: If the text is none of them.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{flag} {text}: use a duration such as 1s or 200ms")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def parse_period(text: str) -> float:
    """Return ``--period`` in seconds.

    Raises:
        SettingsError: If it is no duration or out of range.
    """
    seconds = parse_duration(text, "--period")
    if not MIN_PERIOD_SECONDS <= seconds <= MAX_PERIOD_SECONDS:
        raise SettingsError(f"--period {text}: must lie between {MIN_PERIOD_SECONDS:g}s and {MAX_PERIOD_SECONDS:g}s")
    return seconds


def parse_dcgm_names(text: str) -> DcgmNames:
    """Return ``--dcgm-names``.

    Raises:
        SettingsError: If there is no such set, or not yet.
    """
    if text not in {DcgmNames.LEGACY.value, DcgmNames.NONE.value}:
        raise SettingsError(f"--dcgm-names {text}: use legacy or none (the full list of v4.9 is not established yet)")
    return DcgmNames(text)


def parse_address(text: str) -> Address:
    """Return ``HOST:PORT``; the host may be an IPv6 address in brackets, or empty for all.

    Raises:
        SettingsError: If the text is no address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"--listen {text}: use HOST:PORT, such as 0.0.0.0:9400 or [::]:9400")
    return Address(host=host.strip("[]") or "0.0.0.0", port=int(port))
