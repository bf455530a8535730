"""Mounts a command under the root: adds the options that all commands share and names its environment variables.

A command is a plain function of its package; nothing of the root is known there. Mounting adds ``--config`` and
``--log-level``, and lets every option be set by ``MELTGUARD_<SECTION>__<FIELD>``, where the section is the command.
The order of precedence is the usual one: command line, environment, configuration file, default.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from controller.errors import UsageError
from controller.telemetry.logs import LogLevel, configure_logging

ENVIRONMENT_PREFIX = "MELTGUARD_"
MAX_CONFIG_BYTES = 1024 * 1024


def mount(app: typer.Typer, function: Callable[..., None], *, name: str, section: str) -> None:
    """Add a command to an app.

    Args:
        app: Where the command goes.
        function: The command; its docstring is the help.
        name: Its name on the command line.
        section: Its section in configuration files and environment variables.
    """
    app.command(name)(_with_common_options(function, section))


def _with_common_options(function: Callable[..., None], section: str) -> Callable[..., None]:
    """Return the command with the shared options, in a form that typer can read."""
    parameters = [
        parameter.replace(annotation=_with_environment(parameter, section), kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
    ]
    fields = {parameter.name for parameter in parameters}

    def read_config(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None:
            context.default_map = {**(context.default_map or {}), **load_section(path, section, fields)}
        return path

    shared = [
        inspect.Parameter(
            "meltguard_config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                Path | None,
                typer.Option(
                    "--config",
                    metavar="FILE",
                    is_eager=True,
                    callback=read_config,
                    envvar=f"{ENVIRONMENT_PREFIX}CONFIG",
                    show_envvar=False,
                    help="YAML with a section per command; options and environment variables win.",
                ),
            ],
        ),
        inspect.Parameter(
            "meltguard_log_level",
            inspect.Parameter.KEYWORD_ONLY,
            default=LogLevel.INFO,
            annotation=Annotated[
                LogLevel,
                typer.Option(
                    "--log-level",
                    envvar=f"{ENVIRONMENT_PREFIX}LOG_LEVEL",
                    show_envvar=False,
                    help="How much is logged.",
                ),
            ],
        ),
    ]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        values.pop("meltguard_config")
        configure_logging(values.pop("meltguard_log_level"))
        function(**values)

    signature = inspect.Signature([*parameters, *shared])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    return command


def _with_environment(parameter: inspect.Parameter, section: str) -> Any:
    """Return a parameter's annotation with the name of its environment variable."""
    annotation = parameter.annotation
    if get_origin(annotation) is not Annotated:
        return annotation
    base, *metadata = get_args(annotation)
    named = []
    for info in metadata:
        if isinstance(info, typer.models.OptionInfo) and info.envvar is None:
            info = copy.copy(info)
            info.show_envvar = False
            info.envvar = f"{ENVIRONMENT_PREFIX}{section.upper()}__{parameter.name.upper()}"
        named.append(info)
    return Annotated[(base, *named)]


def load_section(path: Path, section: str, fields: set[str]) -> dict[str, Any]:
    """Read one command's section of a configuration file.

    Args:
        path: YAML file whose top level holds one mapping a command.
        section: The command's section.
        fields: Fields that the command knows.

    Returns:
        The section's values; empty when the file has no such section.

    Raises:
        UsageError: If the file cannot be read, is not YAML, or has a key that the command does not know.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UsageError(f"{path}: larger than {MAX_CONFIG_BYTES} bytes; a configuration is a small text file")
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8 text"
        raise UsageError(f"{path}: cannot be read ({reason}); give the path of a YAML file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{path}{line}: not valid YAML; give one mapping a command") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UsageError(f"{path}: the top level must be a mapping from commands to their options")
    values = document.get(section, {})
    if not isinstance(values, dict):
        raise UsageError(f"{path}: {section} must be a mapping from options to values")
    unknown = sorted(str(key) for key in values if key not in fields)
    if unknown:
        raise UsageError(f"{path}: {section}.{unknown[0]} is not an option; known: {', '.join(sorted(fields))}")
    return values
