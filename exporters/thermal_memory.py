"""What the node's GPUs have taught the thermal model, kept beyond the model: by GPU and slot, in memory.

``exporters.thermals`` asks it whenever it builds a new model (other GPUs, another power limit, a restart);
``exporters.thermal_state_file`` carries it across restarts. Pure; imported only where the thermal model is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forecasting.thermal import FleetThermalModel
from forecasting.thermal.bank import saturate
from forecasting.thermal.priors import GainRecord, choose_prior
from forecasting.thermal.state import StoredGpu, ThermalState

FITTED = "fitted"
MAX_RECORDS = 256
"""GPUs and slots that are remembered; beyond it, the one that was learned longest ago is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlace:
    """A GPU and where it sits.

    Attributes:
        uuid: Its UUID.
        slot: PCI address, or the index where the source has none.
        gpu_model: Product name; empty if unknown.
    """

    uuid: str
    slot: str
    gpu_model: str


class ThermalMemory:
    """Gains by GPU and slot."""

    def __init__(self, node: str) -> None:
        """Begin without memories, on ``node``."""
        self._node = node
        self._stored: dict[tuple[str, str], StoredGpu] = {}

    def recall(self, state: ThermalState) -> None:
        """Take in what was kept; what is known already is newer and stays."""
        for stored in state.gpus[-MAX_RECORDS:]:
            self._stored.setdefault((stored.record.uuid, stored.record.slot), stored)

    def remember(self, model: FleetThermalModel, places: Sequence[GpuPlace]) -> None:
        """Keep the gains of the GPUs that have proven theirs.

        Args:
            model: The model.
            places: One entry per GPU of the model, in its order.
        """
        gains, confidences = model.plateau_gains_celsius, model.confidence
        for index, place in enumerate(places):
            # A prior that was handed out is no evidence: what it came from stays as it is.
            if str(confidences[index]) != FITTED:
                continue
            key = (place.uuid, place.slot)
            before = self._stored.pop(key, None)
            self._stored[key] = StoredGpu(
                record=GainRecord(
                    uuid=place.uuid,
                    slot=place.slot,
                    gpu_model=place.gpu_model,
                    node=self._node,
                    plateau_gains_celsius=gains[index].copy(),
                ),
                baseline_celsius_per_watt=None if before is None else before.baseline_celsius_per_watt,
                power_limit_watts=float(model.power_limit_watts[index]),
            )
        while len(self._stored) > MAX_RECORDS:
            del self._stored[next(iter(self._stored))]

    def teach(self, model: FleetThermalModel, places: Sequence[GpuPlace]) -> None:
        """Start a new model's GPUs from the best gains that are remembered.

        Args:
            model: The model.
            places: One entry per GPU of the model, in its order.
        """
        gains = model.plateau_gains_celsius.copy()
        chosen = np.zeros(len(places), dtype=np.bool_)
        for index, place in enumerate(places):
            limit = float(model.power_limit_watts[index])
            wanted = GainRecord(
                uuid=place.uuid,
                slot=place.slot,
                gpu_model=place.gpu_model,
                node=self._node,
                plateau_gains_celsius=gains[index],
            )
            records = tuple(
                replace(
                    stored.record,
                    plateau_gains_celsius=gains_at_limit(
                        stored.record.plateau_gains_celsius,
                        from_watts=stored.power_limit_watts or limit,
                        to_watts=limit,
                        saturation=model.settings.saturation,
                    ),
                )
                for stored in self._stored.values()
            )
            _, prior = choose_prior(wanted, records)
            if prior is not None:
                gains[index], chosen[index] = prior, True
        model.adopt_prior(chosen=chosen, plateau_gains_celsius=gains)

    def state(self, *, saved_at_seconds: float, time_constants_seconds: tuple[float, ...]) -> ThermalState | None:
        """Return what to keep; None while nothing is known.

        Args:
            saved_at_seconds: Unix time.
            time_constants_seconds: Of the models.

        Returns:
            The state, the freshest memory last.
        """
        if not self._stored:
            return None
        return ThermalState(
            saved_at_seconds=saved_at_seconds,
            time_constants_seconds=time_constants_seconds,
            gpus=tuple(self._stored.values()),
        )


def gains_at_limit(
    gains: NDArray[np.float64], *, from_watts: float, to_watts: float, saturation: float
) -> NDArray[np.float64]:
    """Return gains for another power limit of the same heat sink: the plateau at the new limit stays the same.

    Gains count kelvin at the limit, so a model with another limit needs ``G s(P_new / P_old)``, with ``s`` the
    saturation of ``forecasting.thermal.bank``.

    Args:
        gains: Kelvin at ``from_watts``, shape ``(num_tc,)``.
        from_watts: Limit at which they hold, > 0.
        to_watts: Limit of the new model, > 0.
        saturation: Concavity of heat over power, 0..1.

    Returns:
        Kelvin at ``to_watts``, shape ``(num_tc,)``.
    """
    scaled: NDArray[np.float64] = gains * saturate(np.array([to_watts / from_watts]), saturation)
    return scaled
