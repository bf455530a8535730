"""Writes docs/reference/command-line.md: every command and option, from the command line itself. Called by `make docs`.

It reads the signatures that typer reads, never the rendered help, whose line breaks depend on the terminal.
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from typer.models import ArgumentInfo, OptionInfo, ParameterInfo

from controller.cli.main import build_app
from controller.cli.mounting import ENVIRONMENT_PREFIX
from tools.docs.tables import code, table

_SHARED = ("--config", "--log-level")
_TYPE_NAMES = {str: "text", int: "whole number", float: "number", bool: "flag", Path: "path"}
_OPENING = f"""\
# The command line

Data goes to stdout, messages and progress to stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 changes needed,
130 interrupted. An expected failure is one line on stderr that says what, where and what to do.

Every option can be set in three ways; the command line wins over the environment, the environment over the
configuration file. The file is YAML with one section a command, and the environment variable of an option is
`{ENVIRONMENT_PREFIX}<SECTION>__<OPTION>`, in capitals and with underscores for dashes; an option that differs says so.
Each command below names its section. These two options belong to every command:

{{shared}}
This page is written by `make docs` from the command line itself.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    """One argument or option of a command.

    Attributes:
        info: What typer is told about it.
        name: Its name in the signature.
        base: Its Python type.
        default: Its default; ``inspect.Parameter.empty`` where it has to be given.
    """

    info: ParameterInfo
    name: str
    base: Any
    default: Any


def command_line_page() -> str:
    """Return the page: one section a command, one row an argument or option."""
    app = build_app()
    commands = list(_commands(app, "meltguard"))
    first = commands[0][1]
    shared = [parameter for parameter in _parameters(first) if _is_shared(parameter)]
    opening = _OPENING.format(shared=_options_table(shared, with_variable=True))
    return "\n".join([opening, *(_section(name, function) for name, function in commands)])


def _commands(app: typer.Typer, prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for command in app.registered_commands:
        if command.callback is not None:
            yield f"{prefix} {command.name}", command.callback
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _commands(group.typer_instance, f"{prefix} {group.name}")


def _parameters(function: Callable[..., Any]) -> list[_Parameter]:
    found: list[_Parameter] = []
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if get_origin(parameter.annotation) is not Annotated:
            continue
        base, *metadata = get_args(parameter.annotation)
        infos = [info for info in metadata if isinstance(info, ParameterInfo)]
        if infos and not infos[0].hidden:
            found.append(_Parameter(info=infos[0], name=parameter.name, base=base, default=parameter.default))
    return found


def _section(name: str, function: Callable[..., Any]) -> str:
    parameters = [parameter for parameter in _parameters(function) if not _is_shared(parameter)]
    arguments = [parameter for parameter in parameters if isinstance(parameter.info, ArgumentInfo)]
    options = [parameter for parameter in parameters if isinstance(parameter.info, OptionInfo)]
    pieces = [f"## {name}\n", f"{inspect.getdoc(function) or ''}\n"]
    if arguments:
        rows = [
            (code(_names(each)[0]), _type_words(each), _default_words(each), each.info.help or "") for each in arguments
        ]
        pieces.append(table(("argument", "type", "default", "meaning"), rows))
    prefixes = sorted({variable.rpartition("__")[0] for each in options for variable in _own_variables(each)})
    for prefix in prefixes:
        section = prefix.removeprefix(ENVIRONMENT_PREFIX).lower()
        pieces.append(f"Section `{section}` of the configuration file; environment variables `{prefix}__…`.\n")
    pieces.append(_options_table(options, with_variable=False))
    return "\n".join(pieces)


def _options_table(options: list[_Parameter], *, with_variable: bool) -> str:
    heads = ("option", "type", "default", *(("variable",) if with_variable else ()), "meaning")
    rows = [
        (
            ", ".join(code(name) for name in _names(option)),
            _type_words(option),
            _default_words(option),
            *((", ".join(code(variable) for variable in _variables(option)),) if with_variable else ()),
            _meaning(option),
        )
        for option in options
    ]
    return table(heads, rows)


def _names(parameter: _Parameter) -> tuple[str, ...]:
    """Return the names as they are typed; the first is the one to show alone."""
    # Inside Annotated, typer takes the name from where the default would stand.
    declared = (parameter.info.default, *(getattr(parameter.info, "param_decls", None) or ()))
    typed = tuple(name for name in declared if isinstance(name, str) and name.startswith("-"))
    if isinstance(parameter.info, ArgumentInfo):
        return (parameter.info.metavar or parameter.name.upper(),)
    long_name = "--" + parameter.name.replace("_", "-")
    if not typed and parameter.base is bool:
        return (f"{long_name}/--no-{long_name.removeprefix('--')}",)
    return typed or (long_name,)


def _variables(parameter: _Parameter) -> tuple[str, ...]:
    variables = parameter.info.envvar
    return (variables,) if isinstance(variables, str) else tuple(variables or ())


def _own_variables(parameter: _Parameter) -> tuple[str, ...]:
    return tuple(name for name in _variables(parameter) if name.startswith(ENVIRONMENT_PREFIX) and "__" in name)


def _meaning(option: _Parameter) -> str:
    foreign = [code(name) for name in _variables(option) if not name.startswith(ENVIRONMENT_PREFIX)]
    variable = f"Variable: {', '.join(foreign)}." if foreign else ""
    # Files and variables go by the name in the signature, which an option may shorten.
    named = _names(option)[0].split("/")[0].removeprefix("--").replace("-", "_")
    key = f"Key: {code(option.name)}." if named != option.name and not _is_shared(option) else ""
    return " ".join(filter(None, [option.info.help, variable, key]))


def _is_shared(option: _Parameter) -> bool:
    return _names(option)[0] in _SHARED


def _type_words(parameter: _Parameter) -> str:
    base = _without_none(parameter.base)
    origin = get_origin(base)
    if origin in (list, tuple):
        base = next(kind for kind in get_args(base) if kind is not Ellipsis)
    if isinstance(base, type) and issubclass(base, Enum):
        words = ", ".join(code(str(member.value)) for member in base)
    else:
        words = _TYPE_NAMES.get(base, getattr(base, "__name__", str(base)))
    bounds = [
        f"{sign} {limit:g}"
        for sign, limit in (("≥", parameter.info.min), ("≤", parameter.info.max))
        if limit is not None
    ]
    several = ", repeatable" if origin in (list, tuple) else ""
    return f"{words}{several}{' ' if bounds else ''}{', '.join(bounds)}"


def _without_none(base: Any) -> Any:
    if get_origin(base) in (Union, UnionType):
        kinds = [kind for kind in get_args(base) if kind is not NoneType]
        return kinds[0] if len(kinds) == 1 else base
    return base


def _default_words(parameter: _Parameter) -> str:
    default = parameter.default
    if default is inspect.Parameter.empty or default is ...:
        return "required"
    if default is None or default in ((), []):
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, list | tuple):
        return ", ".join(code(str(value)) for value in default)
    return code(str(default.value if isinstance(default, Enum) else default))
