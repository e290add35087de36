//! The TLS 1.3 cipher suites of a parked session, as numbers: key sizes, hash, record limit.

use aws_lc_rs::{aead, hkdf};

/// A TLS 1.3 cipher suite; the value is the low byte of its code point `0x13xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// `TLS_AES_128_GCM_SHA256`, the one that we prefer.
    Aes128GcmSha256 = 1,
    /// `TLS_AES_256_GCM_SHA384`.
    Aes256GcmSha384 = 2,
    /// `TLS_CHACHA20_POLY1305_SHA256`.
    Chacha20Poly1305Sha256 = 3,
}

impl Suite {
    /// All of them, in our order of preference: SHA-256 makes about a quarter more handshakes.
    pub const ALL: [Self; 3] = [
        Self::Aes128GcmSha256,
        Self::Chacha20Poly1305Sha256,
        Self::Aes256GcmSha384,
    ];

    pub(super) fn from_low_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| *suite as u8 == byte)
    }

    /// The name in RFC 8446 appendix B.4.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128GcmSha256 => "TLS_AES_128_GCM_SHA256",
            Self::Aes256GcmSha384 => "TLS_AES_256_GCM_SHA384",
            Self::Chacha20Poly1305Sha256 => "TLS_CHACHA20_POLY1305_SHA256",
        }
    }

    pub(super) fn aead(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128GcmSha256 => &aead::AES_128_GCM,
            Self::Aes256GcmSha384 => &aead::AES_256_GCM,
            Self::Chacha20Poly1305Sha256 => &aead::CHACHA20_POLY1305,
        }
    }

    /// A secret of this suite, to expand from.
    pub(super) fn prk(self, secret: &[u8]) -> hkdf::Prk {
        let hkdf = match self {
            Self::Aes128GcmSha256 | Self::Chacha20Poly1305Sha256 => hkdf::HKDF_SHA256,
            Self::Aes256GcmSha384 => hkdf::HKDF_SHA384,
        };
        hkdf::Prk::new_less_safe(hkdf, secret)
    }

    /// Bytes of the AEAD key.
    pub(super) const fn key_len(self) -> usize {
        match self {
            Self::Aes128GcmSha256 => 16,
            Self::Aes256GcmSha384 | Self::Chacha20Poly1305Sha256 => 32,
        }
    }

    /// Bytes of a traffic secret: the output of the suite's hash.
    pub(super) const fn secret_len(self) -> usize {
        match self {
            Self::Aes128GcmSha256 | Self::Chacha20Poly1305Sha256 => 32,
            Self::Aes256GcmSha384 => 48,
        }
    }

    /// Records that one key may seal before we change it (RFC 8446 section 5.5: 2^24.5 records of
    /// full size for AES-GCM; ChaCha20-Poly1305 is bounded by the sequence number alone).
    pub(super) const fn records_per_key(self) -> u64 {
        match self {
            Self::Aes128GcmSha256 | Self::Aes256GcmSha384 => 1 << 24,
            Self::Chacha20Poly1305Sha256 => u64::MAX - 1,
        }
    }
}
