"""A real Kubernetes API on loopback: etcd and kube-apiserver, and on request the controllers and the scheduler.

TLS with a certificate authority of its own, RBAC, an administrator's kubeconfig. There is no kubelet: Pods are
objects that nobody runs. Limits of the version that Debian's source gives (1.20) stand in
docs/decisions/0004-a-real-api-server.md.
"""

import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.real_parts.credentials import Credentials, issue_credentials, write_kubeconfig
from tools.real_parts.processes import LOOPBACK, ChildProcess, MissingPartError, answers_http, find_program, free_port

BINARIES_SCRIPT = Path(__file__).resolve().parents[1] / "build_control_plane.sh"
FIND_TIMEOUT_SECONDS = 30.0
START_TIMEOUT_SECONDS = 60.0
ISSUER = "https://kubernetes.default.svc"


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPlane:
    """A running Kubernetes API.

    Attributes:
        etcd: the store's process, to kill, suspend or start again with `restart_etcd`.
        api_server: the API server's process, likewise with `restart_api_server`.
        url: address of the API, https on loopback.
        etcd_url: address of the store.
        kubeconfig: file with an administrator's credentials (group system:masters).
        credentials: the certificates behind it, to issue more or to speak TLS directly.
    """

    etcd: ChildProcess
    api_server: ChildProcess
    url: str
    etcd_url: str
    kubeconfig: Path
    credentials: Credentials

    def is_ready(self) -> bool:
        """Whether the API server says that it is ready, asked with the administrator's credentials."""
        return _answers_https(f"{self.url}/readyz", self.credentials)

    def restart_api_server(self) -> None:
        """Start the API server again after it was killed; its address and data stay."""
        self.api_server.start(self.is_ready, timeout_seconds=START_TIMEOUT_SECONDS)

    def restart_etcd(self) -> None:
        """Start etcd again after it was killed; its address and data stay."""
        self.etcd.start(lambda: answers_http(f"{self.etcd_url}/health"), timeout_seconds=START_TIMEOUT_SECONDS)


@contextmanager
def running_control_plane(directory: Path, *, with_controllers: bool = False) -> Iterator[ControlPlane]:
    """Start a Kubernetes API and stop it at the end.

    Args:
        directory: an empty folder.
        with_controllers: also run kube-controller-manager and kube-scheduler, so that Deployments become Pods.

    Yields:
        The API, ready.

    Raises:
        MissingPartError: if a binary is missing; nothing is built or downloaded here.
        RealPartError: if a server does not start.
    """
    binaries = find_binaries()
    credentials = issue_credentials(directory / "credentials")
    url = f"https://{LOOPBACK}:{free_port()}"
    etcd_url = f"http://{LOOPBACK}:{free_port()}"
    control_plane = ControlPlane(
        etcd=_etcd(directory, etcd_url),
        api_server=_api_server(binaries, directory, credentials, url=url, etcd_url=etcd_url),
        url=url,
        etcd_url=etcd_url,
        kubeconfig=write_kubeconfig(directory / "kubeconfig", url, credentials),
        credentials=credentials,
    )
    with ExitStack() as stack:
        stack.callback(control_plane.etcd.stop)
        control_plane.restart_etcd()
        stack.callback(control_plane.api_server.stop)
        control_plane.restart_api_server()
        for name in ("kube-controller-manager", "kube-scheduler") if with_controllers else ():
            process, health_url = _controller(name, binaries, directory, control_plane)
            stack.callback(process.stop)
            is_healthy = partial(_answers_https, health_url, credentials)
            process.start(is_healthy, timeout_seconds=START_TIMEOUT_SECONDS)
        yield control_plane


def find_binaries() -> Path:
    """Find the folder with kube-apiserver, without making one.

    Returns:
        The folder.

    Raises:
        MissingPartError: if there is none yet.
    """
    answer = subprocess.run(
        [BINARIES_SCRIPT, "--cached"], check=False, capture_output=True, text=True, timeout=FIND_TIMEOUT_SECONDS
    )
    if answer.returncode != 0:
        raise MissingPartError("kube-apiserver is not here yet; run `make real-parts`, which fetches or builds it")
    return Path(answer.stdout.strip())


def _answers_https(url: str, credentials: Credentials) -> bool:
    context = ssl.create_default_context(cafile=str(credentials.authority))
    context.load_cert_chain(credentials.administrator)
    try:
        with urllib.request.urlopen(url, timeout=2.0, context=context) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _etcd(directory: Path, url: str) -> ChildProcess:
    own = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nonexistent")) / "etcd"
    program = str(own) if own.exists() else find_program("etcd")
    peer_url = f"http://{LOOPBACK}:{free_port()}"
    command = [
        program,
        "--name=default",
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
    ]
    return ChildProcess("etcd", command, directory)


def _api_server(binaries: Path, directory: Path, credentials: Credentials, *, url: str, etcd_url: str) -> ChildProcess:
    command = [
        str(binaries / "kube-apiserver"),
        f"--etcd-servers={etcd_url}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={url.rpartition(':')[2]}",
        f"--cert-dir={directory / 'apiserver'}",
        f"--tls-cert-file={credentials.server_certificate}",
        f"--tls-private-key-file={credentials.server_key}",
        f"--client-ca-file={credentials.authority}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={credentials.service_account_key}",
        f"--service-account-signing-key-file={credentials.service_account_key}",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--authorization-mode=RBAC",
        # Without the controller that makes default service accounts, this would refuse every Pod.
        "--disable-admission-plugins=ServiceAccount",
        # A loopback address is no valid endpoint, and nobody looks for one.
        "--endpoint-reconciler-type=none",
        "--profiling=false",
    ]
    return ChildProcess("kube-apiserver", command, directory)


def _controller(name: str, binaries: Path, directory: Path, control_plane: ControlPlane) -> tuple[ChildProcess, str]:
    program = binaries / name
    if not program.exists():
        raise MissingPartError(f"{binaries} holds no {name}; unset KUBEBUILDER_ASSETS and run `make real-parts`")
    credentials, kubeconfig = control_plane.credentials, control_plane.kubeconfig
    url = f"https://{LOOPBACK}:{free_port()}"
    command = [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={url.rpartition(':')[2]}",
        f"--tls-cert-file={credentials.server_certificate}",
        f"--tls-private-key-file={credentials.server_key}",
        "--leader-elect=false",
    ]
    if name == "kube-controller-manager":
        command.append(f"--service-account-private-key-file={credentials.service_account_key}")
        command.append(f"--root-ca-file={credentials.authority}")
    if _has_insecure_port(program):
        command.append("--port=0")
    return ChildProcess(name, command, directory), f"{url}/healthz"


def _has_insecure_port(program: Path) -> bool:
    # Versions before 1.24 also listen without TLS, on every address, unless told not to; later ones refuse the flag.
    answer = subprocess.run(
        [program, "--help"], check=False, capture_output=True, text=True, timeout=FIND_TIMEOUT_SECONDS
    )
    return " --port int" in answer.stdout + answer.stderr
