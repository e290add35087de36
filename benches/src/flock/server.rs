//! Which process on this host is the server: the one that listens on its port, found through
//! `/proc/net/tcp` and the descriptors in `/proc/PID/fd`.

use std::collections::BTreeSet;
use std::path::Path;

/// A listening socket's state in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// The process that listens on a TCP port of this host, where it can be seen.
pub(super) fn listening_on(port: u16) -> Option<u32> {
    let mut inodes = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        inodes.extend(listeners(&text, port));
    }
    if inodes.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|pid| holds_one(*pid, &inodes))
}

/// The inodes of the sockets that listen on a port, from a table of `/proc/net`.
fn listeners(table: &str, port: u16) -> impl Iterator<Item = u64> {
    table.lines().skip(1).filter_map(move |line| {
        let mut words = line.split_whitespace();
        let (_, listens_on) = words.nth(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(listens_on, 16).ok()? == port;
        let listens = words.nth(1)? == LISTEN;
        let inode = words.nth(5)?.parse().ok()?;
        (here && listens).then_some(inode)
    })
}

fn holds_one(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .any(|link| socket_inode(&link).is_some_and(|inode| inodes.contains(&inode)))
}

/// From `socket:[123]`.
fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 424242 1 ffff 100 0 0 10 0
   1: 0100007F:20FB 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 424243 1 ffff 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1 ffff 100 0 0 10 0
";

    #[test]
    fn only_listeners_on_the_port_are_taken() {
        assert!(listeners(TABLE, 8443).eq([424_242]));
        assert!(listeners(TABLE, 22).eq([17]));
        assert_eq!(listeners(TABLE, 1).count(), 0);
        for odd in [
            "",
            "h\n1: x",
            "h\n1: a:b c 0A",
            "h\n  0: 0100007F:20FB 0:0 0A 0 0 0 0 0 x",
        ] {
            assert_eq!(listeners(odd, 8443).count(), 0, "{odd}");
        }
    }

    #[test]
    fn links_of_other_files_are_no_sockets() {
        assert_eq!(socket_inode(Path::new("socket:[12]")), Some(12));
        for other in [
            "pipe:[12]",
            "socket:[]",
            "/tmp/socket:[12]",
            "anon_inode:[io_uring]",
        ] {
            assert_eq!(socket_inode(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listening_on(port), Some(std::process::id()));
    }
}
