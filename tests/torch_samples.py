"""Small random networks, as runners and as plain unbatched decoding to compare them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference.engine.requests import GenerationRequest, ImageSize, ModelDescription, Sampling
from inference.engine.runner import DrawingModel
from inference.models.transformer import Transformer, TransformerShape
from inference.runners.hugging_face import HuggingFaceDecoder
from inference.runners.native import NativeDecoder
from inference.runners.randomness import uniforms
from inference.runners.torch_runner import Decoder

NUM_IMAGE_TOKENS = 20
FIRST_PROMPT_TOKEN = 20
UNCONDITIONAL = 30
VOCABULARY = 31
MAX_PROMPT = 3
SMALL, LARGE = ImageSize(width=3, height=3), ImageSize(width=4, height=4)
MAX_POSITIONS = MAX_PROMPT + LARGE.width * LARGE.height - 1

Logits = Callable[[Tensor], Tensor]
"""Logits of image tokens at every position of one sequence, without batch and without cache."""


@dataclass(frozen=True)
class Sample:
    """A network in one precision: how to run it in slots, and what it says by itself."""

    name: str
    decoder: Callable[[int], Decoder]
    logits: Logits


def sample_model() -> DrawingModel:
    """Return what the engine knows of every sample."""
    sizes = {size: size.width * size.height for size in (SMALL, LARGE)}
    description = ModelDescription(
        name="sample",
        draws="nothing",
        tokens_by_size=sizes,
        default_size=SMALL,
        max_prompt_tokens=MAX_PROMPT,
        max_guidance_scale=5.0,
    )
    return DrawingModel(
        description=description,
        prompts=None,  # type: ignore[arg-type]
        codec=None,  # type: ignore[arg-type]
        columns_by_size={size: size.width for size in sizes},
        unconditional=UNCONDITIONAL,
    )


def native_sample(dtype: torch.dtype, *, num_key_value_heads: int = 4, has_position_table: bool = True) -> Sample:
    """Return a small transformer of ours whose logits are far enough apart to mean something."""
    shape = TransformerShape(
        vocabulary_size=VOCABULARY,
        num_image_tokens=NUM_IMAGE_TOKENS,
        dimension=32,
        num_layers=2,
        num_heads=4,
        num_key_value_heads=num_key_value_heads,
        head_dimension=8,
        hidden_dimension=48,
        max_positions=MAX_POSITIONS,
        has_position_table=has_position_table,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Transformer(shape)
        _sharpen(network)
    network = network.to(dtype).eval()
    return Sample(
        name=f"native, {num_key_value_heads} key heads",
        decoder=lambda num_rows: NativeDecoder(network, num_rows=num_rows),
        logits=lambda tokens: network(tokens.unsqueeze(0))[0],
    )


def hugging_face_sample(kind: str, dtype: torch.dtype) -> Sample:
    """Return a small random checkpoint of the Llama family or GPT-2."""
    model = hugging_face_model(kind).to(dtype).eval()

    def logits(tokens: Tensor) -> Tensor:
        return model(input_ids=tokens.unsqueeze(0), use_cache=False).logits[0, :, :NUM_IMAGE_TOKENS]

    return Sample(name=kind, decoder=lambda num_rows: slots_of(model, num_rows), logits=logits)


def slots_of(model: Any, num_rows: int) -> HuggingFaceDecoder:
    """Return a decoder of a sample checkpoint."""
    return HuggingFaceDecoder(
        model, num_rows=num_rows, max_positions=MAX_POSITIONS, first_image_token=0, num_image_tokens=NUM_IMAGE_TOKENS
    )


def hugging_face_model(kind: str) -> Any:
    """Make a small random model, sharpened like ours."""
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    llama = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "num_key_value_heads": 2} | sizes | ends
    old = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    makers: dict[str, Callable[[], Any]] = {
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**llama)),
        "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(head_dim=8, **llama)),
        "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(sliding_window=None, **llama)),
        "sliding window": lambda: transformers.MistralForCausalLM(
            transformers.MistralConfig(sliding_window=4, **llama)
        ),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(bos_token_id=None, eos_token_id=None, **old)
        ),
        "imagegpt": lambda: transformers.ImageGPTForCausalImageModeling(transformers.ImageGPTConfig(**old)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = makers[kind]()
        _sharpen(model)
    return model


def _sharpen(network: torch.nn.Module) -> None:
    """Spread random weights, so that attention looks somewhere and tokens differ in likelihood."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.3)


@dataclass(frozen=True)
class Choice:
    """A token, and how far the value that decided was from deciding otherwise."""

    token: int
    margin: float


def choice_of(logits: NDArray[np.float64], number: float, sampling: Sampling) -> Choice:
    """Choose a token as the definition says, one row at a time, in float64.

    Args:
        logits: Guided already, shape ``(num_image_tokens,)``.
        number: The random number.
        sampling: How.

    Returns:
        The token, and the distance of the best two logits or of the number to the next boundary.
    """
    if sampling.temperature == 0.0:
        second, first = np.sort(logits)[-2:]
        return Choice(token=int(np.argmax(logits)), margin=float(first - second))
    scaled = logits / sampling.temperature
    margin = np.inf
    if sampling.top_k is not None and sampling.top_k < len(scaled):
        in_order = np.sort(scaled)[::-1]
        margin = in_order[sampling.top_k - 1] - in_order[sampling.top_k]
        scaled = np.where(scaled >= in_order[sampling.top_k - 1], scaled, -np.inf)
    weights = np.exp(scaled - scaled.max())
    boundaries = np.cumsum(weights / weights.sum())
    token = int(np.searchsorted(boundaries, number, side="right"))
    margin = min(margin, float(np.abs(boundaries - number).min()))
    return Choice(token=min(token, len(boundaries) - 1), margin=margin)


def unbatched(logits: Logits, request: GenerationRequest, image_index: int, num_tokens: int) -> list[Choice]:
    """Decode one image by itself: no batch, no cache, whole sequences through the network for every token."""
    prompt, sampling = request.conditioning.tokens, request.sampling
    numbers = uniforms(request.seed, image_index, num_tokens)
    chosen: list[Choice] = []
    with torch.inference_mode():
        for place in range(num_tokens):
            drawn = [choice.token for choice in chosen]
            row = logits(torch.tensor([*prompt, *drawn]))[-1].double().numpy()
            if sampling.guidance_scale != 1.0:
                nothing = [UNCONDITIONAL] * len(prompt)
                without = logits(torch.tensor([*nothing, *drawn]))[-1].double().numpy()
                row = without + sampling.guidance_scale * (row - without)
            chosen.append(choice_of(row, float(numbers[place]), sampling))
    return chosen
