"""Trains the tiny model that draws digits, so that a pod really generates without any download.

The data are scikit-learn's 1,797 handwritten digits of 8x8 pixels and 17 grey levels. The network learns the tokens in
raster order after a token that names the digit, and one time in ten after one that names none, for guidance. Two kinds:
a pixel model (64 tokens of 17 levels) and a vector-quantised one (16 tokens, each one of 64 patches of 2x2 pixels that
k-means found). Deterministic: seeds and numbers of steps decide, not the clock.

`meltguard serve --train-digits` and `make model` call `train_digits`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from inference.engine.errors import ModelError
from inference.models.manifest import (
    SCHEMA,
    Grid,
    Manifest,
    Network,
    SamplingDefaults,
    SizeEntry,
    Training,
    Vocabulary,
    Weights,
)
from inference.models.opening import DIGITS, directory_of
from inference.models.store import shape_of, write_native
from inference.models.transformer import Transformer

NUM_DIGITS = 10
NUM_LEVELS = 17
NUM_CODES = 64
NUM_TRAINING_IMAGES = 1500
UNCONDITIONAL_SHARE = 0.1
BATCH_SIZE = 32
WARM_UP_STEPS = 50
HIGHEST_LEARNING_RATE = 3e-3
ENLARGED_SIDES = (8, 64, 256, 1024)
DRAWS = "the digits 0 to 9"

WORDS = (
    ("0", "zero", "cero"),
    ("1", "one", "uno"),
    ("2", "two", "dos", "due"),
    ("3", "three", "tres", "tre"),
    ("4", "four", "cuatro", "quattro"),
    ("5", "five", "cinco", "cinque"),
    ("6", "six", "seis", "sei"),
    ("7", "seven", "siete", "sette"),
    ("8", "eight", "ocho", "otto"),
    ("9", "nine", "nueve", "nove"),
)
"""Words for each digit, in English, Spanish and Italian."""


class DigitKind(StrEnum):
    """Which digit model."""

    PIXELS = "pixels"
    PATCHES = "patches"


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitPlan:
    """How one kind is trained.

    Attributes:
        num_steps: Updates.
        dimension: Width of the network.
        num_layers: Blocks.
        hidden_dimension: Width inside the feed-forward part.
        temperature: With which it draws by default.
    """

    num_steps: int
    dimension: int
    num_layers: int
    hidden_dimension: int
    temperature: float


PLANS = {
    DigitKind.PIXELS: DigitPlan(num_steps=900, dimension=64, num_layers=3, hidden_dimension=176, temperature=0.8),
    DigitKind.PATCHES: DigitPlan(num_steps=900, dimension=48, num_layers=2, hidden_dimension=128, temperature=0.8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitData:
    """Digits as tokens, training images first.

    Attributes:
        tokens: Shape ``(num_images, tokens of an image)``.
        digits: What each shows, shape ``(num_images,)``.
        grid: How tokens become pixels.
    """

    tokens: Tensor
    digits: Tensor
    grid: Grid


def load_digits(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scikit-learn's digits in an order that a seed decides.

    Returns:
        Ink 0..16, shape ``(1797, 8, 8)``, and the digits, shape ``(1797,)``; the first 1,500 are for training.

    Raises:
        ModelError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise ModelError("training needs scikit-learn; install it with `pip install 'meltguard[inference]'`") from None
    bunch = datasets.load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.images))
    return bunch.images[order], bunch.target[order].astype(np.int64)


def digit_data(kind: DigitKind, seed: int) -> DigitData:
    """Return the digits as tokens of one kind of model."""
    images, digits = load_digits(seed)
    levels = torch.from_numpy(images).long()
    if kind is DigitKind.PIXELS:
        greys = [[[_grey(float(level))]] for level in range(NUM_LEVELS)]
        tokens, grid = levels.flatten(1), Grid(columns=8, rows=8, patches=greys)
    else:
        tokens, grid = _patch_tokens(images, seed)
    return DigitData(tokens=tokens, digits=torch.from_numpy(digits), grid=grid)


def _patch_tokens(images: NDArray[np.float64], seed: int) -> tuple[Tensor, Grid]:
    from sklearn.cluster import KMeans

    patches = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(len(images), 16, 4)
    training = patches[:NUM_TRAINING_IMAGES].reshape(-1, 4)
    means = KMeans(NUM_CODES, n_init=1, random_state=seed).fit(training)
    tokens = torch.from_numpy(means.predict(patches.reshape(-1, 4)).astype(np.int64)).view(len(images), 16)
    codes = [[[_grey(a), _grey(b)], [_grey(c), _grey(d)]] for a, b, c, d in means.cluster_centers_.tolist()]
    return tokens, Grid(columns=4, rows=4, patches=codes)


def _grey(ink: float) -> int:
    """Return the grey value of an amount of ink, 0..16: no ink is white."""
    return 255 - round(ink * 255 / (NUM_LEVELS - 1))


def digit_manifest(kind: DigitKind, data: DigitData, plan: DigitPlan) -> Manifest:
    """Return the manifest of a digit model that is about to be trained.

    Args:
        kind: Which one.
        data: Its tokens.
        plan: Its sizes.

    Returns:
        The manifest, without checksum and record of the training.
    """
    num_codes = len(data.grid.patches)
    return Manifest(
        schema=SCHEMA,
        name="digits" if kind is DigitKind.PIXELS else f"digits-{kind.value}",
        draws=DRAWS,
        weights=Weights.NATIVE,
        grid=data.grid,
        vocabulary=Vocabulary(
            first_image_token=0,
            words={word: [num_codes + digit] for digit, words in enumerate(WORDS) for word in words},
            unconditional=num_codes + NUM_DIGITS,
        ),
        sizes=[SizeEntry(width=side, height=side) for side in ENLARGED_SIDES],
        max_guidance_scale=5.0,
        sampling=SamplingDefaults(temperature=plan.temperature),
        network=Network(
            vocabulary_size=num_codes + NUM_DIGITS + 1,
            dimension=plan.dimension,
            num_layers=plan.num_layers,
            num_heads=4,
            num_key_value_heads=4,
            head_dimension=plan.dimension // 4,
            hidden_dimension=plan.hidden_dimension,
        ),
    )


def train_digits(
    directory: Path,
    *,
    kind: DigitKind = DigitKind.PIXELS,
    seed: int = 0,
    num_steps: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Train a digit model and write it; about a minute on one core for pixels, a quarter of that for patches.

    Args:
        directory: Where to; an older model there is replaced.
        kind: Which one.
        seed: Of the data's order, the first weights and the updates.
        num_steps: Updates, instead of the plan's.
        progress: Told a line now and then.

    Returns:
        The manifest as it was written.
    """
    began_at = time.monotonic()
    plan = PLANS[kind]
    data = digit_data(kind, seed)
    manifest = digit_manifest(kind, data, plan)
    num_threads = torch.get_num_threads()
    # One thread: sums in another order would be another model, and the steps are too small to share.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            transformer = Transformer(shape_of(manifest))
            steps = num_steps or plan.num_steps
            _train(transformer, data, steps, progress)
            bits = held_out_bits(transformer, data)
    finally:
        torch.set_num_threads(num_threads)
    progress(f"held-out images cost {bits:.3f} bits a token; took {time.monotonic() - began_at:.0f} s")
    record = Training(data="scikit-learn digits", seed=seed, num_steps=steps, held_out_bits_per_token=round(bits, 4))
    return write_native(directory, manifest, transformer, record)


def _train(transformer: Transformer, data: DigitData, num_steps: int, progress: Callable[[str], None]) -> None:
    optimizer = torch.optim.AdamW(
        transformer.parameters(), lr=HIGHEST_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.1
    )
    transformer.train()
    order = torch.empty(0, dtype=torch.int64)
    for step in range(num_steps):
        # Up in a straight line, then down along a cosine.
        rise = min(1.0, (step + 1) / WARM_UP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = HIGHEST_LEARNING_RATE * rise * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        if len(order) < BATCH_SIZE:
            order = torch.randperm(NUM_TRAINING_IMAGES)
        batch, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        is_named = torch.rand(BATCH_SIZE) >= UNCONDITIONAL_SHARE
        loss = _loss(transformer, data, batch, torch.where(is_named, data.digits[batch], NUM_DIGITS))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            progress(f"step {step + 1} of {num_steps}: {loss.item() / math.log(2):.3f} bits a token")
    transformer.eval()


def _loss(transformer: Transformer, data: DigitData, batch: Tensor, names: Tensor) -> Tensor:
    tokens = data.tokens[batch]
    named = (names + transformer.shape.num_image_tokens).unsqueeze(1)
    logits = transformer(torch.cat([named, tokens[:, :-1]], dim=1))
    return functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())


@torch.inference_mode()
def held_out_bits(transformer: Transformer, data: DigitData) -> float:
    """Return the mean negative log likelihood of the images that were not trained on, in bits a token."""
    batch = torch.arange(NUM_TRAINING_IMAGES, len(data.tokens))
    return float(_loss(transformer, data, batch, data.digits[batch])) / math.log(2)


def main(arguments: list[str]) -> int:
    """Train the digit model where `meltguard serve` looks for it; `make model` calls this.

    Args:
        arguments: The directory, if not that one, and the kind, if not pixels.

    Returns:
        The exit code.
    """
    directory = Path(arguments[0]) if arguments else directory_of(DIGITS)
    kind = DigitKind(arguments[1]) if len(arguments) > 1 else DigitKind.PIXELS
    train_digits(directory, kind=kind, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(directory)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
