"""Choosing the next token of every row at once: guidance, temperature, top-k, and inversion of the distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChoices:
    """How each row chooses, and what of it any row needs, so that a step without it does not pay for it.

    Attributes:
        temperature: 0 is greedy, shape ``(num_rows,)``.
        top_k: Tokens that may be drawn, shape ``(num_rows,)``; as many as there are where there is no limit.
        guidance_scale: Shape ``(num_rows,)``; 1 where there is no guidance.
        conditional_row: Row whose logits are guided towards, shape ``(num_rows,)``.
        unconditional_row: Row whose logits are guided away from, shape ``(num_rows,)``.
        max_top_k: The greatest limit of a limited row; 0 where no row is limited.
        any_drawn: Whether a row is not greedy.
        any_guided: Whether a row is guided.
    """

    temperature: Tensor
    top_k: Tensor
    guidance_scale: Tensor
    conditional_row: Tensor
    unconditional_row: Tensor
    max_top_k: int
    any_drawn: bool
    any_guided: bool


def choose(logits: Tensor, uniforms: Tensor, choices: RowChoices) -> Tensor:
    """Choose a token in each row.

    Both rows of a guided image get the same logits, ``u + scale * (c - u)`` (Ho and Salimans, "Classifier-free
    diffusion guidance", arXiv 2207.12598, in the form used for tokens), and the same random number, hence the same
    token. A row without guidance is its own pair, which leaves its logits as they are.

    Args:
        logits: Shape ``(num_rows, num_image_tokens)``.
        uniforms: A random number for each row, shape ``(num_rows,)``, float64.
        choices: How.

    Returns:
        Tokens, shape ``(num_rows,)``, int64.
    """
    if choices.any_guided:
        conditional, unconditional = logits[choices.conditional_row], logits[choices.unconditional_row]
        guided = unconditional + choices.guidance_scale.to(logits.dtype).unsqueeze(1) * (conditional - unconditional)
        # x + 1 * (y - x) is not y in floating point: what is not guided stays as it is to the last bit.
        is_guided = (choices.conditional_row != choices.unconditional_row).unsqueeze(1)
        logits = torch.where(is_guided, guided, logits)
    greedy = logits.argmax(dim=-1)
    if not choices.any_drawn:
        return greedy
    is_drawn = choices.temperature > 0.0
    divisor = torch.where(is_drawn, choices.temperature, 1.0).unsqueeze(1)
    scaled = logits.double() / divisor
    if choices.max_top_k:
        scaled = _limited(scaled, choices)
    # In float64, so that the sum over thousands of tokens does not move the boundaries between them.
    cumulative = torch.softmax(scaled, dim=-1).cumsum(dim=-1)
    aimed_at = (uniforms * cumulative[:, -1]).unsqueeze(1)
    drawn = torch.searchsorted(cumulative, aimed_at, right=True).squeeze(1)
    return torch.where(is_drawn, drawn.clamp_(max=logits.shape[1] - 1), greedy)


def _limited(scaled: Tensor, choices: RowChoices) -> Tensor:
    """Rule out all but the most likely tokens of each limited row; those that tie with the last one stay."""
    num_tokens = scaled.shape[1]
    limited = choices.top_k.clamp(max=num_tokens)
    best = scaled.topk(min(choices.max_top_k, num_tokens), dim=-1).values
    last = best.gather(1, (limited - 1).clamp(max=best.shape[1] - 1).unsqueeze(1))
    is_limited = (limited < num_tokens).unsqueeze(1)
    return scaled.masked_fill(is_limited & (scaled < last), float("-inf"))
