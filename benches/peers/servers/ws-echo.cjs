// Echo on Node with `ws`, as its authors recommend for many connections: no compression.
// node ws-echo.cjs PORT [CERT KEY]
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");
const { WebSocketServer } = require("ws");

const [port, cert, key] = process.argv.slice(2);
const server = cert
  ? https.createServer({
      cert: fs.readFileSync(cert),
      key: fs.readFileSync(key),
      minVersion: "TLSv1.3",
      ciphers: "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
      honorCipherOrder: true,
    })
  : http.createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false });
sockets.on("connection", (socket) => {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  socket.on("error", () => socket.terminate());
});
server.on("tlsClientError", () => {});
server.listen({ port: Number(port), host: "0.0.0.0", backlog: 4096 }, () => console.log("ready", port));
