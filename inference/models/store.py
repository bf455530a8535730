"""Weights of native networks on disk: a plain dictionary of tensors, read without executing anything."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import msgspec
import torch

from inference.engine.errors import ModelError
from inference.models.manifest import Manifest, Training, write_manifest
from inference.models.transformer import Transformer, TransformerShape

WEIGHTS_FILE_NAME = "weights.pt"


def shape_of(manifest: Manifest) -> TransformerShape:
    """Return the network's sizes: what the manifest names, and what follows from grid and prompt."""
    network = manifest.network
    assert network is not None, "the manifest of a native model was not checked"
    return TransformerShape(
        vocabulary_size=network.vocabulary_size,
        num_image_tokens=len(manifest.grid.patches),
        dimension=network.dimension,
        num_layers=network.num_layers,
        num_heads=network.num_heads,
        num_key_value_heads=network.num_key_value_heads,
        head_dimension=network.head_dimension,
        hidden_dimension=network.hidden_dimension,
        max_positions=max_positions_of(manifest),
        rotary_base=network.rotary_base,
        norm_epsilon=network.norm_epsilon,
        has_position_table=network.has_position_table,
    )


def max_positions_of(manifest: Manifest) -> int:
    """Return the longest sequence that a model reads: a prompt, and every image token but the last."""
    return manifest.vocabulary.max_prompt_tokens + manifest.grid.num_tokens - 1


def write_native(directory: Path, manifest: Manifest, transformer: Transformer, training: Training) -> Manifest:
    """Write weights and manifest, so that an interrupted write leaves the old model or none.

    Args:
        directory: Made where it does not exist.
        manifest: Still without checksum.
        transformer: The network.
        training: How it was made.

    Returns:
        The manifest as it was written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in transformer.state_dict().items()}, buffer)
    data = buffer.getvalue()
    checksum = hashlib.sha256(data).hexdigest()
    complete = msgspec.structs.replace(manifest, weights_sha256=checksum, training=training)
    # The manifest is written last: its checksum fits to the weights only when both are there.
    partial = directory / f"{WEIGHTS_FILE_NAME}.partial"
    partial.write_bytes(data)
    partial.replace(directory / WEIGHTS_FILE_NAME)
    write_manifest(directory, complete)
    return complete


def read_native(directory: Path, manifest: Manifest) -> Transformer:
    """Read a native network.

    Args:
        directory: Where it lies.
        manifest: Its manifest.

    Returns:
        The network, on the CPU in float32.

    Raises:
        ModelError: The file is not there, is not the one of the manifest, or does not fit to it.
    """
    path = directory / WEIGHTS_FILE_NAME
    cure = "train it again with `meltguard serve --train-digits`"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}; {cure}") from error
    if hashlib.sha256(data).hexdigest() != manifest.weights_sha256:
        raise ModelError(f"{path} is not the file that the manifest describes (its checksum differs); {cure}")
    transformer = Transformer(shape_of(manifest))
    try:
        transformer.load_state_dict(torch.load(io.BytesIO(data), weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        first_line = str(error).splitlines()[0]
        raise ModelError(f"{path} does not fit to the manifest: {first_line}; {cure}") from error
    return transformer
