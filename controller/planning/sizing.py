"""Prices node counts: what they cost against the requests that they let through, over everything that may come.

Called by :mod:`controller.planning.region` and :mod:`controller.planning.scale_in`. A node takes minutes to come, a
limit seconds: so a node count is judged as if every shortage and every heat were met by the mildest limit in time (the
recourse of a two-stage stochastic programme; Birge and Louveaux, Introduction to Stochastic Programming, 2011). What
such limits refuse, at its price and over equally likely courses of demand, is what the nodes are worth.
"""

from __future__ import annotations

import numpy as np

from controller.planning.search import RegionGround, RegionProblem
from forecasting.types import FloatArray

RECOURSE_FACTOR = 1.6
"""Refusals for each request that finds no capacity: about a third of the refused try again and are refused again, and
limits, which come in steps and are left late, refuse some more than they must (measured in replays: up to a quarter).
"""
_TINY = 1e-12
"""Keeps divisions by a capacity of zero finite."""


class RegionSizing:
    """Prices of node counts in one region; what they share is computed once.

    Args:
        problem: The region.
        ground: Its nodes and heat, from :func:`~controller.planning.search.region_ground`.

    Attributes:
        serving_nodes: Nodes of each pool that serve without further orders, shape ``(num_pools, num_steps)``.
    """

    def __init__(self, problem: RegionProblem, ground: RegionGround) -> None:
        """Take nodes, heat and prices."""
        self._problem = problem
        self.serving_nodes = ground.serving_nodes
        self._heat = ground.heat
        self._margin_celsius = max((view.spec.margin_target_celsius for view in problem.pools), default=0.0)
        self._gpus_per_node = np.array([view.spec.gpus_per_node for view in problem.pools], dtype=np.float64)
        self._prices = np.array([view.spec.cost_per_node_hour for view in problem.pools], dtype=np.float64)

    def cost(self, extra_nodes: FloatArray) -> FloatArray:
        """Return what node counts cost over the horizon, paid while they serve.

        Args:
            extra_nodes: Serving nodes beyond those known, negative for fewer, shape
                ``(num_options, num_pools, num_steps)``.

        Returns:
            Cost, in the policy's currency, shape ``(num_options,)``.
        """
        paid: FloatArray = extra_nodes.sum(axis=2) @ self._prices * (self._problem.policy.step_seconds / 3600.0)
        return paid

    def refused_harm(self, extra_nodes: FloatArray) -> FloatArray:
        """Return the mean price of the requests that must be refused, the lowest priority first.

        Args:
            extra_nodes: As :meth:`cost` takes them.

        Returns:
            Harm, in the policy's currency, shape ``(num_options,)``.
        """
        policy = self._problem.policy
        gpus = np.einsum("ops,p->os", self.serving_nodes[None] + extra_nodes, self._gpus_per_node)
        capacity = np.maximum(gpus, 0.0)[:, None] / policy.capacity.gpu_seconds_per_request
        scenarios = self._problem.demand.scenarios
        offered = scenarios.sum(axis=1)[None]
        wished = np.minimum(offered / np.maximum(capacity, _TINY), 1.0)
        load = self._bearable(wished)
        left = np.maximum(offered - load * capacity, 0.0)
        harm = np.zeros(gpus.shape[0])
        for index in sorted(range(len(policy.tiers)), key=lambda index: policy.tiers[index].priority):
            refused = np.minimum(left, scenarios[None, :, index])
            price = RECOURSE_FACTOR * policy.tiers[index].harm_per_limited_request * policy.step_seconds
            harm += refused.sum(axis=(1, 2)) * price / len(scenarios)
            left = left - refused
        return harm

    def _bearable(self, wished: FloatArray) -> FloatArray:
        """Return the load that keeps the margin, shape ``(num_options, num_scenarios, num_steps)`` like the wish."""
        if self._heat is None:
            return wished
        flat = wished.reshape(-1, wished.shape[2])
        # Most wishes are borne in full, and one product shows it; only the others are cut step by step.
        hot = self._heat.margin_celsius(flat).min(axis=1) < self._margin_celsius
        borne = flat.copy()
        if hot.any():
            borne[hot] = self._heat.bearable_load(flat[hot], margin_celsius=self._margin_celsius)
        return borne.reshape(wished.shape)
