//! The calls on sockets, for both ends, and what packets do when they arrive.

use libc::{EAGAIN, ECONNABORTED, ECONNRESET, ENOTCONN, EPIPE, ETIMEDOUT};

use super::checks::Count;
use super::kernel::{Event, Kernel, Line};
use super::net::{Link, PEER, Packet, SHARD, Stage};

impl Kernel {
    /// recv(2) without waiting; no bytes mean the end of the stream.
    pub(super) fn recv(&mut self, id: u32, end: usize, max: usize) -> Result<Vec<u8>, i32> {
        let link = &mut self.links[id as usize];
        let (mine, pipe) = (&mut link.ends[end], &mut link.pipes[end]);
        if !pipe.arrived.is_empty() {
            let bytes = pipe.read(max);
            self.notify(id, 1 - end);
            return Ok(bytes);
        }
        match mine.error.take() {
            Some(errno) => Err(errno),
            None if pipe.fin || mine.read_shut || mine.dead => Ok(Vec::new()),
            None if link.stage != Stage::Open => Err(ENOTCONN),
            None => Err(EAGAIN),
        }
    }

    /// send(2) without waiting, of at most `max` of the bytes.
    pub(super) fn send(
        &mut self,
        id: u32,
        end: usize,
        bytes: &[u8],
        max: usize,
    ) -> Result<usize, i32> {
        let at = self.now().mono_ns + self.latency();
        let link = &mut self.links[id as usize];
        let mine = &mut link.ends[end];
        if let Some(errno) = mine.error.take() {
            return Err(errno);
        }
        if mine.dead || mine.write_shut {
            return Err(EPIPE);
        }
        if link.stage != Stage::Open {
            return Err(ENOTCONN);
        }
        let pipe = &mut link.pipes[1 - end];
        let n = bytes.len().min(max).min(pipe.space());
        if n == 0 {
            return Err(EAGAIN);
        }
        let at = pipe.push(at, Packet::Bytes(bytes[..n].to_vec()));
        self.schedule_at(
            at,
            Event::Deliver {
                link: id,
                to: 1 - end,
            },
        );
        Ok(n)
    }

    /// shutdown(2): SHUT_RDWR, or SHUT_WR only.
    pub(super) fn shutdown(&mut self, id: u32, end: usize, both: bool) -> Result<(), i32> {
        let at = self.now().mono_ns + self.latency();
        let link = &mut self.links[id as usize];
        if link.stage == Stage::Connecting {
            link.stage = Stage::Fresh;
            link.ends[end].error = Some(ECONNABORTED);
            self.lines[link.peer as usize] = Line::Failed;
            self.notify(id, end);
            return Ok(());
        }
        if link.stage == Stage::Fresh || link.ends[end].dead {
            return Err(ENOTCONN);
        }
        link.ends[end].read_shut |= both;
        if !std::mem::replace(&mut link.ends[end].write_shut, true) {
            let at = link.pipes[1 - end].push(at, Packet::Fin);
            self.schedule_at(
                at,
                Event::Deliver {
                    link: id,
                    to: 1 - end,
                },
            );
        }
        self.notify(id, end);
        Ok(())
    }

    /// The last descriptor of an end is closed: a FIN, or an RST when it left bytes unread
    /// (RFC 2525 2.17).
    pub(super) fn close(&mut self, id: u32, end: usize) {
        let link = &mut self.links[id as usize];
        link.ends[end].closed = true;
        if link.stage != Stage::Open || link.ends[end].dead {
            return;
        }
        if link.pipes[end].arrived.is_empty() {
            let _ = self.shutdown(id, end, false);
        } else {
            self.checks.count(Count::UnreadClose);
            self.reset_by(id, end);
        }
    }

    /// An end aborts the connection (SO_LINGER with 0, or a crash).
    pub(super) fn reset_by(&mut self, id: u32, end: usize) {
        let link = &mut self.links[id as usize];
        link.ends[end].closed = true;
        if !std::mem::replace(&mut link.ends[end].dead, true) {
            self.abort(id, end);
        }
    }

    /// One holder fewer of the shard's file; the last one closes it.
    pub(super) fn release(&mut self, id: u32) {
        let link = &mut self.links[id as usize];
        link.refs -= 1;
        if link.refs == 0 {
            self.close(id, SHARD);
        }
    }

    pub(super) fn deliver(&mut self, id: u32, to: usize) {
        if self.rng.strikes(self.plan.rates.reset) {
            let errno = if self.rng.one_in(3) {
                ETIMEDOUT
            } else {
                ECONNRESET
            };
            return self.die(id, errno);
        }
        let now = self.now().mono_ns;
        let link = &mut self.links[id as usize];
        let mut answer_rst = false;
        while let Some(packet) = link.pipes[to].pop(now) {
            if link.ends[to].dead {
                continue;
            }
            match packet {
                // RFC 9293 3.10.7.4: data after the receiver has closed is answered by a reset. A
                // socket that is only shut for reading does the same (tcp_rcv_state_process).
                Packet::Bytes(_) if link.ends[to].closed || link.ends[to].read_shut => {
                    answer_rst = true;
                }
                Packet::Bytes(bytes) => link.pipes[to].arrive(now, bytes),
                Packet::Fin => link.pipes[to].fin = true,
            }
        }
        if answer_rst {
            link.ends[to].dead = true;
            self.abort(id, to);
        }
        self.notify(id, to);
        self.notify(id, 1 - to);
    }

    /// The connection dies under both.
    fn die(&mut self, id: u32, errno: i32) {
        let link = &mut self.links[id as usize];
        link.excused = true;
        for end in [SHARD, PEER] {
            let errno = if end == PEER { ECONNRESET } else { errno };
            Self::kill(link, end, errno);
        }
        self.notify(id, SHARD);
        self.notify(id, PEER);
    }

    /// What a reset or a timeout does to one end. What has arrived stays readable (tcp_reset).
    fn kill(link: &mut Link, end: usize, errno: i32) {
        let (mine, pipe) = (&mut link.ends[end], &mut link.pipes[end]);
        pipe.cut();
        if !mine.dead {
            mine.dead = true;
            mine.error = Some(if pipe.fin && errno == ECONNRESET {
                EPIPE
            } else {
                errno
            });
        }
        link.pipes[1 - end].cut();
    }

    pub(super) fn reset_arrives(&mut self, id: u32, to: usize) {
        Self::kill(&mut self.links[id as usize], to, ECONNRESET);
        self.notify(id, to);
    }

    /// Sends an RST from `end`.
    fn abort(&mut self, id: u32, end: usize) {
        let delay = self.latency();
        let to = 1 - end;
        self.schedule(delay, Event::Reset { link: id, to });
    }
}
