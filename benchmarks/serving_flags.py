"""How long a flag change takes to reach admission: by file, and by the operator's sync stream.

Run it with `python benchmarks/serving_flags.py [--changes 40]`. A pod serves the stand-in engine; each change closes or
opens the region for the free tier, and requests are sent in a row until the first that is answered by the new flag. The
time from the end of the write (or from handing the set to the stream) to that answer is taken. Prints one JSON line:
bounds are 1 s by file and 250 ms by sync, for every single change.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from controller.adapters.flags.sync_server import SyncServer, SyncSettings
from inference.stepped.engine import SteppedEngine
from tests.flag_documents import flag_document, write_flags
from tests.inference_server import RunningServer, running_server

GIVE_UP_SECONDS = 10.0


def delays(server: RunningServer, hand_over: Callable[[str], None], num_changes: int) -> list[float]:
    """Change the flag so often; return the seconds until admission answered by it."""
    found = []
    for number in range(num_changes):
        is_closed = number % 2 == 0
        values = {"image_generation_enabled": False} if is_closed else {}
        hand_over(flag_document(number + 2, **values))
        began = time.perf_counter()
        while (server.draw(user=f"user-{number}-{time.perf_counter_ns()}").status == 403) != is_closed:
            assert time.perf_counter() - began < GIVE_UP_SECONDS, "the change did not arrive"
        found.append(time.perf_counter() - began)
        # Not in step with the looks at the file.
        time.sleep(0.05 + 0.013 * (number % 11))
    return found


def publish(sync: SyncServer, text: str) -> None:
    """Hand a set to the stream."""
    sync.publish(text, int(json.loads(text)["metadata"]["revision"]))


def summary(seconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile and maximum in seconds."""
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(ordered[max(int(len(ordered) * share) - 1, 0)], 4) for name, share in at.items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--changes", type=int, default=40, help="changes of each kind")
    num_changes = parser.parse_args().changes
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "flags.json"
        path.write_text(flag_document(1))
        engine = SteppedEngine(tokens_per_second=100_000.0)
        with running_server(engine, flags=str(path)) as server:
            by_file = delays(server, lambda text: write_flags(path, text), num_changes)
    sync = SyncServer(SyncSettings(listen="127.0.0.1:0", fresh_seconds=600.0))
    port = sync.start()
    sync.publish(flag_document(1), 1)
    engine = SteppedEngine(tokens_per_second=100_000.0)
    with running_server(engine, flags=f"grpc://127.0.0.1:{port}") as server:
        server.wait(lambda: server.server.pod.provider.state().revision == 1)
        by_sync = delays(server, lambda text: publish(sync, text), num_changes)
    sync.stop()
    print(json.dumps({"changes": num_changes, "file_seconds": summary(by_file), "sync_seconds": summary(by_sync)}))


if __name__ == "__main__":
    main()
