//! The way in: bytes through the link, messages to their mode, and what the messages led to.

use rookery_shard::{Close, ConnId, Shard};
use rookery_wire::link::{Flow, Link, Receiver, Writer};
use rookery_wire::proto::CloseCode;
use rookery_wire::{tls, ws};

use super::conn::{Conn, Phase};
use super::requests::UnderWay;
use super::settings::Mode;
use super::{Place, Sessions, Work};
use crate::auth::Proof;

/// What is to happen to a connection once its answers are queued.
pub(super) enum Next {
    /// It goes on.
    Stay,
    /// It is logged in: what stands behind that is looked at by the rules of those who are.
    LoggedIn,
    /// It has to wait for the router before more of it is looked at.
    Wait,
    /// Its last words are written, with a close code or without.
    End(Option<CloseCode>),
    /// Its user belongs to that shard, which looks at what it was proven with.
    Move(u16, Proof),
}

/// What a connection owns beside its slot, taken out while it is worked on.
pub(super) struct Held {
    pub(super) tls: Option<tls::Session>,
    pub(super) work: Box<Work>,
}

impl Sessions {
    /// Bytes came (or none: what a stopped link kept is due).
    pub(super) fn read(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        if state.phase.is_opening() && self.wait_in_lobby(shard, conn, &state, bytes) {
            return;
        }
        self.look_at(shard, conn, bytes);
    }

    /// Feeds bytes to the connection's link, and does what comes of it.
    pub(super) fn look_at(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        let now_s = super::deadlines::seconds(shard.running_ns());
        let Some(state) = shard.conn(conn) else {
            return;
        };
        if state.phase == Phase::Ended {
            return;
        }
        state.hear(now_s);
        let state = *state;
        let mut held = self.hold(&state);
        if state.phase == Phase::Moving || held.work.waits || held.work.finishes {
            // Of a receive that was under way when it left, or stopped: it goes along, or waits.
            held.work.link.keep(bytes);
            return self.put_back(shard, conn, held);
        }
        let accepted_ns = held.work.opening.as_ref().map(|it| it.accepted_ns);
        let mut out = shard.spare_buffer();
        let config = self.link_config(shard, &held.work, conn);
        let was_handshaking = held.work.link.is_handshaking();
        let Work {
            link, under_way, ..
        } = &mut *held.work;
        let mut upper = Upper {
            sessions: self,
            shard,
            conn,
            under_way,
            next: Next::Stay,
        };
        let fed = link.feed(&config, &mut held.tls, None, &mut out, &mut upper, bytes);
        let next = match fed {
            Ok(_) => upper.next,
            Err(error) => {
                tracing::debug!(conn = conn.as_u64(), %error, "the peer broke the rules or left");
                Next::End(error.close_code())
            }
        };
        if let Some(accepted_ns) = accepted_ns {
            let ends_handshake = was_handshaking && !held.work.link.is_handshaking();
            self.time_opening(shard, conn, state.phase, ends_handshake, accepted_ns);
        }
        self.settle(shard, conn, held, out, next);
    }

    /// Takes out what the connection owns; what it does not have is made.
    pub(super) fn hold(&mut self, state: &Conn) -> Held {
        let tls = state.tls.index().and_then(|at| self.tls.lend(at));
        let work = state.work.index().and_then(|at| self.work.lend(at));
        Held {
            tls,
            work: work
                .or_else(|| self.spare_work.take())
                .unwrap_or_else(|| Work::new(Link::open())),
        }
    }

    /// Queues what was written, puts back what was held, and does what comes next.
    pub(super) fn settle(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        mut held: Held,
        out: Vec<u8>,
        next: Next,
    ) {
        // A sealed record that is not sent breaks the stream, so a refusal ends it.
        let refused = !out.is_empty() && shard.send(conn, out).is_err();
        if refused {
            tracing::debug!(conn = conn.as_u64(), "answers over the send queue's limit");
        }
        let stays = !refused && !matches!(next, Next::End(_) | Next::Move(..));
        if stays && matches!(next, Next::Wait) {
            held.work.waits = true;
            shard.pause(conn);
        }
        if stays && !held.work.paused && shard.queue_bytes(conn) > self.queue_bytes_pause(shard) {
            held.work.paused = true;
            shard.pause(conn);
        }
        if let Next::Move(_, proof) = &next {
            held.work.proof = Some(Box::new(*proof));
        }
        self.put_back(shard, conn, held);
        match next {
            _ if refused => self.end(shard, conn, Close::Now),
            Next::Stay | Next::Wait => {}
            Next::LoggedIn => self.read(shard, conn, &mut []),
            Next::End(code) => self.end_with(shard, conn, Close::Flush, code),
            Next::Move(to, _) => shard.move_to(conn, to),
        }
    }

    /// Ends a [`hold`](Self::hold).
    pub(super) fn put_back(&mut self, shard: &mut Shard<Self>, conn: ConnId, held: Held) {
        let Some(state) = shard.conn(conn) else {
            return;
        };
        let Held { tls, mut work } = held;
        if work.opening.is_some() && !state.phase.is_opening() {
            work.opening = None;
        }
        if let Some(tls) = tls {
            match state.tls.index() {
                Some(at) => self.tls.give_back(at, tls),
                None => state.tls = Place::at(self.tls.insert(tls)),
            }
        }
        match (state.work.index(), work.is_at_rest()) {
            (Some(at), true) => {
                self.work.forget(conn, at, &work);
                state.work = Place::default();
                self.spare_work.get_or_insert(work);
            }
            (Some(at), false) => self.work.give_back(conn, at, work),
            // At rest it is as if made anew, and the next wake need not allocate.
            (None, true) => self.spare_work = Some(work),
            (None, false) => state.work = Place::at(self.work.insert(conn, work)),
        }
    }
}

/// The connection's session, while its link hands up events.
struct Upper<'a> {
    sessions: &'a mut Sessions,
    shard: &'a mut Shard<Sessions>,
    conn: ConnId,
    /// Of its work.
    under_way: &'a mut UnderWay,
    next: Next,
}

impl Upper<'_> {
    /// Remembers what comes next; whether the link goes on.
    fn then(&mut self, next: Next) -> Flow {
        self.next = next;
        match self.next {
            Next::Stay => Flow::Continue,
            Next::LoggedIn | Next::Wait | Next::End(_) | Next::Move(..) => Flow::Stop,
        }
    }

    fn echo(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Next {
        match event {
            ws::Event::Text(text) => writer.message(ws::Opcode::Text, text.as_bytes()),
            ws::Event::Binary(bytes) => writer.message(ws::Opcode::Binary, &bytes),
            ws::Event::Ping(_) | ws::Event::Pong(_) => {}
            ws::Event::Close { code, .. } => return close_back(writer, code),
        }
        Next::Stay
    }

    fn chat(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Next {
        match event {
            ws::Event::Binary(frame) => {
                let (sessions, shard) = (&mut *self.sessions, &mut *self.shard);
                sessions.frame(shard, self.conn, writer, &frame, self.under_way)
            }
            ws::Event::Text(_) => say_and_end(writer, CloseCode::UNSUPPORTED_DATA, "text"),
            ws::Event::Ping(_) | ws::Event::Pong(_) => self.control(writer),
            ws::Event::Close { code, .. } => close_back(writer, code),
        }
    }

    /// What costs us more than its sender, and is seldom needed: counted against time.
    fn control(&mut self, writer: &mut Writer<'_>) -> Next {
        let state = self.shard.conn(self.conn);
        if state.is_some_and(Conn::is_flooding) {
            let reason = "more pings, pongs and key updates within a second than anybody needs";
            return say_and_end(writer, CloseCode::POLICY_VIOLATION, reason);
        }
        Next::Stay
    }
}

impl Receiver for Upper<'_> {
    fn on_open(&mut self, _: &mut Writer<'_>) -> Flow {
        let phase = match self.sessions.settings.mode {
            Mode::Chat => Phase::Login,
            Mode::Echo => Phase::Live,
        };
        if let Some(state) = self.shard.conn(self.conn) {
            let was = std::mem::replace(&mut state.phase, phase);
            if phase == Phase::Live {
                self.sessions.leave_opening(was);
            }
        }
        if phase == Phase::Live {
            self.sessions.begin_heartbeats(self.shard, self.conn);
        }
        Flow::Continue
    }

    fn on_event(&mut self, writer: &mut Writer<'_>, event: ws::Event<'_>) -> Flow {
        let next = match self.sessions.settings.mode {
            Mode::Chat => self.chat(writer, event),
            Mode::Echo => self.echo(writer, event),
        };
        self.then(next)
    }

    fn on_idle_record(&mut self, writer: &mut Writer<'_>) -> Flow {
        let next = self.control(writer);
        self.then(next)
    }
}

//= RFC 6455 section 5.5.1: If an endpoint receives a Close frame and did not previously send a Close frame, the endpoint MUST send a Close frame in response.
/// Answers a close (RFC 6455 section 5.5.1).
fn close_back(writer: &mut Writer<'_>, code: Option<CloseCode>) -> Next {
    writer.close_back(code);
    writer.end();
    Next::End(code)
}

/// Closes with a code and a reason.
pub(super) fn say_and_end(writer: &mut Writer<'_>, code: CloseCode, reason: &str) -> Next {
    writer.close(code, reason);
    writer.end();
    Next::End(Some(code))
}
