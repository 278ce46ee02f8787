"""Addresses at which no Ray cluster answers are told within seconds, and a signal ends the attempt at once."""

import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nas import cluster
from search_space.errors import InputError


@pytest.fixture
def dead():
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


@pytest.fixture
def silent():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def web():
    """A port of a web server."""
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


def refusal(address, seconds=10):
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        cluster.check_that_it_answers(address)
    assert time.monotonic() - began < seconds
    message = str(caught.value)
    assert message.startswith(f"no Ray cluster answers at '{address}': ")
    assert "ray start --head" in message
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "localhost:{}", "[::1]:{}", "ray://127.0.0.1:{}"])
def test_a_port_where_nobody_listens(dead, address):
    assert "Connection refused" in refusal(address.format(dead), seconds=5)


def test_the_address_of_the_environment(dead, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{dead}")
    assert f"127.0.0.1:{dead}: Connection refused" in refusal("auto")


def test_a_host_that_is_not_known():
    refusal("nowhere.invalid:6379")


@pytest.mark.parametrize("address", ["127.0.0.1", "ray://127.0.0.1", "127.0.0.1:port", "127.0.0.1:99999", ":1", " "])
def test_what_is_no_address(address):
    assert "an address is HOST:PORT, ray://HOST:PORT or auto" in refusal(address)


@pytest.mark.parametrize(("scheme", "limit"), [("", 2.0), ("ray://", 7.0)])
def test_a_port_of_something_else(silent, web, scheme, limit, monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWERS_WITHIN_S", limit)
    for port in (silent, web):
        refusal(f"{scheme}127.0.0.1:{port}")


def test_sigterm_while_ray_starts_ends_with_the_code_of_the_signal():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end, cluster._own_signals():
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as ray.init does
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_attempt_at_once(senas, number, code):
    with socket.create_server(("127.0.0.1", 0)) as server:
        process = senas.start("search", "tiny.yaml", "--address", f"127.0.0.1:{server.getsockname()[1]}")
        server.settimeout(60)
        connection, _ = server.accept()
        with connection:
            time.sleep(1)  # from the plain connection to Ray's own attempt
            began = time.monotonic()
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 3
    assert process.returncode == code
    assert "Traceback" not in err
    assert not (senas.folder / "senas.db").exists()
