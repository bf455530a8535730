"""The start-up check of a decoder: its logits, step by step in slots, against the model's own over whole sequences.

A model may accept a slot cache and a mask and yet read them differently from what they mean (ImageGPT flattens any mask
and takes it for padding); it then draws plausible nonsense without an error. So every model that is not ours proves
first that two sequences, begun at different times in different rows and moved once, give the logits that it gives
itself without any cache. Logits are compared, not tokens: a near tie is no fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engine.errors import ModelError
from inference.runners.torch_runner import Decoder

TOLERANCES = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.25}
"""Largest accepted difference, as a share of the standard deviation of the logits, by precision.

Wrong decoding shows at about one. In float64 room is left for models whose own rotary angles are float32 (1e-6).
"""
PREFILLED_TOKENS = 3
HEAD_START_STEPS = 2
SEED = 0
CURE = "serve it with its own server behind --upstream URL instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCheck:
    """What the check found.

    Attributes:
        worst_ratio: Largest difference of a logit, as a share of the standard deviation of the logits.
        tolerance_ratio: What is accepted.
        num_positions: Positions compared.
    """

    worst_ratio: float
    tolerance_ratio: float
    num_positions: int


Reference = Callable[[Tensor], Tensor]
"""Logits of image tokens at every position, shape ``(length, num_image_tokens)``, of tokens of shape ``(length,)``."""


@torch.inference_mode()
def check_decoder(decoder: Decoder, reference: Reference, *, name: str) -> SelfCheck:
    """Compare a decoder with its model, over the whole length that a sequence can have.

    Args:
        decoder: With at least three rows' room; its rows are free before and after.
        reference: The model itself, without a cache.
        name: Of the model, for the message.

    Returns:
        What was found.

    Raises:
        ModelError: The decoder would draw something else than the model.
    """
    generator = torch.Generator().manual_seed(SEED)
    first, second = decoder.first_image_token, decoder.first_image_token + decoder.num_image_tokens
    shape = (2, decoder.max_positions)
    sequences = torch.randint(first, second, shape, generator=generator).to(decoder.device)
    try:
        wanted = [reference(sequence) for sequence in sequences]
        found = _in_slots(decoder, sequences)
    # Whatever a foreign model stumbles over when it is given slots, it is not fit to be served from them.
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{name} cannot be decoded in slots: {type(error).__name__}: {error}; {CURE}") from error
    spread = torch.cat(wanted).double().std().clamp_min(1e-12)
    worst = 0.0
    num_positions = 0
    for sequence, logits in enumerate(found):
        for position, row in logits.items():
            difference = (row.double() - wanted[sequence][position].double()).abs().max() / spread
            # Not a number is the worst of all.
            worst = max(worst, float(difference)) if bool(torch.isfinite(difference)) else float("inf")
            num_positions += 1
    tolerance = TOLERANCES.get(wanted[0].dtype, TOLERANCES[torch.float32])
    if not worst <= tolerance:
        raise ModelError(
            f"{name} would be decoded wrongly: its logits in slots differ from its own by {worst:.2g} standard "
            f"deviations, {tolerance:g} are accepted; {CURE}"
        )
    return SelfCheck(worst_ratio=worst, tolerance_ratio=tolerance, num_positions=num_positions)


def _in_slots(decoder: Decoder, sequences: Tensor) -> list[dict[int, Tensor]]:
    """Decode two sequences: the second begins later and prefilled; the first ends early, and the second moves."""
    length = decoder.max_positions
    num_prefilled = min(PREFILLED_TOKENS, length - 1)
    found: list[dict[int, Tensor]] = [{}, {}]
    places = [0, 0]
    # Row by row, which sequence is there; the first of them alone, then both, then the second alone in row 0.
    rows = [0]
    while rows:
        if rows == [0] and places[0] == HEAD_START_STEPS and places[1] == 0:
            decoder.prefill(sequences[1, :num_prefilled], 1)
            places[1] = num_prefilled
            rows = [0, 1]
        if len(rows) == 2 and (places[0] >= length - 1 or places[1] >= length - 1):
            decoder.move(1, 0)
            rows = [1]
        positions = torch.tensor([places[sequence] for sequence in rows], device=decoder.device)
        tokens = sequences[torch.tensor(rows, device=decoder.device), positions]
        logits = decoder.decode(tokens, positions, int(positions.max()) + 1)
        for row, sequence in enumerate(rows):
            found[sequence][places[sequence]] = logits[row].clone()
            places[sequence] += 1
        rows = [sequence for sequence in rows if places[sequence] < length] if len(rows) == 1 else rows
    return found
