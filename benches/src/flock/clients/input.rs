//! The way in: bytes through the link, messages to their mode, and what the messages led to.

use rookery_shard::{Cause, Close, ConnId, Shard};
use rookery_wire::link::{Flow, Link, Receiver, Writer};
use rookery_wire::{link, proto, ws};

use super::Clients;
use super::conn::{Phase, Place};

/// What is to happen to a client once its answers are queued.
pub(super) enum Next {
    /// It goes on.
    Stay,
    /// The server answered our close: nothing is left to say.
    Part,
    /// It ends, for this reason.
    End(String),
}

impl Clients {
    /// Bytes came.
    pub(super) fn read(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        if state.phase == Phase::Ended {
            return;
        }
        let mut session = state.tls.index().and_then(|at| self.tls.lend(at));
        let link = state.link.index().and_then(|at| self.links.lend(at));
        let mut link = link.unwrap_or_else(|| Box::new(Link::open()));
        let mut out = shard.spare_buffer();
        let mut masks = self.masks.clone();
        let config = self.plan.link;
        let mut upper = Upper {
            clients: self,
            shard,
            conn,
            next: Next::Stay,
        };
        let fed = link.feed(
            &config,
            &mut session,
            Some(&mut masks),
            &mut out,
            &mut upper,
            bytes,
        );
        let next = match fed {
            Ok(_) => upper.next,
            Err(error) => Next::End(told(&error)),
        };
        self.masks = masks;
        if let Some(session) = session {
            match state.tls.index() {
                Some(at) => self.tls.give_back(at, session),
                None => {
                    let at = Place::at(self.tls.insert(session));
                    shard
                        .conn(conn)
                        .into_iter()
                        .for_each(|state| state.tls = at);
                }
            }
        }
        self.put_back_link(shard, conn, state.link, link);
        let refused = !out.is_empty() && shard.send(conn, out).is_err();
        match next {
            Next::End(reason) => self.end(shard, conn, &reason),
            // The engine's word that it is gone counts it.
            Next::Part => shard.close(conn, Close::Flush),
            Next::Stay if refused => self.end(shard, conn, "the server does not read"),
            Next::Stay => {}
        }
    }

    /// A link at rest is dropped.
    fn put_back_link(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        was: Place,
        link: Box<Link>,
    ) {
        let now = match (was.index(), link.is_at_rest()) {
            (Some(at), true) => {
                self.links.remove(at);
                Place::default()
            }
            (Some(at), false) => {
                self.links.give_back(at, link);
                was
            }
            (None, true) => Place::default(),
            (None, false) => Place::at(self.links.insert(link)),
        };
        if let Some(state) = shard.conn(conn) {
            state.link = now;
        }
    }

    /// Sends one message on a client at rest.
    pub(super) fn say(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        tls: Place,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> bool {
        let mut out = shard.spare_buffer();
        let session = tls.index().and_then(|at| self.tls.find_mut(at));
        write(&mut Writer::new(session, Some(&mut self.masks), &mut out));
        let sent = shard.send(conn, out).is_ok();
        if !sent {
            // A sealed record that is not sent breaks the stream.
            self.end(shard, conn, "the server does not read");
        }
        sent
    }
}

/// The client, while its link hands up events.
struct Upper<'a> {
    clients: &'a mut Clients,
    shard: &'a mut Shard<Clients>,
    conn: ConnId,
    next: Next,
}

impl Upper<'_> {
    fn closed(
        &mut self,
        writer: &mut Writer<'_>,
        code: Option<proto::CloseCode>,
        why: &str,
    ) -> Next {
        let phase = self.shard.conn(self.conn).map(|state| state.phase);
        if matches!(phase, Some(Phase::Parting | Phase::Going)) {
            writer.end();
            return Next::Part;
        }
        writer.close_back(code);
        writer.end();
        let code = match code {
            Some(code) => format!("{} {}", code.0, code.name()),
            None => "without a code".to_owned(),
        };
        let what = if phase == Some(Phase::Login) {
            "login refused"
        } else {
            "closed by the server"
        };
        Next::End(format!("{what}: {code} {why:?}"))
    }
}

impl Receiver for Upper<'_> {
    fn on_open(&mut self, writer: &mut Writer<'_>) -> Flow {
        self.clients.upgraded(self.shard, self.conn, writer);
        Flow::Continue
    }

    fn on_event(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Flow {
        let next = match event {
            ws::Event::Binary(bytes) if self.clients.plan.nats => {
                self.clients.nats_said(self.shard, self.conn, &bytes)
            }
            ws::Event::Binary(bytes) if self.clients.plan.is_echo() => self.clients.echoed(&bytes),
            ws::Event::Binary(bytes) => self.clients.frame(self.shard, self.conn, &bytes),
            ws::Event::Close { code, reason } => self.closed(writer, code, &reason),
            ws::Event::Text(_) | ws::Event::Ping(_) | ws::Event::Pong(_) => Next::Stay,
        };
        match next {
            Next::Stay => Flow::Continue,
            end @ (Next::End(_) | Next::Part) => {
                self.next = end;
                Flow::Stop
            }
        }
    }
}

/// A link's error, for a person who wonders what is wrong with the URL.
fn told(error: &link::Error) -> String {
    use rookery_wire::tls::{Blame, Error as Tls};
    let advice = match error {
        link::Error::Tls(Tls::NotTls | Tls::PlainHttp) => " (a plain server? try ws://)",
        link::Error::Tls(tls) if tls.blame() == Blame::PeerUntrusted => {
            " (the certificate is not trusted: --ca FILE names whom to trust)"
        }
        link::Error::Response(_) => " (not a WebSocket server, or an echo server without --echo)",
        _ => "",
    };
    format!("{error}{advice}")
}

/// Why a connection ended that had come so far.
pub(super) fn explain(phase: Phase, cause: Cause, echo: bool) -> String {
    let cause = match cause {
        Cause::PeerClosed => "the server closed the connection".to_owned(),
        Cause::Closed => "closed".to_owned(),
        Cause::Errno(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
        Cause::Stopping => "the run was ended".to_owned(),
    };
    match phase {
        Phase::Opening if echo => format!("{cause} before it was a WebSocket"),
        Phase::Opening => format!("{cause} before it was a WebSocket (for a TLS server, wss://)"),
        Phase::Login => format!("{cause} instead of an answer to the login"),
        _ => cause,
    }
}
