//! The peer's address changes: it is validated, and until then little is sent there (RFC 9000 sections 8.2, 9).
//!
//! A client behind a NAT gets another address without knowing. Invariant: to an address that is not validated at most
//! three times as many bytes are sent as came from it.

use std::net::SocketAddr;

use super::Connection;
use crate::recovery::{NewReno, Rtt};

/// RFC 9000 section 8.1.
const AMPLIFICATION: u64 = 3;

/// Answers and probes that wait to be sent.
const PROBES_MAX: usize = 4;

/// Challenges to one address.
const CHALLENGES_MAX: u8 = 4;

/// A datagram of its own with one frame for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) to: SocketAddr,
    /// PATH_CHALLENGE or PATH_RESPONSE.
    pub(super) kind: u64,
    pub(super) data: [u8; 8],
    /// The datagram is padded to so many bytes.
    pub(super) bytes: usize,
}

/// The validation of the address that is in use.
#[derive(Clone, Debug)]
struct Validation {
    /// Where the peer was before, validated.
    previous: SocketAddr,
    /// What a response may say: the challenges that were sent.
    challenges: Vec<[u8; 8]>,
    next_at: u64,
    until: u64,
    /// Bytes from and to the address.
    came: u64,
    went: u64,
}

/// What is going on with addresses.
#[derive(Debug, Default)]
pub(super) struct Paths {
    validation: Option<Validation>,
    probes: Vec<Probe>,
}

impl Paths {
    pub(super) fn is_quiet(&self) -> bool {
        self.validation.is_none() && self.probes.is_empty()
    }

    pub(super) fn timeout(&self) -> Option<u64> {
        let validation = self.validation.as_ref()?;
        Some(validation.next_at.min(validation.until))
    }

    /// Bytes that may be sent to the address in use.
    //= RFC 9000 section 8: Therefore, after receiving packets from an address that is not yet validated, an endpoint MUST limit the amount of data it sends to the unvalidated address to three times the amount of data received from that address.
    pub(super) fn budget(&self) -> usize {
        self.validation.as_ref().map_or(usize::MAX, |validation| {
            let most = validation.came.saturating_mul(AMPLIFICATION);
            usize::try_from(most.saturating_sub(validation.went)).unwrap_or(usize::MAX)
        })
    }

    /// A datagram goes to the address in use.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        if let Some(validation) = &mut self.validation {
            validation.went += bytes as u64;
        }
    }

    pub(super) fn take_probe(&mut self) -> Option<Probe> {
        (!self.probes.is_empty()).then(|| self.probes.remove(0))
    }

    /// The oldest gives way, so that nobody fills memory with challenges.
    fn push(&mut self, probe: Probe) {
        if self.probes.len() >= PROBES_MAX {
            self.probes.remove(0);
        }
        self.probes.push(probe);
    }

    /// Answers a challenge to where it came from, in a datagram that is no larger than three of its own.
    //= RFC 9000 section 8.2.2: On receiving a PATH_CHALLENGE frame, an endpoint MUST respond by echoing the data contained in the PATH_CHALLENGE frame in a PATH_RESPONSE frame.
    pub(super) fn on_challenge(&mut self, from: SocketAddr, data: [u8; 8], came: usize) {
        self.push(Probe {
            to: from,
            kind: crate::frame::kind::PATH_RESPONSE,
            data,
            bytes: super::DATAGRAM_BYTES.min(came * AMPLIFICATION as usize),
        });
    }
}

impl Connection<'_> {
    /// A datagram with a packet that was opened came from `from`.
    pub(super) fn on_datagram_from(&mut self, from: SocketAddr, bytes: usize) {
        if from == self.parked.remote()
            && let Some(validation) = &mut self.awake.paths.validation
        {
            validation.came += bytes as u64;
        }
    }

    /// The newest packet, and not one that only probes, came from another address: the peer is there now.
    //= RFC 9000 section 9.3: An endpoint only changes the address to which it sends packets in response to the highest-numbered non-probing packet.
    pub(super) fn on_rebinding(&mut self, from: SocketAddr, bytes: usize, now: u64) {
        let before = self.parked.remote();
        let validation = self.awake.paths.validation.take();
        let previous = validation.map_or(before, |validation| validation.previous);
        self.parked.set_remote(from);
        if from == previous {
            return;
        }
        let pto = self.pto().max(Rtt::UNKNOWN.pto(0));
        self.awake.paths.validation = Some(Validation {
            previous,
            challenges: Vec::new(),
            next_at: now,
            until: now + 3 * pto,
            came: bytes as u64,
            went: 0,
        });
        //= RFC 9000 section 9.4: On confirming a peer's ownership of its new address, an endpoint MUST immediately reset the congestion controller and round-trip time estimator for the new path to initial values (see Appendices A.3 and B.3 of [QUIC-RECOVERY]) unless the only change in the peer's address is its port number.
        if from.ip() != previous.ip() {
            self.awake.rtt = Rtt::UNKNOWN;
            let lost = self.awake.recovery.restart();
            self.awake.recovery.congestion = NewReno::NEW;
            self.on_lost(lost);
        }
        //= RFC 9000 section 9.3.3: In response to an apparent migration, endpoints MUST validate the previously active path using a PATH_CHALLENGE frame.
        let data = self.next_challenge();
        self.awake.paths.push(Probe {
            to: previous,
            kind: crate::frame::kind::PATH_CHALLENGE,
            data,
            bytes: super::DATAGRAM_BYTES,
        });
        self.check_path(now);
    }

    /// Each packet number makes one challenge, since the datagram that carries it takes the number.
    fn next_challenge(&self) -> [u8; 8] {
        let waiting = self.awake.paths.probes.len() as u64;
        let number = self.parked.next_number + waiting;
        self.context.key.challenge(&self.context.place, number)
    }

    /// Sends the next challenge, or gives the address up.
    pub(super) fn check_path(&mut self, now: u64) {
        let data = self.next_challenge();
        let (to, pto) = (self.parked.remote(), self.pto());
        let paths = &mut self.awake.paths;
        let room = paths.budget();
        let Some(validation) = &mut paths.validation else {
            return;
        };
        if validation.until <= now {
            self.parked.set_remote(validation.previous);
            paths.validation = None;
            return;
        }
        if validation.next_at > now {
            return;
        }
        validation.next_at = now + pto;
        if validation.challenges.len() < usize::from(CHALLENGES_MAX) {
            validation.challenges.push(data);
            //= RFC 9000 section 8.2.1: An endpoint MUST expand datagrams that contain a PATH_CHALLENGE frame to at least the smallest allowed maximum datagram size of 1200 bytes, unless the anti-amplification limit for the path does not permit sending a datagram of this size.
            paths.push(Probe {
                to,
                kind: crate::frame::kind::PATH_CHALLENGE,
                data,
                bytes: super::DATAGRAM_BYTES.min(room),
            });
        } else {
            validation.next_at = validation.until;
        }
    }

    /// PATH_RESPONSE, on whatever path.
    pub(super) fn on_response(&mut self, data: [u8; 8]) {
        let paths = &mut self.awake.paths;
        paths
            .validation
            .take_if(|validation| validation.challenges.contains(&data));
    }
}
