"""Random numbers that depend on the request alone: the reason why an image does not depend on the batch around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def uniforms(seed: int, image_index: int, num_tokens: int) -> NDArray[np.float64]:
    """Return one number in [0, 1) for each token of an image.

    Philox is counter-based: seed and index are its key, the token's place is its counter. (Salmon et al., "Parallel
    random numbers: as easy as 1, 2, 3", 2011.)

    Args:
        seed: Of the request; any integer, of which the lowest 64 bits count.
        image_index: Which image of the request.
        num_tokens: How many numbers.

    Returns:
        Shape ``(num_tokens,)``.
    """
    key = np.array([seed % 2**64, image_index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(num_tokens)
