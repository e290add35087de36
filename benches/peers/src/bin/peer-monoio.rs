//! Echo on monoio, whose io_uring driver keeps the operations. There is no WebSocket library for it: the
//! framing is the product's, TLS is rustls's `ServerConnection` fed by hand (its own TLS adaptor would
//! keep two buffers of 16 KiB per connection).
//!
//! A connection at rest can wait in two ways, and both are measured: with a read pending in a small
//! buffer of its own (one operation per message, the idiom), or polled, with no buffer (two operations).

use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt as _};
use monoio::net::{ListenerOpts, TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use rookery_peers::buffers;
use rookery_peers::echo::Echo;
use rookery_peers::options::{BACKLOG, Options};
use rustls::ServerConfig;

#[global_allocator]
static ALLOCATOR: rookery_peers::Allocator = rookery_peers::Allocator;

/// A chat message in a TLS record, several times over.
const PENDING_BYTES: usize = 512;
/// A turn of the loop may submit as many as a burst of connections needs.
const RING_ENTRIES: u32 = 4_096;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
    /// How a connection at rest waits for bytes
    #[arg(long, value_enum, default_value_t = AtRest::Read)]
    at_rest: AtRest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AtRest {
    /// A read is pending in a buffer of its own
    Read,
    /// Polled; a buffer is taken when there are bytes
    Poll,
}

fn main() -> anyhow::Result<()> {
    let Line { options, at_rest } = Line::parse();
    let tls = options.tls()?.map(Rc::new);
    // The flags that spare interrupts; monoio asks for none by itself.
    let mut flags = io_uring::IoUring::builder();
    flags
        .setup_single_issuer()
        .setup_coop_taskrun()
        .setup_taskrun_flag();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
        .with_entries(RING_ENTRIES)
        .uring_builder(flags)
        .build()
        .context("the runtime")?;
    runtime.block_on(async {
        let how = ListenerOpts::new().backlog(BACKLOG.cast_signed());
        let listener = TcpListener::bind_with_config(options.listen, &how).context("bind")?;
        options.ready();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let tls = tls.clone();
                    monoio::spawn(async move {
                        // The client's end, however it came.
                        let _ = serve(stream, tls.as_deref(), at_rest).await;
                    });
                }
                Err(error) => eprintln!("accept: {error}"),
            }
        }
    })
}

async fn serve(
    stream: TcpStream,
    tls: Option<&Arc<ServerConfig>>,
    at_rest: AtRest,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let echo = Echo::new(tls)?;
    match at_rest {
        AtRest::Read => pending(stream, echo).await,
        AtRest::Poll => polled(stream, echo).await,
    }
}

async fn pending(mut stream: TcpStream, mut echo: Echo) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(PENDING_BYTES);
    loop {
        buffer.clear();
        let (read, filled) = stream.read(buffer).await;
        buffer = filled;
        if read? == 0 {
            return Ok(());
        }
        answer(&mut stream, &mut echo, &mut buffer).await?;
    }
}

async fn polled(mut stream: TcpStream, mut echo: Echo) -> anyhow::Result<()> {
    loop {
        stream.readable(false).await?;
        let (read, mut buffer) = stream.read(buffers::take()).await;
        if read? == 0 {
            return Ok(());
        }
        answer(&mut stream, &mut echo, &mut buffer).await?;
        buffers::give(buffer);
    }
}

async fn answer(stream: &mut TcpStream, echo: &mut Echo, bytes: &mut [u8]) -> anyhow::Result<()> {
    let mut out = buffers::take();
    echo.feed(bytes, &mut out)?;
    if !out.is_empty() {
        let (written, sent) = stream.write_all(out).await;
        written?;
        out = sent;
    }
    buffers::give(out);
    Ok(())
}
