//! The applications: one end writes numbered bytes on several streams and expects them back, the other one says back
//! what it hears.

use std::collections::BTreeMap;

use super::{End, Random, SECOND};

/// The byte at a place of a stream.
fn byte(id: u64, at: usize) -> u8 {
    (at ^ at >> 8 ^ at >> 16) as u8 ^ (id as u8).wrapping_mul(37)
}

#[derive(Debug)]
struct Said {
    total: usize,
    written: usize,
    heard: usize,
    finishes: bool,
    finished: bool,
    ended: bool,
}

impl Said {
    fn is_done(&self) -> bool {
        self.heard == self.total && (self.ended || !self.finishes)
    }
}

/// Who talks.
#[derive(Debug)]
pub(crate) struct Talk {
    streams: BTreeMap<u64, Said>,
    to_open: usize,
    bytes_max: u64,
    next_at: u64,
    /// The first stream stays open and is written in pieces, with pauses.
    kept: Option<u64>,
}

impl Talk {
    /// Opens so many streams, one after the other; the first one stays open.
    pub(crate) fn new(streams: usize, bytes_max: u64) -> Self {
        Self {
            streams: BTreeMap::new(),
            to_open: streams,
            bytes_max,
            next_at: 0,
            kept: None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.to_open == 0 && self.streams.values().all(Said::is_done)
    }

    pub(crate) fn next_at(&self) -> u64 {
        if self.is_done() {
            u64::MAX
        } else {
            self.next_at
        }
    }

    pub(crate) fn run(&mut self, now: u64, random: &mut Random, end: &mut dyn End) {
        if self.next_at <= now {
            let pause = if random.percent(30) {
                4 * SECOND
            } else {
                SECOND / 5
            };
            self.next_at = now + 1 + random.below(pause);
            self.say_more(random, end);
        }
        for id in end.readable() {
            self.hear(id, end);
        }
        for (id, said) in &mut self.streams {
            while said.written < said.total {
                let piece: Vec<u8> = (said.written..said.total.min(said.written + 5_000))
                    .map(|at| byte(*id, at))
                    .collect();
                let len = end.write(*id, &piece);
                said.written += len;
                if len < piece.len() {
                    break;
                }
            }
            if said.written == said.total && said.finishes && !said.finished {
                said.finished = true;
                end.finish(*id);
            }
        }
    }

    fn say_more(&mut self, random: &mut Random, end: &mut dyn End) {
        if self.to_open > 0
            && let Some(id) = end.open()
        {
            self.to_open -= 1;
            let is_kept = *self.kept.get_or_insert(id) == id;
            let total = random.below(self.bytes_max) as usize;
            self.streams.insert(
                id,
                Said {
                    total,
                    written: 0,
                    heard: 0,
                    finishes: !is_kept,
                    finished: false,
                    ended: false,
                },
            );
        }
        if self.to_open > 0
            && let Some(said) = self.kept.and_then(|id| self.streams.get_mut(&id))
        {
            said.total += random.below(300) as usize;
        }
    }

    fn hear(&mut self, id: u64, end: &mut dyn End) {
        let mut bytes = Vec::new();
        let ended = end.read(id, &mut bytes);
        let said = self.streams.get_mut(&id).expect("a stream of ours");
        for byte_heard in bytes {
            assert_eq!(
                byte_heard,
                byte(id, said.heard),
                "stream {id} at {}",
                said.heard
            );
            said.heard += 1;
        }
        assert!(said.heard <= said.written, "more than was said on {id}");
        if ended {
            assert_eq!(said.heard, said.total, "stream {id} ended early");
            said.ended = true;
        }
    }
}

/// Who says it back.
#[derive(Default)]
pub(crate) struct Echo {
    /// What was heard and not said back yet; whether that is all.
    streams: BTreeMap<u64, (Vec<u8>, bool)>,
}

impl Echo {
    pub(crate) fn run(&mut self, end: &mut dyn End) {
        for id in end.readable() {
            let (bytes, ended) = self.streams.entry(id).or_default();
            *ended |= end.read(id, bytes);
        }
        self.streams.retain(|id, (bytes, ended)| {
            let len = end.write(*id, bytes);
            bytes.drain(..len);
            let is_done = bytes.is_empty() && *ended;
            if is_done {
                end.finish(*id);
            }
            !bytes.is_empty() || (!*ended && !is_done)
        });
    }
}
