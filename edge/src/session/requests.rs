//! Frames: a login first, then requests for the router, and what the router answers.

use rookery_router::{Caller, Event, Health, Request, RouterHandle};
use rookery_shard::{ConnId, Shard, Sweep};
use rookery_wire::link::Writer;
use rookery_wire::proto::{
    self, About, ClientFrame, CloseCode, ErrorCode, Kind, Limits, ServerFrame,
};

use super::Sessions;
use super::conn::{Conn, Phase};
use super::fanout::FanOut;
use super::input::{Held, Next, say_and_end};

/// What a client is told to wait when the router's queue is full: longer than the queue takes.
const BUSY_RETRY_MS: u32 = 1_000;

/// Sends of a connection that the router has at a time: the queue behind them is everybody's.
const WRITES_MAX: u16 = 64;

/// What of a connection the router has. What it asks beyond the bounds waits in its socket: of what has large
/// answers, so that a client that reads is never closed for their size; of Sends, so that one that sends without
/// waiting fills nobody else's place in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UnderWay {
    reads: u8,
    openings: u8,
    writes: u16,
    /// Which router has them.
    router: u8,
}

/// What an answer ends.
enum Ended {
    Write,
    Opening,
}

impl UnderWay {
    fn begin(&mut self, frame: &ClientFrame<'_>, router: u8) {
        self.forget_all_but(router);
        match frame {
            ClientFrame::Send(_) => self.writes = self.writes.saturating_add(1),
            ClientFrame::Sync(_)
            | ClientFrame::History(_)
            | ClientFrame::Outbox(_)
            | ClientFrame::ListConversations(_)
            | ClientFrame::ListMembers(_) => self.reads += 1,
            ClientFrame::OpenDirect(_) | ClientFrame::CreateConversation(_) => self.openings += 1,
            _ => {}
        }
    }

    fn end_read(&mut self) {
        self.reads = self.reads.saturating_sub(1);
    }

    fn end(&mut self, answers: &[Vec<u8>]) {
        for answer in answers {
            match ended(answer) {
                Some(Ended::Write) => self.writes = self.writes.saturating_sub(1),
                Some(Ended::Opening) => self.openings = self.openings.saturating_sub(1),
                None => {}
            }
        }
    }

    /// There is another router: what those before it had is not answered any more.
    pub(super) fn forget_all_but(&mut self, router: u8) {
        if self.router != router {
            *self = Self {
                router,
                ..Self::default()
            };
        }
    }

    /// Whether the router has nothing.
    pub(super) fn is_none(self) -> bool {
        self.reads == 0 && self.openings == 0 && self.writes == 0
    }

    pub(super) fn has_reads(self) -> bool {
        self.reads > 0
    }

    fn has_room(self, requests_max: u8) -> bool {
        self.reads + self.openings < requests_max && self.writes < WRITES_MAX
    }

    /// The same for one that waits: Sends go on in batches, since each time it is read again has its price.
    fn has_room_again(self, requests_max: u8) -> bool {
        self.has_room(requests_max) && self.writes <= WRITES_MAX / 2
    }
}

/// What a frame that answers no read is the answer to. Most are acks, and told by their kind alone; an Error
/// names a Send or an opening.
fn ended(frame: &[u8]) -> Option<Ended> {
    match frame.get(1).copied().and_then(Kind::from_byte)? {
        Kind::SendAck => Some(Ended::Write),
        Kind::ConversationOpened => Some(Ended::Opening),
        Kind::Error => match ServerFrame::parse(frame, &Limits::SERVER_FRAMES) {
            Ok(ServerFrame::Error(error)) if error.request_id != 0 => Some(Ended::Opening),
            Ok(ServerFrame::Error(error)) if error.client_msg_id != [0; 16] => Some(Ended::Write),
            _ => None,
        },
        _ => None,
    }
}

/// A connection, as the router is told of it.
pub(super) fn caller(shard: &Shard<Sessions>, conn: ConnId, state: &Conn) -> Caller {
    Caller {
        user_id: state.user_id,
        device_id: state.device_id,
        shard: shard.id(),
        conn: conn.as_u64(),
    }
}

impl Sessions {
    /// One protocol frame.
    pub(super) fn frame(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
        frame: &[u8],
        under_way: &mut UnderWay,
    ) -> Next {
        let Some(&mut state) = shard.conn(conn) else {
            return Next::End(None);
        };
        let bytes = frame;
        let frame = match ClientFrame::parse(frame, &self.settings.frames) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(conn = conn.as_u64(), %error, "a frame cannot be read");
                return say_and_end(writer, error.close_code(), &error.to_string());
            }
        };
        self.note_received(&state, bytes);
        match (state.phase, frame) {
            (Phase::Login, ClientFrame::Login(login)) => self.log_in(shard, conn, writer, login),
            (Phase::Login, _) => {
                let expected = ErrorCode::LoginExpected.message(0, 0, "the first frame is a Login");
                self.say(writer, &state, &expected);
                say_and_end(
                    writer,
                    CloseCode::LOGIN_EXPECTED,
                    "the first frame is a Login",
                )
            }
            (Phase::Live | Phase::Leaving, ClientFrame::Login(_)) => {
                let twice = ErrorCode::LoginTwice.message(0, 0, "this connection is logged in");
                self.say(writer, &state, &twice);
                say_and_end(
                    writer,
                    CloseCode::LOGIN_TWICE,
                    "this connection is logged in",
                )
            }
            (Phase::Live | Phase::Leaving, ClientFrame::Ping(ping)) => {
                let pong = proto::Pong {
                    nonce: ping.nonce.to_native(),
                };
                self.say(writer, &state, &pong);
                Next::Stay
            }
            (Phase::Live | Phase::Leaving, ClientFrame::Pong(_)) => Next::Stay,
            (Phase::Live | Phase::Leaving, frame) => {
                if self.request(shard, conn, writer, &state, &frame) {
                    under_way.begin(&frame, self.router_number);
                }
                if under_way.has_room(self.settings.requests_max) {
                    Next::Stay
                } else {
                    Next::Wait
                }
            }
            _ => Next::End(None),
        }
    }

    /// Hands a request to the router, or says that it is busy. Whether the router took it.
    fn request(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
        state: &Conn,
        frame: &ClientFrame<'_>,
    ) -> bool {
        let (about, request) = match frame {
            ClientFrame::Send(it) => (it.client_msg_id.into(), Request::Send(proto::owned(*it))),
            ClientFrame::DeliverAck(it) => {
                (About::default(), Request::DeliverAck(proto::owned(*it)))
            }
            ClientFrame::Sync(it) => (
                it.request_id.to_native().into(),
                Request::Sync(proto::owned(*it)),
            ),
            ClientFrame::History(it) => (
                it.request_id.to_native().into(),
                Request::History(proto::owned(*it)),
            ),
            ClientFrame::Outbox(it) => (
                it.request_id.to_native().into(),
                Request::Outbox(proto::owned(*it)),
            ),
            ClientFrame::OpenDirect(it) => (
                it.request_id.to_native().into(),
                Request::OpenDirect(proto::owned(*it)),
            ),
            ClientFrame::CreateConversation(it) => (
                it.request_id.to_native().into(),
                Request::CreateConversation(proto::owned(*it)),
            ),
            ClientFrame::ListConversations(it) => (
                it.request_id.to_native().into(),
                Request::ListConversations(proto::owned(*it)),
            ),
            ClientFrame::ListMembers(it) => (
                it.request_id.to_native().into(),
                Request::ListMembers(proto::owned(*it)),
            ),
            ClientFrame::Login(_) | ClientFrame::Ping(_) | ClientFrame::Pong(_) => return false,
        };
        let caller = caller(shard, conn, state);
        let is_taken = self.router.submit(caller, request).is_ok();
        if !is_taken {
            let (code, why) = match self.router.health() {
                Health::StoreFailed => (ErrorCode::Unavailable, "the store is opened again"),
                _ => (ErrorCode::Overloaded, "the router's queue is full"),
            };
            let busy = code.message(about, BUSY_RETRY_MS, why);
            self.say(writer, state, &busy);
        }
        is_taken
    }

    /// What the router has for this shard.
    pub(super) fn router_event(&mut self, shard: &mut Shard<Self>, event: Event) {
        match event {
            Event::Answer {
                to,
                frames,
                is_read,
            } => {
                let conn = ConnId::from_u64(to.conn);
                let still_theirs = shard
                    .conn(conn)
                    .is_some_and(|state| state.user_id == to.user_id);
                if still_theirs {
                    self.answer(shard, conn, &frames);
                    if is_read {
                        self.answered(shard, conn, UnderWay::end_read);
                    } else {
                        self.answered(shard, conn, |under_way| under_way.end(&frames));
                    }
                }
            }
            Event::Fanout {
                conversation_id,
                frame,
                users,
                but,
            } => self.fan_out(shard, conversation_id, FanOut::new(frame, users, but)),
        }
    }

    /// Some of what a connection has under way is over.
    fn answered(&mut self, shard: &mut Shard<Self>, conn: ConnId, end: impl FnOnce(&mut UnderWay)) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        if let Some(mut work) = state.work.index().and_then(|at| self.work.lend(at)) {
            end(&mut work.under_way);
            let is_finished = work.finishes && work.under_way.is_none();
            self.put_back(shard, conn, Held { tls: None, work });
            if is_finished {
                return self.dismiss(shard, conn);
            }
            self.look_on(shard, conn);
        }
    }

    /// Looks at what was kept of a connection that had to wait, where nothing is in its way any more.
    pub(super) fn look_on(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        let Some(mut work) = state.work.index().and_then(|at| self.work.lend(at)) else {
            return;
        };
        let goes_on = work.waits
            && !work.finishes
            && work.under_way.has_room_again(self.settings.requests_max)
            && {
                // Else it goes on once the queue is empty.
                work.paused |= shard.queue_bytes(conn) > self.queue_bytes_pause(shard);
                !work.paused
            };
        work.waits &= !goes_on;
        self.put_back(shard, conn, Held { tls: None, work });
        if goes_on {
            shard.resume(conn);
            self.look_at(shard, conn, &mut []);
        }
    }

    /// Takes another router. What the one before has not answered it never will: who waits for that is
    /// found by a sweep.
    pub(super) fn change_router(&mut self, shard: &mut Shard<Self>, router: RouterHandle) {
        self.router = router;
        self.router_number = self.router_number.wrapping_add(1);
        self.sweeps.router = Some(Sweep::new());
        shard.turn_again();
    }
}
