"""The packed solvers against dense algebra."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from forecasting.thermal import linear
from forecasting.types import FloatArray


def _pack(dense: FloatArray) -> FloatArray:
    """Pack symmetric systems of shape ``(num_gpus, n, n)``."""
    rows, columns = np.tril_indices(dense.shape[1])
    return np.ascontiguousarray(dense[:, rows, columns].T)


@given(seed=st.integers(0, 10_000), num_unknowns=st.integers(1, 9), num_gpus=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_non_negative_solution_minimises_the_same_problem_as_lawson_hanson(
    seed: int, num_unknowns: int, num_gpus: int
) -> None:
    """Every system reaches the objective of scipy's NNLS, with only the first unknown free in sign."""
    random = np.random.default_rng(seed)
    half = random.normal(size=(num_gpus, 2 * num_unknowns, num_unknowns))
    target = random.normal(size=(num_gpus, 2 * num_unknowns))
    matrix = np.einsum("gki,gkj->gij", half, half) + 1e-3 * np.eye(num_unknowns)
    right = np.einsum("gki,gk->gi", half, target)
    passive = np.zeros((num_unknowns, num_gpus), dtype=np.bool_)
    passive[0] = True
    solution, _ = linear.solve_non_negative(_pack(matrix), right.T.copy(), passive)
    assert (solution[1:] >= 0.0).all()
    for gpu in range(num_gpus):
        lower = np.linalg.cholesky(matrix[gpu]).T
        split = np.hstack([lower, -lower[:, :1]])
        raw, _ = nnls(split, np.linalg.solve(lower.T, right[gpu]))
        expected = raw[:num_unknowns].copy()
        expected[0] -= raw[-1]

        def cost(value: FloatArray, gpu: int = gpu) -> float:
            return float(0.5 * value @ matrix[gpu] @ value - right[gpu] @ value)

        assert cost(solution[:, gpu]) <= cost(expected) + 1e-8 * (1.0 + abs(cost(expected)))


def test_masked_factor_ignores_inactive_unknowns() -> None:
    """An inactive unknown leaves the solution of the others as if it did not exist."""
    dense = np.array([[[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]])
    active = np.array([[True], [False], [True]])
    right = np.array([[1.0], [0.0], [2.0]])
    factor = linear.cholesky(_pack(dense), 3, active)
    solution = linear.solve_upper(factor, linear.solve_lower(factor, right))
    expected = np.linalg.solve(dense[0][np.ix_([0, 2], [0, 2])], [1.0, 2.0])
    np.testing.assert_allclose(solution[[0, 2], 0], expected)
    assert solution[1, 0] == 0.0
