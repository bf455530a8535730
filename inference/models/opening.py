"""From a model's name to an engine that serves it; what the front calls. Imports torch only in the engine's thread."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inference.engine.engine import Engine
from inference.engine.errors import ModelError
from inference.engine.requests import ImageSize, ModelDescription, Sampling
from inference.engine.runner import DrawingModel, Runner
from inference.engine.settings import EngineSettings
from inference.models.manifest import FILE_NAME, Manifest, Weights, read_manifest
from inference.models.pictures import PatchCodec, WordReader

if TYPE_CHECKING:
    import torch

DIGITS = "digits"
PRECISIONS = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and in which precision a model runs.

    Attributes:
        device: A torch device, or ``auto`` for the GPU where there is one.
        precision: A torch type, or ``auto`` for bfloat16 on a GPU and float32 elsewhere.
    """

    device: str = "auto"
    precision: str = "auto"


def directory_of(model: str) -> Path:
    """Return where a model lies: ``digits`` in the user's cache, anything else is a path."""
    if model != DIGITS:
        return Path(model)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "meltguard" / "models" / DIGITS


def open_engine(model: str, settings: EngineSettings, placement: Placement = Placement()) -> Engine:
    """Make an engine for a model; its `start` loads and checks the weights.

    Args:
        model: ``digits`` or a model directory.
        settings: Bounds.
        placement: Where it runs.

    Returns:
        The engine, not started.

    Raises:
        ModelError: There is no such model, or its manifest does not fit.
    """
    directory = directory_of(model)
    if model == DIGITS and not (directory / FILE_NAME).exists():
        raise ModelError(
            "the digit model is not trained yet; run `meltguard serve --train-digits` or `make model` (about a minute)"
        )
    manifest = read_manifest(directory)
    drawing = drawing_model(manifest, created=int((directory / FILE_NAME).stat().st_mtime))
    return Engine(drawing, lambda: open_runner(directory, manifest, settings, placement), settings)


def drawing_model(manifest: Manifest, *, created: int = 0) -> DrawingModel:
    """Return what an engine knows of a model.

    Args:
        manifest: The model's.
        created: When it was made, in unix seconds.

    Returns:
        The model without its runner.
    """
    sizes = [ImageSize(width=size.width, height=size.height) for size in manifest.sizes]
    defaults = manifest.sampling
    description = ModelDescription(
        name=manifest.name,
        draws=manifest.draws,
        tokens_by_size=dict.fromkeys(sizes, manifest.grid.num_tokens),
        default_size=sizes[0],
        max_prompt_tokens=manifest.vocabulary.max_prompt_tokens,
        created=created,
        max_guidance_scale=manifest.max_guidance_scale if manifest.vocabulary.unconditional is not None else 1.0,
        default_sampling=Sampling(
            temperature=defaults.temperature, top_k=defaults.top_k, guidance_scale=defaults.guidance_scale
        ),
    )
    return DrawingModel(
        description=description,
        prompts=WordReader(manifest.vocabulary.words, manifest.draws),
        codec=PatchCodec(manifest.grid),
        columns_by_size=dict.fromkeys(sizes, manifest.grid.columns),
        unconditional=manifest.vocabulary.unconditional,
    )


def open_runner(directory: Path, manifest: Manifest, settings: EngineSettings, placement: Placement) -> Runner:
    """Load a model and make it ready to run.

    Args:
        directory: Where it lies.
        manifest: Its manifest.
        settings: Rows and threads.
        placement: Where it runs.

    Returns:
        The runner.

    Raises:
        ModelError: The weights cannot be read, torch is missing, or the device does not exist.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise ModelError("generating needs torch; install it with `pip install 'meltguard[inference]'`") from None
    from inference.runners.torch_runner import Decoder, TorchRunner

    device, dtype = _placed(placement)
    if device.type == "cpu":
        torch.set_num_threads(settings.num_threads)
    decoder: Decoder
    if manifest.weights is Weights.NATIVE:
        from inference.models.store import read_native
        from inference.runners.native import NativeDecoder

        transformer = read_native(directory, manifest).to(device=device, dtype=dtype)
        decoder = NativeDecoder(transformer, num_rows=settings.num_slots)
    else:
        from inference.runners.hugging_face import open_hugging_face

        decoder = open_hugging_face(directory, manifest, settings.num_slots, device=device, dtype=dtype)
    return TorchRunner(decoder, max_image_tokens=manifest.grid.num_tokens)


def _placed(placement: Placement) -> tuple[torch.device, torch.dtype]:
    import torch

    precisions = {name: getattr(torch, name) for name in PRECISIONS}
    has_gpu = torch.cuda.is_available()
    name = placement.device if placement.device != "auto" else ("cuda" if has_gpu else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is not a torch device; use auto, cpu or cuda") from None
    if device.type == "cuda" and not has_gpu:
        raise ModelError("device cuda: torch sees no GPU here; use --device cpu, or install a CUDA build of torch")
    wanted = placement.precision if placement.precision != "auto" else _default_precision(device)
    if wanted not in precisions:
        raise ModelError(f"precision {wanted!r} is unknown; use auto or one of {', '.join(PRECISIONS)}")
    return device, precisions[wanted]


def _default_precision(device: torch.device) -> str:
    return "bfloat16" if device.type == "cuda" else "float32"
