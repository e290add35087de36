//! What kind of key file a PEM file is, told from the label of its first block (RFC 7468, 3): whether it
//! is one at all, and why one that holds no private key to sign with does not.

/// What a block begins with.
const BEGIN: &[u8] = b"-----BEGIN ";

/// Whether a file is PEM, also where text stands before the block (RFC 7468, 2 allows it, and tools write
/// it): such a file is nobody's secret.
pub(super) fn is_pem(bytes: &[u8]) -> bool {
    after_begin(bytes).is_some()
}

/// Why a file that is to sign holds no key for it, where its first block's label tells: the key itself may
/// still be of another kind.
pub(super) fn why_not_private(bytes: &[u8]) -> Option<&'static str> {
    Some(match label(bytes).unwrap_or_default() {
        b"PRIVATE KEY" => return None,
        b"PUBLIC KEY" | b"RSA PUBLIC KEY" => {
            "holds a public key, which signs nothing; give the private key of the pair"
        }
        b"CERTIFICATE" | b"TRUSTED CERTIFICATE" | b"X509 CERTIFICATE" => {
            "holds a certificate, which signs nothing; give the file of its private key"
        }
        b"EC PRIVATE KEY" | b"EC PARAMETERS" => {
            "holds an EC key that is not in PKCS #8; `openssl pkcs8 -topk8 -nocrypt -in FILE` writes it so"
        }
        b"RSA PRIVATE KEY" => {
            "holds an RSA key, with which no login token can be signed; give a P-256 or Ed25519 key"
        }
        b"ENCRYPTED PRIVATE KEY" => {
            "holds an encrypted private key; `openssl pkcs8 -in FILE` writes it without its passphrase"
        }
        b"OPENSSH PRIVATE KEY" => {
            "holds a private key in OpenSSH's own form; give one in PKCS #8 (`openssl genpkey` makes them)"
        }
        _ => "holds no private key in PEM (BEGIN PRIVATE KEY)",
    })
}

fn label(bytes: &[u8]) -> Option<&[u8]> {
    let label = after_begin(bytes)?;
    let end = label.windows(5).position(|five| five == b"-----")?;
    Some(&label[..end])
}

fn after_begin(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes
        .windows(BEGIN.len())
        .position(|window| window == BEGIN)?;
    Some(&bytes[at + BEGIN.len()..])
}
