//! What the kernel's TCP sockets hold in their buffers, `/proc/net/sockstat`.

use std::path::Path;

use crate::{PAGE_BYTES, ReadError, form, read};

/// Bytes in the buffers of all TCP sockets of this network namespace.
pub fn tcp_buffer_bytes() -> Result<u64, ReadError> {
    let path = Path::new("/proc/net/sockstat");
    let pages = tcp_pages(&read(path)?);
    pages
        .map(|pages| pages.saturating_mul(PAGE_BYTES))
        .ok_or_else(|| form(path, "has no `mem` of TCP"))
}

/// The most that they may hold: the third number of `net.ipv4.tcp_mem`, above which the kernel drops segments.
pub fn tcp_buffer_bytes_max() -> Result<u64, ReadError> {
    let path = Path::new("/proc/sys/net/ipv4/tcp_mem");
    let text = read(path)?;
    let pages = text.split_whitespace().nth(2);
    pages
        .and_then(|pages| pages.parse::<u64>().ok())
        .map(|pages| pages.saturating_mul(PAGE_BYTES))
        .ok_or_else(|| form(path, "does not have three numbers"))
}

/// `TCP: inuse 9 orphan 0 tw 3 alloc 12 mem 4`: the pages.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_tcp_is_read() {
        let text =
            "sockets: used 81\nTCP: inuse 9 orphan 0 tw 3 alloc 12 mem 4\nUDP: inuse 1 mem 9\n";
        assert_eq!(tcp_pages(text), Some(4));
        for nonsense in ["", "TCP:", "TCP: mem", "TCP: mem x", "UDP: mem 3"] {
            assert_eq!(tcp_pages(nonsense), None, "{nonsense:?}");
        }
        assert!(tcp_buffer_bytes().unwrap() <= tcp_buffer_bytes_max().unwrap());
    }
}
