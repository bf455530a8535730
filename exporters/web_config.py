"""The web configuration file, in the format of Prometheus exporters: TLS, headers and users.

Parsed once at start (and again when it changes) into a frozen object; unknown keys and impossible combinations fail
with the path of the field. bcrypt and yaml are imported only where a file is given.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporters.errors import SettingsError

MAX_FILE_BYTES = 1 << 20
MAX_USERS = 1000
MAX_CACHED_LOGINS = 256
MAX_PASSWORD_BYTES = 72
"""bcrypt ignores what lies beyond."""
MAX_CHECKS_AT_ONCE = 2
"""Password checks cost 50 ms and more each; so many run at a time, the others wait their turn."""

_TOP = {"tls_server_config", "http_server_config", "basic_auth_users"}
_TLS = {
    "cert_file",
    "key_file",
    "client_ca_file",
    "client_auth_type",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
}
_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENT_AUTH = {
    "": ssl.CERT_NONE,
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """The part ``tls_server_config``; paths are absolute."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None
    client_auth: ssl.VerifyMode
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """What the file says.

    Attributes:
        tls: None serves plainly.
        users: bcrypt hashes by user; empty lets everyone in.
        headers: Headers of every answer.
    """

    tls: TlsSettings | None = None
    users: Mapping[str, str]
    headers: tuple[tuple[str, str], ...] = ()


def load_web_config(path: Path) -> WebConfig:
    """Read and check the file.

    Raises:
        SettingsError: If it cannot be read or says something impossible.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path}: is larger than {MAX_FILE_BYTES} bytes; that is no web configuration")
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: is no YAML: {str(error).splitlines()[0]}") from error
    top = _mapping({} if document is None else document, f"{path}", _TOP)
    tls = top.get("tls_server_config")
    return WebConfig(
        tls=None if tls is None else _tls(_mapping(tls, f"{path}: tls_server_config", _TLS), path),
        users=_users(top.get("basic_auth_users"), f"{path}: basic_auth_users"),
        headers=_headers(top.get("http_server_config"), f"{path}: http_server_config"),
    )


def _mapping(value: object, place: str, known: set[str] | None = None) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SettingsError(f"{place}: must be a mapping of names to values")
    unknown = sorted(set(value) - known) if known is not None else []
    if unknown:
        raise SettingsError(f"{place}: unknown key {unknown[0]}; known are {', '.join(sorted(known or ()))}")
    return value


def _text(values: Mapping[str, object], key: str, place: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise SettingsError(f"{place}.{key}: must be a text")
    return value


def _tls(values: Mapping[str, object], path: Path) -> TlsSettings:
    place = f"{path}: tls_server_config"
    for key in ("cipher_suites", "curve_preferences"):
        if values.get(key):
            raise SettingsError(f"{place}.{key}: is not supported; leave it out and set min_version")
    certificate, key_file = _text(values, "cert_file", place), _text(values, "key_file", place)
    if not certificate or not key_file:
        raise SettingsError(f"{place}: needs both cert_file and key_file")
    mode = _text(values, "client_auth_type", place)
    authority = _text(values, "client_ca_file", place)
    if mode not in _CLIENT_AUTH:
        raise SettingsError(f"{place}.client_auth_type: {mode!r} is not one of {', '.join(filter(None, _CLIENT_AUTH))}")
    if _CLIENT_AUTH[mode] is ssl.CERT_NONE and authority:
        raise SettingsError(f"{place}.client_ca_file: has no effect without client_auth_type; remove it or set that")
    if _CLIENT_AUTH[mode] is not ssl.CERT_NONE and not authority:
        raise SettingsError(f"{place}.client_auth_type: {mode} needs client_ca_file")
    return TlsSettings(
        cert_file=path.parent / certificate,
        key_file=path.parent / key_file,
        client_ca_file=path.parent / authority if authority else None,
        client_auth=_CLIENT_AUTH[mode],
        min_version=_version(values, "min_version", place) or ssl.TLSVersion.TLSv1_2,
        max_version=_version(values, "max_version", place),
    )


def _version(values: Mapping[str, object], key: str, place: str) -> ssl.TLSVersion | None:
    name = _text(values, key, place)
    if name and name not in _VERSIONS:
        raise SettingsError(f"{place}.{key}: {name!r} is not one of {', '.join(_VERSIONS)}")
    return _VERSIONS[name] if name else None


def _users(value: object, place: str) -> dict[str, str]:
    users: dict[str, str] = {}
    for user, password_hash in _mapping({} if value is None else value, place).items():
        if not isinstance(password_hash, str) or not password_hash.startswith(("$2a$", "$2b$", "$2y$")):
            raise SettingsError(f"{place}.{user}: must be a bcrypt hash, such as htpasswd -nBC 10 prints")
        users[user] = password_hash
    if len(users) > MAX_USERS:
        raise SettingsError(f"{place}: more than {MAX_USERS} users")
    return users


def _headers(value: object, place: str) -> tuple[tuple[str, str], ...]:
    values = _mapping({} if value is None else value, place, {"http2", "headers"})
    found = _mapping(values.get("headers") or {}, f"{place}.headers")
    pairs: list[tuple[str, str]] = []
    for name, text in found.items():
        if not isinstance(text, str) or any(sign in name + text for sign in "\r\n"):
            raise SettingsError(f"{place}.headers.{name}: must be a text of one line")
        pairs.append((name, text))
    return tuple(pairs)


def make_tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Return the server's TLS context.

    Raises:
        SettingsError: If a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = settings.min_version
    if settings.max_version is not None:
        context.maximum_version = settings.max_version
    reload_certificate(context, settings)
    if settings.client_ca_file is not None:
        try:
            context.load_verify_locations(cafile=settings.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"client_ca_file {settings.client_ca_file}: cannot be used: {error}") from error
    context.verify_mode = settings.client_auth
    return context


def reload_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    """Load certificate and key, for connections to come.

    Raises:
        SettingsError: If they cannot be used.
    """
    try:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"cert_file {settings.cert_file}: cannot be used with its key: {error}") from error


class Authenticator:
    """Checks basic-auth headers against bcrypt hashes without holding up the event loop."""

    def __init__(self, users: Mapping[str, str]) -> None:
        """Let in ``users``.

        Raises:
            SettingsError: If bcrypt is not installed.
        """
        try:
            import bcrypt
        except ImportError:
            raise SettingsError("basic_auth_users needs the package bcrypt: install meltguard[web-auth]") from None
        self._check = bcrypt.checkpw
        self._users = {user: password_hash.encode() for user, password_hash in users.items()}
        # An unknown user must cost as much time as a known one with a wrong password.
        self._decoy = next(iter(self._users.values()))
        self._verdicts: dict[bytes, bool] = {}
        self._slots = asyncio.Semaphore(MAX_CHECKS_AT_ONCE)

    async def allows(self, authorization: str) -> bool:
        """Whether the header names a user with the right password; verdicts are kept by digest."""
        credentials = parse_basic(authorization)
        if credentials is None:
            return False
        user, password = credentials
        digest = hashlib.sha256(b"%d:%b:%b" % (len(user), user.encode(), password)).digest()
        verdict = self._verdicts.get(digest)
        if verdict is None:
            async with self._slots:
                verdict = await asyncio.to_thread(self._verify, user, password)
            if len(self._verdicts) >= MAX_CACHED_LOGINS:
                del self._verdicts[next(iter(self._verdicts))]
            self._verdicts[digest] = verdict
        return verdict

    def _verify(self, user: str, password: bytes) -> bool:
        known = self._users.get(user)
        try:
            matches = bool(self._check(password[:MAX_PASSWORD_BYTES], known or self._decoy))
        except ValueError:
            # A password with a zero byte, or a malformed hash: nobody's password.
            return False
        return matches and known is not None


def parse_basic(authorization: str) -> tuple[str, bytes] | None:
    """Return user and password of a basic-auth header; None when it is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 4096:
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None
