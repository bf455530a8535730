"""Public functions say what they take, return and raise.

ruff checks that docstrings exist and how they are laid out; this checks what ruff does not. Run by `make check`.
A test states the rule that it holds the code to, so every `test_…` function has a docstring.
The cases, for a public function or method of a public class of our packages:

1. With two parameters or more (besides self), an `Args:` section.
2. With a result and two parameters or more, a `Returns:` or `Yields:` section. A function of one parameter
   often says all of it in one sentence.
3. With a `raise` of an exception that it makes itself, a `Raises:` section that names it.

Left out: properties, magic methods, overrides (the base says it), and command-line commands, whose options carry
their help.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.checks.repository import PACKAGES, ROOT, report, repository_files

EXEMPT_DECORATORS = {"property", "cached_property", "override", "overload", "setter", "getter"}
# A method that a subclass must write, and a broken promise to ourselves, are not part of the interface.
EXEMPT_EXCEPTIONS = {"NotImplementedError", "AssertionError"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def problems_of(path: str, source: str) -> Iterator[str]:
    """Find the incomplete docstrings of one module.

    Args:
        path: the file's name, for the messages.
        source: its text.

    Yields:
        One line per problem, with file and line.
    """
    for function in _public_functions(ast.parse(source)):
        docstring = ast.get_docstring(function)
        if docstring is None:
            continue  # ruff says so already
        for missing in _missing_sections(function, docstring):
            yield f"{path}:{function.lineno}: {function.name}: {missing}"


def unstated_rules(path: str, source: str) -> Iterator[str]:
    """Find the tests of one module that do not say which rule they hold the code to.

    Args:
        path: the file's name, for the messages.
        source: its text.

    Yields:
        One line per problem, with file and line.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and node.name.startswith("test_") and ast.get_docstring(node) is None:
            yield f"{path}:{node.lineno}: {node.name}: state the rule under test in a one-sentence docstring"


def _public_functions(tree: ast.Module) -> Iterator[Function]:
    owners: list[ast.Module | ast.ClassDef] = [tree]
    owners += [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for owner in owners:
        for node in owner.body:
            if isinstance(node, Function) and not node.name.startswith("_") and not _is_exempt(node):
                yield node


def _is_exempt(function: Function) -> bool:
    names = {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in function.decorator_list}
    is_command = any(
        argument.annotation is not None and "typer." in ast.unparse(argument.annotation)
        for argument in [*function.args.args, *function.args.kwonlyargs]
    )
    return bool(names & EXEMPT_DECORATORS) or is_command


def _missing_sections(function: Function, docstring: str) -> Iterator[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    num_parameters = sum(argument.arg not in {"self", "cls"} for argument in arguments)
    if num_parameters >= 2:
        if "Args:" not in docstring:
            yield "its docstring has no Args section"
        returns = ast.unparse(function.returns) if function.returns else "None"
        if returns not in {"None", "NoReturn", "Never"} and "Returns:" not in docstring and "Yields:" not in docstring:
            yield "its docstring has no Returns section"
    raises = docstring.partition("Raises:")[2]
    for name in sorted(_raised(function)):
        if name not in raises:
            yield f"its docstring does not name {name} under Raises"


def _raised(function: Function) -> set[str]:
    names: set[str] = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue  # an inner function raises when it is called, not here
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func).split(".")[-1]
            if name[:1].isupper() and not name.startswith("_") and name not in EXEMPT_EXCEPTIONS:
                names.add(name)
        pending.extend(ast.iter_child_nodes(node))
    return names


def main(packages: list[str]) -> int:
    """Check the packages named on the command line.

    Args:
        packages: top-level folders; none means all of ours.

    Returns:
        The exit code.
    """
    patterns = [f"{package}/*.py" for package in packages or PACKAGES]
    paths: list[Path] = repository_files(*patterns)
    found = [
        problem for path in paths for problem in problems_of(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
    ]
    for path in repository_files("tests/*.py"):
        found += unstated_rules(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
    return report("docstrings", found)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
