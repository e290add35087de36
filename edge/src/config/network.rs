//! Networks, as people write them: an address and the length of its prefix.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::de::Deserializer;

use super::list::List;

/// In front of an IPv4 address in an IPv6 one (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// A list of them, or one alone.
pub(super) fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    List {
        read: network,
        name: "networks",
        example: "10.0.0.0/8",
    }
    .of(from)
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network: IpNet = text.parse().map_err(|_| match text.parse() {
        Ok(IpAddr::V4(one)) => format!("`{one}` has no prefix length: write {one}/32"),
        Ok(IpAddr::V6(one)) => format!("`{one}` has no prefix length: write {one}/128"),
        Err(_) => format!("`{text}` is no network: write it as 10.0.0.0/8 or fd00::/8"),
    })?;
    let (address, whole) = (network.addr(), network.trunc());
    if network != whole {
        let one = IpNet::from(address);
        return Err(format!(
            "`{text}` has bits set behind its prefix: write {whole} for the network or {one} for this host"
        ));
    }
    if network.prefix_len() == 0 {
        return Err(format!(
            "`{text}` names everybody: write the networks that you mean"
        ));
    }
    if let Some(meant) = unmapped(network) {
        return Err(format!(
            "`{text}` is IPv4, and is compared as such: write {meant}"
        ));
    }
    Ok(network)
}

/// What a network of mapped addresses is in IPv4.
fn unmapped(network: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(v6) = network else {
        return None;
    };
    let length = v6.prefix_len().checked_sub(MAPPED_PREFIX)?;
    Ipv4Net::new(v6.addr().to_ipv4_mapped()?, length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_said() {
        for good in ["10.0.0.0/8", " 127.0.0.1/32", "fd00::/8", "::1/128"] {
            assert_eq!(network(good).unwrap().to_string(), good.trim());
        }
        let cases = [
            ("10.1.2.3", "write 10.1.2.3/32"),
            ("fd00::1", "write fd00::1/128"),
            (
                "10.1.2.3/8",
                "write 10.0.0.0/8 for the network or 10.1.2.3/32",
            ),
            (
                "fd00::1/64",
                "write fd00::/64 for the network or fd00::1/128",
            ),
            ("0.0.0.0/0", "everybody"),
            ("::/0", "everybody"),
            ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
            ("10.0.0.0/33", "no network"),
            ("10.0.0.0/-1", "no network"),
            ("10.0/8", "no network"),
            ("lb.example/32", "no network"),
            ("10.0.0.0/255.0.0.0", "no network"),
            ("", "no network"),
        ];
        for (text, meant) in cases {
            let message = network(text).expect_err(text);
            assert!(message.contains(meant), "{message}");
        }
    }
}
