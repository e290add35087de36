//! Questions to the kernel about connections: each is answered once, with what is true of that connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::account::Account;
use super::checks::{Check, Count};
use super::kernel::Kernel;
use super::workload::Echo;
use crate::{ConnId, Shard, TcpInfo};

/// Those that are not answered.
#[derive(Default)]
pub(super) struct Questions(BTreeMap<ConnId, u32>);

impl Questions {
    /// Asks about a live connection, perhaps twice, by chance.
    pub(super) fn ask(
        &mut self,
        shard: &mut Shard<Echo>,
        account: &Account,
        kernel: &RefCell<Kernel>,
    ) {
        let live = account.live();
        let rng = &mut kernel.borrow_mut().rng;
        if live.is_empty() || !rng.one_in(4) {
            return;
        }
        let conn = live[rng.index(live.len())];
        for _ in 0..rng.between(1, 2) {
            if shard.ask_tcp_info(conn) {
                *self.0.entry(conn).or_default() += 1;
            }
        }
    }

    /// An answer, for a connection that came from there, where it is known.
    pub(super) fn answered(
        &mut self,
        conn: ConnId,
        info: Option<TcpInfo>,
        from: Option<SocketAddr>,
        account: &Account,
    ) {
        match self.0.get_mut(&conn) {
            Some(asked) if *asked > 0 => *asked -= 1,
            _ => account.fail(Check::Lifecycle, format!("{conn:?} was not asked about")),
        }
        let Some(info) = info else {
            return;
        };
        account.count(Count::Answered);
        if from.is_some_and(|from| from != info.peer) {
            let detail = format!("{conn:?} comes from {from:?}, not {}", info.peer);
            account.fail(Check::WrongAddress, detail);
        }
    }
}
