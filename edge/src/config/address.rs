//! Where clients are awaited, as people write it: an IP address and a port.
//!
//! Names are not resolved: what a name comes to may change from start to start, and a listener that is bound
//! to less than its operator thinks is found late. The message says what to write instead.

use std::net::{Ipv6Addr, SocketAddr};

use serde::de::Deserializer;

use super::list::List;

/// Reads the address of a listener.
///
/// # Errors
/// What is wrong with it, and what is right.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let why = match text.parse::<SocketAddr>() {
        Ok(address) => return Ok(address),
        Err(_) => text.rsplit_once(':'),
    };
    // An IPv6 address has colons of its own.
    let is_bare_v6 = text.parse::<Ipv6Addr>().is_ok();
    match why {
        Some((host, port)) if !is_bare_v6 && port.parse::<u16>().is_ok() => {
            let meant = match host {
                "" | "*" => {
                    format!("0.0.0.0:{port} (every IPv4 address) or [::]:{port} (every address)")
                }
                "localhost" => format!("127.0.0.1:{port} or [::1]:{port}"),
                host if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
                _ => format!("its IP address, as 192.0.2.1:{port} or [2001:db8::1]:{port}"),
            };
            Err(format!(
                "`{text}` names no IP address to listen on: write {meant}"
            ))
        }
        _ if is_bare_v6 => Err(format!("`{text}` has no port: write [{text}]:8443")),
        _ => Err(format!(
            "`{text}` is no IP address and port: write it as 127.0.0.1:8443, 0.0.0.0:8443 or [::]:8443"
        )),
    }
}

/// A list of them, or one alone.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    List {
        read: listen_address,
        name: "addresses",
        example: "127.0.0.1:8443",
    }
    .of(from)
}

/// Why two listeners cannot both be: the kernel gives a port once, and a wildcard has all of its family's
/// addresses. (IPv4 and IPv6 stay apart, see `docs/rookery.toml`.)
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_port = one.port() == other.port() && one.port() != 0;
    let same_family = one.is_ipv4() == other.is_ipv4();
    let meet = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    same_port && same_family && meet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_said() {
        for good in ["127.0.0.1:8443", " 0.0.0.0:0", "[::]:8443", "[::1%2]:1"] {
            assert!(listen_address(good).is_ok(), "{good}");
        }
        let cases = [
            ("localhost:8443", "127.0.0.1:8443 or [::1]:8443"),
            (":8443", "0.0.0.0:8443"),
            ("*:8443", "[::]:8443"),
            ("chat.example:443", "192.0.2.1:443"),
            ("::1:8443", "[::1:8443]:8443"),
            ("fe80::1", "[fe80::1]:8443"),
            ("8443", "127.0.0.1:8443"),
            ("127.0.0.1", "127.0.0.1:8443"),
            ("127.0.0.1:99999", "127.0.0.1:8443"),
            ("", "127.0.0.1:8443"),
        ];
        for (text, meant) in cases {
            let message = listen_address(text).expect_err(text);
            assert!(message.contains(meant), "{message}");
        }
    }

    #[test]
    fn a_port_is_given_once_in_each_family() {
        let address = |text| listen_address(text).expect(text);
        for (one, other, meet) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "[::1]:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "[::]:1", false),
            ("0.0.0.0:0", "127.0.0.1:0", false),
            ("0.0.0.0:1", "0.0.0.0:2", false),
        ] {
            let (one, other) = (address(one), address(other));
            assert_eq!(overlap(one, other), meet, "{one} {other}");
            assert_eq!(overlap(other, one), meet, "{other} {one}");
        }
    }
}
