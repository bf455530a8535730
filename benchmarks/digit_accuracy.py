"""Trains both digit models, draws with them through the engine, and asks an independent classifier what it sees.

The claim: at the default sampling at least 90 % of the digits are recognised as asked. The classifier is a support
vector machine that learned from the same 1,500 real digits and recognises 98 to 99 % of the held-out ones.
``--sheet DIRECTORY`` writes a picture of a hundred digits of each model, for eyes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from inference.engine.requests import Sampling
from inference.models.digits import DigitKind, train_digits
from inference.models.png import grey_png
from tests.digit_samples import Judge, draw_digits

SAMPLINGS = {
    "default": None,
    "temperature 1": Sampling(),
    "temperature 1, guidance 1.5": Sampling(guidance_scale=1.5),
}


def main() -> None:
    """Run the benchmark and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000, help="digits to draw with each sampling")
    parser.add_argument("--sheet", type=Path, default=None, help="where to write a sample sheet of each model")
    options = parser.parse_args()
    judge = Judge()
    report: dict[str, object] = {"classifier_accuracy_on_real": round(judge.accuracy_on_real, 4)}
    for kind in DigitKind:
        with tempfile.TemporaryDirectory() as name:
            began = time.process_time()
            manifest = train_digits(Path(name), kind=kind)
            cpu_seconds = time.process_time() - began
            found = {
                label: judge.agreement(draw_digits(Path(name), options.images, sampling))
                for label, sampling in SAMPLINGS.items()
            }
            if options.sheet is not None:
                write_sheet(options.sheet / f"{kind.value}.png", draw_digits(Path(name), 100))
        assert manifest.training is not None
        report[kind.value] = {
            "training_cpu_seconds": round(cpu_seconds, 1),
            "held_out_bits_per_token": manifest.training.held_out_bits_per_token,
            "recognised_as_asked": {label: round(share, 4) for label, share in found.items()},
        }
    print(json.dumps(report))


def write_sheet(path: Path, drawn: np.ndarray) -> None:
    """Write a hundred digits as one picture, ten in a line, enlarged."""
    framed = np.pad(drawn.reshape(10, 10, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=200)
    sheet = framed.swapaxes(1, 2).reshape(100, 100)
    path.write_bytes(grey_png(sheet.repeat(5, axis=0).repeat(5, axis=1)))


if __name__ == "__main__":
    main()
