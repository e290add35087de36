// Echo on Bun, whose server is built on uWebSockets.
// bun bun-echo.js PORT [CERT KEY]
const [port, cert, key] = process.argv.slice(2);
Bun.serve({
  port: Number(port),
  hostname: "0.0.0.0",
  tls: cert ? { cert: Bun.file(cert), key: Bun.file(key) } : undefined,
  fetch(request, server) {
    if (server.upgrade(request)) return undefined;
    return new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,
    message(socket, data) {
      socket.send(data);
    },
  },
});
console.log("ready", port);
