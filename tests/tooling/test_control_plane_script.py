import hashlib
import os
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "build_control_plane.sh"
BINARIES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
COMMANDS = (
    "bash",
    "chmod",
    "curl",
    "cut",
    "dirname",
    "flock",
    "id",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sha256sum",
    "uname",
)
CONTENT = b"#!/bin/sh\necho downloaded\n"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path):
    """A mirror of the official downloads on loopback, and the folder behind it."""
    folder = tmp_path / "mirror" / "v1.29.15" / "bin" / "linux" / "amd64"
    folder.mkdir(parents=True)
    (tmp_path / "mirror" / "v1.29.15" / "bin" / "linux" / "arm64").symlink_to(folder)
    for name in BINARIES:
        (folder / name).write_bytes(CONTENT)
        (folder / f"{name}.sha256").write_text(hashlib.sha256(CONTENT).hexdigest())
    handler = partial(QuietHandler, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def find(tmp_path, *arguments, **variables):
    """Run the script where nothing can be installed: no apt-get on PATH, an empty cache."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    for name in COMMANDS:
        if not (tools / name).exists():
            (tools / name).symlink_to(
                next(path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists())
            )
    environment = {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)} | variables
    return subprocess.run(
        ["bash", SCRIPT, *arguments], env=environment, check=False, capture_output=True, text=True, timeout=60
    )


def test_own_binaries_come_first(tmp_path):
    """KUBEBUILDER_ASSETS is used as it is, and nothing is fetched."""
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "kube-apiserver").touch(mode=0o755)

    found = find(tmp_path, KUBEBUILDER_ASSETS=str(assets), MELTGUARD_KUBERNETES_DOWNLOAD="none")

    assert (found.returncode, found.stdout.strip()) == (0, str(assets))


def test_a_download_is_kept_in_the_cache(tmp_path, mirror):
    """What a mirror offers is checked, kept outside the checkout, and found again without the mirror."""
    address, _ = mirror

    first = find(tmp_path, MELTGUARD_KUBERNETES_DOWNLOAD=address)
    again = find(tmp_path, "--cached", MELTGUARD_KUBERNETES_DOWNLOAD="none")

    folder = Path(first.stdout.strip())
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert again.stdout == first.stdout
    assert folder.is_relative_to(tmp_path / "cache")
    assert all((folder / name).read_bytes() == CONTENT and os.access(folder / name, os.X_OK) for name in BINARIES)


def test_a_download_with_a_wrong_checksum_is_refused(tmp_path, mirror):
    """A file that does not match its checksum is never kept, and the message says so."""
    address, folder = mirror
    (folder / "kube-scheduler").write_bytes(b"tampered")

    found = find(tmp_path, MELTGUARD_KUBERNETES_DOWNLOAD=address)

    assert found.returncode == 1
    assert "checksum of kube-scheduler" in found.stderr
    assert [path.name for path in (tmp_path / "cache" / "meltguard" / "control-plane").iterdir()] == ["lock"]


def test_without_any_source_the_cure_is_named(tmp_path):
    """Where nothing can be downloaded or built, the message names what a person can set."""
    found = find(tmp_path, MELTGUARD_KUBERNETES_DOWNLOAD="http://127.0.0.1:9")

    assert found.returncode == 1
    assert "set KUBEBUILDER_ASSETS" in found.stderr


def test_looking_in_an_empty_cache_starts_nothing(tmp_path):
    """With --cached nothing is downloaded or made."""
    found = find(tmp_path, "--cached", MELTGUARD_KUBERNETES_DOWNLOAD="none")

    assert (found.returncode, found.stdout) == (1, "")
    assert not (tmp_path / "cache").exists()
