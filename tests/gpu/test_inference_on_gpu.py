"""On a GPU the engine draws what it draws on a CPU, and the Hugging Face check holds there, too."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from inference.engine.events import FinishedImage, TokenImage  # noqa: E402
from inference.engine.requests import Conditioning, Sampling  # noqa: E402
from inference.engine.settings import EngineSettings  # noqa: E402
from inference.models.digits import DigitKind, train_digits  # noqa: E402
from inference.models.manifest import read_manifest  # noqa: E402
from inference.models.opening import Placement, drawing_model, open_runner  # noqa: E402
from inference.runners.hugging_face import HuggingFaceDecoder  # noqa: E402
from inference.runners.self_check import check_decoder  # noqa: E402
from inference.serving.engines import gpu_in_sight  # noqa: E402
from tests.digit_samples import Judge, draw_digits  # noqa: E402
from tests.inference_samples import VirtualEngine  # noqa: E402
from tests.torch_samples import MAX_POSITIONS, NUM_IMAGE_TOKENS, hugging_face_model  # noqa: E402

pytestmark = pytest.mark.gpu

SAMPLINGS = (Sampling(temperature=0.0), Sampling(), Sampling(top_k=8), Sampling(guidance_scale=2.0))


@pytest.fixture(scope="module")
def cuda() -> str:
    """The device; a machine with a GPU and a CPU build of torch has none."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU: install a CUDA build")
    return "cuda"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained model."""
    path = tmp_path_factory.mktemp("digits")
    train_digits(path, kind=DigitKind.PATCHES)
    return path


def _images(directory: Path, device: str, num_slots: int) -> dict[tuple[str, int], tuple[int, ...]]:
    """Draw with staggered arrivals in float64."""
    manifest = read_manifest(directory)
    settings = EngineSettings(num_slots=num_slots)
    runner = open_runner(directory, manifest, settings, Placement(device=device, precision="float64"))
    model = drawing_model(manifest)
    engine = VirtualEngine(settings, model=model, runner=runner)
    for number in range(24):
        digit = Conditioning(tokens=tuple(manifest.vocabulary.words[str(number % 10)]))
        engine.submit(
            f"{number}",
            conditioning=digit,
            size=model.description.default_size,
            sampling=SAMPLINGS[number % len(SAMPLINGS)],
        )
        for _ in range(number % 5):
            engine.step()
    engine.run()
    return {
        (name, event.image_index): event.content.tokens
        for name in engine.streams
        for event in engine.events(name)
        if isinstance(event, FinishedImage) and isinstance(event.content, TokenImage)
    }


def test_gpu_draws_what_the_cpu_draws(cuda: str, directory: Path) -> None:
    """In float64 every image is the same on CPU and GPU, whatever the batch on either."""
    wanted = _images(directory, "cpu", num_slots=3)
    assert len(wanted) == 24
    assert _images(directory, cuda, num_slots=3) == wanted
    assert _images(directory, cuda, num_slots=16) == wanted


def test_the_guard_finds_its_own_gpu(cuda: str) -> None:
    """Without a word from the device plugin, torch tells which of the exporter's GPUs is ours."""
    pynvml = pytest.importorskip("pynvml", reason="the driver's library is not to be had")
    pynvml.nvmlInit()
    uuids = {
        pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(index))
        for index in range(pynvml.nvmlDeviceGetCount())
    }
    assert gpu_in_sight("auto") in uuids


def test_bfloat16_digits_are_recognised(cuda: str, directory: Path) -> None:
    """In the precision that a GPU serves in by default, digits are recognised as asked."""
    assert Judge().agreement(draw_digits(directory, 500, placement=Placement(device=cuda))) >= 0.9


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_checkpoints_pass_the_check_on_a_gpu(cuda: str, kind: str, dtype: object) -> None:
    """Slots on a GPU give the model's own logits in every precision."""
    model = hugging_face_model(kind).to(dtype).to(cuda).eval()
    decoder = HuggingFaceDecoder(
        model, num_rows=4, max_positions=MAX_POSITIONS, first_image_token=0, num_image_tokens=NUM_IMAGE_TOKENS
    )
    found = check_decoder(decoder, decoder.reference, name=kind)
    assert found.worst_ratio <= found.tolerance_ratio
