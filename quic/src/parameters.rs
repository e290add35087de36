//! Transport parameters (RFC 9000 section 18): read from the peer, written for it.
//!
//! Those that we have no use for are read, judged and forgotten: preferred_address, which we do not follow, and
//! unknown ones, which nobody may object to.

use std::time::Duration;

use crate::error::{Code, Error};
use crate::frame::CID_BYTES_MAX;
use crate::varint::{Reader, len, put};

/// The numbers of RFC 9000 section 18.2.
mod id {
    pub(super) const ORIGINAL_DESTINATION: u64 = 0x00;
    pub(super) const MAX_IDLE_TIMEOUT: u64 = 0x01;
    pub(super) const RESET_TOKEN: u64 = 0x02;
    pub(super) const MAX_UDP_PAYLOAD: u64 = 0x03;
    pub(super) const MAX_DATA: u64 = 0x04;
    pub(super) const STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
    pub(super) const STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
    pub(super) const STREAM_DATA_UNI: u64 = 0x07;
    pub(super) const STREAMS_BIDI: u64 = 0x08;
    pub(super) const STREAMS_UNI: u64 = 0x09;
    pub(super) const ACK_DELAY_EXPONENT: u64 = 0x0a;
    pub(super) const MAX_ACK_DELAY: u64 = 0x0b;
    pub(super) const NO_MIGRATION: u64 = 0x0c;
    pub(super) const PREFERRED_ADDRESS: u64 = 0x0d;
    pub(super) const CID_LIMIT: u64 = 0x0e;
    pub(super) const INITIAL_SOURCE: u64 = 0x0f;
    pub(super) const RETRY_SOURCE: u64 = 0x10;
}

/// A connection id of at most 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cid {
    bytes: [u8; CID_BYTES_MAX],
    len: u8,
}

impl Cid {
    /// `None` for more than 20 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut this = Self {
            len: bytes.len() as u8,
            ..Self::default()
        };
        this.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(this)
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The transport parameters of one end, at their defaults until said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The id that the client first sent to; a server says it.
    pub original_destination: Option<Cid>,
    /// After so much silence the connection is gone; never where it is zero. Whole milliseconds.
    pub max_idle_timeout: Duration,
    /// What a stateless reset ends with; a server may say it.
    pub reset_token: Option<[u8; 16]>,
    /// Largest UDP payload that is taken, in bytes.
    pub max_udp_payload: u64,
    /// Bytes on all streams together.
    pub max_data: u64,
    /// Bytes on a stream with two directions that the sender of these parameters opens.
    pub stream_data_bidi_local: u64,
    /// Bytes on a stream with two directions that the other one opens.
    pub stream_data_bidi_remote: u64,
    /// Bytes on a stream with one direction.
    pub stream_data_uni: u64,
    /// Streams with two directions that the other one may open.
    pub streams_bidi: u64,
    /// Streams with one direction that the other one may open.
    pub streams_uni: u64,
    /// The delay in an ACK frame counts in units of 2^this microseconds.
    pub ack_delay_exponent: u8,
    /// Acknowledgements come within that. Whole milliseconds.
    pub max_ack_delay: Duration,
    /// The other one shall not move to another address.
    pub no_migration: bool,
    /// Connection ids that are kept of the other one.
    pub cid_limit: u64,
    /// The id in the first Initial packet.
    pub initial_source: Option<Cid>,
    /// The id in a Retry packet; a server says it.
    pub retry_source: Option<Cid>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            original_destination: None,
            max_idle_timeout: Duration::ZERO,
            reset_token: None,
            max_udp_payload: 65_527,
            max_data: 0,
            stream_data_bidi_local: 0,
            stream_data_bidi_remote: 0,
            stream_data_uni: 0,
            streams_bidi: 0,
            streams_uni: 0,
            ack_delay_exponent: 3,
            max_ack_delay: Duration::from_millis(25),
            no_migration: false,
            cid_limit: 2,
            initial_source: None,
            retry_source: None,
        }
    }
}

impl Parameters {
    /// Reads what the peer sent, a server's where `of_server`.
    ///
    /// # Errors
    /// TRANSPORT_PARAMETER_ERROR.
    pub fn read(bytes: &[u8], of_server: bool) -> Result<Self, Error> {
        let bad = |reason| Error::new(Code::TRANSPORT_PARAMETER_ERROR, reason);
        let mut this = Self::default();
        let mut reader = Reader::new(bytes);
        let mut seen = 0_u32;
        while !reader.is_empty() {
            let (id, value) = reader
                .varint()
                .zip(reader.prefixed())
                .ok_or(bad("a transport parameter is cut off"))?;
            if id <= id::RETRY_SOURCE {
                //= RFC 9000 section 7.4: An endpoint SHOULD treat receipt of duplicate transport parameters as a connection error of type TRANSPORT_PARAMETER_ERROR.
                if seen >> id & 1 != 0 {
                    return Err(bad("a transport parameter came twice"));
                }
                seen |= 1 << id;
            }
            //= RFC 9000 section 18.2: A server MUST treat receipt of any of these transport parameters as a connection error of type TRANSPORT_PARAMETER_ERROR.
            let only_of_servers = matches!(
                id,
                id::ORIGINAL_DESTINATION
                    | id::RESET_TOKEN
                    | id::PREFERRED_ADDRESS
                    | id::RETRY_SOURCE
            );
            if only_of_servers && !of_server {
                return Err(bad("a client sent a parameter of servers"));
            }
            this.take(id, value)
                .ok_or(bad("a transport parameter has an impossible value"))?;
        }
        Ok(this)
    }

    /// `None` where the value is impossible.
    fn take(&mut self, id: u64, value: &[u8]) -> Option<()> {
        match id {
            id::ORIGINAL_DESTINATION => self.original_destination = Some(Cid::new(value)?),
            id::INITIAL_SOURCE => self.initial_source = Some(Cid::new(value)?),
            id::RETRY_SOURCE => self.retry_source = Some(Cid::new(value)?),
            id::RESET_TOKEN => self.reset_token = Some(value.try_into().ok()?),
            id::NO_MIGRATION => self.no_migration = value.is_empty().then_some(true)?,
            id::PREFERRED_ADDRESS => preferred_address(value)?,
            id::MAX_IDLE_TIMEOUT..=id::CID_LIMIT => {
                let mut reader = Reader::new(value);
                let number = reader.varint()?;
                reader.is_empty().then(|| self.take_number(id, number))??;
            }
            _ => {}
        }
        Some(())
    }

    fn take_number(&mut self, id: u64, number: u64) -> Option<()> {
        let limit = |is_good: bool| is_good.then_some(number);
        match id {
            id::MAX_IDLE_TIMEOUT => self.max_idle_timeout = Duration::from_millis(number),
            //= RFC 9000 section 18.2: Values below 1200 are invalid.
            id::MAX_UDP_PAYLOAD => self.max_udp_payload = limit(number >= 1200)?,
            id::MAX_DATA => self.max_data = number,
            id::STREAM_DATA_BIDI_LOCAL => self.stream_data_bidi_local = number,
            id::STREAM_DATA_BIDI_REMOTE => self.stream_data_bidi_remote = number,
            id::STREAM_DATA_UNI => self.stream_data_uni = number,
            //= RFC 9000 section 4.6: If a max_streams transport parameter or a MAX_STREAMS frame is received with a value greater than 2^60, this would allow a maximum stream ID that cannot be expressed as a variable-length integer
            id::STREAMS_BIDI => self.streams_bidi = limit(number <= 1 << 60)?,
            id::STREAMS_UNI => self.streams_uni = limit(number <= 1 << 60)?,
            //= RFC 9000 section 18.2: Values above 20 are invalid.
            id::ACK_DELAY_EXPONENT => self.ack_delay_exponent = limit(number <= 20)? as u8,
            //= RFC 9000 section 18.2: Values of 2^14 or greater are invalid.
            id::MAX_ACK_DELAY => {
                self.max_ack_delay = Duration::from_millis(limit(number < 1 << 14)?);
            }
            //= RFC 9000 section 18.2: The value of the active_connection_id_limit parameter MUST be at least 2.
            _ => self.cid_limit = limit(number >= 2)?,
        }
        Some(())
    }

    /// Appends them; what is at its default is left out.
    pub fn write(&self, out: &mut Vec<u8>) {
        let default = Self::default();
        let numbers = |of: &Self| {
            [
                (id::MAX_IDLE_TIMEOUT, of.max_idle_timeout.as_millis() as u64),
                (id::MAX_UDP_PAYLOAD, of.max_udp_payload),
                (id::MAX_DATA, of.max_data),
                (id::STREAM_DATA_BIDI_LOCAL, of.stream_data_bidi_local),
                (id::STREAM_DATA_BIDI_REMOTE, of.stream_data_bidi_remote),
                (id::STREAM_DATA_UNI, of.stream_data_uni),
                (id::STREAMS_BIDI, of.streams_bidi),
                (id::STREAMS_UNI, of.streams_uni),
                (id::ACK_DELAY_EXPONENT, u64::from(of.ack_delay_exponent)),
                (id::MAX_ACK_DELAY, of.max_ack_delay.as_millis() as u64),
                (id::CID_LIMIT, of.cid_limit),
            ]
        };
        for ((id, number), (_, default)) in numbers(self).into_iter().zip(numbers(&default)) {
            if number != default {
                put(id, out);
                put(len(number) as u64, out);
                put(number, out);
            }
        }
        let mut bytes = |id, value: Option<&[u8]>| {
            if let Some(value) = value {
                put(id, out);
                put(value.len() as u64, out);
                out.extend_from_slice(value);
            }
        };
        let cid = |cid: &'_ Option<Cid>| cid.map(|cid| cid.as_slice().to_vec());
        bytes(
            id::ORIGINAL_DESTINATION,
            cid(&self.original_destination).as_deref(),
        );
        bytes(id::INITIAL_SOURCE, cid(&self.initial_source).as_deref());
        bytes(id::RETRY_SOURCE, cid(&self.retry_source).as_deref());
        bytes(
            id::RESET_TOKEN,
            self.reset_token.as_ref().map(|token| &token[..]),
        );
        bytes(id::NO_MIGRATION, self.no_migration.then_some(&[]));
    }
}

/// Its shape: addresses of both families, a connection id that is not empty, a token.
fn preferred_address(value: &[u8]) -> Option<()> {
    let mut reader = Reader::new(value);
    reader.bytes(4 + 2 + 16 + 2)?;
    let len = usize::from(reader.byte()?);
    reader.bytes(len)?;
    reader.bytes(16)?;
    //= RFC 9000 section 18.2: A server that chooses a zero-length connection ID MUST NOT provide a preferred address.
    (reader.is_empty() && (1..=CID_BYTES_MAX).contains(&len)).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Parameters {
        Parameters {
            original_destination: Cid::new(&[1; 20]),
            max_idle_timeout: Duration::from_millis(30_001),
            reset_token: Some([3; 16]),
            max_udp_payload: 1452,
            max_data: 1 << 30,
            stream_data_bidi_local: 70_000,
            stream_data_bidi_remote: 70_001,
            stream_data_uni: 70_002,
            streams_bidi: 100,
            streams_uni: 3,
            ack_delay_exponent: 8,
            max_ack_delay: Duration::from_millis(5),
            no_migration: true,
            cid_limit: 8,
            initial_source: Cid::new(&[]),
            retry_source: Cid::new(&[4; 8]),
        }
    }

    #[test]
    fn what_is_written_is_read_and_no_cut_panics() {
        for parameters in [sample(), Parameters::default()] {
            let mut bytes = Vec::new();
            parameters.write(&mut bytes);
            assert_eq!(Parameters::read(&bytes, true), Ok(parameters));
            for end in 0..bytes.len() {
                let _ = Parameters::read(&bytes[..end], true);
            }
        }
        assert_eq!(Parameters::read(&[], false), Ok(Parameters::default()));
    }

    //= test of RFC 9000 section 18.2: A server MUST treat receipt of any of these transport parameters as a connection error of type TRANSPORT_PARAMETER_ERROR.
    //= test of RFC 9000 section 18.2: The value of the active_connection_id_limit parameter MUST be at least 2.
    //= test of RFC 9000 section 18.2: A server that chooses a zero-length connection ID MUST NOT provide a preferred address.
    #[test]
    fn what_no_parameter_may_say() {
        let preferred = |cid: usize| {
            let mut bytes = vec![0x0d, (41 + cid) as u8];
            bytes.resize(bytes.len() + 24, 1);
            bytes.push(cid as u8);
            bytes.resize(bytes.len() + cid + 16, 1);
            bytes
        };
        assert!(Parameters::read(&preferred(8), true).is_ok());
        let cases: [(&str, Vec<u8>); 14] = [
            ("twice", vec![4, 1, 1, 4, 1, 1]),
            ("payload of 1,199", vec![3, 2, 0x44, 0xaf]),
            ("exponent of 21", vec![0x0a, 1, 21]),
            ("ack delay of 2^14", vec![0x0b, 4, 0x80, 0, 0x40, 0]),
            ("one cid", vec![0x0e, 1, 1]),
            (
                "more streams than there are",
                vec![8, 8, 0xd0, 0, 0, 0, 0, 0, 0, 1],
            ),
            ("a number and more", vec![4, 2, 1, 1]),
            ("no number", vec![4, 0]),
            ("a flag with a value", vec![0x0c, 1, 1]),
            ("a token of 15", [&[2, 15][..], &[0; 15]].concat()),
            ("a cid of 21", [&[0x0f, 21][..], &[0; 21]].concat()),
            ("an address without cid", preferred(0)),
            ("an address with a long cid", preferred(21)),
            ("cut off", vec![4, 8, 1]),
        ];
        for (what, bytes) in cases {
            let code = Parameters::read(&bytes, true).map_err(|error| error.code);
            assert_eq!(code, Err(Code::TRANSPORT_PARAMETER_ERROR), "{what}");
        }
        for of_servers in [
            vec![0, 0],
            [&[2, 16][..], &[0; 16]].concat(),
            preferred(8),
            vec![0x10, 0],
        ] {
            assert!(Parameters::read(&of_servers, true).is_ok());
            assert!(Parameters::read(&of_servers, false).is_err());
        }
        // An unknown one is nobody's business, also twice.
        assert!(Parameters::read(&[0x1b, 1, 7, 0x1b, 1, 7], false).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), of_server: bool) {
            if let Ok(parameters) = Parameters::read(&bytes, of_server) {
                let mut again = Vec::new();
                parameters.write(&mut again);
                prop_assert_eq!(Parameters::read(&again, true), Ok(parameters));
            }
        }
    }
}
