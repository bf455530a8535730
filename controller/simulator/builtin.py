"""The scenarios that come with meltguard, by name."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from controller.errors import UsageError
from controller.simulator.scenario import Scenario, load_scenario, parse_scenario

_FOLDER = "scenarios"
_SUFFIX = ".yaml"


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in scenarios, sorted."""
    entries = resources.files(__package__).joinpath(_FOLDER).iterdir()
    return tuple(sorted(entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX)))


def builtin_text(name: str) -> str:
    """Return the file of a built-in scenario.

    Raises:
        UsageError: If there is none of that name; lists those that there are.
    """
    if name not in builtin_names():
        raise UsageError(f"no scenario {name!r}; give a file, or one of: {', '.join(builtin_names())}")
    return resources.files(__package__).joinpath(_FOLDER, name + _SUFFIX).read_text(encoding="utf-8")


def load_builtin(name: str) -> Scenario:
    """Return a built-in scenario.

    Raises:
        UsageError: As :func:`builtin_text`.
    """
    return parse_scenario(builtin_text(name), place=f"built-in scenario {name}")


def load_named(name_or_path: str) -> Scenario:
    """Return a scenario by built-in name or by path; a file wins over a name.

    Raises:
        UsageError: If it is neither, or the file is wrong.
    """
    path = Path(name_or_path)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return load_scenario(path)
    return load_builtin(name_or_path)
