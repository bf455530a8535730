"""Plain Llama checkpoints on our own network: the same numbers, without the layers of a general library around them.

Only what our blocks compute is taken over; anything else stays with the Hugging Face model. That the two agree is not
taken on trust: the self-check compares the converted network with the model that it came from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inference.models.transformer import Transformer, TransformerShape

MODEL_TYPE = "llama"


def is_plain_llama(config: Any) -> bool:
    """Say whether our blocks compute what a Hugging Face configuration describes."""
    rotary = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == MODEL_TYPE
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and rotary.get("rope_type", "default") == "default"
    )


def transformer_of(model: Any, *, max_positions: int, first_image_token: int, num_image_tokens: int) -> Transformer:
    """Convert a plain Llama model; its head keeps only the image tokens.

    Args:
        model: A Hugging Face model whose configuration is plain.
        max_positions: Longest sequence.
        first_image_token: Where image tokens begin in its vocabulary.
        num_image_tokens: How many there are.

    Returns:
        The network, on the model's device and in its precision; it reads tokens in the model's numbering.
    """
    config = model.config
    head_dimension = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shape = TransformerShape(
        vocabulary_size=config.vocab_size,
        num_image_tokens=num_image_tokens,
        dimension=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dimension=head_dimension,
        hidden_dimension=config.intermediate_size,
        max_positions=max_positions,
        rotary_base=float((config.rope_parameters or {}).get("rope_theta", 10_000.0)),
        norm_epsilon=config.rms_norm_eps,
        has_position_table=False,
    )
    transformer = Transformer(shape)
    theirs = model.state_dict()
    last = first_image_token + num_image_tokens
    ours = {
        "embedding.weight": theirs["model.embed_tokens.weight"],
        "norm": theirs["model.norm.weight"],
        "head.weight": model.get_output_embeddings().weight[first_image_token:last],
    }
    for index in range(shape.num_layers):
        layer, block = f"model.layers.{index}.", f"blocks.{index}."
        query = as_neighbours(theirs[f"{layer}self_attn.q_proj.weight"], head_dimension)
        key = as_neighbours(theirs[f"{layer}self_attn.k_proj.weight"], head_dimension)
        value = theirs[f"{layer}self_attn.v_proj.weight"]
        gate, up = theirs[f"{layer}mlp.gate_proj.weight"], theirs[f"{layer}mlp.up_proj.weight"]
        ours |= {
            f"{block}query_key_value.weight": torch.cat([query, key, value]),
            f"{block}attention_output.weight": theirs[f"{layer}self_attn.o_proj.weight"],
            f"{block}gate_up.weight": torch.cat([gate, up]),
            f"{block}down.weight": theirs[f"{layer}mlp.down_proj.weight"],
            f"{block}attention_norm": theirs[f"{layer}input_layernorm.weight"],
            f"{block}feed_norm": theirs[f"{layer}post_attention_layernorm.weight"],
        }
    transformer.load_state_dict(ours)
    return transformer.to(device=model.device, dtype=model.dtype)


def as_neighbours(weight: Tensor, head_dimension: int) -> Tensor:
    """Reorder a projection's outputs: Hugging Face rotates pairs half a head apart, we rotate neighbours.

    Args:
        weight: Shape ``(num_heads * head_dimension, dimension)``.
        head_dimension: Width of a head.

    Returns:
        The same shape.
    """
    halves = weight.view(-1, 2, head_dimension // 2, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)
