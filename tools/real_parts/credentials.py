"""Certificates and a kubeconfig for a control plane on loopback; made anew for each, valid for nothing else."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import trustme

from tools.real_parts.processes import LOOPBACK


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Files in PEM form.

    Attributes:
        authority: certificate that clients verify servers with, and servers verify clients with.
        server_certificate: for every server of the control plane.
        server_key: its key.
        administrator: certificate and key of a client in the group system:masters.
        service_account_key: what service account tokens are signed with.
    """

    authority: Path
    server_certificate: Path
    server_key: Path
    administrator: Path
    service_account_key: Path


def issue_credentials(folder: Path) -> Credentials:
    """Make a certificate authority and all that it has to sign.

    Args:
        folder: where the files go; must not exist.

    Returns:
        The files.
    """
    folder.mkdir(mode=0o700)
    rsa = trustme.KeyType.RSA  # old API servers sign service account tokens with nothing else
    authority = trustme.CA()
    server = authority.issue_cert(LOOPBACK, "localhost", "kubernetes", key_type=rsa)
    administrator = authority.issue_cert(
        "administrator", common_name="administrator", organization_name="system:masters", key_type=rsa
    )
    signer = authority.issue_cert("service-accounts", key_type=rsa)
    credentials = Credentials(
        authority=folder / "authority.pem",
        server_certificate=folder / "server.pem",
        server_key=folder / "server-key.pem",
        administrator=folder / "administrator.pem",
        service_account_key=folder / "service-accounts-key.pem",
    )
    authority.cert_pem.write_to_path(str(credentials.authority))
    server.cert_chain_pems[0].write_to_path(str(credentials.server_certificate))
    server.private_key_pem.write_to_path(str(credentials.server_key))
    administrator.private_key_and_cert_chain_pem.write_to_path(str(credentials.administrator))
    signer.private_key_pem.write_to_path(str(credentials.service_account_key))
    return credentials


def write_kubeconfig(path: Path, url: str, credentials: Credentials) -> Path:
    """Write a kubeconfig with the administrator's credentials inside, readable only by its owner.

    Args:
        path: the file to write.
        url: address of the API server.
        credentials: the certificates.

    Returns:
        The file.
    """
    # One PEM text holds both key and certificate; readers take the block that they look for.
    identity = _encoded(credentials.administrator)
    cluster = {"server": url, "certificate-authority-data": _encoded(credentials.authority)}
    user = {"client-certificate-data": identity, "client-key-data": identity}
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "meltguard", "cluster": cluster}],
        "users": [{"name": "administrator", "user": user}],
        "contexts": [{"name": "meltguard", "context": {"cluster": "meltguard", "user": "administrator"}}],
        "current-context": "meltguard",
    }
    path.touch(mode=0o600)
    # Every JSON document is a YAML document.
    path.write_text(json.dumps(configuration, indent=2), encoding="utf-8")
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
