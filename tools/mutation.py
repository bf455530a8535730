"""Mutation run over the planner's rules: how many small defects do the tests notice?

    python -m tools.mutation [--modules stability,ladder,...] [--tests PATH ...] [--sample 60] [--seed 0]

`make mutation` is this. All mutants are some hundreds and a survivor costs the whole of the tests, so a sample with a
fixed seed is run by default; ``--sample 0`` runs them all.

Changes one operator, comparison or constant at a time in a copy of the tree, runs the planner's unit tests on it and
counts the mutants that they kill. Survivors are printed with their place, to be killed by a new test or to be argued.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLANNING = Path("controller/planning")
MODULES = ("ladder", "stability", "region", "scale_in", "remember", "recall", "evidence", "inputs")
TESTS = (
    "tests/unit/planning",
    "tests/properties/test_scale_in_laws.py",
    "tests/properties/test_plan_sizing.py",
    "tests/properties/test_plan_laws.py",
)
"""In the order in which they are tried: the quick ones first."""
TIMEOUT_SECONDS = 240.0
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed module: its name, the line of the change, what it was, and its whole text."""

    module: str
    line: int
    what: str
    text: str


def mutants_of(module: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module.

    Args:
        module: Its name.
        source: Its text.

    Yields:
        One mutant for each operator, comparison, truth value and number outside of docstrings.
    """
    tree = ast.parse(source)
    for index, node in enumerate(ast.walk(tree)):
        changed = copy.deepcopy(tree)
        what = _mutate(list(ast.walk(changed))[index])
        if what:
            yield Mutant(module=module, line=getattr(node, "lineno", 0), what=what, text=ast.unparse(changed))


def _mutate(node: ast.AST) -> str:
    """Change one node in place; return what was done, empty for a node that is left alone."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        old, new = type(node.ops[0]), COMPARISONS[type(node.ops[0])]
        node.ops[0] = new()
        return f"{old.__name__} to {new.__name__}"
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        before, after = type(node.op), OPERATORS[type(node.op)]
        node.op = after()
        return f"{before.__name__} to {after.__name__}"
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return "and to or, or back"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(op=ast.Not(), operand=node.operand)
        return "not dropped"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return "truth value turned"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value = node.value + 1
        return "number raised by one"
    return ""


def is_killed(mutant: Mutant, tree: Path, tests: Sequence[str] = TESTS) -> bool:
    """Return whether the tests fail on a mutant.

    Args:
        mutant: The mutant.
        tree: A copy of the tree; the module is restored afterwards.
        tests: Which tests are run.

    Returns:
        True when a test fails, an import breaks, or the tests never end.
    """
    path = tree / PLANNING / f"{mutant.module}.py"
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(original, encoding="utf-8")
    return done.returncode != 0


def main() -> None:
    """Run and print the score; exits 1 below the share that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", default=",".join(MODULES))
    parser.add_argument("--tests", nargs="*", default=list(TESTS), help="tests that may kill, the quick ones first")
    parser.add_argument("--sample", type=int, default=60, help="mutants, drawn evenly from all of them; 0 takes all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=float, default=0.85, help="share that must be killed")
    options = parser.parse_args()
    found = [
        mutant
        for module in options.modules.split(",")
        for mutant in mutants_of(module, (ROOT / PLANNING / f"{module}.py").read_text(encoding="utf-8"))
    ]
    chosen = random.Random(options.seed).sample(found, min(options.sample or len(found), len(found)))
    killed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("controller", "forecasting", "inference", "exporters", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        for number, mutant in enumerate(chosen, start=1):
            dead = is_killed(mutant, tree, options.tests)
            killed += dead
            if not dead:
                print(f"survived: {PLANNING / mutant.module}.py:{mutant.line}: {mutant.what}", flush=True)
            elif number % 10 == 0:
                print(f"{number} of {len(chosen)}", file=sys.stderr, flush=True)
    share = killed / max(len(chosen), 1)
    print(f"{killed} of {len(chosen)} mutants killed ({share:.0%}), drawn from {len(found)}")
    sys.exit(0 if share >= options.least else 1)


if __name__ == "__main__":
    main()
