"""Refuses worlds that cannot be: a simulator is only evidence when it keeps its own books.

Called after every step by :class:`controller.simulator.world.World`; tested by corrupting worlds on purpose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from controller.errors import InconsistentWorldError
from forecasting.types import FloatArray

if TYPE_CHECKING:
    from controller.simulator.world import World, WorldStep

COUNT_TOLERANCE = 1e-6
"""Relative slack of sums of requests, for float rounding."""
COLDEST_CELSIUS = -30.0
HOTTEST_CELSIUS = 200.0


def check_world(world: World, step: WorldStep, capacity_per_second: FloatArray) -> None:
    """Check the state after one step.

    Args:
        world: The world.
        step: What the step reported.
        capacity_per_second: Requests that each region could finish a second in the step, shape ``(num_regions,)``.

    Raises:
        InconsistentWorldError: Naming the first broken rule and the virtual time.
    """
    fleet, cloud = world.fleet, world.cloud
    budget = capacity_per_second * world.scenario.step_seconds
    waiting = world.service.queue
    books = world.offered_total - world.settled_total - waiting
    slack = COUNT_TOLERANCE * (1.0 + world.offered_total)
    counts = (step.offered, step.limited, step.served, step.dropped, step.abandoned, waiting)
    temperatures = np.concatenate([fleet.die_celsius, fleet.sink_celsius, world.fleet.inlet_celsius])
    rules = {
        "every offered request is served, limited, dropped, abandoned or waiting": bool(np.all(np.abs(books) <= slack)),
        "no count is negative or not a number": all(bool(np.all(count >= -1e-9)) for count in counts),
        "no region serves more than its GPUs can": bool(
            np.all(step.served.sum(axis=1) <= budget * (1.0 + COUNT_TOLERANCE) + 1e-9)
        ),
        "temperatures are physical": bool(np.all((temperatures > COLDEST_CELSIUS) & (temperatures < HOTTEST_CELSIUS))),
        "no GPU draws more than its limit": bool(np.all(fleet.power_watts <= world.scenario.gpu.limit_watts + 1e-9)),
        "a GPU without power draws none": bool(np.all(fleet.power_watts[~world.serving_gpus()] == 0.0)),
        "a GPU that shut down stays off": not bool(np.any(fleet.powered & fleet.shut_down)),
        "pools keep their bounds": all(
            cloud.num_serving(index) + cloud.num_pending(index) <= pool.max_nodes
            for index, pool in enumerate(cloud.pools)
        ),
        "no slot is both serving and on its way": not any(cloud.serving[order.slot] for order in cloud.orders),
        "virtual time moves": step.seconds > -world.scenario.lead_in_seconds,
    }
    for rule, holds in rules.items():
        if not holds:
            raise InconsistentWorldError(f"after {step.seconds:.0f} s: broken rule: {rule}")
