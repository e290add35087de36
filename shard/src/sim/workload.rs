//! The handler of the simulated shards: echoes requests and obeys them, at once or at the end of the
//! turn.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::account::{Account, Tally};
use super::checks::{Check, Count};
use super::client::Client;
use super::driver::addr_of;
use super::frame::{Command, Frame};
use super::kernel::{Event, Kernel, Line};
use super::questions::Questions;
use super::walk::Walk;
use crate::limits::{ACCEPTS_MAX, TICK_SHIFT};
use crate::{Cause, Close, ConnId, Handler, Origin, SendError, Shard, TcpInfo};

/// What reading may take that a deadline waits for, with every receive failing now and then.
const READING_NS: u64 = 100_000_000;

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
    /// Pause some connection for a while.
    Pause,
}

/// The handler of one shard.
pub(super) struct Echo {
    shard: u16,
    kernel: Rc<RefCell<Kernel>>,
    tally: Rc<RefCell<Tally>>,
    account: Account,
    connecting: BTreeSet<u64>,
    /// Connections with echoes for the end of the turn.
    batch: Vec<ConnId>,
    /// Paused by mail, to be resumed by the next one.
    paused: Vec<ConnId>,
    stopped: bool,
    accepts: u32,
    walk: Walk,
    questions: Questions,
}

impl Echo {
    /// The handler of that shard.
    pub(super) fn new(shard: u16, kernel: Rc<RefCell<Kernel>>, tally: Rc<RefCell<Tally>>) -> Echo {
        Echo {
            shard,
            account: Account::new(shard, Rc::clone(&kernel)),
            kernel,
            tally,
            connecting: BTreeSet::new(),
            accepts: ACCEPTS_MAX,
            batch: Vec::new(),
            paused: Vec::new(),
            stopped: false,
            walk: Walk::default(),
            questions: Questions::default(),
        }
    }

    /// It was told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The shard has ended: everything that began must have ended.
    pub(super) fn check_ended(&self) {
        self.account.check_ended();
        if !self.connecting.is_empty() || !self.stopped {
            let (shard, stopped, connecting) = (self.shard, self.stopped, &self.connecting);
            let detail = format!("shard {shard} ended, told: {stopped}, connecting {connecting:?}");
            self.account.fail(Check::Lifecycle, detail);
        }
    }

    /// Sends what waits, as far as it goes, and reads on, or not, or closes.
    fn send_waiting(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let next = |shard: &mut Shard<Self>| shard.conn(conn)?.waiting.pop_front();
        while let Some(bytes) = next(shard) {
            let mut copy = shard.spare_buffer();
            if !copy.is_empty() {
                self.account
                    .fail(Check::EchoDiffers, format!("a spare buffer holds {copy:?}"));
            }
            copy.extend_from_slice(&bytes);
            match shard.send(conn, copy) {
                Ok(()) => self.account.count(Count::Echoed),
                Err(SendError::Closed) => {}
                Err(SendError::QueueFull) => {
                    self.account.count(Count::QueueFull);
                    self.account.pause(shard, conn);
                    if let Some(client) = shard.conn(conn) {
                        client.waiting.push_front(bytes);
                        client.blocked = true;
                    }
                    return;
                }
            }
        }
        let Some(client) = shard.conn(conn) else {
            return;
        };
        let was_blocked = std::mem::take(&mut client.blocked);
        if client.close_after {
            self.close(shard, conn, Close::Flush);
        } else if was_blocked {
            self.account.resume(shard, conn);
        }
    }

    fn obey(&mut self, shard: &mut Shard<Self>, conn: ConnId, frame: Frame) {
        let to = u16::from(frame.argument) % shard.shards();
        let wait_ns = frame.wait_ns();
        let Some(client) = shard.conn(conn) else {
            return;
        };
        match frame.command {
            Command::Echo => {}
            Command::Move => {
                client.moves = true;
                self.account.move_to(shard, conn, to);
            }
            Command::CloseFlush => client.close_after = true,
            Command::CloseNow => self.close(shard, conn, Close::Now),
            Command::Deadline if frame.argument.is_multiple_of(8) => {
                client.deadline = None;
                shard.set_deadline(conn, None);
                self.account.count(Count::DeadlineRemoved);
            }
            Command::Deadline | Command::DeadlineClose => {
                client.close_at_deadline |= frame.command == Command::DeadlineClose;
                let at = self.kernel.borrow().now().mono_ns + wait_ns;
                let replaced = client.deadline.replace(at).is_some();
                self.set_deadline(shard, conn, wait_ns);
                if replaced {
                    self.account.count(Count::DeadlineReplaced);
                }
            }
            Command::Mail => drop(self.post(shard, to)),
        }
    }

    /// Sets the deadline that the client has noted, and notes how late this shard is until now.
    fn set_deadline(&self, shard: &mut Shard<Self>, conn: ConnId, in_ns: u64) {
        let at = shard.running_ns() + in_ns;
        shard.set_deadline(conn, Some(at));
        let port = &self.kernel.borrow().ports[usize::from(self.shard)];
        if let Some(client) = shard.conn(conn) {
            client.deadline_set_ns = port.turn_ns;
            client.away_ns = port.away_ns;
            client.stood_still_ns = port.stood_still_ns;
        }
    }

    fn close(&mut self, shard: &mut Shard<Self>, conn: ConnId, how: Close) {
        let here = self.account.close(shard, conn, how);
        if let Some(client) = shard.conn(conn) {
            client.close_there = (!here).then_some(how);
        }
    }

    fn post(&self, shard: &mut Shard<Self>, to: u16) -> bool {
        let posted = shard.post(to, Mail::Note).is_ok();
        let count = if posted {
            Count::MailSent
        } else {
            Count::MailFull
        };
        self.account.count(count);
        self.tally.borrow_mut().posted[usize::from(to)] += u64::from(posted);
        posted
    }

    /// A connection of the handler that has asked something, by chance.
    fn some_client(&self, shard: &mut Shard<Self>) -> Option<(ConnId, u32)> {
        let live = self.account.live();
        if live.is_empty() {
            return None;
        }
        let conn = live[self.kernel.borrow_mut().rng.index(live.len())];
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

    /// A deadline for that time is told: not too early, not too late, and not before what came in time.
    fn check_deadline(&self, conn: ConnId, client: &Client, at: u64) {
        let kernel = self.kernel.borrow();
        // Not the shard's own idea of the time.
        let now_ns = kernel.now().mono_ns;
        let port = &kernel.ports[usize::from(self.shard)];
        let due_ns = at + port.stood_still_ns - client.stood_still_ns;
        let late_ns = port.away_ns - client.away_ns + (2 << TICK_SHIFT) + READING_NS;
        let last_ns = at.max(client.deadline_set_ns) + late_ns;
        let mut links = kernel
            .links
            .iter()
            .filter(|link| Some(link.peer) == client.peer);
        // After a second call of the same client it is not known which of the two this was.
        let link = links.next().filter(|_| links.next().is_none());
        let neglected = link.is_some_and(|link| link.neglects(at));
        let detail = format!("{conn:?}: at {now_ns}, set for {at}, due at {due_ns}");
        let is_read = self.account.is_read(conn);
        let wrong = [
            (now_ns < at, Check::TimerEarly),
            (now_ns < due_ns, Check::StandstillCharged),
            (now_ns > last_ns && !client.moves, Check::TimerLate),
            (neglected && is_read, Check::DeadlineUnread),
        ];
        drop(kernel);
        for (_, check) in wrong.into_iter().filter(|(is_wrong, _)| *is_wrong) {
            self.account.fail(check, detail.clone());
        }
    }

    fn connect(&mut self, shard: &mut Shard<Self>, peer: u32) {
        self.connecting.insert(u64::from(peer));
        shard.connect(addr_of(peer), u64::from(peer));
    }

    /// Accepts many, few or none for a while.
    fn choose_budget(&mut self, shard: &mut Shard<Self>) {
        {
            let rng = &mut self.kernel.borrow_mut().rng;
            if rng.one_in(8) {
                self.accepts = [0, 0, 1, 3, ACCEPTS_MAX][rng.index(5)];
            }
        }
        shard.set_accept_budget(self.accepts);
        if self.accepts == 0 {
            // Nobody else would open it again.
            let later_ns = self.kernel.borrow_mut().rng.between(0, 3_000_000);
            shard.turn_again_at(shard.now().mono_ns + later_ns);
            self.account.count(Count::AcceptShut);
        }
    }

    fn resume_paused(&mut self, shard: &mut Shard<Self>) {
        for conn in std::mem::take(&mut self.paused) {
            if shard.conn(conn).is_some_and(|client| !client.blocked) {
                self.account.resume(shard, conn);
            }
        }
    }
}

impl Handler for Echo {
    type Conn = Client;
    type Parcel = Client;
    type Mail = Mail;

    fn on_open(&mut self, shard: &mut Shard<Self>, conn: ConnId, origin: Origin) {
        self.account.begin(conn, "opened");
        let asked = match origin {
            Origin::Connected { token } => self.connecting.remove(&token),
            Origin::Accepted { listener, peer } => {
                if let Some(client) = shard.conn(conn) {
                    client.from = Some(peer);
                }
                let port = &self.kernel.borrow().ports[usize::from(self.shard)];
                usize::from(listener) < port.backlogs.len()
            }
        };
        if !asked {
            self.account
                .fail(Check::Lifecycle, format!("unasked for: {origin:?}"));
        }
    }

    fn on_connect_failed(&mut self, _: &mut Shard<Self>, token: u64, _errno: i32) {
        self.account.note(100, token);
        if !self.connecting.remove(&token) {
            self.account.fail(
                Check::Lifecycle,
                format!("connect to {token} failed unasked"),
            );
        }
        let kernel = &mut *self.kernel.borrow_mut();
        let line = &mut kernel.lines[token as usize];
        if *line == Line::None {
            *line = Line::Failed;
        }
        kernel.schedule(0, Event::Peer(token as u32));
    }

    fn on_bytes(&mut self, shard: &mut Shard<Self>, conn: ConnId, bytes: &mut [u8]) {
        self.account.expect_bytes(conn);
        let Some(client) = shard.conn(conn) else {
            let detail = format!("bytes for {conn:?}, which has no state");
            return self.account.fail(Check::Lifecycle, detail);
        };
        let frames = client.take(bytes).unwrap_or_else(|why| {
            self.account.fail(Check::RequestDiffers, why);
            Vec::new()
        });
        if let (Some(from), Some(peer)) = (client.from, client.peer)
            && from != addr_of(peer)
        {
            let detail = format!("{conn:?} of peer {peer} comes from {from}");
            self.account.fail(Check::WrongAddress, detail);
        }
        // The bytes are the handler's to change, and nobody reads them after it.
        bytes.fill(0xee);
        let late = client.peer.is_some_and(Client::answered_late);
        client.waiting.extend(frames.iter().map(Frame::encode));
        for frame in frames {
            self.obey(shard, conn, frame);
        }
        if late {
            self.batch.push(conn);
        } else {
            self.send_waiting(shard, conn);
        }
    }

    fn on_progress(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.account.expect(conn, "progress");
        self.account.count(Count::SentOn);
        if shard.conn(conn).is_none() {
            let detail = format!("progress of {conn:?}, which has no state");
            self.account.fail(Check::Lifecycle, detail);
        }
    }

    fn on_drained(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.account.expect(conn, "drained");
        let left = shard.queue_bytes(conn);
        if left > 0 {
            self.account.fail(
                Check::Lifecycle,
                format!("{conn:?} drained of all but {left}"),
            );
        }
        self.send_waiting(shard, conn);
    }

    fn on_deadline(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        self.account.expect(conn, "deadline");
        self.account.count(Count::DeadlineFired);
        let Some(client) = shard.conn(conn) else {
            return;
        };
        let Some(at) = client.deadline.take() else {
            let detail = format!("{conn:?}: fired though not set");
            return self.account.fail(Check::TimerEarly, detail);
        };
        self.check_deadline(conn, client, at);
        if client.close_at_deadline {
            client.close_after = true;
            self.send_waiting(shard, conn);
        }
    }

    fn on_tcp_info(&mut self, shard: &mut Shard<Self>, conn: ConnId, info: Option<TcpInfo>) {
        let from = shard.conn(conn).and_then(|client| client.from);
        self.questions.answered(conn, info, from, &self.account);
    }

    fn on_mail(&mut self, shard: &mut Shard<Self>, mail: Mail) {
        self.account.note(101, 0);
        self.tally.borrow_mut().handled[usize::from(self.shard)] += 1;
        self.resume_paused(shard);
        match mail {
            Mail::Note => {}
            Mail::Connect(peer) => self.connect(shard, peer),
            Mail::Move(to) => {
                if let Some((conn, _)) = self.some_client(shard) {
                    if let Some(client) = shard.conn(conn) {
                        client.moves = true;
                    }
                    self.account.move_to(shard, conn, to);
                }
            }
            Mail::Close(how) => {
                if let Some((conn, peer)) = self.some_client(shard) {
                    self.excuse(peer);
                    self.close(shard, conn, how);
                }
            }
            Mail::Pause => {
                if let Some((conn, _)) = self.some_client(shard) {
                    self.account.pause(shard, conn);
                    self.paused.push(conn);
                }
            }
        }
    }

    fn on_depart(&mut self, _: &mut Shard<Self>, conn: ConnId, state: Client) -> Client {
        self.account.end(conn, "departed");
        self.tally.borrow_mut().departed += 1;
        if !state.partial.is_empty() || !state.waiting.is_empty() {
            self.account.count(Count::MovedBusy);
        }
        state
    }

    fn on_arrive(&mut self, shard: &mut Shard<Self>, conn: ConnId, parcel: Client) {
        self.account.begin(conn, "arrived");
        self.tally.borrow_mut().arrived += 1;
        let deadline = parcel.deadline;
        let stopped = self.stopped.then_some(Close::Now);
        let close = parcel.close_there.or(stopped);
        let Some(client) = shard.conn(conn) else {
            let detail = format!("arrived as {conn:?}, which has no state");
            return self.account.fail(Check::Lifecycle, detail);
        };
        *client = parcel;
        client.moves = false;
        if let Some(at) = deadline {
            let left_ns = at.saturating_sub(self.kernel.borrow().now().mono_ns);
            self.set_deadline(shard, conn, left_ns);
        }
        self.send_waiting(shard, conn);
        if let Some(how) = close {
            self.close(shard, conn, how);
        }
    }

    fn on_move_failed(&mut self, shard: &mut Shard<Self>, conn: ConnId, _errno: i32) {
        self.account.expect(conn, "failed move");
        self.account.count(Count::MoveFailed);
        self.account.move_failed(conn);
        if let Some(client) = shard.conn(conn) {
            client.moves = false;
            client.deadline_set_ns = self.kernel.borrow().now().mono_ns;
        }
        self.send_waiting(shard, conn);
    }

    fn on_closed(&mut self, shard: &mut Shard<Self>, conn: ConnId, state: Client, cause: Cause) {
        self.account.closed(conn, state.peer, cause);
        if shard.conn(conn).is_some() {
            let detail = format!("{conn:?} is closed and has a state");
            self.account.fail(Check::Lifecycle, detail);
        }
    }

    fn on_turn_end(&mut self, shard: &mut Shard<Self>) {
        // A mail to ourselves makes sure that there is a later turn.
        let later = !self.batch.is_empty() && self.kernel.borrow_mut().rng.one_in(2);
        if later && self.post(shard, self.shard) {
            self.account.count(Count::SentLater);
        } else {
            for conn in std::mem::take(&mut self.batch) {
                self.send_waiting(shard, conn);
            }
        }
        self.choose_budget(shard);
        self.walk.step(shard, &self.account);
        self.questions.ask(shard, &self.account, &self.kernel);
        self.account.pester(shard);
        self.account.compare(shard);
    }

    fn on_stop(&mut self, shard: &mut Shard<Self>) {
        self.account.note(102, 0);
        self.stopped = true;
        for conn in self.account.live() {
            let flush = self.kernel.borrow_mut().rng.one_in(2);
            self.close(shard, conn, if flush { Close::Flush } else { Close::Now });
        }
    }
}
