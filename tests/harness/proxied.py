"""PROXY protocol headers as balancers send them, good and bad, and connections that begin with one
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt)."""

import ipaddress
import socket
import ssl
import struct
import time

from .raw import WAIT_SECONDS
from .server import Server

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPEC, TCP4, UDP4, TCP6, UNIX = 0x00, 0x11, 0x12, 0x21, 0x31

# Whom the proxy says that the client has reached.
SERVER_PORT = 443


def v1(client: str, port: int = 50_000) -> bytes:
    """A line for a client at this address."""
    address = ipaddress.ip_address(client)
    server = "203.0.113.9" if address.version == 4 else "2001:db8:9::9"
    return f"PROXY TCP{address.version} {client} {server} {port} {SERVER_PORT}\r\n".encode()


def binary(command: int, family: int, block: bytes = b"") -> bytes:
    """Any header of version 2."""
    return SIGNATURE + struct.pack(">BBH", command, family, len(block)) + block


def block(client: str, tlvs: bytes = b"") -> bytes:
    """Addresses and ports, and what stands behind them."""
    address = ipaddress.ip_address(client)
    server = ipaddress.ip_address("203.0.113.9" if address.version == 4 else "2001:db8:9::9")
    return address.packed + server.packed + struct.pack(">HH", 50_000, SERVER_PORT) + tlvs


def v2(client: str, tlvs: bytes = b"") -> bytes:
    """A binary header for a client at this address."""
    return binary(PROXY, TCP4 if ipaddress.ip_address(client).version == 4 else TCP6, block(client, tlvs))


HEADERS = {"v1": v1, "v2": v2}

# How a header comes: at once, in segments of a byte, or in one segment with what the client says first.
WAYS = ("whole", "bytewise", "together")


def opened(server: Server, *, tls: bool = False, source: str = "127.0.0.1", port: int | None = None) -> socket.socket:
    """A TCP connection to a listener, from one of loopback's addresses."""
    number = port or (server.tls_port if tls else server.plain_port)
    connection = socket.create_connection(("127.0.0.1", number), WAIT_SECONDS, (source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def announced(server: Server, header: bytes, *, tls: bool = False, way: str = "whole", **options) -> socket.socket:
    """A connection that begins with this header, with TLS behind it or without."""
    connection = opened(server, tls=tls, **options)
    if way == "bytewise":
        for byte in header:
            connection.sendall(bytes([byte]))
            time.sleep(0.0005)  # A segment each.
        header = b""
    if way == "together":
        # Nothing leaves before the segment is full, the cork is drawn, or 200 ms are over (tcp(7)).
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    connection.sendall(header)
    if tls:
        connection = server.tls_context().wrap_socket(
            connection, server_hostname="localhost", do_handshake_on_connect=False)
        if way == "together":
            connection.setblocking(False)
            try:
                connection.do_handshake()
            except ssl.SSLWantReadError:
                pass
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            connection.settimeout(WAIT_SECONDS)
        connection.do_handshake()
    return connection
