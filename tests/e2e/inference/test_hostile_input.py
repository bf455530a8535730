"""Input that means harm: answers are 4xx in OpenAI's shape, nothing is forged, and nothing grows without bound."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.admission.callers import DEFAULT_TRUSTED, CallerRules, caller_of, parse_networks
from tests.inference_server import RunningServer, running_server

RULES = CallerRules(tiers=("free", "paid"), regions=("eu", "us"), trusted=parse_networks(DEFAULT_TRUSTED))


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server() as running:
        yield running


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "7", "size": "9" * 5_000 + "x8"},
        {"prompt": "7", "size": "٣x٣"},
        {"prompt": "7", "seed": 10**400},
        {"prompt": "7", "n": 1e308},
        {"prompt": "7", "top_k": 2**70},
        {"prompt": "7", "user": "u" * 257},
        {"prompt": "7", "model": "m" * 100_000},
        {"prompt": "7" * 32_001},
        {"prompt": "\ud800"},
        {"prompt": "{0.__class__} %s %(x)s {{7*7}} ${jndi:ldap://x}"},
        {"prompt": "7", "stream_options": []},
        {"prompt": "7", "stream_options": {"include_progress": "yes"}},
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"prompt":"7","temperature":NaN}',
        b'{"prompt":"7","temperature":1e999}',
        b"\xff\xfe\x00",
        b"\x00",
        b"",
        b"null",
    ],
    ids=lambda body: (body if isinstance(body, bytes) else json.dumps(body).encode())[:40].decode("latin-1"),
)
def test_a_body_that_means_harm_is_a_bad_request(server: RunningServer, body: object) -> None:
    """What is too long, too deep, of another type or no number gets 400 in OpenAI's shape, never a server error."""
    answer = server.post(body)
    assert answer.status == 400, answer.body
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["code"]
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Meltguard_User": "\u00e4\u00ff"},
        {"X_Meltguard_User": "u" * 5_000},
        {"X_Meltguard_Tier": "root"},
        {"X_Meltguard_Region": "../../etc"},
        {"Accept_Language": ",".join(["xx;q=0.1"] * 500)},
        {"X_Forwarded_For": "1.2.3.4," * 500},
        {"X_Forwarded_For": "; DROP TABLE users"},
        {"X_Retry_Attempt": "9" * 5_000},
        {"X_Stainless_Retry_Count": "-1"},
        {"Authorization": "Bearer \u00ff"},
        {"Authorization": "Bearer"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_headers_that_mean_harm_are_read_or_ignored(server: RunningServer, headers: dict[str, str]) -> None:
    """Bytes that are no text, names that are not known and numbers that are none cost nobody an image."""
    assert server.post({"prompt": "7"}, **headers).status == 200
    assert server.get("/v1/quota", **headers).status == 200


HEADERS = st.sampled_from(["x-meltguard-user", "authorization", "x-forwarded-for"])
ANY_TEXT = st.text(st.characters(categories=["Cs", "Cc", "L"]))
"""Lone surrogates included: as such the server hands on bytes that are no UTF-8."""


@given(st.dictionaries(HEADERS, ANY_TEXT), st.text())
@settings(max_examples=200)
def test_every_caller_has_a_name_that_can_be_stored(headers: dict[str, str], peer: str) -> None:
    """Whatever stands in headers and wherever they come from, a caller's name is text of bounded length."""
    for address in ("127.0.0.1", peer):
        name = caller_of(headers, address, None, RULES).user
        assert name.encode("utf-8")
        assert len(name) < 400


def test_users_never_become_series(server: RunningServer) -> None:
    """A hundred users, tiers and regions that somebody made up leave the page with the series that it had."""
    before = set(server.samples())
    for number in range(100):
        names = {"X_Meltguard_Tier": f"tier-{number}", "X_Meltguard_Region": f"region-{number}"}
        server.post({"prompt": "no"}, X_Meltguard_User=f"made-up-{number}", **names)
    after = set(server.samples())
    assert after == before
    assert not any("made-up" in value for _, pairs in after for _, value in pairs)


def test_nobody_forges_a_line_of_the_log(tmp_path: Path) -> None:
    """Line ends and escapes in prompts, users, paths and heads stay inside one JSON value of one line."""
    program = str(Path(sys.executable).parent / "meltguard")
    command = [program, "serve", "--listen", "127.0.0.1:0", "--output", "json", "--model", "test-pattern"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ})
        assert process.stdout is not None
        try:
            address = json.loads(process.stdout.readline())["address"]
            server = RunningServer(url=address, server=None, engine=None, loop=None)  # type: ignore[arg-type]
            server.wait(lambda: server.get("/readyz").status == 200)
            forged = '7\n{"event": "forged", "level": "error"}\r\n\x1b[2J'
            assert server.post({"prompt": forged, "user": forged}).status == 200
            assert server.post({"prompt": forged, "model": forged}).status == 400
            assert server.get("/%0a%7b%22event%22:%20%22forged%22%7d").status == 404
            _garbage(address, b'GET / HTTP/1.1\r\nX: \n{"event": "forged"}\n\x1b[2J\r\n\r\n')
            _garbage(address, b'{"event": "forged"}\n{"event": "forged"}\n\r\n\r\n')
        finally:
            process.terminate()
            process.communicate(timeout=30)
    lines = (tmp_path / "log").read_bytes().splitlines()
    assert process.returncode == 0
    assert len(lines) >= 2
    for line in lines:
        assert json.loads(line)["event"] != "forged"
        assert b"\x1b" not in line


def _garbage(address: str, sent: bytes) -> None:
    where = urlparse(address)
    with socket.create_connection((where.hostname, where.port), timeout=10) as client:
        client.sendall(sent)
        assert client.recv(100).partition(b" ")[2].startswith(b"400")


def test_a_crowd_of_names_leaves_nothing_in_work(server: RunningServer) -> None:
    """Users who come once and at once leave no place taken behind."""
    gate = server.server.pod.gate
    threads = [
        threading.Thread(target=lambda first=first: [server.draw(user=f"once-{first}-{n}") for n in range(10)])
        for first in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    server.wait(lambda: gate._in_work == {})
