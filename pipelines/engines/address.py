"""Where a server is and how it may be reached: one reading of addresses, certificates and headers.

A header may hold a secret and goes into no setting: the environment has it, and what is started
here inherits that.
"""

import functools
import ipaddress
import os
import re
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from pipelines.errors import VisiontaxError

CA_FILE = "VISIONTAX_CA_FILE"
"""Names the file of certificates (PEM) that servers are trusted by, in place of the system's."""

HEADERS = "VISIONTAX_HEADERS"
"""Lines of `NAME: VALUE` that go with every request to Triton, over HTTP and gRPC."""

MAY_LOAD = "--i-may-load-this-host"
"""The option by which a user says so."""

_PORTS = {"http": 80, "https": 443}
_HEADER = re.compile(r"([0-9A-Za-z._-]+):[ \t]*([ -~]*)")


class Address(NamedTuple):
    """A server's host and port; `path` is what a proxy has before the server's own, or empty."""

    host: str
    port: int
    secure: bool
    path: str

    def __str__(self) -> str:
        """As settings and messages have it: host:port, then more where there is more."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https://' if self.secure else ''}{host}:{self.port}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether it is this host's loopback."""
        try:
            found = ipaddress.ip_address(self.host.partition("%")[0])
        except ValueError:
            return self.host == "localhost"
        return found.is_loopback or found.is_unspecified

    @property
    def url(self) -> str:
        """What paths of the server's own are appended to."""
        return str(self) if self.secure else f"http://{self}"


@functools.cache
def address_of(text: str) -> Address:
    """Read host:port, or a URL, with the prefix of a proxy where there is one.

    Raises VisiontaxError when it is neither; a URL without a port has that of its scheme.
    """
    _, found, _ = text.partition("://")
    wrong = VisiontaxError(
        f"not the address of a server: {text!r}",
        hint="write it as host:port, or as a URL: https://host/prefix",
    )
    try:
        parts = urlsplit(text if found else f"//{text}")
        port = parts.port or 0
        if found:  # urlsplit reads HTTPS as https
            port = port or _PORTS[parts.scheme]
    except (ValueError, LookupError):
        raise wrong from None
    if parts.username is not None or parts.password is not None:
        raise VisiontaxError(
            "an address with a user or a password would be kept in results",
            hint=f"give them as a header: {HEADERS}='Authorization: Basic ...'",
        )
    if not parts.hostname or parts.query or parts.fragment or not text.isprintable():
        raise wrong
    if not port:
        raise VisiontaxError(
            f"the server's address has no port: {text}", hint="write it as host:port"
        )
    secure = parts.scheme == "https"
    return Address(parts.hostname, port, secure, parts.path.rstrip("/"))


def may_load(server: str, *, said: bool) -> None:
    """Raise VisiontaxError where the server is not on this host and nobody has `said` it may be."""
    if not (said or address_of(server).is_local):
        raise VisiontaxError(
            f"{server} is not this host, and a load may slow down those who use it",
            hint=f"say {MAY_LOAD} where that is all right",
        )


def headers() -> dict[str, str]:
    """Return what goes with every request. Raises VisiontaxError naming the line that is wrong."""
    found = {}
    for number, line in enumerate(os.environ.get(HEADERS, "").splitlines(), start=1):
        read = _HEADER.fullmatch(line.strip())
        if line.strip() and not read:
            raise VisiontaxError(
                f"line {number} of {HEADERS} is no header", hint="write each as NAME: VALUE"
            )
        if read:
            found[read[1]] = read[2]
    return found


def ca_file() -> str | None:
    """Return the file of certificates that servers are trusted by, None for the system's.

    Raises VisiontaxError when there are none in it.
    """
    trusted()
    return os.environ.get(CA_FILE) or None


def trusted() -> ssl.SSLContext:
    """Return what TLS trusts, one for the process. Raises as ca_file does."""
    path = os.environ.get(CA_FILE)
    try:
        return _context(path or None)
    except OSError as error:  # ssl.SSLError is one
        raise VisiontaxError(
            f"{CA_FILE}={path} has no certificates that can be read: {error.strerror or error}",
            hint="name a PEM file, with the certificate of the CA that signed the server's",
        ) from error


@functools.cache
def _context(path: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=path)
