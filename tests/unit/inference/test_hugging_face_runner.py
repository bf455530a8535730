"""Local Hugging Face checkpoints: served where they are decoded as they decode themselves, refused where not."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from inference.engine.errors import ModelError  # noqa: E402
from inference.engine.events import FinishedImage, TokenImage  # noqa: E402
from inference.engine.requests import Conditioning, Sampling  # noqa: E402
from inference.engine.settings import EngineSettings  # noqa: E402
from inference.models.manifest import SCHEMA, Grid, Manifest, SizeEntry, Vocabulary, Weights, write_manifest  # noqa: E402
from inference.models.opening import Placement, open_runner  # noqa: E402
from inference.runners import llama_weights  # noqa: E402
from inference.runners.hugging_face import HuggingFaceDecoder, open_hugging_face  # noqa: E402
from inference.runners.native import NativeDecoder  # noqa: E402
from inference.runners.self_check import check_decoder  # noqa: E402
from inference.runners.torch_runner import TorchRunner  # noqa: E402
from tests.inference_samples import VirtualEngine  # noqa: E402
from tests.torch_samples import (  # noqa: E402
    FIRST_PROMPT_TOKEN,
    LARGE,
    NUM_IMAGE_TOKENS,
    hugging_face_model,
    sample_model,
    slots_of,
)

SERVED = ("llama", "qwen3", "mistral", "gpt2")
PRECISE = Placement(device="cpu", precision="float64")
SETTINGS = EngineSettings(num_slots=4)


def _manifest(directory: Path, kind: str) -> Manifest:
    """Save a small random checkpoint with its manifest."""
    hugging_face_model(kind).double().save_pretrained(directory)
    manifest = Manifest(
        schema=SCHEMA,
        name=kind,
        draws="dots",
        weights=Weights.HUGGING_FACE,
        grid=Grid(columns=4, rows=4, patches=[[[grey]] for grey in range(NUM_IMAGE_TOKENS)]),
        vocabulary=Vocabulary(first_image_token=0, words={"dots": [FIRST_PROMPT_TOKEN, FIRST_PROMPT_TOKEN + 1]}),
        sizes=[SizeEntry(width=4, height=4)],
    )
    write_manifest(directory, manifest)
    return manifest


@pytest.mark.parametrize("kind", SERVED)
def test_checkpoints_draw_what_generate_draws(kind: str) -> None:
    """Greedy images in float64 are those of the library's own `generate`, with staggered admission over few slots."""
    model = hugging_face_model(kind).double().eval()
    runner = TorchRunner(slots_of(model, 3), max_image_tokens=LARGE.width * LARGE.height)
    engine = VirtualEngine(EngineSettings(num_slots=3), model=sample_model(), runner=runner)
    prompts = [(20 + number, 21 + number // 2)[: 1 + number % 2] for number in range(8)]
    for number, prompt in enumerate(prompts):
        engine.submit(
            f"{number}", conditioning=Conditioning(tokens=prompt), size=LARGE, sampling=Sampling(temperature=0.0)
        )
        for _ in range(3):
            engine.step()
    engine.run()
    only_image_tokens = [token for token in range(model.config.vocab_size) if token >= NUM_IMAGE_TOKENS]
    for number, prompt in enumerate(prompts):
        [image] = [found for found in engine.events(f"{number}") if isinstance(found, FinishedImage)]
        assert isinstance(image.content, TokenImage)
        wanted = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            min_new_tokens=16,
            max_new_tokens=16,
            suppress_tokens=only_image_tokens,
        )
        assert image.content.tokens == tuple(wanted[0, len(prompt) :].tolist())


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_right_models_pass_the_check_with_room(kind: str, dtype: object) -> None:
    """Models that are decoded rightly stay three times below the tolerance, at every position, in every precision."""
    decoder = slots_of(hugging_face_model(kind).to(dtype).eval(), 2)
    found = check_decoder(decoder, decoder.reference, name=kind)
    assert found.worst_ratio * 3 < found.tolerance_ratio
    assert found.num_positions > decoder.max_positions


@pytest.mark.parametrize("kind", ["imagegpt", "sliding window"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_models_that_would_draw_nonsense_are_refused(kind: str, dtype: object) -> None:
    """A model that reads mask or slots in its own way fails by its numbers, by name, with a way out."""
    decoder = slots_of(hugging_face_model(kind).to(dtype).eval(), 2)
    with pytest.raises(ModelError, match=rf"{kind} would be decoded wrongly.*--upstream"):
        check_decoder(decoder, decoder.reference, name=kind)


def test_a_model_that_breaks_in_slots_is_refused() -> None:
    """An error inside a model during the check refuses it in one line; it is no crash."""
    decoder = slots_of(hugging_face_model("gpt2").double().eval(), 2)

    def broken(tokens: object) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(ModelError, match="cannot be decoded in slots: RuntimeError: shapes do not match"):
        check_decoder(decoder, broken, name="gpt2")


def test_a_local_checkpoint_is_opened_and_checked(tmp_path: Path) -> None:
    """A directory with weights and manifest becomes a runner; nothing is fetched."""
    manifest = _manifest(tmp_path, "llama")
    runner = open_runner(tmp_path, manifest, SETTINGS, PRECISE)
    assert (runner.num_rows, runner.max_positions) == (4, 17)


def test_plain_llama_runs_on_our_network_and_agrees_with_its_own(tmp_path: Path) -> None:
    """A plain Llama is converted; its logits stay those of the model that it came from (but for its float32 angles)."""
    manifest = _manifest(tmp_path, "llama")
    placed = {"device": torch.device("cpu"), "dtype": torch.float64}
    decoder = open_hugging_face(tmp_path, manifest, 2, **placed)
    assert isinstance(decoder, NativeDecoder)
    theirs = slots_of(hugging_face_model("llama").double().eval(), 2)
    assert check_decoder(decoder, theirs.reference, name="converted").worst_ratio < 1e-5


def test_a_conversion_that_does_not_agree_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the converted network says something else, the unmodified model serves."""
    manifest = _manifest(tmp_path, "llama")
    monkeypatch.setattr(llama_weights, "as_neighbours", lambda weight, head_dimension: weight)
    placed = {"device": torch.device("cpu"), "dtype": torch.float64}
    assert isinstance(open_hugging_face(tmp_path, manifest, 2, **placed), HuggingFaceDecoder)


def test_imagegpt_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    """A checkpoint that the library loads, but that slots would decode wrongly, is not served."""
    manifest = _manifest(tmp_path, "imagegpt")
    with pytest.raises(ModelError, match="would be decoded wrongly"):
        open_runner(tmp_path, manifest, SETTINGS, PRECISE)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    """A manifest beside nothing, or beside something that is no model, is refused in one line."""
    manifest = _manifest(tmp_path, "llama")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as a causal model"):
        open_runner(tmp_path, manifest, SETTINGS, PRECISE)


def test_a_vocabulary_that_is_too_small_is_refused(tmp_path: Path) -> None:
    """Image tokens beyond the model's vocabulary are refused with both numbers."""
    manifest = _manifest(tmp_path, "llama")
    late = Vocabulary(first_image_token=25, words=manifest.vocabulary.words)
    import msgspec

    with pytest.raises(ModelError, match="image tokens end at 45, the model's vocabulary at 31"):
        open_runner(tmp_path, msgspec.structs.replace(manifest, vocabulary=late), SETTINGS, PRECISE)
