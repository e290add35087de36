//! The handler of the simulated shards: echoes requests, obeys them, and keeps account of everything
//! that the engine promises to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::checks::{Check, Count};
use super::frame::{Command, Frame};
use super::kernel::{Kernel, Line};
use super::ops::PORT_BASE;
use crate::limits::TICK_SHIFT;
use crate::{Cause, Close, ConnId, Handler, Origin, SendError, Shard};

/// What a connection is to the echo server.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// The client, once its first request has come.
    peer: Option<u32>,
    next_seq: u32,
    /// The bytes of an incomplete request.
    partial: Vec<u8>,
    /// Echoes that the engine's queue had no room for.
    refused: VecDeque<Vec<u8>>,
    deadline: Option<u64>,
    close_at_deadline: bool,
    /// Close once nothing is refused any more.
    close_after: bool,
}

/// A message between shards, or from outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mail {
    /// Nothing but itself.
    Note,
    /// Connect to that peer.
    Connect(u32),
    /// Move some connection to that shard.
    Move(u16),
    /// Close some connection.
    Close(Close),
}

/// Mail that was posted and mail that came, of all shards.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Taken by mailboxes, by shard.
    pub(super) posted: Vec<u64>,
    /// Handled, by shard.
    pub(super) handled: Vec<u64>,
    /// Connections that left some shard.
    pub(super) departed: u64,
    /// Connections that arrived at some shard.
    pub(super) arrived: u64,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(shards: u16) -> Tally {
        let zeros = vec![0; usize::from(shards)];
        Tally {
            posted: zeros.clone(),
            handled: zeros,
            departed: 0,
            arrived: 0,
        }
    }
}

/// The handler of one shard.
pub(super) struct Echo {
    shard: u16,
    kernel: Rc<RefCell<Kernel>>,
    tally: Rc<RefCell<Tally>>,
    live: BTreeSet<ConnId>,
    past: BTreeMap<ConnId, &'static str>,
    connecting: BTreeSet<u64>,
    stopped: bool,
}

impl Echo {
    /// The handler of that shard.
    pub(super) fn new(shard: u16, kernel: Rc<RefCell<Kernel>>, tally: Rc<RefCell<Tally>>) -> Echo {
        Echo {
            shard,
            kernel,
            tally,
            live: BTreeSet::new(),
            past: BTreeMap::new(),
            connecting: BTreeSet::new(),
            stopped: false,
        }
    }

    /// The shard has ended: everything that began must have ended.
    pub(super) fn check_ended(&self) {
        let (live, connecting) = (&self.live, &self.connecting);
        if !live.is_empty() || !connecting.is_empty() || !self.stopped {
            let (shard, stopped) = (self.shard, self.stopped);
            let detail = format!(
                "shard {shard} ended (stop seen: {stopped}): {live:?}, connecting {connecting:?}"
            );
            self.fail(Check::Lifecycle, detail);
        }
    }

    fn fail(&self, check: Check, detail: String) {
        self.kernel.borrow_mut().checks.fail(check, detail);
    }

    fn count(&self, count: Count) {
        self.kernel.borrow_mut().checks.count(count);
    }

    fn note(&self, what: u64, conn: ConnId) {
        let checks = &mut self.kernel.borrow_mut().checks;
        checks.note(what << 16 | u64::from(self.shard), conn.as_u64());
    }

    fn begin(&mut self, conn: ConnId, how: &'static str) {
        self.note(1, conn);
        if !self.live.insert(conn) || self.past.contains_key(&conn) {
            let past = self.past.get(&conn);
            self.fail(
                Check::Lifecycle,
                format!("{conn:?} {how} again, before: {past:?}"),
            );
        }
    }

    fn end(&mut self, conn: ConnId, how: &'static str) {
        self.note(2, conn);
        if !self.live.remove(&conn) {
            let past = self.past.get(&conn);
            self.fail(
                Check::Lifecycle,
                format!("{conn:?} {how} though not live, before: {past:?}"),
            );
        }
        self.past.insert(conn, how);
    }

    fn expect_live(&self, conn: ConnId, what: &str) {
        if !self.live.contains(&conn) {
            let past = self.past.get(&conn);
            self.fail(
                Check::Lifecycle,
                format!("{what} for {conn:?}, before: {past:?}"),
            );
        }
    }

    /// Takes the requests that are complete out of `bytes`, and holds them against what the client
    /// must send next.
    fn requests(&self, client: &mut Client, bytes: &[u8]) -> Vec<Frame> {
        client.partial.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut at = 0;
        loop {
            match Frame::decode(&client.partial[at..]) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    let peer = *client.peer.get_or_insert(frame.peer);
                    if (frame.peer, frame.seq) != (peer, client.next_seq) {
                        let expected = (peer, client.next_seq);
                        self.fail(
                            Check::RequestDiffers,
                            format!("{frame:?}, not {expected:?}"),
                        );
                    }
                    client.next_seq += 1;
                    at += frame.len;
                    frames.push(frame);
                }
                Err(why) => {
                    let (peer, seq) = (client.peer, client.next_seq);
                    self.fail(
                        Check::RequestDiffers,
                        format!("{why}: peer {peer:?}, request {seq}"),
                    );
                    client.partial.clear();
                    return frames;
                }
            }
        }
        client.partial.drain(..at);
        frames
    }

    /// Sends, or keeps what is refused and reads no more until there is room.
    fn send(&self, shard: &mut Shard<Self>, conn: ConnId, bytes: Vec<u8>) {
        let Some(client) = shard.conn(conn) else {
            return;
        };
        if !client.refused.is_empty() {
            client.refused.push_back(bytes);
            return;
        }
        let copy = bytes.clone();
        match shard.send(conn, bytes) {
            Ok(()) => self.count(Count::Echoed),
            Err(SendError::Closed) => {}
            Err(SendError::QueueFull) => {
                self.count(Count::QueueFull);
                shard.pause(conn);
                if let Some(client) = shard.conn(conn) {
                    client.refused.push_back(copy);
                }
            }
        }
    }

    /// Sends what was refused, as far as it goes.
    fn send_refused(&self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(client) = shard.conn(conn) else {
            return;
        };
        let refused = std::mem::take(&mut client.refused);
        for bytes in refused {
            self.send(shard, conn, bytes);
        }
        let Some(client) = shard.conn(conn) else {
            return;
        };
        if !client.refused.is_empty() {
            return;
        }
        if client.close_after {
            shard.close(conn, Close::Flush);
        } else {
            shard.resume(conn);
        }
    }

    fn obey(&mut self, shard: &mut Shard<Self>, conn: ConnId, frame: Frame) {
        let to = u16::from(frame.argument) % shard.shards();
        let wait_ns = u64::from(frame.argument) * 8_000_000;
        let shard_at = shard.now().mono_ns + wait_ns;
        let at = self.kernel.borrow().now().mono_ns + wait_ns;
        let Some(client) = shard.conn(conn) else {
            return;
        };
        match frame.command {
            Command::Echo => {}
            Command::Move => shard.move_to(conn, to),
            Command::CloseFlush => self.close_flush(shard, conn),
            Command::CloseNow => {
                self.count(Count::ClosedByHandler);
                shard.close(conn, Close::Now);
            }
            Command::Deadline | Command::DeadlineClose => {
                client.close_at_deadline |= frame.command == Command::DeadlineClose;
                let replaced = client.deadline.replace(at).is_some();
                shard.set_deadline(conn, Some(shard_at));
                if replaced {
                    self.count(Count::DeadlineReplaced);
                }
            }
            Command::Mail => self.post(shard, to, Mail::Note),
        }
    }

    fn close_flush(&self, shard: &mut Shard<Self>, conn: ConnId) {
        self.count(Count::ClosedByHandler);
        let Some(client) = shard.conn(conn) else {
            return;
        };
        client.close_after = true;
        if client.refused.is_empty() {
            shard.close(conn, Close::Flush);
        }
    }

    fn post(&self, shard: &mut Shard<Self>, to: u16, mail: Mail) {
        // Counted first: the mail is in the box when `post` returns.
        let posted = shard.post(to, mail).is_ok();
        self.count(if posted {
            Count::MailSent
        } else {
            Count::MailFull
        });
        self.tally.borrow_mut().posted[usize::from(to)] += u64::from(posted);
    }

    /// A connection of the handler that has asked something, by chance.
    fn some_client(&self, shard: &mut Shard<Self>) -> Option<(ConnId, u32)> {
        if self.live.is_empty() {
            return None;
        }
        let nth = self.kernel.borrow_mut().rng.index(self.live.len());
        let conn = *self.live.iter().nth(nth)?;
        let peer = shard.conn(conn)?.peer?;
        Some((conn, peer))
    }

    /// The client of the connection need not get everything.
    fn excuse(&self, peer: u32) {
        let kernel = &mut *self.kernel.borrow_mut();
        if let Line::Link(link) = kernel.lines[peer as usize] {
            kernel.links[link as usize].excused = true;
        }
    }
}

impl Handler for Echo {
    type Conn = Client;
    type Parcel = Client;
    type Mail = Mail;

    fn on_open(&mut self, _: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        self.begin(conn, "opened");
        if let Origin::Connected { token } = origin {
            if !self.connecting.remove(&token) {
                self.fail(Check::Lifecycle, format!("connected to {token} unasked"));
            }
        }
    }

    fn on_connect_failed(&mut self, _: &mut Shard<Self>, token: u64, _errno: i32) {
        self.note(9, ConnId::from_u64(token));
        if !self.connecting.remove(&token) {
            self.fail(
                Check::Lifecycle,
                format!("connect to {token} failed unasked"),
            );
        }
        let line = &mut self.kernel.borrow_mut().lines[token as usize];
        if *line == Line::None {
            *line = Line::Failed;
        }
    }

    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        self.note(3, conn);
        self.expect_live(conn, "bytes");
        let Some(client) = shard.conn(conn) else {
            return self.fail(
                Check::Lifecycle,
                format!("bytes for {conn:?}, which has no state"),
            );
        };
        let frames = self.requests(client, bytes);
        // The bytes are the handler's to change, and nobody reads them after it.
        bytes.fill(0xee);
        for frame in frames {
            self.send(shard, conn, frame.encode());
            self.obey(shard, conn, frame);
        }
    }

    fn on_drained(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.note(4, conn);
        self.expect_live(conn, "drained");
        self.send_refused(shard, conn);
    }

    fn on_deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.note(5, conn);
        self.expect_live(conn, "deadline");
        self.count(Count::DeadlineFired);
        // Not the shard's own idea of the time.
        let now_ns = self.kernel.borrow().now().mono_ns;
        let before_ns = self.kernel.borrow().ports[usize::from(self.shard)].turn_before_ns;
        let Some(client) = shard.conn(conn) else {
            return;
        };
        let Some(at) = client.deadline.take() else {
            return self.fail(
                Check::TimerEarly,
                format!("{conn:?}: fired without being set"),
            );
        };
        if now_ns < at {
            self.fail(
                Check::TimerEarly,
                format!("{conn:?}: at {now_ns}, set for {at}"),
            );
        }
        if before_ns > at + (2 << TICK_SHIFT) {
            let detail = format!("{conn:?}: set for {at}, not in the turn of {before_ns}");
            self.fail(Check::TimerLate, detail);
        }
        if client.close_at_deadline {
            self.close_flush(shard, conn);
        }
    }

    fn on_mail(&mut self, shard: &mut Shard<Self>, mail: Mail) {
        self.note(7, ConnId::from_u64(0));
        self.tally.borrow_mut().handled[usize::from(self.shard)] += 1;
        match mail {
            Mail::Note => {}
            Mail::Connect(peer) => {
                let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_BASE + peer as u16));
                self.connecting.insert(u64::from(peer));
                shard.connect(addr, u64::from(peer));
            }
            Mail::Move(to) => {
                if let Some((conn, _)) = self.some_client(shard) {
                    shard.move_to(conn, to);
                }
            }
            Mail::Close(how) => {
                if let Some((conn, peer)) = self.some_client(shard) {
                    self.excuse(peer);
                    self.count(Count::ClosedByHandler);
                    shard.close(conn, how);
                }
            }
        }
    }

    fn on_depart(&mut self, _: &mut Shard<Self>, conn: ConnId, state: Client) -> Client {
        self.end(conn, "departed");
        self.tally.borrow_mut().departed += 1;
        if !state.partial.is_empty() || !state.refused.is_empty() {
            self.count(Count::MovedBusy);
        }
        state
    }

    fn on_arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, parcel: Client) {
        self.begin(conn, "arrived");
        self.tally.borrow_mut().arrived += 1;
        let deadline = parcel.deadline;
        let Some(client) = shard.conn(conn) else {
            return self.fail(
                Check::Lifecycle,
                format!("arrived as {conn:?}, which has no state"),
            );
        };
        *client = parcel;
        shard.set_deadline(conn, deadline);
        if self.stopped {
            shard.close(conn, Close::Now);
        }
        self.send_refused(shard, conn);
    }

    fn on_move_failed(&mut self, shard: &mut Shard<Self>, conn: ConnId, _errno: i32) {
        self.note(6, conn);
        self.expect_live(conn, "failed move");
        self.send_refused(shard, conn);
    }

    fn on_closed(&mut self, _: &mut Shard<Self>, conn: ConnId, _: Client, _cause: Cause) {
        self.end(conn, "closed");
    }

    fn on_turn_end(&mut self, _: &mut Shard<Self>) {}

    fn on_stop(&mut self, shard: &mut Shard<Self>) {
        self.note(8, ConnId::from_u64(0));
        self.stopped = true;
        let live: Vec<ConnId> = self.live.iter().copied().collect();
        for conn in live {
            let flush = self.kernel.borrow_mut().rng.one_in(2);
            shard.close(conn, if flush { Close::Flush } else { Close::Now });
        }
    }
}
