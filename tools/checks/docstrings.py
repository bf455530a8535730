"""Public functions say what they take, return and raise.

ruff checks that docstrings exist and how they are laid out; this checks what ruff does not. Run by `make check`.
A test states the rule that it holds the code to, so every `test_…` function has a docstring.
The cases, for a public function or method of a public class of our packages:

1. With three parameters or more (besides self), an `Args:` section; with one or two, a sentence may say all of it.
2. With an `Args:` section and a result, a `Returns:` or `Yields:` section.
3. With a `raise` of an exception that it makes itself, a `Raises:` section that names it.

Left out: properties, magic methods, overrides (the base says it), and command-line commands, whose options carry
their help.
"""

import ast
import sys
from collections.abc import Iterator

from tools.checks.allowances import Finding, conclude
from tools.checks.commands import Function, is_option, option_aliases, parameters
from tools.checks.repository import PACKAGES, ROOT, repository_files

MAX_PARAMETERS_IN_A_SENTENCE = 2
EXEMPT_DECORATORS = {"property", "cached_property", "override", "overload", "setter", "getter"}
# A method that a subclass must write, and a broken promise to ourselves, are not part of the interface.
EXEMPT_EXCEPTIONS = {"NotImplementedError", "AssertionError"}


def incomplete(path: str, source: str) -> Iterator[str]:
    """Find the incomplete docstrings of one module.

    Args:
        path: the file's name, for the messages.
        source: its text.

    Yields:
        Place and missing section, such as `controller/plan.py::choose Returns`.
    """
    for name, function in _public_functions(ast.parse(source)):
        docstring = ast.get_docstring(function)
        if docstring is None:
            continue  # ruff says so already
        for missing in _missing_sections(function, docstring):
            yield f"{path}::{name} {missing}"


def unstated_rules(path: str, source: str) -> Iterator[str]:
    """Find the tests of one module that do not say which rule they hold the code to.

    Args:
        path: the file's name, for the messages.
        source: its text.

    Yields:
        Place and `rule`, such as `tests/unit/test_plan.py::test_choice rule`.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and node.name.startswith("test_") and ast.get_docstring(node) is None:
            yield f"{path}::{node.name} rule"


def _public_functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    aliases = option_aliases(tree)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    owners = [("", tree.body), *((f"{owner.name}.", owner.body) for owner in classes)]
    for prefix, body in owners:
        for node in body:
            if isinstance(node, Function) and not node.name.startswith("_") and not _is_exempt(node, aliases):
                yield f"{prefix}{node.name}", node


def _is_exempt(function: Function, aliases: frozenset[str]) -> bool:
    names = {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in function.decorator_list}
    is_command = any(is_option(argument, aliases) for argument in parameters(function))
    return bool(names & EXEMPT_DECORATORS) or is_command


def _missing_sections(function: Function, docstring: str) -> Iterator[str]:
    if len(parameters(function)) > MAX_PARAMETERS_IN_A_SENTENCE and "Args:" not in docstring:
        yield "Args"
    returns = ast.unparse(function.returns) if function.returns else "None"
    has_result = returns not in {"None", "NoReturn", "Never"}
    if has_result and "Args:" in docstring and "Returns:" not in docstring and "Yields:" not in docstring:
        yield "Returns"
    raises = docstring.partition("Raises:")[2]
    for name in sorted(_raised(function)):
        if name not in raises:
            yield f"Raises {name}"


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


def main(arguments: list[str]) -> int:
    """Check the four packages, and the rules that tests state.

    Args:
        arguments: `--record` writes the list of what is incomplete today anew.

    Returns:
        The exit code.
    """
    missing: list[str] = []
    for path in repository_files(*(f"{package}/*.py" for package in PACKAGES)):
        missing += incomplete(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
    for path in repository_files("tests/*.py"):
        missing += unstated_rules(path.as_posix(), (ROOT / path).read_text(encoding="utf-8"))
    found = {place: Finding(size=1, message="its docstring lacks this part") for place in missing}
    return conclude("docstrings", found, arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
