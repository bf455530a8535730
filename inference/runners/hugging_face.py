"""A decoder for local Hugging Face checkpoints: the unmodified model, with slots in place of its cache.

Made for decoder-only models that take a cache, explicit positions and a prepared mask of shape (rows, 1, 1, length):
the Llama family and GPT-2. What a model makes of them is checked before it serves (`inference.runners.self_check`).
Nothing is downloaded and no code of a checkpoint is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, cast

import structlog
import torch
import transformers
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from inference.engine.errors import ModelError
from inference.models.manifest import Manifest
from inference.models.store import max_positions_of
from inference.runners.llama_weights import is_plain_llama, transformer_of
from inference.runners.native import NativeDecoder
from inference.runners.self_check import check_decoder
from inference.runners.torch_runner import Decoder

log = structlog.get_logger(__name__)


class CausalModel(Protocol):
    """What is used of a Hugging Face model."""

    config: Any
    device: torch.device
    dtype: torch.dtype

    def __call__(self, **arguments: object) -> Any:
        """Run the model."""
        ...


class SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, every slot; `SlotCache` tells it where the tokens of this step stand."""

    is_sliding = False

    def __init__(self, num_rows: int, max_positions: int) -> None:
        super().__init__()
        self._num_rows = num_rows
        self._max_positions = max_positions
        self.rows: Tensor | slice = slice(0, 0)
        self.positions: Tensor | slice = slice(0, 0)
        self.length = 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the slots, in the shape that the first keys and values have."""
        _, num_heads, _, width = key_states.shape
        self.keys = key_states.new_zeros(self._num_rows, num_heads, self._max_positions, width)
        width = value_states.shape[-1]
        self.values = value_states.new_zeros(self._num_rows, num_heads, self._max_positions, width)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write keys and values, shape ``(rows, heads, tokens, width)``; return all that the rows may look at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if isinstance(self.positions, slice):
            # Whole sequences from their start: nothing earlier is there to look at.
            self.keys[self.rows, :, self.positions] = key_states
            self.values[self.rows, :, self.positions] = value_states
            return key_states, value_states
        self.keys[self.rows, :, self.positions] = key_states[:, :, 0]
        self.values[self.rows, :, self.positions] = value_states[:, :, 0]
        num_rows = key_states.shape[0]
        return self.keys[:num_rows, :, : self.length], self.values[:num_rows, :, : self.length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length that a mask of the model's own would have; ours is given ready-made."""
        return self.length, 0

    def get_seq_length(self) -> int:
        """Return 0: positions are always given explicitly."""
        return 0

    def get_max_length(self) -> int:
        """Return the longest sequence."""
        return self._max_positions


class HuggingFaceDecoder:
    """An unmodified Hugging Face model with slots.

    Args:
        model: On its device, in its precision, in evaluation mode.
        num_rows: Slots.
        max_positions: Longest sequence.
        first_image_token: Where image tokens begin in the model's vocabulary.
        num_image_tokens: How many there are.
    """

    def __init__(
        self, model: CausalModel, *, num_rows: int, max_positions: int, first_image_token: int, num_image_tokens: int
    ) -> None:
        self._model = model
        self._num_rows = num_rows
        self._max_positions = max_positions
        self.first_image_token = first_image_token
        self._num_image_tokens = num_image_tokens
        self._layers = [SlotLayer(num_rows, max_positions) for _ in range(model.config.num_hidden_layers)]
        self._cache = Cache(layers=self._layers)
        self._rows = torch.arange(num_rows, device=model.device)
        self._causal = torch.ones(max_positions, max_positions, dtype=torch.bool, device=model.device).tril()

    @property
    def num_rows(self) -> int:
        """Slots."""
        return self._num_rows

    @property
    def max_positions(self) -> int:
        """Longest sequence."""
        return self._max_positions

    @property
    def num_image_tokens(self) -> int:
        """Tokens that it can draw."""
        return self._num_image_tokens

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._model.device

    def prefill(self, tokens: Tensor, row: int) -> None:
        """Write keys and values of the first tokens of a sequence, shape ``(time,)``, into a row."""
        length = len(tokens)
        self._point(slice(row, row + 1), slice(0, length), length)
        positions = torch.arange(length, device=tokens.device)
        self._logits(tokens.unsqueeze(0), positions.unsqueeze(0), self._causal[:length, :length])

    def decode(self, tokens: Tensor, positions: Tensor, length: int) -> Tensor:
        """Take a token further in each of the first rows.

        Args:
            tokens: In the model's numbering, shape ``(num_rows,)``.
            positions: Where each stands, same shape.
            length: One more than the greatest position.

        Returns:
            Logits of image tokens, shape ``(num_rows, num_image_tokens)``.
        """
        self._point(self._rows[: len(tokens)], positions, length)
        mask = self._causal[positions, :length].unsqueeze(1)
        return self._logits(tokens.unsqueeze(1), positions.unsqueeze(1), mask)[:, -1]

    def move(self, source: int, target: int) -> None:
        """Copy a row's keys and values over another's."""
        for layer in self._layers:
            if layer.is_initialized:
                layer.keys[target] = layer.keys[source]
                layer.values[target] = layer.values[source]

    def reference(self, tokens: Tensor) -> Tensor:
        """Return the model's own logits of image tokens, shape ``(time, num_image_tokens)``, without any cache."""
        output = self._model(input_ids=tokens.unsqueeze(0), use_cache=False)
        return self._of_image_tokens(output.logits)[0]

    def _point(self, rows: Tensor | slice, positions: Tensor | slice, length: int) -> None:
        for layer in self._layers:
            layer.rows, layer.positions, layer.length = rows, positions, length

    def _logits(self, tokens: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """Run the model; ``visible`` is ``(time, length)`` or ``(rows, time, length)`` and true where one may look."""
        mask = visible[None, None] if visible.dim() == 2 else visible[:, None]
        additive = torch.zeros(mask.shape, dtype=self._model.dtype, device=mask.device)
        additive = additive.masked_fill_(~mask, torch.finfo(self._model.dtype).min)
        output = self._model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=additive,
            past_key_values=self._cache,
            use_cache=True,
        )
        return self._of_image_tokens(output.logits)

    def _of_image_tokens(self, logits: Tensor) -> Tensor:
        return logits[..., self.first_image_token : self.first_image_token + self._num_image_tokens]


def open_hugging_face(
    directory: Path, manifest: Manifest, num_rows: int, *, device: torch.device, dtype: torch.dtype
) -> Decoder:
    """Load a local checkpoint and check that it is decoded as it decodes itself.

    A plain Llama runs on our own network where that passes the check, which is faster; everything else as it is.

    Args:
        directory: Where ``config.json`` and the weights (safetensors) lie.
        manifest: Says which tokens are image tokens.
        num_rows: Slots.
        device: Where it runs.
        dtype: In which precision.

    Returns:
        The decoder.

    Raises:
        ModelError: It cannot be loaded, is too short for the image, or would be decoded wrongly.
    """
    model = _load(directory, dtype).to(device).eval()
    max_positions = max_positions_of(manifest)
    most = getattr(model.config, "max_position_embeddings", max_positions)
    if max_positions > most:
        raise ModelError(f"{directory}: an image takes {max_positions} positions, the model has {most}")
    vocabulary = manifest.vocabulary
    last = vocabulary.first_image_token + len(manifest.grid.patches)
    if last > model.config.vocab_size:
        raise ModelError(
            f"{directory}: image tokens end at {last}, the model's vocabulary at {model.config.vocab_size}"
        )
    decoder = HuggingFaceDecoder(
        cast(CausalModel, model),
        num_rows=num_rows,
        max_positions=max_positions,
        first_image_token=vocabulary.first_image_token,
        num_image_tokens=len(manifest.grid.patches),
    )
    name = f"{directory} ({model.config.model_type})"
    if is_plain_llama(model.config):
        converted = _converted(model, decoder)
        try:
            found = check_decoder(converted, decoder.reference, name=name)
        except ModelError as error:
            log.warning("model.conversion_refused", reason=str(error))
        else:
            log.info("model.checked", runs_on="own network", worst_ratio=found.worst_ratio)
            return converted
    found = check_decoder(decoder, decoder.reference, name=name)
    log.info("model.checked", runs_on="its own layers", worst_ratio=found.worst_ratio)
    return decoder


def _converted(model: Any, decoder: HuggingFaceDecoder) -> NativeDecoder:
    network = transformer_of(
        model,
        max_positions=decoder.max_positions,
        first_image_token=decoder.first_image_token,
        num_image_tokens=decoder.num_image_tokens,
    )
    return NativeDecoder(network, num_rows=decoder.num_rows, first_image_token=decoder.first_image_token)


def _load(directory: Path, dtype: torch.dtype) -> Any:
    try:
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        architecture = (getattr(config, "architectures", None) or [""])[0]
        kind = getattr(transformers, architecture, None) or transformers.AutoModelForCausalLM
        return kind.from_pretrained(
            directory, config=config, dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{directory} cannot be loaded as a causal model: {first_line}") from error
