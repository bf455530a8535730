"""The serving process's entry point: ``python -m exporters.serve SETTINGS``.

``meltguard exporter`` checks the settings and then becomes this process (same process id, so signals and supervisors
notice nothing): what the command line had to import would stay resident for ever otherwise (docs/decisions/0032).
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from exporters.errors import ExporterError
from exporters.logs import Log
from exporters.service import Service
from exporters.settings import Address, DcgmNames, ExporterSettings


class ServeArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What the command hands over, as JSON in the first argument; fields as in ``ExporterSettings``.

    Attributes:
        version: Version of meltguard.
        least_level: Least level that is logged, a number of ``logging``.
        announce: Whether the address is also written to standard output, as JSON.
    """

    host: str
    port: int
    period_seconds: float
    source: str
    nvml_library: str | None
    dcgm_names: str
    pod_resources: str | None
    web_config: str | None
    node: str
    derived_thermals: bool
    thermal_state: str | None
    version: str
    least_level: int
    announce: bool


def settings_of(arguments: ServeArguments) -> ExporterSettings:
    """Return the settings that were handed over."""

    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text)

    return ExporterSettings(
        listen=Address(host=arguments.host, port=arguments.port),
        period_seconds=arguments.period_seconds,
        source=arguments.source,
        nvml_library=path(arguments.nvml_library),
        dcgm_names=DcgmNames(arguments.dcgm_names),
        pod_resources=path(arguments.pod_resources),
        web_config=path(arguments.web_config),
        node=arguments.node,
        derived_thermals=arguments.derived_thermals,
        thermal_state=path(arguments.thermal_state),
    )


def arguments_of(settings: ExporterSettings, version: str, least_level: int, *, announce: bool) -> ServeArguments:
    """Return what to hand over.

    Args:
        settings: The checked settings.
        version: Version of meltguard.
        least_level: Least level that is logged, a number of ``logging``.
        announce: Whether the address is also written to standard output.

    Returns:
        Plain values, ready to be encoded.
    """

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    return ServeArguments(
        host=settings.listen.host,
        port=settings.listen.port,
        period_seconds=settings.period_seconds,
        source=settings.source,
        nvml_library=text(settings.nvml_library),
        dcgm_names=settings.dcgm_names.value,
        pod_resources=text(settings.pod_resources),
        web_config=text(settings.web_config),
        node=settings.node,
        derived_thermals=settings.derived_thermals,
        thermal_state=text(settings.thermal_state),
        version=version,
        least_level=least_level,
        announce=announce,
    )


def become_server(arguments: ServeArguments) -> None:
    """Replace this process by the serving process; never returns."""
    # One linear-algebra thread (eight GPUs are a small batch) and two memory arenas: each further one costs megabytes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    sys.stdout.flush()
    sys.stderr.flush()
    payload = msgspec.json.encode(arguments).decode()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "exporters.serve", payload])


async def serve(arguments: ServeArguments) -> None:
    """Run the service until it is told to stop."""
    log = Log(arguments.least_level)
    await Service(settings_of(arguments), arguments.version, log, announce=arguments.announce).run()


def main() -> None:
    """Serve as the first argument says; an expected failure is one line on standard error."""
    arguments = msgspec.json.decode(sys.argv[1], type=ServeArguments)
    try:
        asyncio.run(serve(arguments))
    except ExporterError as error:
        print(f"meltguard: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
