//! Echo on glommio, one executor. There is no WebSocket library for it: the framing is the product's,
//! TLS is rustls's `ServerConnection` fed by hand. Its unbuffered stream polls at rest, so that all
//! connections read into one buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use anyhow::anyhow;
use clap::Parser as _;
use futures_lite::{AsyncRead as _, AsyncWriteExt as _};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use rookery_peers::buffers::{self, READ_BYTES};
use rookery_peers::echo::Echo;
use rookery_peers::options::Options;
use rustls::ServerConfig;

#[global_allocator]
static ALLOCATOR: rookery_peers::Allocator = rookery_peers::Allocator;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let tls = options.tls()?;
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || run(options, tls))
        .map_err(|error| anyhow!("the executor: {error}"))?;
    executor
        .join()
        .map_err(|error| anyhow!("the executor: {error}"))?
}

async fn run(options: Options, tls: Option<Arc<ServerConfig>>) -> anyhow::Result<()> {
    let tls = tls.map(Rc::new);
    let listener = TcpListener::bind(options.listen).map_err(|error| anyhow!("bind: {error}"))?;
    options.ready();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let tls = tls.clone();
                glommio::spawn_local(async move {
                    // The client's end, however it came.
                    let _ = serve(stream, tls.as_deref()).await;
                })
                .detach();
            }
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn serve(mut stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> anyhow::Result<()> {
    stream
        .set_nodelay(true)
        .map_err(|error| anyhow!("no delay: {error}"))?;
    let mut echo = Echo::new(tls)?;
    while let Some(out) = read(&mut stream, &mut echo).await? {
        if !out.is_empty() {
            stream.write_all(&out).await?;
        }
        buffers::give(out);
    }
    Ok(())
}

/// Waits for bytes, and has them answered before anybody else uses the buffer. None at the stream's end.
async fn read(stream: &mut TcpStream, echo: &mut Echo) -> anyhow::Result<Option<Vec<u8>>> {
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let read = match Pin::new(&mut *stream).poll_read(cx, buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(read)) => read,
            };
            let mut out = buffers::take();
            Poll::Ready(echo.feed(&mut buffer[..read], &mut out).map(|()| Some(out)))
        })
    })
    .await
}
