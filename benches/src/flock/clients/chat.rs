//! Messages: the login, and what the server says after it.

use rookery_shard::{ConnId, Shard};
use rookery_wire::link::Writer;
use rookery_wire::proto::{self, ErrorCode, Limits, ServerFrame};
use rookery_wire::ws;

use super::Clients;
use super::conn::Phase;
use super::input::Next;
use super::nats;
use crate::flock::schedule::Due;

impl Clients {
    /// The WebSocket is open.
    pub(super) fn upgraded(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        writer: &mut Writer<'_>,
    ) {
        let now_s = shard.now().unix_ms / 1_000;
        let Some(state) = shard.conn(conn) else {
            return;
        };
        if let Some(text) = &self.plan.preamble {
            writer.message(ws::Opcode::Text, text.as_bytes());
        }
        if self.plan.nats {
            // Its answer makes the client ready.
            state.phase = Phase::Login;
            let hello = nats::hello(self.share.global(state.local));
            return writer.message(ws::Opcode::Binary, &hello);
        }
        let Some(tokens) = &self.plan.tokens else {
            return self.established(shard, conn);
        };
        state.phase = Phase::Login;
        let user_id = self.plan.user_id(self.share.global(state.local));
        let login = proto::Login {
            token: tokens.mint(user_id, now_s),
            resume_token: Vec::new(),
        };
        writer.message(ws::Opcode::Binary, &proto::encode(&login));
    }

    /// One frame of a chat server.
    pub(super) fn frame(&mut self, shard: &mut Shard<Self>, conn: ConnId, frame: &[u8]) -> Next {
        let Some(&mut state) = shard.conn(conn) else {
            return Next::Stay;
        };
        let frame = match ServerFrame::parse(frame, &Limits::SERVER_FRAMES) {
            Ok(frame) => frame,
            Err(error) => return Next::End(format!("a frame that cannot be read: {error}")),
        };
        match frame {
            ServerFrame::Welcome(_) if state.phase == Phase::Login => self.established(shard, conn),
            ServerFrame::SendAck(ack) => {
                self.leaving.answered(state.local);
                self.acked(Due::at_ns_of(&ack.client_msg_id));
            }
            ServerFrame::Reconnect(told) => self.told(shard, conn, told),
            ServerFrame::Deliver(message) => {
                let own = self.plan.user_id(self.share.global(state.local));
                if message.sender_user_id.to_native() != own {
                    self.delivered(Due::at_ns_of(&message.client_msg_id));
                }
            }
            ServerFrame::ConversationOpened(it) => {
                self.opened(it.request_id.to_native(), it.conversation_id.to_native());
            }
            ServerFrame::Error(error) => {
                if error.client_msg_id != [0; 16] {
                    self.leaving.answered(state.local);
                }
                self.refused(
                    state.phase,
                    error.request_id.to_native(),
                    error.code.to_native(),
                );
            }
            ServerFrame::Lagged(_) => self.plan.counts.note("error: lagged"),
            _ => {}
        }
        Next::Stay
    }

    /// An echo came back.
    pub(super) fn echoed(&mut self, payload: &[u8]) -> Next {
        match payload.first_chunk() {
            Some(due) => self.delivered(u64::from_le_bytes(*due)),
            None => self
                .plan
                .counts
                .note("error: an echo of less than was sent"),
        }
        Next::Stay
    }

    fn acked(&mut self, due_ns: u64) {
        let now_ns = self.plan.clock.now_ns();
        if self
            .tally
            .as_mut()
            .is_some_and(|tally| tally.acknowledged(due_ns, now_ns))
        {
            self.plan.counts.acked.add_one();
        }
    }

    fn delivered(&mut self, due_ns: u64) {
        let now_ns = self.plan.clock.now_ns();
        if self
            .tally
            .as_mut()
            .is_some_and(|tally| tally.arrived(due_ns, now_ns))
        {
            self.plan.counts.delivered.add_one();
        }
    }

    /// A request failed.
    fn refused(&mut self, phase: Phase, request_id: u64, code: u16) {
        let known = ErrorCode::from_code(code);
        if phase != Phase::Live {
            // The close that follows says why the login was refused.
            return;
        }
        let again = known.is_some_and(ErrorCode::retryable);
        if self.open_refused(request_id, again) {
            return;
        }
        let name = known.map_or_else(|| code.to_string(), |known| known.name().to_owned());
        self.plan.counts.note(&format!("error: {name}"));
    }
}
