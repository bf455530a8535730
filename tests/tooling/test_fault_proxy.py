import http.client
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tools.real_parts.fault_proxy import MAX_FAULTS, Fault, FaultKind, running_fault_proxy

EVENT = b'{"type":"ADDED"}\n'
NUM_EVENTS = 5


class Upstream(BaseHTTPRequestHandler):
    """Counts what it really does: GET answers, POST writes, a watch streams events and then stays open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        if "watch" in self.path:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(NUM_EVENTS):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
            # Readable only when the other side has gone: a watch sends nothing after its request.
            gone, _, _ = select.select([self.connection, self.server.release_reader], [], [], 10)
            if self.connection in gone:
                self.server.ended_by_client.set()
            else:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"real")

    def do_POST(self):
        self.server.writes.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.requests, server.writes, server.ended_by_client = [], [], threading.Event()
    server.release_reader, release_writer = socket.socketpair()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    release_writer.close()
    server.shutdown()
    server.server_close()
    server.release_reader.close()
    thread.join(timeout=10)


@pytest.fixture
def proxy(upstream):
    with running_fault_proxy(f"http://127.0.0.1:{upstream.server_port}") as running:
        yield running


@pytest.fixture
def connection(proxy):
    client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    yield client
    client.close()


def ask(connection, method="GET", path="/objects", body=None):
    connection.request(method, path, body=body)
    response = connection.getresponse()
    return response.status, response.read()


def test_without_a_fault_everything_passes(connection, upstream):
    """Status, body and written data are the real server's."""
    assert ask(connection) == (200, b"real")
    assert ask(connection, "POST", body=b"data") == (201, b"")
    assert upstream.writes == [b"data"]


@pytest.mark.parametrize("status", [409, 410, 429, 500])
def test_a_status_fault_answers_instead_of_the_server(proxy, connection, upstream, status):
    """The fault hits as many requests as it says, in the API's shape, and the server never sees them."""
    fault = Fault(kind=FaultKind.STATUS, status=status, times=2)
    proxy.inject(fault)

    answers = [ask(connection) for _ in range(3)]

    assert [code for code, _ in answers] == [status, status, 200]
    assert b'"kind": "Status"' in answers[0][1]
    assert (len(upstream.requests), proxy.num_hits(fault)) == (1, 2)


def test_a_fault_hits_only_what_it_names(proxy, connection):
    """Another method and another path pass."""
    proxy.inject(Fault(kind=FaultKind.STATUS, status=500, method="POST", path="/leases"))

    assert ask(connection, "GET", "/leases")[0] == 200
    assert ask(connection, "POST", "/pods", b"x")[0] == 201
    assert ask(connection, "POST", "/leases", b"x")[0] == 500


def test_a_dropped_request_never_reaches_the_server(proxy, connection, upstream):
    """The client sees a broken connection, and the server has done nothing."""
    proxy.inject(Fault(kind=FaultKind.DROP, times=1))

    with pytest.raises(ConnectionError):
        ask(connection, "POST", body=b"data")

    assert upstream.writes == []


def test_a_lost_answer_has_had_its_effect(proxy, connection, upstream):
    """The client sees the same broken connection, but the server has done as asked."""
    proxy.inject(Fault(kind=FaultKind.LOSE_ANSWER, times=1))

    with pytest.raises(ConnectionError):
        ask(connection, "POST", body=b"data")

    assert upstream.writes == [b"data"]


def test_a_hanging_request_is_dropped_when_the_fault_is_cleared(proxy, connection, upstream):
    """Nothing is answered while the fault is in force; clearing it breaks the connection."""
    fault = Fault(kind=FaultKind.HANG)
    proxy.inject(fault)
    outcome = []

    def hang():
        try:
            outcome.append(ask(connection))
        except ConnectionError as error:
            outcome.append(type(error))

    client = threading.Thread(target=hang)
    client.start()
    for _ in range(200):
        if proxy.num_hits(fault):
            break
        client.join(timeout=0.05)
    assert (proxy.num_hits(fault), outcome) == (1, [])
    proxy.clear()
    client.join(timeout=10)

    assert len(outcome) == 1 and issubclass(outcome[0], ConnectionError)
    assert upstream.requests == []


def test_a_late_answer_is_the_servers(proxy, connection):
    """A delay changes nothing else."""
    proxy.inject(Fault(kind=FaultKind.LATENCY, delay_seconds=0.05, times=1))

    assert ask(connection) == (200, b"real")


def test_a_truncated_watch_breaks_after_whole_events(proxy, connection):
    """The bytes that may pass arrive unchanged; then the stream breaks instead of ending."""
    proxy.inject(Fault(kind=FaultKind.TRUNCATE, path="watch=true", after_bytes=2 * len(EVENT)))
    connection.request("GET", "/objects?watch=true")
    response = connection.getresponse()

    received = [response.readline() for _ in range(2)]
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()

    assert received == [EVENT, EVENT]


def test_a_watch_passes_while_it_is_open(connection, upstream):
    """Events arrive as they happen, not when the stream ends."""
    connection.request("GET", "/objects?watch=true")
    response = connection.getresponse()

    assert [response.readline() for _ in range(NUM_EVENTS)] == [EVENT] * NUM_EVENTS
    assert not upstream.ended_by_client.is_set()


def test_a_watch_ends_on_the_server_when_its_client_goes(connection, upstream):
    """The real server does not keep a watch that nobody reads."""
    connection.request("GET", "/objects?watch=true")
    response = connection.getresponse()
    for _ in range(NUM_EVENTS):
        response.readline()

    response.close()
    connection.close()

    assert upstream.ended_by_client.wait(10)


def test_cut_connections_end_an_open_watch(proxy, connection):
    """A broken network ends streams that were fine."""
    connection.request("GET", "/objects?watch=true")
    response = connection.getresponse()
    response.readline()

    proxy.cut_connections()

    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()


def test_the_number_of_faults_is_bounded(proxy):
    """A test that injects without end is told so."""
    for _ in range(MAX_FAULTS):
        proxy.inject(Fault(kind=FaultKind.DROP))
    with pytest.raises(ValueError, match="clear some"):
        proxy.inject(Fault(kind=FaultKind.DROP))
