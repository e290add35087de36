//! Headers of each kind in every cut, and each way to be wrong.

use std::net::IpAddr;

use super::*;

/// A header of version 2: command, family, what follows the length.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = (block.len() as u16).to_be_bytes();
    [v2::SIGNATURE, &[command, family], &len, block].concat()
}

fn ipv4_block(tlvs: &[u8]) -> Vec<u8> {
    [&[192, 0, 2, 1, 10, 0, 0, 9, 0xc0, 1, 0x20, 0xfb], tlvs].concat()
}

fn ipv6_block(client: &str) -> Vec<u8> {
    let IpAddr::V6(client) = ip(client) else {
        panic!("{client} is no IPv6 address");
    };
    [&client.octets()[..], &[0xfd; 16], &[0, 1, 0, 2]].concat()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn client(text: &str) -> Source {
    Source::Client(ip(text))
}

fn good() -> Vec<(Vec<u8>, Source)> {
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let text = |line: &str| line.as_bytes().to_vec();
    let full = [4u8, 0x01, 0xf9];
    vec![
        (
            text("PROXY TCP4 192.0.2.1 10.0.0.9 49153 443\r\n"),
            client("192.0.2.1"),
        ),
        (
            text("PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n"),
            client("255.255.255.255"),
        ),
        (
            text("PROXY TCP6 2001:DB8::1 fd00::9 1 2\r\n"),
            client("2001:db8::1"),
        ),
        (
            text("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"),
            client("::ffff:192.0.2.1"),
        ),
        (
            text(&format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n")),
            client(longest),
        ),
        (text("PROXY UNKNOWN\r\n"), Source::Unknown),
        (
            text(&format!(
                "PROXY UNKNOWN {longest} {longest} 65535 65535\r\n"
            )),
            Source::Unknown,
        ),
        (
            b"PROXY UNKNOWN \x01\xff what ever\r\n".to_vec(),
            Source::Unknown,
        ),
        (v2(0x21, 0x11, &ipv4_block(&[])), client("192.0.2.1")),
        (
            v2(0x21, 0x11, &ipv4_block(&[4, 0, 0, 3, 0, 4, 1, 2, 3, 4])),
            client("192.0.2.1"),
        ),
        (
            v2(0x21, 0x11, &ipv4_block(&[&full[..], &[0; 0x1f9]].concat())),
            client("192.0.2.1"),
        ),
        (
            v2(0x21, 0x21, &ipv6_block("2001:db8::7")),
            client("2001:db8::7"),
        ),
        (v2(0x20, 0x00, &[]), Source::Proxy),
        (v2(0x20, 0x11, &ipv4_block(&[])), Source::Proxy),
        (v2(0x20, 0xff, &[7; 9]), Source::Proxy),
        (v2(0x20, 0x00, &[0; 520]), Source::Proxy),
        (v2(0x21, 0x00, &[]), Source::Unknown),
        (v2(0x21, 0x00, &[1; 30]), Source::Unknown),
        (v2(0x21, 0x12, &ipv4_block(&[])), Source::Unknown),
        (v2(0x21, 0x22, &ipv6_block("::1")), Source::Unknown),
        (v2(0x21, 0x31, &[b'/'; 216]), Source::Unknown),
    ]
}

//= test of PROXY protocol section 2.2: Receivers MUST always consider this field to skip the appropriate number of bytes and must not assume zero is presented for LOCAL connections.
#[test]
fn every_cut_of_a_header_waits_and_the_whole_is_told_with_its_length() {
    for (header, source) in good() {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut} of {header:x?}");
        }
        let whole = Ok(Some(Header {
            source,
            bytes: header.len(),
        }));
        for behind in [&b""[..], b"\x16\x03\x01", b"\r\n", b"PROXY UNKNOWN\r\n"] {
            let stream = [&header[..], behind].concat();
            assert_eq!(parse(&stream), whole, "{stream:x?}");
            fuzz::check(&stream);
        }
    }
}

/// With the place of the byte that shows it.
#[test]
fn what_is_no_header_is_told_at_the_first_byte_that_shows_it() {
    for other in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4",
        b"PROXYTCP4",
        b"PROXY\tTCP4",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\n\0\r\nQUIT ",
        b"PROXX",
        b"PUT /",
        b"\0",
    ] {
        let told = (0..=other.len()).find(|&len| parse(&other[..len]).is_err());
        let cut = &other[..told.expect("no header")];
        assert_eq!(parse(cut), Err(Error::Absent), "{other:x?}");
        fuzz::check(other);
    }
}

//= test of PROXY protocol section 2.1: The receiver must not tolerate a single CR or LF character to end the line when a complete CRLF sequence is expected.
#[test]
fn a_line_of_another_form_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 10.0.0.9 1 2\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 1 2\r ",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN a\rb\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 10.0.0.9 1 2\r\n",
        "PROXY TCP4  192.0.2.1 10.0.0.9 1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 1\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9\t1 2\r\n",
        "PROXY TCP4 192.0.2.01 10.0.0.9 1 2\r\n",
        "PROXY TCP4 192.0.2 10.0.0.9 1 2\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.9 1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.09 1 2\r\n",
        "PROXY TCP4 2001:db8::1 fd00::9 1 2\r\n",
        "PROXY TCP6 192.0.2.1 10.0.0.9 1 2\r\n",
        "PROXY TCP6 2001:db8::1 10.0.0.9 1 2\r\n",
        "PROXY TCP6 2001:db8::1::2 fd00::9 1 2\r\n",
        "PROXY TCP6 2001:db8::1%1 fd00::9 1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 01 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9 1 00\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.9  2\r\n",
        "PROXY TCP4 \u{661}92.0.2.1 10.0.0.9 1 2\r\n",
        "PROXY tcp4 192.0.2.1 10.0.0.9 1 2\r\n",
        "PROXY UDP4 192.0.2.1 10.0.0.9 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
    ] {
        let refused = parse(line.as_bytes());
        assert!(
            matches!(refused, Err(Error::Malformed(_))),
            "{line:?} {refused:?}"
        );
        fuzz::check(line.as_bytes());
    }
    let bytes = [b"PROXY TCP4 ", &[0xff; 20][..], b"\r\n"].concat();
    assert!(matches!(parse(&bytes), Err(Error::Malformed(_))));
}

#[test]
fn a_line_is_no_longer_than_107_bytes() {
    let line = |fill: usize| [b"PROXY UNKNOWN ", &vec![b'x'; fill][..], b"\r\n"].concat();
    let fits = line(107 - 16);
    assert_eq!(fits.len(), 107);
    let header = parse(&fits).unwrap().unwrap();
    assert_eq!((header.source, header.bytes), (Source::Unknown, 107));
    for too_long in [line(107 - 15), line(107 - 14), line(400)] {
        assert_eq!(parse(&too_long[..106]), Ok(None));
        assert_eq!(parse(&too_long[..107]), Err(Error::TooLong));
        fuzz::check(&too_long);
    }
}

#[test]
fn a_binary_header_that_breaks_its_rules_is_refused() {
    let malformed = [
        v2(0x11, 0x11, &ipv4_block(&[])),
        v2(0x31, 0x11, &ipv4_block(&[])),
        v2(0x22, 0x11, &ipv4_block(&[])),
        v2(0x2f, 0x11, &ipv4_block(&[])),
        v2(0x21, 0x41, &ipv4_block(&[])),
        v2(0x21, 0x13, &ipv4_block(&[])),
        v2(0x21, 0xff, &ipv4_block(&[])),
        v2(0x21, 0x11, &ipv4_block(&[])[..11]),
        v2(0x21, 0x11, &[]),
        v2(0x21, 0x21, &ipv4_block(&[])),
        v2(0x21, 0x21, &ipv6_block("::1")[..35]),
        v2(0x21, 0x11, &ipv4_block(&[4])),
        v2(0x21, 0x11, &ipv4_block(&[4, 0])),
        v2(0x21, 0x11, &ipv4_block(&[4, 0, 1])),
        v2(0x21, 0x11, &ipv4_block(&[4, 0, 0, 4, 0xff, 0xff, 0])),
    ];
    for header in malformed {
        let refused = parse(&header);
        assert!(
            matches!(refused, Err(Error::Malformed(_))),
            "{header:x?} {refused:?}"
        );
        fuzz::check(&header);
    }
    for (command, bytes) in [(0x20, 521), (0x21, 521), (0x21, 65_535)] {
        let header = v2(command, 0x11, &vec![0; bytes]);
        assert_eq!(
            parse(&header[..16]),
            Err(Error::TooLong),
            "told by its length"
        );
        fuzz::check(&header);
    }
}
