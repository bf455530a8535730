"""How long 80,000 GPUs take to update and forecast at ten horizons, and how much memory the models need.

    python benchmarks/thermal_scale.py [--gpus 80000] [--scrape 15] [--samples 24]

Gains are refitted at most every 15 s per GPU, at a phase that is fixed by the GPU's name: with a scrape of 5 s a third
of the fleet is refitted at each update, with 15 s or more all of it. The first rows still learn from nothing and take
the most rounds. Memory is the resident growth of the process from before the model was made to its peak.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

from forecasting.thermal import FleetThermalModel

HORIZONS_SECONDS = np.array([15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 420.0, 600.0, 1200.0, 1800.0])


def resident_bytes() -> float:
    """Return the memory of this process now."""
    return float(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> int:
    """Print update and forecast times of every sample, then the worst and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=80_000)
    parser.add_argument("--scrape", type=float, default=15.0)
    parser.add_argument("--samples", type=int, default=24)
    options = parser.parse_args()
    num_gpus = options.gpus
    random = np.random.default_rng(0)
    before_bytes = resident_bytes()
    model = FleetThermalModel(
        gpus=tuple(f"GPU-{index:08d}" for index in range(num_gpus)),
        power_limit_watts=np.full(num_gpus, 700.0),
        limit_celsius=np.full(num_gpus, 87.0),
    )
    ambient = random.uniform(18.0, 32.0, num_gpus)
    resistance = random.uniform(0.05, 0.08, num_gpus)
    level = random.uniform(80.0, 690.0, num_gpus)
    rise = resistance * level
    updates, forecasts, processor = [], [], []
    for sample in range(options.samples):
        changed = random.random(num_gpus) < 0.2
        level = np.where(changed, random.uniform(80.0, 690.0, num_gpus), level)
        power = np.clip(level + random.normal(0.0, 5.0, num_gpus), 60.0, 700.0)
        rise += (resistance * power - rise) * -np.expm1(-options.scrape / 20.0)
        reading = np.round(ambient + rise + random.normal(0.0, 0.5, num_gpus))
        started, started_processor = time.perf_counter(), time.process_time()
        model.observe(now_seconds=sample * options.scrape, temperature_celsius=reading, power_watts=power)
        updated = time.perf_counter()
        forecast = model.forecast(horizons_seconds=HORIZONS_SECONDS, power_watts=np.full(num_gpus, 690.0))
        finished = time.perf_counter()
        processor.append(time.process_time() - started_processor)
        updates.append(updated - started)
        forecasts.append(finished - updated)
        assert np.isfinite(forecast.temperature_celsius).all()
    total = np.array(updates) + np.array(forecasts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    print(f"{num_gpus} GPUs, {HORIZONS_SECONDS.size} horizons, a sample every {options.scrape:g} s")
    print(f"  update    mean {np.mean(updates):.2f} s, worst {np.max(updates):.2f} s")
    print(f"  forecast  mean {np.mean(forecasts):.2f} s, worst {np.max(forecasts):.2f} s")
    print(f"  both      mean {total.mean():.2f} s, worst {total.max():.2f} s")
    print(f"  processor mean {np.mean(processor):.2f} s, worst {np.max(processor):.2f} s (one thread)")
    print(f"  memory    process peak {peak / 2**20:.0f} MiB, of it {(peak - before_bytes) / 2**20:.0f} MiB for models")
    return 0


if __name__ == "__main__":
    sys.exit(main())
