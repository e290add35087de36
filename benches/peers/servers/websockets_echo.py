"""Echo on Python's `websockets` with uvloop, as its documentation advises: no compression, small buffers.

python websockets_echo.py PORT [CERT KEY]
"""

import asyncio
import socket
import ssl
import sys

import uvloop
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(connection) -> None:
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        pass


def context(cert: str, key: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(cert, key)
    return tls


async def main(port: str, *files: str) -> None:
    listener = socket.create_server(("0.0.0.0", int(port)), backlog=4096)
    async with serve(echo, sock=listener, ssl=context(*files) if files else None, compression=None,
                     ping_interval=None, max_queue=1, backlog=4096) as server:
        print("ready", port, flush=True)
        await server.serve_forever()


uvloop.run(main(*sys.argv[1:]))
