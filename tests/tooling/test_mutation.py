"""The mutation tool: every mutant is another program, and the tree is left as it was."""

from __future__ import annotations

import ast

from tools.mutation import mutants_of

SOURCE = '''"""A module."""


def late(age: float, limit: float = 3.0) -> bool:
    """Return whether it is late."""
    return age - 1 > limit and not False
'''


def test_each_mutant_differs_from_the_source_in_one_place() -> None:
    """Comparisons, operators, truth values and numbers are changed one at a time; docstrings never are."""
    plain = ast.unparse(ast.parse(SOURCE))
    mutants = list(mutants_of("late", SOURCE))
    assert len({mutant.text for mutant in mutants}) == len(mutants) == 7
    for mutant in mutants:
        pairs = zip(plain.splitlines(), mutant.text.splitlines(), strict=True)
        assert sum(before != after for before, after in pairs) == 1
        assert "A module." in mutant.text
        assert mutant.line > 2
