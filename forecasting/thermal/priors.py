"""Where a GPU's first gains come from, best first: own history, slot, fleet, model, class.

The same GPU in the same slot heats as it did yesterday; a new GPU heats like the one before it in that slot; failing
that like its siblings; failing that like its class (40 K at the limit). Pure; called by the exporter at start, by the
command line and by benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from forecasting.thermal.fleet import FleetThermalModel
from forecasting.types import FloatArray, ThermalConfidence


class PriorSource(StrEnum):
    """Which history a prior was taken from."""

    OWN = "own"
    SLOT = "slot"
    FLEET = "fleet"
    MODEL = "model"
    CLASS = "class"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GainRecord:
    """Gains that were fitted once.

    Attributes:
        uuid: GPU UUID (or index, where the source has none).
        slot: Position in the chassis, such as the GPU index or PCI address; empty if unknown.
        gpu_model: Product name; empty if unknown.
        node: Node that it was fitted on; empty if unknown.
        plateau_gains_celsius: Kelvin at the power limit, shape ``(num_tc,)``.
    """

    uuid: str
    slot: str = ""
    gpu_model: str = ""
    node: str = ""
    plateau_gains_celsius: FloatArray


def choose_prior(wanted: GainRecord, records: tuple[GainRecord, ...]) -> tuple[PriorSource, FloatArray | None]:
    """Return the best prior for a GPU and where it came from; None means the class prior.

    Args:
        wanted: The GPU; its own gains are not read.
        records: History. Fleet means same model and slot on other nodes, model the same product anywhere.

    Returns:
        The source, and gains of shape ``(num_tc,)``: the median over the records of that source.
    """
    own = [r for r in records if r.uuid == wanted.uuid and r.slot == wanted.slot]
    slot = [r for r in records if wanted.slot and r.node == wanted.node and r.slot == wanted.slot]
    same_model = [r for r in records if wanted.gpu_model and r.gpu_model == wanted.gpu_model]
    fleet = [r for r in same_model if wanted.slot and r.slot == wanted.slot]
    for source, chosen in (
        (PriorSource.OWN, own),
        (PriorSource.SLOT, slot),
        (PriorSource.FLEET, fleet),
        (PriorSource.MODEL, same_model),
    ):
        if chosen:
            return source, median_gains(np.array([record.plateau_gains_celsius for record in chosen]))
    return PriorSource.CLASS, None


def median_gains(gains: FloatArray) -> FloatArray:
    """Return a typical set of gains: the mean shape, scaled to the median total, shape ``(num_tc,)``.

    The median of each gain alone would lose total: neighbours in the bank take each other's part.
    """
    totals = gains.sum(axis=1)
    mean = gains.mean(axis=0)
    typical: FloatArray = mean * (np.median(totals) / max(float(mean.sum()), 1e-9))
    return typical


def share_gains(models: tuple[FleetThermalModel, ...]) -> int:
    """Give GPUs that never learned the gains of those that did; return how many changed.

    All models must watch the same kind of GPU: the GPUs of one node, or of one log.
    """
    fitted = [m.plateau_gains_celsius[m.confidence == ThermalConfidence.FITTED] for m in models]
    learned = np.concatenate(fitted) if fitted else np.empty((0, 0))
    if learned.shape[0] == 0:
        return 0
    typical = median_gains(learned)
    changed = 0
    for model in models:
        chosen = np.asarray(model.confidence == ThermalConfidence.NONE) & model.started
        model.adopt_prior(chosen=chosen, plateau_gains_celsius=np.tile(typical, (len(model.gpus), 1)))
        changed += int(chosen.sum())
    return changed
