"""A front before a service: ends TLS as a server that is wrong in one way would, or speaks none, and passes on what
is left to the service's plain port."""

import contextlib
import socket
import ssl
import threading

# First byte of a TLS handshake record (RFC 8446, 5.1).
HANDSHAKE = b"\x16"

# PostgreSQL asks whether there is TLS in a message of so many bytes, and is answered with one.
SSL_REQUEST_BYTES = 8

CHUNK = 16 << 10


class Front:
    """See the module. Its threads end with the process."""

    def __init__(self, target: str, context: ssl.SSLContext | None, *, postgres: bool = False) -> None:
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.context = context
        self.postgres = postgres
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self) -> None:
        """Takes no connection any more."""
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # Clients that give up are what is tested.
        with contextlib.suppress(OSError), client:
            if self.postgres:
                client.recv(SSL_REQUEST_BYTES, socket.MSG_WAITALL)
                client.sendall(b"S" if self.context else b"N")
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            elif client.recv(1, socket.MSG_PEEK) == HANDSHAKE:
                return
            with client, socket.create_connection(self.target) as service:
                back = threading.Thread(target=_pump, args=(service, client), daemon=True)
                back.start()
                _pump(client, service)
                back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while read := source.recv(CHUNK):
            sink.sendall(read)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
