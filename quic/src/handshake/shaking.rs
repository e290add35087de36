//! One handshake: quinn-proto's connection, and what our engine begins with when it is done.

use std::time::Instant;

use quinn_proto::ConnectionHandle;

use super::config::Config;
use super::session::Outcome;
use super::{EARLY_MAX, Established, Handle};
use crate::cid::Place;
use crate::connection::{Awake, Context};
use crate::parked::{Parked, Parts};

/// A handshake.
pub(super) struct Shaking {
    pub(super) quinn: quinn_proto::Connection,
    pub(super) place: Place,
    pub(super) early: Vec<Vec<u8>>,
    pub(super) deadline: Option<Instant>,
    /// [`Established`] was given out.
    pub(super) is_done: bool,
}

impl Shaking {
    pub(super) fn hold(&mut self, short: &[u8]) {
        if !short.is_empty() && !self.is_done && self.early.len() < EARLY_MAX {
            self.early.push(short.to_vec());
        }
    }

    /// `None` where something is missing that every handshake has.
    pub(super) fn established(
        &mut self,
        now: u64,
        handle: ConnectionHandle,
        config: &Config,
    ) -> Option<Established> {
        let data = self.quinn.crypto_session().handshake_data()?;
        let outcome = *data.downcast::<Outcome>().ok()?;
        let (rx, rx_header) = outcome.rx;
        let (tx, tx_header) = outcome.tx;
        let parked = Parked::new(Parts {
            is_server: self.quinn.side().is_server(),
            rx,
            tx,
            rx_header,
            tx_header,
            peer: &outcome.peer,
            peer_cid: outcome.peer.initial_source?,
            remote: self.quinn.remote_address(),
            max_idle_s: config.max_idle_s,
            now,
        });
        let context = Context {
            key: &config.key,
            place: self.place,
            windows: config.windows,
        };
        let awake = Awake::after_handshake(&parked, &context, &outcome.peer, &outcome.crypto, now);
        Some(Established {
            handle: Handle(handle.0),
            place: self.place,
            parked,
            awake: Box::new(awake),
            alpn: outcome.alpn,
            server_name: outcome.server_name,
            early: std::mem::take(&mut self.early),
        })
    }
}
