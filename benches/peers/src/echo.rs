//! One echoing connection for engines without a WebSocket library of their own, sans-IO: rustls's
//! `ServerConnection` and the product's WebSocket framing, which costs a peer no more than it costs us.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rookery_wire::ws::upgrade::Server;
use rookery_wire::ws::{self, Decoder, Event, Opcode};
use rustls::{ServerConfig, ServerConnection};

use crate::buffers;

/// Bytes of a request's head, at most.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// See the module.
pub struct Echo {
    tls: Option<Box<ServerConnection>>,
    stage: Stage,
}

enum Stage {
    /// The upgrade request, as far as it has come.
    Head(Vec<u8>),
    Open(Decoder),
}

impl Echo {
    /// A new connection.
    ///
    /// # Errors
    /// The TLS library refuses its configuration.
    pub fn new(tls: Option<&Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let connection =
            |config: &Arc<ServerConfig>| ServerConnection::new(Arc::clone(config)).map(Box::new);
        Ok(Self {
            tls: tls.map(connection).transpose()?,
            stage: Stage::Head(Vec::new()),
        })
    }

    /// Takes what was received and appends to `out` what is to be sent.
    ///
    /// # Errors
    /// The connection has ended, or the peer does what it may not.
    pub fn feed(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.stage.feed(bytes, out);
        };
        let mut cipher: &[u8] = bytes;
        let mut answer = buffers::take();
        while !cipher.is_empty() {
            tls.read_tls(&mut cipher)?;
            tls.process_new_packets()?;
            let mut plain = buffers::take();
            match tls.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
            self.stage.feed(&mut plain, &mut answer)?;
            buffers::give(plain);
        }
        tls.writer().write_all(&answer)?;
        buffers::give(answer);
        while tls.wants_write() {
            tls.write_tls(out)?;
        }
        Ok(())
    }
}

impl Stage {
    fn feed(&mut self, bytes: &mut [u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Open(decoder) => echo(decoder, bytes, out),
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                let Some((used, request)) = Server::ECHO.parse(head).context("no upgrade")? else {
                    ensure!(head.len() < HEAD_BYTES_MAX, "a request without an end");
                    return Ok(());
                };
                request.accept(out);
                let mut rest = std::mem::take(head).split_off(used);
                *self = Self::Open(Decoder::new());
                self.feed(&mut rest, out)
            }
        }
    }
}

fn echo(decoder: &mut Decoder, bytes: &mut [u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
    const CONFIG: ws::Config = ws::Config::echo(ws::Role::Server);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (used, event) = decoder.decode(&CONFIG, rest)?;
        match event {
            Some(Event::Binary(payload)) => ws::encode_message(Opcode::Binary, &payload, None, out),
            Some(Event::Text(text)) => {
                ws::encode_message(Opcode::Text, text.as_bytes(), None, out);
            }
            Some(Event::Ping(payload)) => ws::encode_message(Opcode::Pong, &payload, None, out),
            Some(Event::Close { code, reason }) => bail!("closed: {code:?} {reason}"),
            Some(Event::Pong(_)) | None => {}
        }
        rest = &mut rest[used..];
    }
    Ok(())
}
