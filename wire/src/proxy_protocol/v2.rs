//! Version 2, bytes: the signature, version and command, family and transport, a length, then as many bytes
//! of addresses and TLVs.

use std::net::IpAddr;

use super::{Error, HEADER_BYTES_MAX, Header, Source};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// In front of the addresses.
const FIXED_BYTES: usize = 16;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// Families (AF_UNIX the last) and transports (datagrams the last) that the standard knows.
const FAMILY_LAST: u8 = 3;
const TRANSPORT_LAST: u8 = 2;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Bytes that begin with as much of [`SIGNATURE`] as there is of them.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Error> {
    let command = bytes.get(SIGNATURE.len()).copied();
    if command.is_some_and(|byte| byte >> 4 != VERSION) {
        return Err(Error::Malformed("its version is not 2"));
    }
    let command = command.map(|byte| byte & 0xf);
    if command.is_some_and(|command| command > PROXY) {
        return Err(Error::Malformed("it is neither LOCAL nor PROXY"));
    }
    let is_local = command == Some(LOCAL);
    let family = bytes.get(SIGNATURE.len() + 1).copied();
    if family.is_some_and(|family| !is_local && !is_known(family)) {
        return Err(Error::Malformed("no such family or transport"));
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., family, high, low] = *fixed;
    //= PROXY protocol section 2.2: Receivers MUST always consider this field to skip the appropriate number of bytes and must not assume zero is presented for LOCAL connections.
    let block_bytes = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_BYTES + block_bytes > HEADER_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let Some(block) = rest.get(..block_bytes) else {
        return Ok(None);
    };
    let source = match family {
        _ if is_local => Source::Proxy,
        TCP_OVER_IPV4 => client::<4>(block)?,
        TCP_OVER_IPV6 => client::<16>(block)?,
        _ => Source::Unknown,
    };
    let bytes = FIXED_BYTES + block_bytes;
    Ok(Some(Header { source, bytes }))
}

fn is_known(family: u8) -> bool {
    family >> 4 <= FAMILY_LAST && family & 0xf <= TRANSPORT_LAST
}

/// Source and destination with addresses of `N` bytes, their ports, TLVs.
fn client<const N: usize>(block: &[u8]) -> Result<Source, Error>
where
    IpAddr: From<[u8; N]>,
{
    const PORTS_BYTES: usize = 4;
    let addresses = block.split_first_chunk::<N>();
    let tlvs = block.get(2 * N + PORTS_BYTES..);
    let Some(((client, _), tlvs)) = addresses.zip(tlvs) else {
        return Err(Error::Malformed("it is too short for its addresses"));
    };
    check_tlvs(tlvs)?;
    Ok(Source::Client(IpAddr::from(*client)))
}

/// A type, a length in two bytes, as many bytes, and the next.
fn check_tlvs(mut tlvs: &[u8]) -> Result<(), Error> {
    while !tlvs.is_empty() {
        let head = tlvs.split_first_chunk::<3>();
        tlvs = head
            .and_then(|(&[_, high, low], rest)| {
                rest.get(usize::from(u16::from_be_bytes([high, low]))..)
            })
            .ok_or(Error::Malformed("a TLV ends beyond the header"))?;
    }
    Ok(())
}
