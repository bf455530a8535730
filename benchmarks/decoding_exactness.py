"""How many images come out otherwise beside others than by themselves: every runner, float64 and float32.

Random small networks, staggered arrivals, cancellations, greedy, drawn, limited and guided images; each image is
compared with plain decoding of it alone, without batch and without cache. The claim: never in float64; in float32 only
where the deciding values differ by less than 1e-4, and those images are counted here.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from inference.engine.requests import Conditioning, Sampling
from tests.exactness_samples import SAMPLES, Arrival, near_ties
from tests.torch_samples import FIRST_PROMPT_TOKEN, LARGE, SMALL

NEAR_TIE = 1e-4


def main() -> None:
    """Run the benchmark and print one JSON document; fails at the first image that differs and may not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200, help="images for each runner and precision, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the requests")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, dict[str, int]] = {}
    for name, make in SAMPLES.items():
        for dtype, tolerance in ((torch.float64, 0.0), (torch.float32, NEAR_TIE)):
            generator = random.Random(options.seed)
            sample, num_images, num_ties = make(dtype), 0, 0
            while num_images < options.images:
                compared, ties = near_ties(sample, plan_of(generator), tolerance)
                num_images += compared
                num_ties += ties
            report[f"{name}, {str(dtype).removeprefix('torch.')}"] = {"images": num_images, "near_ties": num_ties}
            print(f"{name}, {dtype}: {num_ties} near ties in {num_images} images", file=sys.stderr, flush=True)
    print(json.dumps(report))


def plan_of(generator: random.Random) -> list[Arrival]:
    """Return eight requests that arrive one after another."""
    return [
        (
            generator.randrange(8),
            {
                "conditioning": Conditioning(
                    tokens=tuple(FIRST_PROMPT_TOKEN + generator.randrange(10) for _ in range(generator.randint(1, 3)))
                ),
                "size": generator.choice([SMALL, LARGE]),
                "seed": generator.getrandbits(64),
                "num_images": generator.randint(1, 2),
                "sampling": Sampling(
                    temperature=generator.choice([0.0, 0.7, 1.0, 1.5]),
                    top_k=generator.choice([None, None, 1, 5]),
                    guidance_scale=generator.choice([1.0, 1.0, 2.5]),
                ),
            },
            generator.random() < 0.1,
        )
        for _ in range(8)
    ]


if __name__ == "__main__":
    main()
