//! TLS alerts (RFC 8446 section 6): one byte that says why a session ends.
//!
//! Kept as the wire's number, so that an alert of a later RFC still travels and still prints.

use std::fmt;

/// A TLS alert description (RFC 8446 section 6, IANA "TLS Alerts").
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// The peer sends nothing more (RFC 8446 section 6.1).
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A message that is not allowed here.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record that does not decrypt.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record longer than the protocol allows.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// No common parameters.
    pub const HANDSHAKE_FAILURE: Self = Self(40);
    /// A field out of range or inconsistent.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message that does not parse.
    pub const DECODE_ERROR: Self = Self(50);
    /// A signature or binder that does not verify.
    pub const DECRYPT_ERROR: Self = Self(51);
    /// A protocol version that is recognised and refused.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// The sender failed for a reason of its own.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The peer gives up; a close_notify follows (RFC 8446 section 6.1).
    pub const USER_CANCELED: Self = Self(90);
    /// No application protocol in common (RFC 7301).
    pub const NO_APPLICATION_PROTOCOL: Self = Self(120);

    /// The name in the RFCs, `None` for a number without one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => return None,
        })
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "alert {}", self.0),
        }
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
