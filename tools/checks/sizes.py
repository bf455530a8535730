"""Functions of at most 60 lines and 6 parameters, files of at most 400 lines.

Run by `make check`. What is over a limit today stands in `allowances.toml` with its exact size.

A function's lines are counted without decorators and docstring, so that documentation is never what makes it too
long. Parameters that are command-line options (`Annotated[..., typer.Option(...)]`) do not count: their number is
decided by the interface, and callers never pass them by position.
"""

import ast
import sys
from collections.abc import Iterator

from tools.checks.allowances import Finding, conclude
from tools.checks.commands import Function, is_option, option_aliases, parameters
from tools.checks.repository import PACKAGES, ROOT, repository_files

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_PARAMETERS = 6


def function_lines(function: Function) -> int:
    """Count the lines of a function without its decorators and docstring.

    Args:
        function: the definition.

    Returns:
        Lines from `def` to the end, at least 1.
    """
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    is_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return total - ((first.end_lineno or first.lineno) - first.lineno + 1) if is_docstring else total


def oversized(path: str, source: str, *, check_functions: bool) -> Iterator[tuple[str, int, int]]:
    """Find what exceeds a limit in one file.

    Args:
        path: the file's name, as it appears in keys.
        source: its text.
        check_functions: whether functions are measured, too (tests may have long ones).

    Yields:
        Key (`path lines`, `path::function lines`, `path::function parameters`), size, limit.
    """
    num_lines = len(source.splitlines())
    if num_lines > MAX_FILE_LINES:
        yield f"{path} lines", num_lines, MAX_FILE_LINES
    if not check_functions:
        return
    tree = ast.parse(source)
    aliases = option_aliases(tree)
    for name, function in _functions(tree):
        num_parameters = sum(not is_option(argument, aliases) for argument in parameters(function))
        for quantity, size, limit in (
            ("lines", function_lines(function), MAX_FUNCTION_LINES),
            ("parameters", num_parameters, MAX_PARAMETERS),
        ):
            if size > limit:
                yield f"{path}::{name} {quantity}", size, limit


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if isinstance(child, Function):
                yield name, child
            yield from _functions(child, f"{name}.")
        else:
            yield from _functions(child, prefix)


def main(arguments: list[str]) -> int:
    """Check every Python file of the repository.

    Args:
        arguments: `--record` writes the list of what is too large today anew.

    Returns:
        The exit code.
    """
    found: dict[str, Finding] = {}
    for path in repository_files("*.py"):
        check_functions = path.parts[0] in (*PACKAGES, "tools", "benchmarks")
        source = (ROOT / path).read_text(encoding="utf-8")
        for place, size, limit in oversized(path.as_posix(), source, check_functions=check_functions):
            found[place] = Finding(size=size, message=f"{size}, at most {limit}; split it at a seam")
    return conclude("sizes", found, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
