//! What can be wrong between a service's TLS and ours, in a sentence each with what to do.

use rustls::CertificateError;

use crate::problem::Problem;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server's certificate leads to none of our authorities.
    UnknownAuthority,
    /// It is for other names.
    WrongName {
        /// What it was held to.
        expected: String,
        /// What it bears.
        presented: Vec<String>,
    },
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// Something else is wrong with it.
    BadCertificate(String),
    /// We begin with TLS and the server does not know it.
    NoTls,
    /// The server begins with TLS and we do not.
    InsistsOnTls,
    /// The server asks for a certificate of ours, and we have none.
    CertificateDemanded,
    /// It does not take ours.
    CertificateRefused,
    /// Both have no version or cipher in common, or the like.
    Handshake(String),
}

/// A name without its kind: the verifier has `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    let within = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    within.unwrap_or(name).trim_matches('"')
}

impl Fault {
    pub(super) fn of(error: &rustls::Error) -> Option<Fault> {
        match error {
            rustls::Error::InvalidCertificate(error) => Some(Fault::of_certificate(error)),
            rustls::Error::PeerIncompatible(_) | rustls::Error::AlertReceived(_) => {
                Some(Fault::Handshake(error.to_string()))
            }
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Fault {
        match error {
            // A signature that does not match is what another authority of the same name leaves.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Fault::UnknownAuthority
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Fault::NotYetValid
            }
            CertificateError::NotValidForNameContext {
                expected,
                presented,
            } => Fault::WrongName {
                expected: expected.to_str().into_owned(),
                presented: presented.iter().map(|name| bare(name).to_owned()).collect(),
            },
            other => Fault::BadCertificate(other.to_string()),
        }
    }

    /// As an operator is told it. `section` is of the configuration, `address` where it was met.
    pub(crate) fn problem(&self, section: &'static str, address: &str) -> Problem {
        let what = match self {
            Fault::UnknownAuthority => {
                "its certificate is signed by none of the authorities that are trusted".to_owned()
            }
            Fault::WrongName {
                expected,
                presented,
            } if presented.is_empty() => {
                format!("its certificate bears no name, and is not for {expected}")
            }
            Fault::WrongName {
                expected,
                presented,
            } => format!(
                "its certificate is for {} and not for {expected}",
                presented.join(", ")
            ),
            Fault::Expired => "its certificate has expired".to_owned(),
            Fault::NotYetValid => "its certificate is not valid yet".to_owned(),
            Fault::BadCertificate(why) => format!("its certificate cannot be used: {why}"),
            Fault::NoTls => "the server does not speak TLS there".to_owned(),
            Fault::InsistsOnTls => "the server speaks TLS only".to_owned(),
            Fault::CertificateDemanded => {
                "the server wants a certificate from its clients".to_owned()
            }
            Fault::CertificateRefused => "the server refuses our certificate".to_owned(),
            Fault::Handshake(why) => format!("the TLS handshake fails: {why}"),
        };
        let advice = match self {
            Fault::UnknownAuthority => format!(
                "Set `ca_file` in [{section}] to the certificate of the authority that signed it (PEM)."
            ),
            Fault::WrongName { .. } if section == "kafka" => {
                "Give the broker a certificate with the name that its advertised.listeners has."
                    .into()
            }
            Fault::WrongName { .. } => format!(
                "Reach it by a name that its certificate bears, or set `server_name` in [{section}] to one."
            ),
            Fault::Expired => "Renew the server's certificate.".to_owned(),
            Fault::NotYetValid => "Look at both clocks, and at the certificate's dates.".to_owned(),
            Fault::BadCertificate(_) => "Give the server another certificate.".to_owned(),
            Fault::NoTls => format!(
                "Turn TLS on at the server, name its TLS port, or set `tls = false` in [{section}]."
            ),
            Fault::InsistsOnTls => format!("Set `tls = true` in [{section}]."),
            Fault::CertificateDemanded => format!(
                "Set `certificate_file` and `key_file` in [{section}] to a certificate that its authority \
                 signed."
            ),
            Fault::CertificateRefused => format!(
                "Look at the server's log; `certificate_file` in [{section}] must be signed by an authority \
                 that the server trusts, and be valid."
            ),
            Fault::Handshake(_) => {
                "Let the server offer TLS 1.3, or 1.2 with ECDHE; its log may say more.".to_owned()
            }
        };
        Problem::fatal(section, format!("{address}: {what}"), advice)
    }
}
