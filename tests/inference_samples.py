"""An engine's core in virtual time on a runner of noise, and requests for it."""

from __future__ import annotations

from inference.engine.core import EngineCore
from inference.engine.events import Event
from inference.engine.pace import StepCurve
from inference.engine.requests import Conditioning, GenerationRequest, ImageSize, Sampling
from inference.engine.runner import DrawingModel, Runner
from inference.engine.settings import EngineSettings
from inference.engine.stream import EventStream
from inference.runners.noise import NoiseRunner, noise_model

SMALL = ImageSize(width=4, height=4)
LARGE = ImageSize(width=8, height=8)
CURVE = StepCurve(base_seconds=0.002, row_seconds=0.0005)


def noise_request(name: str, **changes: object) -> GenerationRequest:
    """Return a request for one small image of noise, with changes."""
    fields: dict[str, object] = {
        "request_id": name,
        "conditioning": Conditioning(tokens=(0,)),
        "size": SMALL,
        "seed": sum(name.encode()),
    }
    return GenerationRequest(**fields | changes)  # type: ignore[arg-type]


GUIDED = Sampling(guidance_scale=2.0)


class VirtualEngine:
    """The core, stepped by hand; time passes only in steps and pauses, at the speed of a curve."""

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        model: DrawingModel | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.settings = settings or EngineSettings(num_slots=4)
        self.now = 0.0
        self.runner = runner or NoiseRunner(num_rows=self.settings.num_slots)
        self.core = EngineCore(model or noise_model((4, 8)), self.settings, self.runner.tokens)
        self.core.speed.start(CURVE)
        self.streams: dict[str, EventStream] = {}
        self.busy_row_seconds = 0.0

    def submit(self, name: str, **changes: object) -> GenerationRequest:
        """Submit a request now."""
        request = noise_request(name, **changes)
        stream = EventStream(request, self.core.give_up)
        self.core.submit(request, stream, self.now)
        self.streams[name] = stream
        return request

    def step(self) -> int:
        """Run one round; returns the rows of its step."""
        started_at = self.now
        work = self.core.begin_step(started_at)
        for move in work.moves:
            self.runner.move(move)
        for pair in work.pairs:
            self.runner.pair(*pair)
        for start in work.starts:
            self.runner.place(start)
        if work.num_rows:
            self.runner.step(work.num_rows)
            seconds = CURVE.seconds(work.num_rows)
            self.now += seconds
            self.core.end_step(work, started_at=started_at, now=self.now)
            self.busy_row_seconds += work.num_rows * seconds
            self.now += seconds * (1.0 / work.duty_ratio - 1.0)
        return work.num_rows

    def run(self, max_steps: int = 10_000) -> int:
        """Step until nothing is left; returns the steps taken."""
        for steps in range(max_steps):
            if not self.core.jobs:
                return steps
            if not self.step():
                return steps
        raise AssertionError(f"not done after {max_steps} steps")

    def events(self, name: str) -> list[Event]:
        """Take everything out of a request's stream."""
        found: list[Event] = []
        while (event := self.streams[name].next_event(0.0)) is not None:
            found.append(event)
        return found
