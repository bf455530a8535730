"""Digits drawn through the engine, and an independent judge of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference.engine.events import Finished, FinishedImage, TokenImage
from inference.engine.requests import GenerationRequest, Sampling
from inference.engine.settings import EngineSettings
from inference.models.digits import NUM_LEVELS, NUM_TRAINING_IMAGES, load_digits
from inference.models.manifest import read_manifest
from inference.models.opening import Placement, open_engine
from inference.models.pictures import PatchCodec

PATIENCE_SECONDS = 100.0


ON_CPU = Placement(device="cpu", precision="float32")


def draw_digits(
    directory: Path, num_images: int, sampling: Sampling | None = None, placement: Placement = ON_CPU
) -> NDArray[np.uint8]:
    """Draw the digits 0 to 9 in turn, by words of three languages, as a client would.

    Args:
        directory: Where the model lies.
        num_images: How many.
        sampling: How; the model's default where it is None.
        placement: Where.

    Returns:
        Grey values, shape ``(num_images, 8, 8)``.
    """
    settings = EngineSettings(num_slots=64, max_queued_requests=num_images, max_queued_tokens=64 * num_images)
    engine = open_engine(str(directory), settings, placement)
    engine.start()
    codec = PatchCodec(read_manifest(directory).grid)
    words = "zero uno dos three quattro cinco 6 seven otto nueve".split()
    handles = [
        engine.submit(
            GenerationRequest(
                request_id=f"{number}",
                conditioning=engine.prompts.read(f"draw {words[number % 10]}"),
                size=engine.model.default_size,
                seed=number,
                sampling=sampling or engine.model.default_sampling,
            )
        )
        for number in range(num_images)
    ]
    drawn = []
    for handle in handles:
        while not isinstance(event := handle.next_event(PATIENCE_SECONDS), Finished):
            assert event is not None, engine.snapshot().failure
            if isinstance(event, FinishedImage):
                assert isinstance(event.content, TokenImage)
                drawn.append(codec.pixels(event.content.tokens))
    assert engine.close(PATIENCE_SECONDS)
    return np.stack(drawn)


class Judge:
    """A support vector machine that learned from real digits and never saw a drawn one."""

    def __init__(self) -> None:
        from sklearn.svm import SVC

        images, digits = load_digits(seed=0)
        flat = images.reshape(len(images), -1)
        self._machine = SVC(gamma=0.001, C=10).fit(flat[:NUM_TRAINING_IMAGES], digits[:NUM_TRAINING_IMAGES])
        self.accuracy_on_real = float(self._machine.score(flat[NUM_TRAINING_IMAGES:], digits[NUM_TRAINING_IMAGES:]))

    def agreement(self, drawn: NDArray[np.uint8]) -> float:
        """Return the share of images, asked for as 0 to 9 in turn, that it recognises as asked."""
        ink = (255.0 - drawn.reshape(len(drawn), -1)) * (NUM_LEVELS - 1) / 255.0
        return float((self._machine.predict(ink) == np.arange(len(drawn)) % 10).mean())
