"""Small symmetric systems, one per GPU, solved for all GPUs at once.

The last axis is always the GPU, so that every scalar step of a textbook algorithm is one vector operation over the
fleet; 80,000 systems of nine unknowns take tens of milliseconds. Symmetric matrices are packed: row ``i``, column
``j <= i`` stands at ``i * (i + 1) / 2 + j``. Called by the fleet model only; it knows nothing about temperature.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forecasting.types import FloatArray

BoolArray = NDArray[np.bool_]

MAXIMUM_PIVOTS = 20
"""Bound on the active-set rounds; nine unknowns need three or four in practice."""

FULL_EXCHANGES = 3
"""Rounds without progress in which all offenders are exchanged, before single exchanges guarantee the end."""

PIVOT_TOLERANCE = 1e-9
"""Values within this distance of zero keep their set; without it rounding makes the exchange cycle."""

SMALLEST_PIVOT = 1e-12
"""Floor of a squared pivot: keeps a nearly singular matrix factorable."""


def packed_index(row: int, column: int) -> int:
    """Return where an element of a symmetric matrix stands in its packed form.

    Args:
        row: Row.
        column: Column; the order of the two does not matter.

    Returns:
        Index into the packed form.
    """
    if column > row:
        row, column = column, row
    return row * (row + 1) // 2 + column


def packed_size(num_unknowns: int) -> int:
    """Return the length of the packed form of a symmetric matrix of that order."""
    return num_unknowns * (num_unknowns + 1) // 2


def add_outer_product(matrix: FloatArray, vector: FloatArray, weight: FloatArray) -> None:
    """Add ``weight * vector vector'`` in place.

    Args:
        matrix: Packed, shape ``(packed_size, num_gpus)``; changed.
        vector: Shape ``(num_unknowns, num_gpus)``.
        weight: Shape ``(num_gpus,)``.
    """
    weighted = vector * weight
    for row in range(vector.shape[0]):
        start = packed_index(row, 0)
        matrix[start : start + row + 1] += weighted[row] * vector[: row + 1]


def multiply(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """Return ``matrix @ vector`` for packed symmetric systems.

    Args:
        matrix: Packed, shape ``(packed_size, num_gpus)``.
        vector: Shape ``(num_unknowns, num_gpus)``.

    Returns:
        Shape ``(num_unknowns, num_gpus)``.
    """
    result = np.zeros_like(vector)
    for row in range(vector.shape[0]):
        start = packed_index(row, 0)
        result[row] += _dot(matrix[start : start + row + 1], vector[: row + 1])
        if row:
            result[:row] += matrix[start : start + row] * vector[row]
    return result


def cholesky(matrix: FloatArray, num_unknowns: int, active: BoolArray | None = None) -> FloatArray:
    """Factor positive definite systems into ``L L'``.

    Args:
        matrix: Packed, shape ``(packed_size, num_gpus)``.
        num_unknowns: Order of each system.
        active: Shape ``(num_unknowns, num_gpus)``; unknowns outside are treated as absent (identity row). None: all.

    Returns:
        Packed lower factor, shape ``(packed_size, num_gpus)``.
    """
    if active is not None:
        matrix = _masked(matrix, active.astype(np.float64))
    factor = np.empty_like(matrix)
    for row in range(num_unknowns):
        first = packed_index(row, 0)
        for column in range(row + 1):
            value = matrix[first + column]
            if column:
                start = packed_index(column, 0)
                value = value - _dot(factor[first : first + column], factor[start : start + column])
            if row == column:
                factor[first + column] = np.sqrt(np.maximum(value, SMALLEST_PIVOT))
            else:
                factor[first + column] = value / factor[packed_index(column, column)]
    return factor


def _masked(matrix: FloatArray, active: FloatArray) -> FloatArray:
    """Return ``matrix`` with identity rows where ``active`` (0 or 1, shape ``(num_unknowns, num_gpus)``) is 0."""
    masked = np.empty_like(matrix)
    for row in range(active.shape[0]):
        start = packed_index(row, 0)
        part = masked[start : start + row + 1]
        np.multiply(matrix[start : start + row + 1], active[: row + 1], out=part)
        part *= active[row]
        part[row] += 1.0 - active[row]
    return masked


def _dot(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the scalar product over the first axis, shape ``(num_gpus,)``, without a temporary product."""
    product: FloatArray = np.einsum("in,in->n", left, right)
    return product


def solve_lower(factor: FloatArray, right: FloatArray) -> FloatArray:
    """Solve ``L y = right``.

    Args:
        factor: Packed lower factor, shape ``(packed_size, num_gpus)``.
        right: Shape ``(num_unknowns, num_gpus)``.

    Returns:
        ``y``, same shape as ``right``.
    """
    solution = np.empty_like(right)
    for row in range(right.shape[0]):
        start = packed_index(row, 0)
        value = right[row]
        if row:
            value = value - _dot(factor[start : start + row], solution[:row])
        solution[row] = value / factor[start + row]
    return solution


def solve_upper(factor: FloatArray, right: FloatArray) -> FloatArray:
    """Solve ``L' y = right``.

    Args:
        factor: Packed lower factor, shape ``(packed_size, num_gpus)``.
        right: Shape ``(num_unknowns, num_gpus)``.

    Returns:
        ``y``, same shape as ``right``.
    """
    solution = right.copy()
    for row in range(right.shape[0] - 1, -1, -1):
        start = packed_index(row, 0)
        solution[row] /= factor[start + row]
        if row:
            solution[:row] -= factor[start : start + row] * solution[row]
    return solution


def solve_non_negative(matrix: FloatArray, right: FloatArray, passive: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Minimise ``y' M y / 2 - right' y`` with every unknown but the first non-negative.

    Block principal pivoting with the backup rule of Kim and Park (SIAM J. Sci. Comput. 33(6), 2011), warm started.

    Args:
        matrix: Packed, positive definite, shape ``(packed_size, num_gpus)``.
        right: Shape ``(num_unknowns, num_gpus)``.
        passive: Which unknowns were free (non-zero) in the last solution, same shape; row 0 must be all True.

    Returns:
        The solution, and which unknowns are free in it.
    """
    num_unknowns, num_gpus = right.shape
    solution = np.zeros_like(right)
    free = passive.copy()
    open_columns = np.arange(num_gpus)
    fewest = np.full(num_gpus, num_unknowns + 1)
    patience = np.full(num_gpus, FULL_EXCHANGES)
    for _ in range(MAXIMUM_PIVOTS):
        part, part_right, part_free = matrix[:, open_columns], right[:, open_columns], free[:, open_columns]
        factor = cholesky(part, num_unknowns, part_free)
        value = solve_upper(factor, solve_lower(factor, np.where(part_free, part_right, 0.0)))
        solution[:, open_columns] = value
        gradient = part_right - multiply(part, value)
        offending = np.where(part_free, value < -PIVOT_TOLERANCE, gradient > PIVOT_TOLERANCE)
        offending[0] = False
        count = offending.sum(axis=0)
        if not count.any():
            break
        best, left = fewest[open_columns], patience[open_columns]
        progress = count < best
        fewest[open_columns] = np.where(progress, count, best)
        patience[open_columns] = np.where(progress, FULL_EXCHANGES, left - 1)
        last_only = np.zeros_like(offending)
        last = num_unknowns - 1 - np.argmax(offending[::-1], axis=0)
        last_only[last, np.arange(last.size)] = True
        exchange = np.where(progress | (left > 0), offending, offending & last_only)
        free[:, open_columns] = part_free ^ exchange
        open_columns = open_columns[count > 0]
    np.maximum(solution[1:], 0.0, out=solution[1:])
    return solution, free
