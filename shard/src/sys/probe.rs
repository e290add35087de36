//! Asks the kernel what it can do: opcodes by its own list, the rest by trying.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::buffers::Buffers;
use super::ring::builder;
use crate::probe::{Need, Report};

/// Every opcode that the engine uses, and the first kernel that has it as the engine uses it.
const OPCODES: [(u8, &str, &str); 11] = [
    (opcode::PollAdd::CODE, "POLL_ADD", "5.1"),
    (opcode::Recv::CODE, "RECV", "5.6"),
    (opcode::Send::CODE, "SEND", "5.6"),
    (opcode::Connect::CODE, "CONNECT", "5.5"),
    (opcode::Close::CODE, "CLOSE of direct descriptors", "5.15"),
    (opcode::Shutdown::CODE, "SHUTDOWN", "5.11"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL", "5.5"),
    (opcode::Accept::CODE, "ACCEPT, direct", "5.19"),
    (opcode::Socket::CODE, "SOCKET, direct", "5.19"),
    (opcode::MsgRingSendFd::CODE, "MSG_RING SEND_FD", "6.0"),
    (opcode::SetSockOpt::CODE, "URING_CMD", "5.19"),
];

pub(crate) fn check() -> Report {
    let mut report = Report::new(release());
    let plain = match IoUring::new(8) {
        Ok(ring) => ring,
        Err(error) => {
            report.needs.push(Need::failed("io_uring", "5.1", &error));
            return report;
        }
    };
    report.needs.push(Need::found("io_uring", "5.1"));
    let mut probe = Probe::new();
    let listed = plain.submitter().register_probe(&mut probe);
    for (code, what, since) in OPCODES {
        report.needs.push(match &listed {
            Ok(()) if probe.is_supported(code) => Need::found(what, since),
            Ok(()) => Need::absent(what, since),
            Err(error) => Need::failed(what, since, error),
        });
    }
    type Setup = fn(&mut io_uring::Builder);
    let setups: [(&'static str, &'static str, Setup); 4] = [
        ("COOP_TASKRUN and TASKRUN_FLAG", "5.19", |b| {
            b.setup_coop_taskrun().setup_taskrun_flag();
        }),
        ("SINGLE_ISSUER", "6.0", |b| {
            b.setup_single_issuer();
        }),
        ("DEFER_TASKRUN", "6.1", |b| {
            b.setup_single_issuer().setup_defer_taskrun();
        }),
        ("NO_SQARRAY", "6.6", |b| {
            b.setup_no_sqarray();
        }),
    ];
    for (what, since, setup) in setups {
        let mut builder = IoUring::builder();
        setup(&mut builder);
        report
            .needs
            .push(Need::tried(what, since, builder.build(8).map(drop)));
    }
    if let Ok(ring) = builder().build(8) {
        let sparse = ring.submitter().register_files_sparse(64);
        report
            .needs
            .push(Need::tried("sparse file tables", "5.19", sparse));
        let buffers = Buffers::new(&ring, 8, 4_096);
        // The ring ends before its buffers.
        drop(ring);
        report.needs.push(Need::tried(
            "provided buffer rings",
            "5.19",
            buffers.map(drop),
        ));
    }
    report
}

/// The kernel's release, as uname(2) tells it.
fn release() -> String {
    // SAFETY: an all-zero utsname is valid: it is arrays of bytes.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live utsname, which the call fills.
    if unsafe { libc::uname(&mut name) } != 0 {
        return io::Error::last_os_error().to_string();
    }
    let bytes = name.release.iter().take_while(|c| **c != 0);
    bytes.map(|c| char::from(*c as u8)).collect()
}
