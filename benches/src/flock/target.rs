//! Where the connections go: a URL, its host's addresses, and a first look whether somebody answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// How long the first look waits for an answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// A WebSocket URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `wss`.
    pub(super) tls: bool,
    /// The host, without brackets.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// As the Host header wants it.
    pub(super) authority: String,
    /// From the first slash on.
    pub(super) path: String,
}

impl Target {
    /// Takes a URL apart.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let (tls, rest) = match url.split_once("://") {
            Some(("wss", rest)) => (true, rest),
            Some(("ws", rest)) => (false, rest),
            _ => bail!("{url:?} is no WebSocket URL: it begins with wss:// or ws://"),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        if let Some(odd) = url.chars().find(|c| c.is_whitespace() || c.is_control()) {
            bail!("{url:?} holds {odd:?}, which no URL may");
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port = port
                    .parse()
                    .with_context(|| format!("{url:?}: {port:?} is no port"))?;
                (host, port)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() || port == 0 {
            bail!("{url:?} names no host and port");
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }

    /// The addresses to connect to: `spread` of them where the host is IPv4 loopback. Somebody
    /// listens on each.
    pub(super) fn addresses(&self, spread: u8) -> anyhow::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| format!("{} has no address", self.host))?
            .collect();
        let loopback = found
            .iter()
            .find(|addr| addr.is_ipv4() && addr.ip().is_loopback());
        let first = *loopback
            .or(found.first())
            .with_context(|| format!("{} has no address", self.host))?;
        look(first).with_context(|| {
            format!("cannot connect to {first} (is the server running? `rookery serve` starts one)")
        })?;
        let addresses = spread_over(first, spread);
        if let Some(&last) = addresses.last().filter(|&&last| last != first) {
            look(last).with_context(|| {
                format!(
                    "{first} answers and {last} does not: for so many connections the server must \
                     listen on all of loopback (rookery serve --listen 0.0.0.0:{}), or give --spread 1",
                    self.port
                )
            })?;
        }
        Ok(addresses)
    }

    /// Whether no certificate is needed to know who answers.
    pub(super) fn is_loopback(addresses: &[SocketAddr]) -> bool {
        addresses.iter().all(|addr| addr.ip().is_loopback())
    }
}

fn look(addr: SocketAddr) -> std::io::Result<()> {
    TcpStream::connect_timeout(&addr, LOOK_TIMEOUT).map(drop)
}

/// `first` and its neighbours in 127.0.0.0/8; only `first` where it is no such address.
fn spread_over(first: SocketAddr, spread: u8) -> Vec<SocketAddr> {
    match first.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => (0..u32::from(spread))
            .map(|nth| Ipv4Addr::from_bits(ip.to_bits() + nth))
            .filter(Ipv4Addr::is_loopback)
            .map(|ip| SocketAddr::new(ip.into(), first.port()))
            .collect(),
        _ => vec![first],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let cases = [
            (
                "wss://127.0.0.1:8443",
                true,
                "127.0.0.1",
                8443,
                "127.0.0.1:8443",
                "/",
            ),
            (
                "ws://localhost/chat?x=1",
                false,
                "localhost",
                80,
                "localhost",
                "/chat?x=1",
            ),
            ("wss://[::1]:9/v1", true, "::1", 9, "[::1]:9", "/v1"),
            ("wss://[::1]", true, "::1", 443, "[::1]", "/"),
        ];
        for (url, tls, host, port, authority, path) in cases {
            let target = Target::parse(url).unwrap();
            let found = (
                target.tls,
                &*target.host,
                target.port,
                &*target.authority,
                &*target.path,
            );
            assert_eq!(found, (tls, host, port, authority, path), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for url in [
            "",
            "127.0.0.1:1",
            "http://h:1",
            "ws://",
            "ws://:1",
            "ws://h:0",
            "ws://h:x",
            "ws://h:70000",
            "ws://h:1/a b",
            "ws://h:1/\r\nX: y",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_loopback_is_spread() {
        let spread = spread_over("127.0.0.1:7".parse().unwrap(), 3);
        let texts: Vec<String> = spread.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["127.0.0.1:7", "127.0.0.2:7", "127.0.0.3:7"]);
        assert_eq!(spread_over("10.0.0.1:7".parse().unwrap(), 3).len(), 1);
        assert_eq!(spread_over("[::1]:7".parse().unwrap(), 3).len(), 1);
        assert_eq!(
            spread_over("127.255.255.254:7".parse().unwrap(), 9).len(),
            2
        );
    }
}
