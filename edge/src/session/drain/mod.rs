//! A shard's part of a drain: each client is told to reconnect at a moment of its own, and closed where it
//! has not gone some time later.
//!
//! The shard walks over its connections (a [`Sweep`]) and tells as many as are due by the [`Pace`]: in the
//! first round those that are idle, then those with nothing under way, then all, those included that have
//! logged in meanwhile. Whoever was told counts nowhere any more (connections, its address, its user's
//! devices), so that it is not refused where it comes back while it is still here. Messages flow on until
//! it goes. Nobody is closed while the router has something of it to answer, for a bounded time.

mod pace;
mod times;

use std::sync::Arc;

use rookery_shard::{Close, ConnId, Shard, Sweep};
use rookery_wire::proto::{self, CloseCode};

use super::Sessions;
use super::conn::{Conn, Phase};
use super::deadlines::seconds;
use super::sweeps::{TURN_ACTS, TURN_LOOKS};
use pace::Pace;
pub use times::Times;

/// Silent for so long, a client is idle: it is not in the middle of something.
const IDLE_S: u32 = 5;

/// Between two rounds that look for clients who have logged in meanwhile.
const ROUND_NS: u64 = 250_000_000;

/// So long what the router has of a client may delay its close. An ack takes milliseconds; over Kafka that
/// fails over, seconds.
const FINISH_NS: u64 = 2_000_000_000;

/// What every shard is told of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// How long it takes.
    pub times: Times,
    /// WebSocket URLs of other servers, at most [`proto::ALTERNATIVES_MAX`].
    pub alternatives: Vec<String>,
    /// For people.
    pub reason: &'static str,
}

/// How much it would be disturbed, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Business {
    /// It has said nothing for a while.
    Idle,
    /// Nothing of it is under way.
    Quiet,
    /// The router has requests of it, or it has not taken all of what it was sent.
    Busy,
}

/// A drain under way.
pub(super) struct Draining {
    order: Arc<Order>,
    pace: Pace,
    sweep: Sweep,
    /// Clients up to here are told in this round.
    up_to: Business,
    /// When whoever is left is turned out, monotonic.
    until_ns: u64,
    is_last_round: bool,
}

impl Draining {
    fn new(order: Arc<Order>, clients: usize, now_ns: u64) -> Self {
        let tell_ns = order.times.tell_ms.saturating_mul(1_000_000);
        let all_ns = order.times.all_ms().saturating_mul(1_000_000);
        Self {
            order,
            pace: Pace::new(now_ns, clients as u64, tell_ns),
            sweep: Sweep::new(),
            up_to: Business::Idle,
            until_ns: now_ns.saturating_add(all_ns),
            is_last_round: false,
        }
    }

    /// The window is over: from here on nobody is told any more, and whoever has no time of its own goes.
    fn end(&mut self) {
        if !self.is_last_round {
            self.is_last_round = true;
            self.sweep = Sweep::new();
        }
    }

    /// The table's end was reached: the next round, and when it is due.
    fn next_round(&mut self, now_ns: u64) -> u64 {
        self.sweep = Sweep::new();
        match self.up_to {
            Business::Idle => self.up_to = Business::Quiet,
            Business::Quiet => self.up_to = Business::Busy,
            Business::Busy => return now_ns.saturating_add(ROUND_NS),
        }
        0
    }

    /// The frame, for the client with this number: the alternatives begin with another one for each, so that
    /// those who take the first spread too.
    fn frame(&self, unix_ms: u64, number: u64) -> Vec<u8> {
        let mut urls = self.order.alternatives.clone();
        let first = number.checked_rem(urls.len() as u64).unwrap_or(0);
        urls.rotate_left(first as usize);
        let url = |url: String| proto::Alternative {
            url: url.into_bytes(),
        };
        let leave_ms = u32::try_from(self.order.times.leave_ms).unwrap_or(u32::MAX);
        proto::encode(&proto::Reconnect {
            server_time_ms: unix_ms,
            not_before_ms: 0,
            not_after_ms: leave_ms,
            alternatives: urls.into_iter().map(url).collect(),
            reason: self.order.reason.into(),
        })
    }
}

impl Sessions {
    /// Begins a drain, replaces the one under way, or calls it off: then whoever is here stays.
    pub(super) fn drain(&mut self, shard: &mut Shard<Self>, order: Option<Arc<Order>>) {
        let now_ns = shard.now().mono_ns;
        self.sweeps.stay = order.is_none().then(Sweep::new);
        self.going = order.as_ref().map_or(0, |_| self.crowd(shard));
        self.draining = order.map(|order| Box::new(Draining::new(order, shard.live(), now_ns)));
        shard.turn_again();
    }

    /// The end of a turn: tells those who are due.
    pub(super) fn drain_on(&mut self, shard: &mut Shard<Self>) {
        let Some(mut draining) = self.draining.take() else {
            return;
        };
        let now_ns = shard.now().mono_ns;
        if now_ns >= draining.until_ns {
            draining.end();
        }
        let due = match draining.is_last_round {
            true => u64::MAX,
            false => draining.pace.due(now_ns),
        };
        let (mut looks, mut acts) = (TURN_LOOKS, due.min(TURN_ACTS));
        while acts > 0
            && let Some(conn) = shard.sweep(&mut draining.sweep, &mut looks)
        {
            let acted = match draining.is_last_round {
                true => self.turn_out(shard, conn),
                false => self.tell_to_go(shard, conn, &mut draining),
            };
            acts -= u64::from(acted);
        }
        if draining.sweep.is_over() {
            if draining.is_last_round {
                return;
            }
            let at_ns = draining.next_round(now_ns);
            shard.turn_again_at(at_ns.min(draining.until_ns));
        } else if due <= TURN_ACTS && acts == 0 {
            let at_ns = draining.pace.next_ns(now_ns);
            shard.turn_again_at(at_ns.min(draining.until_ns));
        } else {
            shard.turn_again();
        }
        self.draining = Some(draining);
    }

    /// Tells a client, where it is its round; whether it was told.
    fn tell_to_go(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        draining: &mut Draining,
    ) -> bool {
        let Some(&mut state) = shard.conn(conn) else {
            return false;
        };
        if state.phase != Phase::Live || self.business(shard, conn, &state) > draining.up_to {
            return false;
        }
        if let Some(state) = shard.conn(conn) {
            state.phase = Phase::Leaving;
            self.gate.leave(std::mem::take(&mut state.seat));
        }
        let stay_ns = draining.order.times.stay_ms.saturating_mul(1_000_000);
        self.arm(shard, conn, shard.running_ns().saturating_add(stay_ns));
        draining.pace.tell();
        self.telemetry.counters.told_to_reconnect.add(1);
        let frame = draining.frame(shard.now().unix_ms, conn.as_u64());
        self.answer(shard, conn, &[frame]);
        true
    }

    fn business(&self, shard: &Shard<Self>, conn: ConnId, state: &Conn) -> Business {
        if state.work.index().is_some() || shard.queue_bytes(conn) > 0 {
            Business::Busy
        } else if state.silent_s(seconds(shard.running_ns())) < IDLE_S {
            Business::Quiet
        } else {
            Business::Idle
        }
    }

    /// The window is over: those who have not logged in by now, and those who were never told. The others
    /// have a time of their own. Whether there was something to do.
    fn turn_out(&mut self, shard: &mut Shard<Self>, conn: ConnId) -> bool {
        let phase = shard.conn(conn).map(|state| state.phase);
        let goes = phase.is_some_and(|phase| !matches!(phase, Phase::Leaving | Phase::Ended));
        if goes {
            self.dismiss(shard, conn);
        }
        goes
    }

    /// Closes a connection that is to be here no longer (1001), once the router has answered what it has of
    /// it; asked for a second time, at once.
    pub(super) fn dismiss(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let Some(&mut state) = shard.conn(conn) else {
            return;
        };
        let work = state.work.index().and_then(|at| self.work.find_mut(at));
        if state.phase.is_live()
            && let Some(work) = work
            && !work.under_way.is_none()
            && !std::mem::replace(&mut work.finishes, true)
        {
            shard.pause(conn);
            let finish_by_ns = shard.running_ns() + FINISH_NS;
            return self.arm(shard, conn, finish_by_ns);
        }
        match state.phase {
            Phase::Silent | Phase::Opening => {
                self.telemetry.counters.cut_off.add(1);
                self.end(shard, conn, Close::Now);
            }
            Phase::Ended => {}
            Phase::Login | Phase::Moving | Phase::Live | Phase::Leaving => {
                self.telemetry.counters.dismissed.add(1);
                self.close(shard, conn, CloseCode::GOING_AWAY);
            }
        }
    }

    /// The drain was called off: a client that was told and has not gone counts again, as one of no address.
    pub(super) fn let_stay(&mut self, shard: &mut Shard<Self>, conn: ConnId) {
        let gate = Arc::clone(&self.gate);
        let Some(state) = shard.conn(conn) else {
            return;
        };
        if state.phase == Phase::Leaving {
            state.phase = Phase::Live;
            debug_assert!(
                !state.seat.is_counted(),
                "it left the counts when it was told"
            );
            state.seat = gate.come_back();
            self.begin_heartbeats(shard, conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draining(alternatives: &[&str]) -> Draining {
        let order = Order {
            times: Times::of(30_000, 10, 0),
            alternatives: alternatives.iter().map(|&it| it.to_owned()).collect(),
            reason: "a test",
        };
        Draining::new(Arc::new(order), 10, 1_000)
    }

    #[test]
    fn rounds_go_from_the_idle_to_the_busy_and_then_wait_for_newcomers() {
        let mut draining = draining(&[]);
        let rounds: Vec<_> = (0..4)
            .map(|_| (draining.up_to, draining.next_round(7)))
            .collect();
        let again = 7 + ROUND_NS;
        let expected = [
            (Business::Idle, 0),
            (Business::Quiet, 0),
            (Business::Busy, again),
            (Business::Busy, again),
        ];
        assert_eq!(rounds, expected);
        assert!(Business::Idle < Business::Quiet && Business::Quiet < Business::Busy);
    }

    #[test]
    fn each_client_is_told_all_alternatives_and_another_one_first() {
        let named = draining(&["wss://a/", "wss://b/", "wss://c/"]);
        let firsts = (0..6).map(|number| {
            let frame = named.frame(1_764_000_000_000, number);
            let limits = proto::Limits::SERVER_FRAMES;
            let Ok(proto::ServerFrame::Reconnect(told)) =
                proto::ServerFrame::parse(&frame, &limits)
            else {
                panic!("no Reconnect: {frame:?}");
            };
            assert_eq!(
                (
                    told.not_before_ms.to_native(),
                    told.not_after_ms.to_native()
                ),
                (0, 5_000)
            );
            assert_eq!(told.alternatives.len(), 3);
            told.alternatives[0].url[6]
        });
        assert_eq!(firsts.collect::<Vec<u8>>(), b"abcabc");
        let none = draining(&[]).frame(0, 5);
        assert!(proto::ServerFrame::parse(&none, &proto::Limits::SERVER_FRAMES).is_ok());
    }
}
