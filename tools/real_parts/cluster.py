"""A Kubernetes API for a person with kubectl: run by `make cluster`, ends with Ctrl-C."""

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tools.real_parts.control_plane import running_control_plane
from tools.real_parts.processes import RealPartError


def main() -> int:
    """Start the control plane, print how to reach it, and wait for a signal.

    Returns:
        The exit code.
    """
    # Both end it in order, at any moment of the start as well; a shell may have had Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix="meltguard-cluster-"))
    try:
        with running_control_plane(directory, with_controllers=True) as control_plane:
            print(f"export KUBECONFIG={control_plane.kubeconfig}", flush=True)
            print(
                f"cluster: ready at {control_plane.url}; logs in {directory}; Ctrl-C ends it and removes its data",
                file=sys.stderr,
            )
            while True:
                signal.pause()
    except KeyboardInterrupt:
        print("cluster: ended", file=sys.stderr)
    except RealPartError as error:
        print(f"cluster: error: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
