"""Sizes and times of the lab: a surge of March 2025's kind, with minutes in place of hours."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACE = "meltguard-lab"
POOL = "eu-lab"
REGION = "eu"
POLICY = "images"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabSettings:
    """How the lab runs.

    Attributes:
        with_meltguard: Whether the operator acts; else it only reports (advisory).
        num_nodes: Nodes at the start, and the least there may be.
        max_nodes: The most there may be.
        gpus_per_node: GPUs of a node; one inference process uses them all.
        boot_seconds: From an order to the start of a node's processes.
        tokens_per_second_per_gpu: Speed of the stand-in engine.
        tokens_per_image: Of its pictures of 8 by 8.
        idle_watts: Power of a GPU without work.
        busy_watts: Power of a GPU that is fully used.
        ambient_celsius: Of a hot aisle: at full power for long, a GPU passes its slowdown temperature.
        celsius_per_watt: Rise of the die above it.
        time_constant_seconds: Of that rise; short, as everything here is.
        calm_seconds: Standing users alone, before the surge.
        surge_seconds: Sign-ups.
        after_seconds: Standing users and the last of the new ones, after the surge.
        requests_per_second: Of the standing users.
        signups_per_second: During the surge.
        requests_per_signup: Mean requests of a new user.
        pause_seconds: Mean pause between two of them.
        kill_every_seconds: A process chosen at random is killed this often; None kills nothing.
        seed: Of users and of what is killed.
    """

    with_meltguard: bool = True
    num_nodes: int = 2
    max_nodes: int = 4
    gpus_per_node: int = 2
    boot_seconds: float = 10.0
    tokens_per_second_per_gpu: int = 128
    tokens_per_image: int = 64
    idle_watts: float = 75.0
    busy_watts: float = 690.0
    ambient_celsius: float = 54.0
    celsius_per_watt: float = 0.06
    time_constant_seconds: float = 30.0
    calm_seconds: float = 30.0
    surge_seconds: float = 50.0
    after_seconds: float = 90.0
    requests_per_second: float = 2.4
    signups_per_second: float = 4.0
    requests_per_signup: float = 3.0
    pause_seconds: float = 4.0
    kill_every_seconds: float | None = None
    seed: int = 2025

    @property
    def total_seconds(self) -> float:
        """Length of the play."""
        return self.calm_seconds + self.surge_seconds + self.after_seconds

    @property
    def node_tokens_per_second(self) -> int:
        """Speed of a node's inference process."""
        return self.tokens_per_second_per_gpu * self.gpus_per_node


SHORT = LabSettings(calm_seconds=15.0, surge_seconds=35.0, after_seconds=70.0)
"""A play for tests: the same surge, cut to what the loop needs to close."""
