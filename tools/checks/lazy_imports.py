"""The exporter loads the thermal model only when it runs one: no module-level import of forecasting in exporters.

import-linter sees who imports whom, not when; this sees when. Run by `make imports`.
"""

import ast
from collections.abc import Iterator

from tools.checks.repository import ROOT, report, repository_files

PACKAGE = "exporters"
LAZY = "forecasting"
# These belong to the thermal model: they may import it on loading, and nobody else may load them on loading.
LAZY_MODULES = {"exporters.thermal_memory"}


def eager_imports(source: str, package: str) -> Iterator[int]:
    """Find the imports of a package that run when the module is loaded.

    Those for type checkers only, and those inside functions, do not.

    Args:
        source: the module's text.
        package: the top-level package that has to be imported lazily.

    Yields:
        Line numbers.
    """
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom) and (package in _roots(node) or _modules(node) & LAZY_MODULES):
            yield node.lineno
        pending.extend(ast.iter_child_nodes(node))


def _roots(node: ast.Import | ast.ImportFrom) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]} if node.level == 0 else set()
    return {alias.name.split(".")[0] for alias in node.names}


def _modules(node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return every module that an import may name in full, names out of a package included."""
    if isinstance(node, ast.ImportFrom):
        return {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {alias.name for alias in node.names}


def main() -> int:
    """Check every module of the exporter.

    Returns:
        The exit code.
    """
    found = [
        f"{path}:{line}: imports {LAZY} when it is loaded; import it in the function that needs it"
        for path in repository_files(f"{PACKAGE}/*.py")
        if ".".join(path.with_suffix("").parts) not in LAZY_MODULES
        for line in eager_imports((ROOT / path).read_text(encoding="utf-8"), LAZY)
    ]
    return report("lazy imports", found)


if __name__ == "__main__":
    raise SystemExit(main())
