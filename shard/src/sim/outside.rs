//! The foreign threads of a simulation: they mail shards to connect, to move, to close, to pause.

use super::account::Tally;
use super::checks::Count;
use super::kernel::Kernel;
use super::peer::Peer;
use super::rng::Rng;
use super::workload::Mail;
use crate::{Close, Postboxes};

/// All threads that are not shards.
pub(super) struct Outside {
    rng: Rng,
    postboxes: Postboxes<Mail>,
    /// Peers to which a shard is to be asked to connect.
    to_call: Vec<u32>,
    /// Shards that paused something and resume it with the next mail.
    to_resume: Vec<u16>,
}

impl Outside {
    pub(super) fn new(peers: &[Peer], postboxes: Postboxes<Mail>, seed: u64) -> Outside {
        let called = peers.iter().filter(|peer| !peer.calls);
        Outside {
            rng: Rng::new(seed),
            postboxes,
            to_call: called.map(Peer::id).collect(),
            to_resume: Vec::new(),
        }
    }

    /// Posts a mail, now and then.
    pub(super) fn post(&mut self, kernel: &mut Kernel, tally: &mut Tally, calm: bool) {
        if kernel.stopping {
            return;
        }
        let resume = !self.to_resume.is_empty() && self.rng.one_in(4);
        // Nobody else would call them, and an idle simulation takes few steps.
        let often = if self.to_call.is_empty() { 40 } else { 8 };
        let (shard, mail) = match self.to_resume.last() {
            Some(&shard) if resume => (shard, Mail::Note),
            _ if self.rng.one_in(often) => self.draw(calm),
            _ => return,
        };
        let posted = self.postboxes.post(shard, mail).is_ok();
        kernel.checks.count(if posted {
            Count::MailSent
        } else {
            Count::MailFull
        });
        tally.posted[usize::from(shard)] += u64::from(posted);
        match mail {
            Mail::Connect(_) if posted => drop(self.to_call.pop()),
            Mail::Pause if posted => self.to_resume.push(shard),
            Mail::Note if posted && resume => drop(self.to_resume.pop()),
            _ => {}
        }
    }

    fn draw(&mut self, calm: bool) -> (u16, Mail) {
        let shards = u64::from(self.postboxes.shards());
        let shard = self.rng.below(shards) as u16;
        let mail = match (self.to_call.last(), self.rng.below(8)) {
            (Some(&peer), 0..=3) => Mail::Connect(peer),
            (_, 4) => Mail::Move(self.rng.below(shards) as u16),
            (_, 5) => Mail::Pause,
            (_, 6) if !calm && self.rng.one_in(20) => Mail::Close(Close::Now),
            _ => Mail::Note,
        };
        (shard, mail)
    }
}
