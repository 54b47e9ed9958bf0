"""Servers elsewhere: their addresses, behind TLS and a proxy with a prefix, and with a token."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import TOKEN, Gateway, certificate, grpc_gateway
from need import need
from processes import PROGRAMS, bench, loading

from bench.ledger.reading import summary_of
from pipelines.engines.address import CA_FILE, HEADERS, address_of, ca_file, headers
from pipelines.engines.choose import endpoint
from pipelines.errors import VisiontaxError
from pipelines.servers import triton

SMALL = ("--images", "small", "--warmup", "0.5s")


@pytest.mark.parametrize(
    ("text", "kept", "url"),
    [
        ("h:8000", "h:8000", "http://h:8000"),
        ("http://h:8000/", "h:8000", "http://h:8000"),
        ("http://h", "h:80", "http://h:80"),
        ("https://h", "https://h:443", "https://h:443"),
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


@pytest.mark.usefixtures("trusted")
def test_a_run_through_tls_a_prefix_and_a_token(gateway: Gateway, tmp_path: Path) -> None:
    options = ("--server", gateway.url, "--duration", "1s", "--results", tmp_path, *SMALL)
    done = bench("run", "classification", *options)
    assert done.returncode == 0, done.stderr
    assert_measured(tmp_path)


@pytest.mark.usefixtures("trusted")
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
