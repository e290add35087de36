//! What TLS costs: bytes of heap per idle session by a counting allocator, nanoseconds of CPU per
//! record, handshakes per second of CPU.
//! `cargo run --release --manifest-path benches/peers/Cargo.toml --bin tls-cost`
//!
//! Both ends of a handshake run on one thread, so a handshake here is a server's and a client's.

use std::hint::black_box;
use std::time::Duration;

use rookery_wire::tls::{
    ClientConfig, Handshake, Offer, Opened, Progress, ServerConfig, Session, Suite, Tickets, Verify,
};

// It counts what is allocated, by size class. (What aws-lc takes from the C library is not in it.)
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    println!(
        "size_of Session {} B, Handshake {} B",
        size_of::<Session>(),
        size_of::<Handshake>()
    );
    for tickets in [Tickets::None, Tickets::One] {
        let server = ServerConfig::from_pem(chain.as_bytes(), key.as_bytes(), tickets)?;
        for (name, offer) in offers() {
            let client = ClientConfig::new(Verify::Insecure, offer)?;
            report(name, tickets, &server, &client)?;
        }
    }
    Ok(())
}

fn offers() -> Vec<(&'static str, Offer)> {
    let classic = Offer {
        post_quantum: false,
        ..Offer::default()
    };
    let mut offers = vec![
        ("TLS 1.3 X25519MLKEM768 AES_128", Offer::default()),
        (
            "TLS 1.2 AES_128",
            Offer {
                tls12_only: true,
                ..classic
            },
        ),
    ];
    for suite in Suite::ALL {
        offers.push((
            suite.name(),
            Offer {
                suite: Some(suite),
                ..classic
            },
        ));
    }
    offers
}

fn report(
    name: &str,
    tickets: Tickets,
    server: &ServerConfig,
    client: &ClientConfig,
) -> Result<(), Failure> {
    const SESSIONS: usize = 200;
    // Also fills what the libraries allocate once.
    let (mut last, mut peer) = shake(server, client)?;
    let mut held = Vec::with_capacity(SESSIONS);
    let before = allocated()?;
    let began = cpu()?;
    for _ in 0..SESSIONS {
        held.push(shake(server, client)?.0);
    }
    let rate = SESSIONS as f64 / (cpu()? - began).as_secs_f64();
    let heap = allocated()?.saturating_sub(before) / SESSIONS;
    let (seal_ns, open_ns) = records(&mut peer, &mut last)?;
    println!(
        "{name:32} tickets {tickets:?}: heap {heap} B + {} B inline, \
         {rate:.0} handshakes per CPU second (both ends), 100 B: seal {seal_ns} ns, open {open_ns} ns",
        size_of::<Session>()
    );
    Ok(())
}

/// Bytes that the process has allocated and not freed.
fn allocated() -> Result<usize, Failure> {
    tikv_jemalloc_ctl::epoch::advance().map_err(|error| error.to_string())?;
    Ok(tikv_jemalloc_ctl::stats::allocated::read().map_err(|error| error.to_string())?)
}

/// CPU time of this thread so far, so that a busy machine does not spoil the figures. The kernel
/// counts it up at each tick: measure over tens of milliseconds.
fn cpu() -> Result<Duration, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let ns = text
        .split(' ')
        .next()
        .ok_or("no figure in schedstat")?
        .parse()?;
    Ok(Duration::from_nanos(ns))
}

/// Both ends of one handshake: (server, client).
fn shake(server: &ServerConfig, client: &ClientConfig) -> Result<(Session, Session), Failure> {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut client = Handshake::client(client, "localhost", &mut up)?;
    let mut server = Handshake::server(server)?;
    let (mut server_end, mut client_end) = (None, None);
    for _flight in 0..4 {
        if let (None, Progress::Done { session, .. }) = (
            &server_end,
            server.feed(&std::mem::take(&mut up), &mut down)?,
        ) {
            server_end = Some(session);
        }
        if client_end.is_none()
            && let Progress::Done { session, .. } =
                client.feed(&std::mem::take(&mut down), &mut up)?
        {
            client_end = Some(session);
        }
        if server_end.is_some() && client_end.is_some() {
            break;
        }
    }
    Ok((
        server_end.ok_or("no server end")?,
        client_end.ok_or("no client end")?,
    ))
}

/// Nanoseconds per seal and per open of 100 B, the median of five rounds.
fn records(from: &mut Session, to: &mut Session) -> Result<(u128, u128), Failure> {
    const RECORDS: usize = 50_000;
    let (mut seals, mut opens) = (Vec::new(), Vec::new());
    let per = |time: Duration| time.as_nanos() / RECORDS as u128;
    for _round in 0..5 {
        let (mut stream, mut out) = (Vec::with_capacity(RECORDS * 160), Vec::new());
        let began = cpu()?;
        for _ in 0..RECORDS {
            from.seal(black_box(&[7; 100]), &mut stream)?;
        }
        seals.push(per(cpu()? - began));
        let (mut at, mut opened) = (0, 0);
        let began = cpu()?;
        while let Opened::Data { consumed, data } = to.open(&mut stream[at..], &mut out)? {
            black_box(data);
            at += consumed;
            opened += 1;
        }
        opens.push(per(cpu()? - began));
        assert_eq!(opened, RECORDS, "every record was opened");
    }
    seals.sort_unstable();
    opens.sort_unstable();
    Ok((seals[2], opens[2]))
}
