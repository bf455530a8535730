"""``meltguard exporter``: the command of the GPU exporter.

Mounted by the root command, which adds ``--config`` and ``--log-level`` and turns errors into one line. Only typer and
the standard library are imported here; the exporter itself is imported when it runs.
"""

from __future__ import annotations

import logging
import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    """How results are written to standard output."""

    TEXT = "text"
    JSON = "json"


def exporter(
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT to serve at; port 0 chooses one.")
    ] = "0.0.0.0:9400",
    period: Annotated[str, typer.Option("--period", help="Time between two readings of a GPU.")] = "1s",
    source: Annotated[
        str, typer.Option("--source", help="nvml, simulated[:N] or replay:FILE.", metavar="SOURCE")
    ] = "nvml",
    nvml_library: Annotated[
        Path | None, typer.Option("--nvml-library", help="Library to use instead of the system's libnvidia-ml.so.1.")
    ] = None,
    dcgm_names: Annotated[
        str, typer.Option("--dcgm-names", help="legacy (dcgm-exporter up to 4.8) or none.")
    ] = "legacy",
    pod_resources: Annotated[
        Path | None, typer.Option("--pod-resources", help="The kubelet's PodResources socket.")
    ] = None,
    web_config: Annotated[
        Path | None, typer.Option("--web-config", help="TLS and users, in Prometheus's web configuration format.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", envvar="NODE_NAME", help="Value of the label node; default: the host's name."),
    ] = None,
    derived_thermals: Annotated[
        bool, typer.Option("--derived-thermals/--no-derived-thermals", help="Fit the thermal model on the node.")
    ] = True,
    thermal_state: Annotated[
        Path | None,
        typer.Option("--thermal-state", help="File that keeps what the thermal model learned across restarts."),
    ] = None,
    output: Annotated[OutputFormat, typer.Option("--output", help="How the address is written to stdout.")] = (
        OutputFormat.TEXT
    ),
) -> None:
    """Serve what the GPUs of this node say, once a second, with its age."""
    from importlib.metadata import version

    from exporters.serve import arguments_of, become_server
    from exporters.service import check_settings
    from exporters.settings import ExporterSettings, parse_address, parse_dcgm_names, parse_period

    settings = ExporterSettings(
        listen=parse_address(listen),
        period_seconds=parse_period(period),
        source=source,
        nvml_library=nvml_library,
        dcgm_names=parse_dcgm_names(dcgm_names),
        pod_resources=pod_resources,
        web_config=web_config,
        node=node or socket.gethostname(),
        derived_thermals=derived_thermals,
        thermal_state=thermal_state,
    )
    check_settings(settings)
    announce = output is OutputFormat.JSON
    become_server(arguments_of(settings, version("meltguard"), least_log_level(), announce=announce))


def least_log_level() -> int:
    """Return the least level that the root command's ``--log-level`` lets through, a number of ``logging``."""
    import structlog

    logger = structlog.get_logger()
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
    return next((level for level in levels if logger.is_enabled_for(level)), logging.CRITICAL)
