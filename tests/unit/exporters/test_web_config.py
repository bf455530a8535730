"""The web configuration is Prometheus's format; what it cannot mean is refused with the field's path."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import bcrypt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporters.errors import SettingsError
from exporters.http_server import BadRequestError, answer_seconds, parse_head
from exporters.settings import parse_address, parse_dcgm_names, parse_period
from exporters.sources import make_source
from exporters.web_config import Authenticator, load_web_config, parse_basic

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(rounds=4)).decode()


def _load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "web.yml"
    path.write_text(text)
    return load_web_config(path)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("tls_server_confg: {}", "unknown key tls_server_confg"),
        ("[1, 2]", "must be a mapping"),
        ("tls_server_config: {cert_file: a.pem}", "needs both cert_file and key_file"),
        ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS9}", "min_version"),
        ("tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}", "client_auth_type"),
        (
            "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
            "client_ca_file",
        ),
        ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", "client_ca_file"),
        ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [X]}", "cipher_suites"),
        ("basic_auth_users: {anna: secret}", "basic_auth_users.anna"),
        ("basic_auth_users: [anna]", "basic_auth_users"),
        ('http_server_config: {headers: {X-A: "a\\r\\nb"}}', "headers.X-A"),
        ("a: [", "is no YAML"),
    ],
)
def test_impossible_files_are_refused_with_the_place(tmp_path: Path, text: str, place: str) -> None:
    """The message names the file and the field."""
    with pytest.raises(SettingsError, match="web.yml") as refused:
        _load(tmp_path, text)
    assert place in str(refused.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
def test_any_file_is_read_or_refused(tmp_path: Path, content: str | bytes) -> None:
    """No content of the file raises anything but the one error."""
    path = tmp_path / "web.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
    try:
        load_web_config(path)
    except SettingsError:
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from(["TLS12", "a.pem", HASH])),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    [
                        "tls_server_config",
                        "basic_auth_users",
                        "http_server_config",
                        "cert_file",
                        "key_file",
                        "headers",
                        "x",
                    ]
                ),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=12,
    )
)
def test_any_structure_is_read_or_refused(tmp_path: Path, document: object) -> None:
    """Known keys with values of the wrong shape are refused, not stumbled over."""
    import yaml

    path = tmp_path / "web.yml"
    path.write_text(yaml.safe_dump(document))
    try:
        load_web_config(path)
    except SettingsError:
        pass


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (_basic("anna", "secret"), True),
        (_basic("anna", "wrong"), False),
        (_basic("berta", "secret"), False),
        (_basic("anna", "a\x00b"), False),
        ("Bearer token", False),
        ("Basic !!!", False),
        ("", False),
    ],
)
def test_users_are_let_in_by_their_password(header: str, allowed: bool) -> None:
    """Only a known user with the right password enters, the first time and the second."""
    authenticator = Authenticator({"anna": HASH})

    async def both() -> list[bool]:
        return [await authenticator.allows(header), await authenticator.allows(header)]

    assert asyncio.run(both()) == [allowed, allowed]


@given(st.text(max_size=100))
def test_any_authorization_header_is_parsed_or_refused(header: str) -> None:
    """No header raises."""
    parse_basic(header)


@given(st.binary(max_size=300))
def test_any_request_is_parsed_or_refused(head: bytes) -> None:
    """No bytes on the wire raise anything but the one error."""
    try:
        parse_head(head, "peer")
    except BadRequestError:
        pass


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 4.75), ("0.2", 0.1), ("1000", 10.0), ("x", 10.0), ("-1", 10.0), ("nan", 10.0), ("", 10.0)],
)
def test_scrape_timeout_is_honoured(header: str, seconds: float) -> None:
    """The answer is given up a little before the scraper gives up."""
    assert answer_seconds({"x-prometheus-scrape-timeout-seconds": header}) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["9400", "host", "host:x", "host:99999", ""])
def test_wrong_addresses_name_the_flag(text: str) -> None:
    """The message says which flag and what it wants."""
    with pytest.raises(SettingsError, match="--listen"):
        parse_address(text)


@pytest.mark.parametrize(("text", "host"), [("[::1]:0", "::1"), (":9400", "0.0.0.0"), ("127.0.0.1:1", "127.0.0.1")])
def test_addresses(text: str, host: str) -> None:
    """IPv6 comes in brackets; an empty host is every host."""
    assert parse_address(text).host == host


@pytest.mark.parametrize("text", ["0s", "2h", "fast", "-1s", "10ms"])
def test_wrong_periods_name_the_flag(text: str) -> None:
    """A period outside its bounds is refused."""
    with pytest.raises(SettingsError, match="--period"):
        parse_period(text)


@pytest.mark.parametrize("text", ["v4.9", "both"])
def test_name_sets_that_do_not_exist_are_refused(text: str) -> None:
    """The 4.9 set is not published before its list is known."""
    with pytest.raises(SettingsError, match="--dcgm-names"):
        parse_dcgm_names(text)


@pytest.mark.parametrize("text", ["nvml:x", "simulated:0", "simulated:x", "replay", "cuda"])
def test_wrong_sources_name_the_flag(text: str) -> None:
    """A source that does not exist is refused with those that do."""
    with pytest.raises(SettingsError, match="--source"):
        make_source(text, None)
