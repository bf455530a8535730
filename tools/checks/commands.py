"""Which parameters are command-line options, for checks that treat them apart. Used by `sizes` and `docstrings`."""

import ast

Function = ast.FunctionDef | ast.AsyncFunctionDef


def option_aliases(tree: ast.Module) -> frozenset[str]:
    """Return the module's own names for annotations of options, such as `Output = Annotated[Format, Option()]`."""
    return frozenset(
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and _describes_option(ast.unparse(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
    )


def is_option(argument: ast.arg, aliases: frozenset[str]) -> bool:
    """Return whether a parameter is an option or argument of a command.

    The annotation says so itself, or by one of the module's aliases.
    """
    text = ast.unparse(argument.annotation) if argument.annotation else ""
    return _describes_option(text) or text in aliases


def parameters(function: Function) -> list[ast.arg]:
    """Return the parameters that a caller names, without `self` and `cls`."""
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [argument for argument in every if argument.arg not in {"self", "cls"}]


def _describes_option(text: str) -> bool:
    return text.startswith("Annotated[") and ("Option(" in text or "Argument(" in text)
