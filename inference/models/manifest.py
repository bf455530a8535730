"""What a model directory says of its model: the file ``meltguard.json`` beside the weights.

It holds what weights do not: which tokens are image tokens, how they lie in the image and what they look like, and
which words of a prompt mean which token. `Manifest` is the file's schema; `read_manifest` refuses what does not fit.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from inference.engine.errors import ModelError

FILE_NAME = "meltguard.json"
SCHEMA = "meltguard.model/v1"


class Weights(StrEnum):
    """Whose format the weights are in."""

    NATIVE = "native"
    HUGGING_FACE = "hugging_face"


class SizeEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A size that can be asked for; the image is drawn by the grid and enlarged to it.

    Attributes:
        width: Pixels, a multiple of the grid's.
        height: Pixels, enlarged as much as the width.
    """

    width: int
    height: int


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How image tokens lie in an image.

    Attributes:
        columns: Tokens in a row.
        rows: Rows.
        patches: What each token looks like: grey values 0 (black) to 255, by token, then line, then column; all
            patches have one shape. One pixel a token is a pixel model, more a vector-quantised one.
    """

    columns: int
    rows: int
    patches: list[list[list[int]]]

    @property
    def num_tokens(self) -> int:
        """Tokens of an image."""
        return self.columns * self.rows


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tokens mean.

    Attributes:
        first_image_token: Where image tokens begin in the model's numbering.
        words: What a word of a prompt, in lower case, means to the model: one token or several. A prompt must hold
            words of exactly one meaning.
        unconditional: The token that stands for "no prompt"; None where the model was not trained for guidance.
    """

    first_image_token: int
    words: dict[str, list[int]]
    unconditional: int | None = None

    @property
    def max_prompt_tokens(self) -> int:
        """The longest prompt, in tokens."""
        return max(len(tokens) for tokens in self.words.values())


class SamplingDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are chosen where a request does not say; see `inference.engine.requests.Sampling`."""

    temperature: float = 1.0
    top_k: int | None = None
    guidance_scale: float = 1.0


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the weights were made; for the record.

    Attributes:
        data: Which data.
        seed: Of everything random.
        num_steps: Updates.
        held_out_bits_per_token: Negative log likelihood of images that were held out.
    """

    data: str
    seed: int
    num_steps: int
    held_out_bits_per_token: float


class Network(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of a native network; their meaning stands at `inference.models.transformer.TransformerShape`."""

    vocabulary_size: int
    dimension: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_dimension: int
    hidden_dimension: int
    rotary_base: float = 10_000.0
    norm_epsilon: float = 1e-5
    has_position_table: bool = True


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model directory's manifest.

    Attributes:
        schema: ``meltguard.model/v1``.
        name: What requests call the model.
        draws: What it can draw, as a sentence for users.
        weights: In whose format.
        grid: How tokens become pixels.
        vocabulary: What tokens mean.
        sizes: What can be asked for; the first is the default.
        max_guidance_scale: See `ModelDescription`.
        sampling: How tokens are chosen where a request does not say.
        network: The sizes of a native network.
        weights_sha256: Checksum of a native network's file.
        training: How the weights were made.
    """

    schema: str
    name: str
    draws: str
    weights: Weights
    grid: Grid
    vocabulary: Vocabulary
    sizes: list[SizeEntry]
    max_guidance_scale: float = 1.0
    sampling: SamplingDefaults = SamplingDefaults()
    network: Network | None = None
    weights_sha256: str | None = None
    training: Training | None = None


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest of a model directory.

    Args:
        directory: Where the model lies.

    Returns:
        The manifest.

    Raises:
        ModelError: There is none, or it does not fit; names the file, the field and the cure.
    """
    path = directory / FILE_NAME
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ModelError(
            f"{path} does not exist: a model directory needs a manifest that says which tokens are image tokens; "
            f"train the tiny model with `meltguard serve --train-digits`, or write one (docs/how-to/models.md)"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ModelError(f"{path}: {error}") from error
    problem = _problem_of(manifest)
    if problem:
        raise ModelError(f"{path}: {problem}")
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest of a model directory."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (directory / FILE_NAME).write_bytes(text + b"\n")


def _problem_of(manifest: Manifest) -> str | None:
    """Return the first thing that does not fit together, or None."""
    grid, vocabulary = manifest.grid, manifest.vocabulary
    if manifest.schema != SCHEMA:
        return f"schema is {manifest.schema!r}, this version reads {SCHEMA!r}"
    if grid.columns < 1 or grid.rows < 1 or not grid.patches:
        return "grid has no tokens"
    shapes = {(len(patch), *(len(line) for line in patch)) for patch in grid.patches}
    if len(shapes) > 1 or not next(iter(shapes))[0] or len(set(next(iter(shapes))[1:])) != 1:
        return "grid.patches must all have one rectangular shape"
    if any(not 0 <= grey <= 255 for patch in grid.patches for line in patch for grey in line):
        return "grid.patches holds a grey value outside 0..255"
    if not vocabulary.words or not all(vocabulary.words.values()):
        return "vocabulary.words must name at least one word, and at least one token for each"
    if not manifest.sizes:
        return "sizes is empty: no image could be asked for"
    height, width = len(grid.patches[0]) * grid.rows, len(grid.patches[0][0]) * grid.columns
    for size in manifest.sizes:
        factor = size.width // width
        if factor < 1 or (size.width, size.height) != (width * factor, height * factor):
            return f"sizes: {size.width}x{size.height} is no multiple of the grid's {width}x{height} pixels"
    if manifest.weights is Weights.NATIVE and (manifest.network is None or manifest.weights_sha256 is None):
        return "native weights need network and weights_sha256"
    return None
