"""The tiny model that draws digits: trained from nothing, deterministic, and recognised by somebody else."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from inference.engine.errors import ModelError  # noqa: E402
from inference.models.digits import DigitKind, digit_data, train_digits  # noqa: E402
from inference.models.manifest import read_manifest  # noqa: E402
from inference.models.pictures import PatchCodec  # noqa: E402
from inference.models.store import WEIGHTS_FILE_NAME, read_native, shape_of  # noqa: E402
from inference.models.transformer import KeyValueSlots, Transformer  # noqa: E402
from tests.digit_samples import Judge, draw_digits  # noqa: E402


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_digits_are_recognised_as_asked(tmp_path: Path) -> None:
    """Of 500 digits that the patch model draws by words, a judge trained on real ones recognises nine in ten."""
    lines: list[str] = []
    train_digits(tmp_path, kind=DigitKind.PATCHES, progress=lines.append)
    judge = Judge()
    assert judge.accuracy_on_real > 0.97
    assert judge.agreement(draw_digits(tmp_path, 500)) >= 0.9
    assert lines[-1].startswith("held-out images cost")


@pytest.mark.parametrize("kind", list(DigitKind))
def test_training_is_deterministic(tmp_path: Path, kind: DigitKind) -> None:
    """The same seed gives the same weights, to the byte; another seed gives others."""
    checksums = [
        train_digits(tmp_path / name, kind=kind, seed=seed, num_steps=3).weights_sha256
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert checksums[0] == checksums[1] != checksums[2]


def test_training_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Neither torch's random numbers nor its threads are changed for whoever trains within a server."""
    torch.manual_seed(5)
    before = torch.get_rng_state().clone(), torch.get_num_threads()
    train_digits(tmp_path, kind=DigitKind.PATCHES, num_steps=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]


@pytest.mark.parametrize("kind", list(DigitKind))
def test_tokens_of_digits_paint_the_digits(kind: DigitKind) -> None:
    """Pixels come back exactly from their tokens, patches with a small error."""
    data = digit_data(kind, seed=0)
    codec = PatchCodec(data.grid)
    from inference.models.digits import load_digits

    images, _ = load_digits(0)
    worst = 0.5 if kind is DigitKind.PIXELS else 1.5
    for image, tokens in zip(images[:50], data.tokens[:50], strict=True):
        painted = (255.0 - codec.pixels(tuple(tokens.tolist()))) * 16 / 255
        assert abs(painted - image).mean() < worst


def test_weights_that_are_not_the_manifests_are_refused(tmp_path: Path) -> None:
    """A file that was changed, cut short or removed is refused by its checksum before it is read."""
    train_digits(tmp_path, kind=DigitKind.PATCHES, num_steps=1)
    manifest = read_manifest(tmp_path)
    assert isinstance(read_native(tmp_path, manifest), Transformer)
    file = tmp_path / WEIGHTS_FILE_NAME
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match="checksum differs"):
        read_native(tmp_path, manifest)
    file.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        read_native(tmp_path, manifest)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_decoding_in_slots_is_the_whole_network(tmp_path: Path, dtype: object) -> None:
    """Logits token by token, keys and values cached, are those of whole sequences, prefilled or not."""
    manifest = train_digits(tmp_path, kind=DigitKind.PATCHES, num_steps=20)
    network = read_native(tmp_path, manifest).to(dtype).eval()
    tokens = torch.randint(0, 64, (3, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = network(tokens)
        slots = KeyValueSlots(shape_of(manifest), 3, network.norm)
        for row in range(3):
            network.prefill(tokens[row, : row + 1], slots, row)
        for place in range(3, 16):
            if place == 3:
                for row in range(3):
                    for earlier in range(row + 1, 3):
                        positions = torch.full((3,), earlier)
                        network.decode(tokens[:, earlier], positions, slots, earlier + 1)
            found = network.decode(tokens[:, place], torch.full((3,), place), slots, place + 1)
            tolerance = 1e-12 if dtype is torch.float64 else 1e-5
            assert torch.allclose(found, wanted[:, place], atol=tolerance, rtol=tolerance)
