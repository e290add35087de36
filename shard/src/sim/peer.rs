//! The simulated clients. Each follows a script drawn from the seed and checks every byte that it gets
//! against what it sent.
//!
//! What a client receives is, at any time, a prefix of what it sent. It is all of it where the script
//! says so and nothing befell the connection (a reset, a full table, a stop).

use std::collections::VecDeque;

use libc::EAGAIN;

use super::checks::{Check, Count};
use super::client::Client;
use super::frame::{Command, FRAME_MAX, Frame, HEADER};
use super::kernel::{Event, Kernel, Line};
use super::net::PEER;
use super::rng::Rng;

/// The longest rest of a client.
const REST_NS: u64 = 200_000_000;

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    /// Waits for every echo and closes.
    Close,
    /// Sends everything, half-closes, and reads to the end.
    HalfClose,
    /// The last request asks the server to close when it has sent everything.
    AskFlush,
    /// The last request asks for a close without ado.
    AskNow,
    /// The last request asks for a close at a deadline.
    AskDeadline,
    /// Resets in the middle.
    Reset,
    /// Closes in the middle, whatever is unread.
    Leave,
    /// Never reads, and resets when it has had enough.
    Mute,
}

/// What a client does, drawn once.
#[derive(Clone, Debug)]
struct Script {
    requests: u32,
    /// Bytes sent and not yet echoed, at most.
    window: usize,
    payload_max: usize,
    finish: Finish,
    slow: bool,
    moves: bool,
    /// Reads at most this much at once.
    sip: usize,
}

/// A simulated client.
#[derive(Debug)]
pub(super) struct Peer {
    id: u32,
    rng: Rng,
    script: Script,
    /// Connects to a shard; else a shard connects to it.
    pub(super) calls: bool,
    /// Closing connections may take all the time that they need.
    patient: bool,
    redials: u32,
    next_seq: u32,
    /// Bytes of requests that were not sent yet.
    unsent: VecDeque<u8>,
    /// Bytes that were sent, or wait to be, and were not echoed yet.
    owed: VecDeque<u8>,
    echoed: u64,
    half_closed: bool,
    /// It said something after its last request.
    talked_on: bool,
    /// It says nothing before.
    rests_until_ns: u64,
    began_ns: Option<u64>,
    /// Its part is over.
    pub(super) done: bool,
}

impl Peer {
    /// The client of that number.
    pub(super) fn new(id: u32, rng: &mut Rng, patient: bool) -> Peer {
        let mut rng = Rng::new(rng.next());
        let finish = match rng.below(16) {
            0..=4 => Finish::Close,
            5..=6 if patient && !Client::answered_late(id) => Finish::HalfClose,
            5..=8 => Finish::AskFlush,
            9 => Finish::AskNow,
            10..=11 => Finish::AskDeadline,
            12 => Finish::Reset,
            13..=14 => Finish::Leave,
            _ => Finish::Mute,
        };
        let script = Script {
            requests: rng.between(1, 40) as u32,
            window: 1 << rng.between(6, 14),
            payload_max: 1 << rng.between(1, 8),
            finish,
            slow: rng.one_in(4),
            moves: rng.one_in(2),
            sip: 1 << rng.between(0, 12),
        };
        Peer {
            id,
            script,
            calls: !rng.one_in(5),
            rng,
            patient,
            redials: 0,
            next_seq: 0,
            unsent: VecDeque::new(),
            owed: VecDeque::new(),
            echoed: 0,
            half_closed: false,
            talked_on: false,
            rests_until_ns: 0,
            began_ns: None,
            done: false,
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.id
    }

    /// How far it is, for people.
    pub(super) fn state(&self, lines: &[Line]) -> String {
        let Peer {
            id,
            next_seq,
            script,
            echoed,
            ..
        } = self;
        let (line, asked, finish) = (lines[*id as usize], script.requests, script.finish);
        let owed = self.owed.len();
        format!(
            "{id} on {line:?}: {next_seq} of {asked} asked, {echoed} B back, {owed} owed, {finish:?}"
        )
    }

    /// Looks at its connection, reads, writes.
    pub(super) fn act(&mut self, kernel: &mut Kernel) {
        if self.done {
            return;
        }
        match kernel.lines[self.id as usize] {
            Line::None if kernel.stopping => self.done = true,
            Line::None if self.calls => {
                let retry = self.rng.between(100_000, 5_000_000);
                let delay = if kernel.dial(self.id) { 0 } else { retry };
                kernel.schedule(delay, Event::Peer(self.id));
            }
            Line::None => {}
            Line::Failed => self.done = true,
            Line::Link(link) => {
                self.began_ns.get_or_insert(kernel.now().mono_ns);
                self.read(kernel, link);
                self.write(kernel, link);
                self.finish(kernel, link);
            }
        }
    }

    fn read(&mut self, kernel: &mut Kernel, link: u32) {
        if self.script.finish == Finish::Mute {
            return;
        }
        while !self.done {
            let max = if self.script.slow {
                self.script.sip.min(16)
            } else {
                self.script.sip
            };
            match kernel.recv(link, PEER, max) {
                Ok(bytes) if bytes.is_empty() => self.ended(kernel, link, "closed"),
                Ok(bytes) => {
                    self.check(kernel, &bytes);
                    if self.script.slow {
                        kernel.checks.count(Count::SlowReader);
                        let nap = self.rng.between(1_000, 3_000_000);
                        return kernel.schedule(nap, Event::Peer(self.id));
                    }
                }
                Err(EAGAIN) => return,
                Err(errno) => self.ended(kernel, link, &format!("errno {errno}")),
            }
        }
    }

    fn check(&mut self, kernel: &mut Kernel, bytes: &[u8]) {
        let from = self.echoed;
        for &byte in bytes {
            // What was not sent yet cannot have been echoed, though it stands in `owed`.
            let sent = self.owed.len() > self.unsent.len();
            if !sent || self.owed.pop_front() != Some(byte) {
                let (peer, at) = (self.id, self.echoed);
                let detail = format!(
                    "peer {peer}: byte {at} of the stream (read from {from}) is {byte:#04x}"
                );
                kernel.checks.fail(Check::EchoDiffers, detail);
                return;
            }
            self.echoed += 1;
        }
        kernel.checks.add(Count::BytesChecked, bytes.len() as u64);
        kernel.checks.note(u64::from(self.id), self.echoed);
    }

    /// The server's side is over.
    fn ended(&mut self, kernel: &mut Kernel, link: u32, how: &str) {
        let excused = kernel.links[link as usize].excused;
        if excused && self.echoed == 0 && self.calls && self.redials < 5 && !kernel.stopping {
            return self.redial(kernel, link);
        }
        let whole = self.owed.is_empty() && self.next_seq == self.script.requests;
        let cut_off = match self.script.finish {
            Finish::AskNow => true,
            Finish::AskFlush | Finish::AskDeadline => !self.patient,
            _ => false,
        };
        let asked = cut_off && self.next_seq == self.script.requests;
        if !whole && !asked && !excused && !kernel.stopping {
            let detail = format!(
                "peer {}: {how} after {} bytes, {} owed, {} of {} requests sent, {:?}",
                self.id,
                self.echoed,
                self.owed.len(),
                self.next_seq,
                self.script.requests,
                self.script.finish,
            );
            kernel.checks.fail(Check::EchoShort, detail);
        }
        if whole
            && matches!(
                self.script.finish,
                Finish::AskFlush | Finish::AskDeadline | Finish::HalfClose
            )
        {
            kernel.checks.count(Count::FlushedWhole);
        }
        self.leave(kernel, link, whole);
    }

    fn leave(&mut self, kernel: &mut Kernel, link: u32, whole: bool) {
        if whole {
            kernel.checks.count(Count::PeerDone);
        }
        kernel.close(link, PEER);
        self.done = true;
    }

    /// The table was full, or the network failed at once: begins anew.
    fn redial(&mut self, kernel: &mut Kernel, link: u32) {
        kernel.close(link, PEER);
        kernel.lines[self.id as usize] = Line::None;
        self.redials += 1;
        self.next_seq = 0;
        self.unsent.clear();
        self.owed.clear();
        self.half_closed = false;
        let delay = self.rng.between(1_000_000, 30_000_000);
        kernel.schedule(delay, Event::Peer(self.id));
    }

    fn write(&mut self, kernel: &mut Kernel, link: u32) {
        if self.done || kernel.lines[self.id as usize] != Line::Link(link) {
            return;
        }
        let now_ns = kernel.now().mono_ns;
        if now_ns < self.rests_until_ns {
            return kernel.schedule_at(self.rests_until_ns, Event::Peer(self.id));
        }
        loop {
            while self.unsent.len() < FRAME_MAX && self.may_ask() && self.rests_until_ns <= now_ns {
                self.ask(now_ns);
            }
            if self.unsent.is_empty() {
                break;
            }
            let chunk = self.rng.between(1, 1_024) as usize;
            match kernel.send(link, PEER, self.unsent.make_contiguous(), chunk) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(_) => return,
            }
            if self.script.slow && self.rng.one_in(2) {
                let nap = self.rng.between(1_000, 2_000_000);
                return kernel.schedule(nap, Event::Peer(self.id));
            }
        }
        let last = self.next_seq == self.script.requests;
        if last && self.script.finish == Finish::AskFlush && !self.talked_on {
            self.talk_on(kernel, link);
        }
        if last && self.script.finish == Finish::HalfClose && !self.half_closed {
            self.half_closed = true;
            kernel.checks.count(Count::HalfClose);
            let _ = kernel.shutdown(link, PEER, false);
        }
    }

    /// Goes on after it asked for the close: a server that closes without reading this would answer it
    /// by a reset, and lose the last echoes.
    fn talk_on(&mut self, kernel: &mut Kernel, link: u32) {
        self.talked_on = true;
        if !self.rng.one_in(2) {
            return;
        }
        kernel.checks.count(Count::TalkedOn);
        let frame = |more: u32| Frame {
            len: HEADER,
            command: Command::Echo,
            argument: 0,
            peer: self.id,
            seq: self.next_seq + more,
        };
        let frames = 1 << self.rng.between(0, 9);
        let bytes: Vec<u8> = (0..frames).flat_map(|more| frame(more).encode()).collect();
        let _ = kernel.send(link, PEER, &bytes, bytes.len());
    }

    fn may_ask(&self) -> bool {
        self.next_seq < self.script.requests && self.owed.len() < self.script.window
    }

    fn ask(&mut self, now_ns: u64) {
        let last = self.next_seq + 1 == self.script.requests;
        let command = match self.script.finish {
            Finish::AskFlush if last => Command::CloseFlush,
            Finish::AskNow if last => Command::CloseNow,
            Finish::AskDeadline if last => Command::DeadlineClose,
            _ => match self.rng.below(12) {
                0 | 1 if self.script.moves => Command::Move,
                2 => Command::Mail,
                3 => Command::Deadline,
                _ => Command::Echo,
            },
        };
        let frame = Frame {
            len: HEADER + self.rng.below(self.script.payload_max as u64) as usize,
            command,
            argument: self.rng.next() as u8,
            peer: self.id,
            seq: self.next_seq,
        };
        if command == Command::Deadline && self.rng.one_in(2) {
            // Its next word comes about when the deadline does.
            self.rests_until_ns = now_ns + self.rng.between(0, frame.wait_ns().min(REST_NS));
        }
        let bytes = frame.encode();
        self.unsent.extend(&bytes);
        self.owed.extend(&bytes);
        self.next_seq += 1;
    }

    /// Ends its side where the script says so.
    fn finish(&mut self, kernel: &mut Kernel, link: u32) {
        if self.done || kernel.lines[self.id as usize] != Line::Link(link) {
            return;
        }
        let all = self.next_seq == self.script.requests && self.owed.is_empty();
        let halfway = self.next_seq * 2 >= self.script.requests;
        match self.script.finish {
            Finish::Close if all => self.leave(kernel, link, true),
            Finish::Reset if halfway && self.rng.one_in(4) => self.reset(kernel, link),
            Finish::Leave if halfway && self.rng.one_in(4) => self.leave(kernel, link, false),
            Finish::Mute => self.grow_tired(kernel, link),
            Finish::Reset | Finish::Leave => {
                // Nothing else may come to wake it.
                let delay = self.rng.between(10_000, 3_000_000);
                kernel.schedule(delay, Event::Peer(self.id));
            }
            _ => {}
        }
    }

    fn grow_tired(&mut self, kernel: &mut Kernel, link: u32) {
        let patience = 500_000_000;
        let since = self.began_ns.unwrap_or_default();
        if kernel.now().mono_ns >= since + patience {
            return self.reset(kernel, link);
        }
        kernel.schedule(patience / 10, Event::Peer(self.id));
    }

    fn reset(&mut self, kernel: &mut Kernel, link: u32) {
        kernel.checks.count(Count::PeerReset);
        kernel.reset_by(link, PEER);
        self.done = true;
    }
}
