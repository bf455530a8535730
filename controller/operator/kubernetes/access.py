"""Where the Kubernetes API is and how to prove who we are: the only module that speaks to the official package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the API is and how to speak to it; opened by :func:`open_access`.

    Attributes:
        url: Its address.
        configuration: The official client's configuration, asked for credentials at every request.
    """

    url: str
    configuration: Any


def open_access(kubeconfig: Path | None) -> Access:
    """Return access to the API of a file, else of the pod that we run in, else of the user's default file.

    Args:
        kubeconfig: The file; None to find out.

    Returns:
        The access; nothing is sent yet.

    Raises:
        UsageError: If there is no usable configuration.
    """
    from kubernetes import client, config

    # The official package is untyped; what comes out of it is read by the two functions of this module only.
    untyped: Any = config
    configuration = client.Configuration()
    try:
        if kubeconfig is not None:
            untyped.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        else:
            try:
                untyped.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                untyped.load_kube_config(client_configuration=configuration)
    except (config.ConfigException, OSError, ValueError, TypeError) as error:
        place = f"--kubeconfig {kubeconfig}" if kubeconfig is not None else "kubeconfig"
        raise UsageError(f"{place}: {error}; give --kubeconfig FILE or run inside the cluster") from error
    return Access(url=str(configuration.host).rstrip("/"), configuration=configuration)


def tls_arguments(configuration: Any) -> dict[str, Any]:
    """Return what a connection pool needs to know of the official client's configuration."""
    arguments: dict[str, Any] = {
        "cert_reqs": "CERT_REQUIRED" if configuration.verify_ssl else "CERT_NONE",
        "ca_certs": configuration.ssl_ca_cert,
        "cert_file": configuration.cert_file,
        "key_file": configuration.key_file,
    }
    if getattr(configuration, "ca_cert_data", None) is not None:
        arguments["ca_cert_data"] = configuration.ca_cert_data
    if configuration.assert_hostname is not None:
        arguments["assert_hostname"] = configuration.assert_hostname
    if configuration.tls_server_name:
        arguments["server_hostname"] = configuration.tls_server_name
    return arguments
