"""A model directory: manifest, words, pictures, and weights that belong to it."""

import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inference.engine.errors import ModelError, UnsupportedPromptError
from inference.engine.events import EncodedImage, TokenImage
from inference.engine.requests import ImageSize
from inference.engine.settings import EngineSettings
from inference.models.manifest import (
    FILE_NAME,
    SCHEMA,
    Grid,
    Manifest,
    Network,
    SizeEntry,
    Vocabulary,
    Weights,
    read_manifest,
    write_manifest,
)
from inference.models.opening import directory_of, drawing_model, open_engine
from inference.models.pictures import BACKGROUND, PatchCodec, WordReader
from inference.models.png import grey_png

PATCHES = [[[0, 50], [100, 150]], [[255, 255], [255, 255]], [[7, 7], [7, 7]]]
MANIFEST = Manifest(
    schema=SCHEMA,
    name="patches",
    draws="dots and lines",
    weights=Weights.NATIVE,
    grid=Grid(columns=3, rows=2, patches=PATCHES),
    vocabulary=Vocabulary(first_image_token=0, words={"dot": [3], "punto": [3], "line": [4, 5]}, unconditional=6),
    sizes=[SizeEntry(width=6, height=4), SizeEntry(width=60, height=40)],
    max_guidance_scale=4.0,
    network=Network(
        vocabulary_size=7,
        dimension=8,
        num_layers=1,
        num_heads=2,
        num_key_value_heads=2,
        head_dimension=4,
        hidden_dimension=8,
    ),
    weights_sha256="0" * 64,
)


def _png_pixels(data: bytes) -> np.ndarray:
    """Read our own greyscale files back, checksums included."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    offset, chunks = 8, {}
    while offset < len(data):
        (length,) = struct.unpack(">I", data[offset : offset + 4])
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
        (checksum,) = struct.unpack(">I", data[offset + 8 + length : offset + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        offset += 12 + length
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (bits, colour, rest) == (8, 0, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), dtype=np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_png_holds_every_pixel(pixels: np.ndarray) -> None:
    """What is written as PNG reads back as it was, whatever the shape."""
    assert np.array_equal(_png_pixels(grey_png(pixels)), pixels)


def test_patches_lie_in_raster_order() -> None:
    """Tokens are painted left to right and line by line, each as its patch; what is missing is white paper."""
    pixels = PatchCodec(MANIFEST.grid).pixels((2, 0, 1, 0))
    white = [BACKGROUND] * 2
    assert pixels.tolist() == [
        [7, 7, 0, 50, *white],
        [7, 7, 100, 150, *white],
        [0, 50, *white, *white],
        [100, 150, *white, *white],
    ]


def test_images_are_enlarged_without_blur() -> None:
    """A larger size repeats each pixel; a file that came encoded goes out as it is."""
    codec = PatchCodec(MANIFEST.grid)
    tokens = (0, 1, 2, 2, 1, 0)
    small = _png_pixels(codec.png(TokenImage(tokens=tokens, size=ImageSize(width=6, height=4))))
    large = _png_pixels(codec.png(TokenImage(tokens=tokens, size=ImageSize(width=60, height=40))))
    assert np.array_equal(large[::10, ::10], small)
    assert np.array_equal(large, small.repeat(10, axis=0).repeat(10, axis=1))
    assert codec.png(EncodedImage(data=b"file")) == b"file"


@pytest.mark.parametrize("prompt", ["a dot", "DOT", "un punto, per favore!", "dot punto"])
def test_words_of_one_meaning_are_understood(prompt: str) -> None:
    """Case, punctuation and language do not matter, and synonyms are no contradiction."""
    assert WordReader(MANIFEST.vocabulary.words, "dots").read(prompt).tokens == (3,)


@pytest.mark.parametrize("prompt", ["", "a cat", "dots", "1dot"])
def test_what_cannot_be_drawn_is_said(prompt: str) -> None:
    """A prompt without a known word is refused, and the message says what can be drawn."""
    with pytest.raises(UnsupportedPromptError, match="this model draws dots and lines; name one"):
        WordReader(MANIFEST.vocabulary.words, MANIFEST.draws).read(prompt)


def test_two_things_at_once_are_refused() -> None:
    """A prompt of two meanings is not guessed at."""
    with pytest.raises(UnsupportedPromptError, match="only one"):
        WordReader(MANIFEST.vocabulary.words, MANIFEST.draws).read("a dot and a line")


def test_manifest_reads_back(tmp_path: Path) -> None:
    """A manifest that is written reads back equal."""
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_engine_knows_of_the_model_what_the_manifest_says() -> None:
    """Sizes, lengths, rows and guidance of the served model come from the manifest."""
    model = drawing_model(MANIFEST)
    assert model.description.tokens_by_size == {
        ImageSize(width=6, height=4): 6,
        ImageSize(width=60, height=40): 6,
    }
    assert model.description.default_size == ImageSize(width=6, height=4)
    assert (model.description.max_prompt_tokens, model.description.max_guidance_scale) == (2, 4.0)
    assert set(model.columns_by_size.values()) == {3}
    assert model.unconditional == 6


WRONG: dict[str, dict[str, object]] = {
    "schema is 'other'": {"schema": "other"},
    "grid has no tokens": {"grid": Grid(columns=0, rows=2, patches=PATCHES)},
    "one rectangular shape": {"grid": Grid(columns=3, rows=2, patches=[[[1]], [[1, 2]]])},
    "outside 0..255": {"grid": Grid(columns=3, rows=2, patches=[[[256]]])},
    "vocabulary.words must": {"vocabulary": Vocabulary(first_image_token=0, words={})},
    "sizes is empty": {"sizes": []},
    "7x4 is no multiple of the grid's 6x4": {"sizes": [SizeEntry(width=7, height=4)]},
    "12x4 is no multiple": {"sizes": [SizeEntry(width=12, height=4)]},
    "native weights need": {"network": None},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, message: str) -> None:
    """A manifest that contradicts itself is refused with file and field."""
    write_manifest(tmp_path, msgspec.structs.replace(MANIFEST, **WRONG[message]))
    with pytest.raises(ModelError, match=rf"{FILE_NAME}: .*{message}"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"schema": "meltguard.model/v1"}', b"\xff\xfe"])
def test_garbage_is_no_manifest(tmp_path: Path, text: bytes) -> None:
    """What is not a manifest is refused in one line, never with a traceback of the parser."""
    (tmp_path / FILE_NAME).write_bytes(text)
    with pytest.raises(ModelError, match=FILE_NAME):
        read_manifest(tmp_path)


def test_missing_models_name_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without a manifest, and digits that are not trained yet, say what to run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert directory_of("digits") == tmp_path / "meltguard" / "models" / "digits"
    with pytest.raises(ModelError, match="--train-digits"):
        open_engine("digits", EngineSettings())
    with pytest.raises(ModelError, match="does not exist"):
        open_engine(str(tmp_path / "nothing"), EngineSettings())
