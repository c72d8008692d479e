"""Endpoints of tenants: a real server on the loopback interface that answers as it is told."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Received:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Handler(http.server.BaseHTTPRequestHandler):
    """Notes a request and lets its path answer it."""

    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.receiver.note(Received(self.path, dict(self.headers.items()), body))
        self.receiver.behaviour(self.path)(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Behaviour = Callable[[Handler], None]


def answer(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer with a status."""

    def behave(handler: Handler) -> None:
        with contextlib.suppress(OSError):  # whoever asked need not read all of it
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        handler.close_connection = True

    return behave


def hang(handler: Handler) -> None:
    """Answer nothing until the other side goes."""
    handler.rfile.read(1)
    handler.close_connection = True


def trickle(handler: Handler) -> None:
    """Send an answer so slowly that every byte is in time and the whole is not."""
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            handler.wfile.write(b"X-More: 1\r\n")
            if handler.server.stopped.wait(0.05):  # type: ignore[attr-defined]
                break
    handler.close_connection = True


def never_end(handler: Handler) -> None:
    """Answer 200 and send less than the body that was announced."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    hang(handler)


def hang_up(handler: Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[Handler]) -> None:
        self.stopped = threading.Event()
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go."""


@dataclass
class Receiver:
    """A running server; paths without a behaviour answer 200."""

    port: int = 0
    scheme: str = "http"
    behaviours: dict[str, list[Behaviour]] = field(default_factory=dict)
    _received: list[Received] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def tell(self, path: str, *behaviours: Behaviour) -> None:
        """Let a path behave in turn; the last one stays."""
        with self._lock:
            self.behaviours[path] = list(behaviours)

    def behaviour(self, path: str) -> Behaviour:
        with self._lock:
            told = self.behaviours.get(path, [answer(200)])
            return told.pop(0) if len(told) > 1 else told[0]

    def note(self, received: Received) -> None:
        with self._lock:
            self._received.append(received)

    def received(self, path: str) -> list[Received]:
        """Return what came to a path so far."""
        with self._lock:
            return [one for one in self._received if one.path == path]


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Start a receiver on a free port, and stop it in the end."""
    receiver = Receiver(scheme="https" if tls else "http")
    handler = type("BoundHandler", (Handler,), {"receiver": receiver})
    server = _Server(handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    receiver.port = int(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()


def make_certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return the file of an authority of the tests, and what a server for ``name`` speaks TLS with.

    Args:
        folder: Where the files go.
        name: Name of a domain, or an address.
    """
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of tests")])
    authority = _certificate(authority_name, authority_name, authority_key, authority_key, ca=True)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    certificate = _certificate(
        subject, authority_name, key, authority_key, ca=False, alternative=alternative
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "server.pem").write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "server.pem")
    return folder / "authority.pem", tls


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    alternative: x509.GeneralName | None = None,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if ca:
        builder = builder.add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    if alternative is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
