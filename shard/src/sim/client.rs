//! What a connection is to the simulated echo server, and how its requests are taken from the stream.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::frame::{Command, Frame};
use crate::Close;

/// What a connection is to the echo server.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Where it comes from, where a shard accepted it.
    pub(super) from: Option<SocketAddr>,
    /// The client, once its first request has come.
    pub(super) peer: Option<u32>,
    pub(super) next_seq: u32,
    /// The bytes of an incomplete request.
    pub(super) partial: Vec<u8>,
    /// Echoes that wait for the turn's end, or for room in the engine's queue.
    pub(super) waiting: VecDeque<Vec<u8>>,
    /// The engine's queue was full.
    pub(super) blocked: bool,
    pub(super) deadline: Option<u64>,
    /// When this shard was told of the deadline, and how long it had been away, and had stood still.
    pub(super) deadline_set_ns: u64,
    /// See `deadline_set_ns`.
    pub(super) away_ns: u64,
    /// See `deadline_set_ns`.
    pub(super) stood_still_ns: u64,
    pub(super) close_at_deadline: bool,
    /// Asked to move: the deadline may have to wait until that is over.
    pub(super) moves: bool,
    /// Close once nothing waits any more.
    pub(super) close_after: bool,
    /// It was to be closed when it had already left.
    pub(super) close_there: Option<Close>,
}

impl Client {
    /// Clients that get their echoes at the end of the turn, or of a later one. A half-close of
    /// theirs could overtake the echo, and the engine takes it for the end.
    pub(super) fn answered_late(peer: u32) -> bool {
        peer.is_multiple_of(3)
    }

    /// Takes the requests that are complete now, and holds them against what the client must send
    /// next. What comes after the one that asks for the close is dropped, since it is not answered.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, String> {
        self.partial.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(frame) = Frame::decode(&self.partial[at..])
            .map_err(|why| format!("{why}: peer {:?}, request {}", self.peer, self.next_seq))?
        {
            let expected = (*self.peer.get_or_insert(frame.peer), self.next_seq);
            if (frame.peer, frame.seq) != expected {
                return Err(format!("{frame:?}, not {expected:?}"));
            }
            self.next_seq += 1;
            at += frame.len;
            frames.push(frame);
        }
        self.partial.drain(..at);
        if self.close_after {
            frames.clear();
        }
        let last = |frame: &Frame| frame.command == Command::CloseFlush;
        if let Some(at) = frames.iter().position(last) {
            frames.truncate(at + 1);
        }
        Ok(frames)
    }
}
