//! Key updates (RFC 9001 section 6): who turns when, and which keys open what comes late.

use super::Connection;
use crate::error::{Code, Error};
use crate::keys::{Generation, SEALED_UPDATE};
use crate::packet::Short;
use crate::parked::Unsealed;

/// What is known of phases while awake.
#[derive(Debug)]
pub(super) struct Phases {
    /// The keys that opened the phase before, and until when they do.
    previous: Option<(Box<Generation>, u64)>,
    /// The keys that open the next phase, once somebody claimed to be in it.
    next: Option<Box<Generation>>,
    /// The first packet that came in this phase, as far as known.
    rx_start: u64,
    /// The first packet that we sealed in this phase. After a rest that is the first since.
    tx_start: u64,
}

impl Phases {
    pub(super) fn new(next_number: u64) -> Self {
        Self {
            previous: None,
            next: None,
            rx_start: 0,
            tx_start: next_number,
        }
    }
}

impl Connection<'_> {
    /// Opens a packet in the phase that is not this one: the one before, or the next.
    /// Its keys are made once, so that a forged phase costs what a packet that does not open costs
    /// (RFC 9001 section 6.3).
    pub(super) fn open_other_phase(
        &mut self,
        short: Short,
        datagram: &mut [u8],
        now: u64,
    ) -> Result<Unsealed, Error> {
        let (header, payload) = datagram.split_at_mut(short.len);
        let phases = &mut self.awake.phases;
        phases.previous.take_if(|(_, until)| *until <= now);
        if let Some((previous, _)) = &phases.previous
            && short.number < phases.rx_start
        {
            return Ok(match previous.open(short.number, header, payload) {
                Ok(len) => self.parked.take(short, len),
                Err(_) => self.parked.unopened(),
            });
        }
        if phases.next.is_none() {
            phases.next = self.parked.next_rx().map(Box::new);
        }
        let opened = phases
            .next
            .as_ref()
            .and_then(|next| next.open(short.number, header, payload).ok());
        let Some(len) = opened else {
            return Ok(self.parked.unopened());
        };
        self.turn_rx(short, now)?;
        Ok(self.parked.take(short, len))
    }

    /// The peer has turned to new keys, by itself or because we did.
    fn turn_rx(&mut self, short: Short, now: u64) -> Result<(), Error> {
        //= RFC 9001 section 6.4: An endpoint that successfully removes protection with old keys when newer keys were used for packets with lower packet numbers MUST treat this as a connection error of type KEY_UPDATE_ERROR.
        if short.number < self.parked.received.next() {
            let reason = "new keys for a packet before one with old keys";
            return Err(Error::new(Code::KEY_UPDATE_ERROR, reason));
        }
        let until = now + 3 * self.pto();
        let phases = &mut self.awake.phases;
        if let Some(next) = phases.next.take() {
            let previous = self.parked.turn_rx(*next);
            phases.previous = Some((Box::new(previous), until));
            phases.rx_start = short.number;
        }
        //= RFC 9001 section 6.2: The endpoint MUST update its send keys to the corresponding key phase in response
        if !self.parked.phases_agree() {
            self.turn_tx();
        }
        Ok(())
    }

    fn turn_tx(&mut self) {
        if self.parked.turn_tx() {
            self.awake.phases.tx_start = self.parked.next_number;
        }
    }

    /// Turns to new keys, where that is allowed.
    //= RFC 9001 section 6.1: An endpoint MUST NOT initiate a subsequent key update unless it has received an acknowledgment for a packet that was sent protected with keys from the current key phase.
    pub(super) fn try_update_keys(&mut self) -> bool {
        let acked = self.awake.recovery.largest_acked();
        let may = self.parked.phases_agree()
            && acked.is_some_and(|acked| acked >= self.awake.phases.tx_start);
        if may {
            self.turn_tx();
        }
        may
    }

    /// Turns to new keys long before the present ones are worn.
    //= RFC 9001 section 6.6: Endpoints MUST initiate a key update before sending more protected packets than the confidentiality limit for the selected AEAD permits.
    pub(super) fn update_worn_keys(&mut self) {
        if self.parked.sealed >= SEALED_UPDATE {
            self.try_update_keys();
        }
    }
}
