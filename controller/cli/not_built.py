"""Commands of the contract whose part is not built yet: they say so plainly and exit 1."""

from __future__ import annotations

from collections.abc import Callable

import typer

from controller.errors import NotBuiltError


def not_built(name: str, does: str) -> Callable[[typer.Context], None]:
    """Return a command that takes any arguments and says that it is not built.

    Args:
        name: The command as it is typed.
        does: What it will do, one line.

    Returns:
        The command; calling it raises :class:`NotBuiltError`.
    """

    def command(context: typer.Context) -> None:
        del context
        raise NotBuiltError(f"`meltguard {name}` is not built yet; this version does not have that part")

    command.__doc__ = f"{does} (not built yet)"
    return command
