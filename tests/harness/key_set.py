"""An issuer of login tokens with keys of its own, and an HTTP server that publishes them, well or badly."""

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from . import tokens


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(self, kid: str, kind: str = "ES256") -> None:
        self.kid, self.kind = kid, kind
        self.key = ec.generate_private_key(ec.SECP256R1()) if kind == "ES256" else ed25519.Ed25519PrivateKey.generate()

    def token(self, user: int, **claims) -> bytes:
        """A token of a user; with these claims in place of its own."""
        parts = {"alg": self.kind, "kid": self.kid}, tokens.claims(user) | claims
        message = ".".join(b64(json.dumps(part).encode()) for part in parts).encode()
        if self.kind == "ES256":
            r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32) + s.to_bytes(32)
        else:
            signature = self.key.sign(message)
        return message + b"." + b64(signature).encode()

    def pem(self) -> bytes:
        """Its public key."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def jwk(self) -> dict:
        """The same for a key set."""
        if self.kind == "ES256":
            numbers = self.key.public_key().public_numbers()
            return {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32)),
                    "use": "sig", "kid": self.kid}
        raw = self.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), "alg": "EdDSA", "kid": self.kid}


def key_set(*issuers: Issuer) -> bytes:
    """What they publish together."""
    return json.dumps({"keys": [issuer.jwk() for issuer in issuers]}).encode()


class Publisher:
    """An HTTP server on loopback. Each question is answered by `behave`, which may do what it likes to the socket."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.behave: Callable[[BaseHTTPRequestHandler], None] = self.nothing
        self.asked: list[float] = []
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                behave = publisher.behave
                publisher.asked.append(time.monotonic())
                try:
                    behave(self)
                except (ConnectionError, ssl.SSLError):
                    pass
                self.close_connection = True

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port: int = self.server.server_address[1]
        self.ends = threading.Event()
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> "Publisher":
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.server.shutdown()
        self.server.server_close()

    def url(self, scheme: str = "http") -> str:
        """Where it is asked."""
        return f"{scheme}://localhost:{self.port}/keys"

    # -- what it may do -----------------------------------------------------------------------

    def publish(self, *issuers: Issuer) -> None:
        """From now on it does as it should."""
        self.behave = lambda to: answer(to, key_set(*issuers))

    def nothing(self, _: BaseHTTPRequestHandler) -> None:
        """It says nothing until it ends."""
        self.ends.wait()

    def drip(self, to: BaseHTTPRequestHandler) -> None:
        """A byte at a time, for ever."""
        begin(to, Content_Type="application/json", Content_Length="60000")
        while not self.ends.wait(0.3):
            to.wfile.write(b" ")

    def endless(self, to: BaseHTTPRequestHandler) -> None:
        """As fast as it is read, for ever."""
        begin(to, Content_Type="application/json", Transfer_Encoding="chunked")
        while not self.ends.is_set():
            to.wfile.write(b"1000\r\n" + b" " * 4096 + b"\r\n")

    def endless_head(self, to: BaseHTTPRequestHandler) -> None:
        """Headers for ever."""
        to.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not self.ends.is_set():
            to.wfile.write(b"X-More: " + b"x" * 1000 + b"\r\n")


def begin(to: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> None:
    """A status line and headers."""
    to.send_response(status)
    for name, value in headers.items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()


def answer(to: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """A whole answer."""
    begin(to, status, **({"Content_Type": "application/json", "Content_Length": str(len(body))} | headers))
    to.wfile.write(body)


def raw(to: BaseHTTPRequestHandler, data: bytes) -> None:
    """Bytes that are no answer, and the end."""
    to.wfile.write(data)
    to.connection.shutdown(socket.SHUT_WR)
