"""Servers elsewhere: their addresses, behind TLS and a proxy with a prefix, and with a token."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import TOKEN, Gateway, Redirecting, certificate, grpc_gateway
from need import need
from processes import PROGRAMS, bench, loading, refused

from bench.generator.watching.samples import listeners
from bench.ledger.reading import summary_of
from pipelines.engines.address import CA_FILE, HEADERS, address_of, ca_file, headers
from pipelines.engines.choose import endpoint
from pipelines.engines.triton_http import HttpEngine
from pipelines.errors import ServerError, VisiontaxError
from pipelines.servers import triton
from pipelines.servers.control import check_ready

SMALL = ("--images", "small", "--warmup", "0.5s")


@pytest.mark.parametrize(
    ("text", "kept", "url"),
    [
        ("h:8000", "h:8000", "http://h:8000"),
        ("http://h:8000/", "h:8000", "http://h:8000"),
        ("http://h", "h:80", "http://h:80"),
        ("https://h", "https://h:443", "https://h:443"),
        ("HTTPS://h:8443", "https://h:8443", "https://h:8443"),
        ("Https://h", "https://h:443", "https://h:443"),
        ("https://h:8443/a/b/", "https://h:8443/a/b", "https://h:8443/a/b"),
        ("h:8000/a", "h:8000/a", "http://h:8000/a"),
        ("[::1]:8000", "[::1]:8000", "http://[::1]:8000"),
        ("https://[::1]/a", "https://[::1]:443/a", "https://[::1]:443/a"),
    ],
)
def test_an_address_is_read_and_kept_in_one_way(text: str, kept: str, url: str) -> None:
    at = address_of(text)
    assert (str(at), at.url) == (kept, url)
    assert address_of(kept) == at


@pytest.mark.parametrize(
    ("text", "local"),
    [
        *(("127.0.0.1:80", True), ("127.9.9.9:80", True), ("localhost:80", True)),
        *(("http://[::1]:80/a", True), ("0.0.0.0:80", True), ("10.0.0.1:80", False)),
        *(("localhost.example:80", False), ("127.example:80", False), ("[fe80::1]:80", False)),
    ],
)
def test_only_the_loopback_is_this_host(text: str, *, local: bool) -> None:
    assert address_of(text).is_local is local


@pytest.mark.parametrize(
    "command",
    [
        ("run", "classification", "--server"),
        ("study", "broker", "--set"),
        ("ab", "classification", "--b"),
        ("gate", "classification", "--require", "p99 < 1s", "--candidate"),
    ],
    ids=lambda command: command[0],
)
def test_a_host_that_is_not_this_one_is_loaded_only_if_one_says_so(command: tuple[str]) -> None:
    server = f"{'server=' if command[-1] in ('--b', '--candidate', '--set') else ''}h:80"
    words = "error: h:80 is not this host, and a load may slow down those who use it\nhint: say"
    refused(*command, server, code=1, words=[words, "--i-may-load-this-host"])


def test_a_host_that_may_be_loaded_is_asked(tmp_path: Path) -> None:
    # An address of documentation (RFC 5737), which nobody has: it fails only when it is asked.
    given = ("--server", "192.0.2.1:80", "--i-may-load-this-host", "--results", tmp_path)
    for program in PROGRAMS:
        done = loading(program, *given)
        assert "is not this host" not in done.stderr
        assert "Triton is not ready at 192.0.2.1:80" in done.stderr
    done = loading("locust", "--server", "192.0.2.1:80", "--results", tmp_path)
    assert (done.returncode, "192.0.2.1:80 is not this host" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "h", ":8000", "h:x", "h:99999", "ftp://h", "http://", "h:1?x", "h:1#x", "[::1", "h:1\n"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(VisiontaxError, match="address") as caught:
        address_of(text)
    assert "host:port" in caught.value.hint


def test_an_address_may_not_hold_a_password() -> None:
    with pytest.raises(VisiontaxError, match="would be kept") as caught:
        address_of("https://me:pass@h")
    assert HEADERS in caught.value.hint


def test_grpc_is_at_the_next_port_and_has_no_prefix() -> None:
    assert endpoint("grpc", "h:8000/a") == "h:8001"
    assert endpoint("grpc", "https://h/a", grpc_port=443) == "https://h:443"
    assert endpoint("http", "https://h:443/a") == "https://h:443/a"


def test_headers_are_lines_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert headers() == {}
    monkeypatch.setenv(HEADERS, "Authorization: Bearer a:b\n\nx-team:vision\n")
    assert headers() == {"Authorization": "Bearer a:b", "x-team": "vision"}
    monkeypatch.setenv(HEADERS, "x: y\nsecret")
    with pytest.raises(VisiontaxError, match="line 2") as caught:
        headers()
    assert "secret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_a_file_without_certificates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(CA_FILE, str(path))
    with pytest.raises(VisiontaxError, match="has no certificates"):
        ca_file()


def test_a_redirect_is_not_followed_with_the_headers() -> None:
    with Redirecting("https://127.0.0.1/there") as server:
        address = f"127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ServerError, match="HTTP 302") as caught:
            check_ready(address, hint="start it")
        server.shutdown()
    assert "https://127.0.0.1/there" in caught.value.hint


def test_a_hundred_users_of_tls_cost_no_more_than_one() -> None:
    pools = [HttpEngine("https://h")._client._connection_pool for _ in range(100)]
    assert len({id(pool.ssl_context) for pool in pools}) == 1


def test_each_address_of_a_cluster_is_watched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        for brokers in (f"127.0.0.1:9,127.0.0.1:{port}", f"127.0.0.1:{port}, 127.0.0.1:9"):
            assert os.getpid() in [process.pid for process in listeners(brokers)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    need("openssl")
    return certificate(tmp_path_factory.mktemp("gateway"))


@pytest.fixture
def gateway(triton: triton.Server, made: tuple[Path, Path]) -> Iterator[Gateway]:
    with Gateway(triton.port, certificate=made) as running:
        yield running
        running.shutdown()


@pytest.fixture
def trusted(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CA_FILE, str(made[0]))
    monkeypatch.setenv(HEADERS, f"Authorization: {TOKEN}")


def assert_measured(results: Path) -> None:
    """There is a run whose requests all succeeded and were traced; the token is nowhere in it."""
    (folder,) = results.iterdir()
    summary = summary_of(folder)
    assert summary.requests > 0 == summary.errors
    assert {"send", "queue", "decode", "inference"} <= set(summary.stages)
    for path in folder.iterdir():
        assert TOKEN.split()[1] not in path.read_text()


@pytest.mark.usefixtures("trusted", "forgiving")
def test_a_run_through_tls_a_prefix_and_a_token(gateway: Gateway, tmp_path: Path) -> None:
    options = ("--server", gateway.url, "--duration", "1s", "--results", tmp_path, *SMALL)
    done = bench("run", "classification", *options)
    assert done.returncode == 0, done.stderr
    assert_measured(tmp_path)


@pytest.mark.usefixtures("trusted", "forgiving")
def test_a_run_over_grpc_with_tls_and_a_token(
    gateway: Gateway, triton: triton.Server, made: tuple[Path, Path], tmp_path: Path
) -> None:
    with grpc_gateway(triton.port + 1, certificate=made) as port:
        options = ("--server", gateway.url, "--transport", "grpc", "--grpc-port", port)
        done = bench(
            "run", "classification", *options, "--duration", "1s", "--results", tmp_path, *SMALL
        )
    assert done.returncode == 0, done.stderr
    assert_measured(tmp_path)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("environment", "address", "cause", "cure"),
    [
        ({CA_FILE: None}, "{0.url}", "CERTIFICATE_VERIFY_FAILED", CA_FILE),
        ({CA_FILE: "/nowhere"}, "{0.url}", "No such file or directory", "PEM file"),
        ({HEADERS: None}, "{0.url}", "HTTP 401 Unauthorized", HEADERS),
        ({HEADERS: "x"}, "{0.url}", "line 1 of", "NAME: VALUE"),
        ({}, "https://127.0.0.1:{1.port}", "SSL", "without it write http://"),
    ],
    ids=["unknown CA", "no CA file", "no token", "no header", "no TLS"],
)
@pytest.mark.usefixtures("trusted")
def test_what_is_wrong_with_the_way_is_said_before_the_load(
    gateway: Gateway,
    triton: triton.Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    program: str,
    environment: dict[str, str | None],
    address: str,
    cause: str,
    cure: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.delenv(name)
        if value:
            monkeypatch.setenv(name, value)
    where = address.format(gateway, triton)
    done = loading(program, "--server", where, "--results", tmp_path, *SMALL)
    assert done.returncode == 1
    (error, hint) = (line for line in done.stderr.splitlines() if line.startswith(("err", "hint")))
    assert cause in error
    assert cure in hint
    assert list(tmp_path.iterdir()) == []
