//! Echo on tokio (one thread) with tokio-tungstenite, and tokio-rustls for TLS.
//!
//! The read buffer is 4 KiB rather than the library's default of 128 KiB, which it fills with zeros for
//! each connection and advises to shrink where connections are many; messages are written at once.

use anyhow::Context as _;
use clap::Parser as _;
use futures_util::{SinkExt as _, StreamExt as _};
use rookery_peers::options::{BACKLOG, Options};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[global_allocator]
static ALLOCATOR: rookery_peers::Allocator = rookery_peers::Allocator;

const READ_BUFFER_BYTES: usize = 4 * 1024;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let acceptor = options.tls()?.map(TlsAcceptor::from);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("the runtime")?;
    runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(options.listen).context("bind")?;
        let listener = socket.listen(BACKLOG)?;
        options.ready();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream, acceptor.clone()));
                }
                Err(error) => {
                    eprintln!("accept: {error}");
                    tokio::task::yield_now().await;
                }
            }
        }
    })
}

async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match acceptor {
        None => echo(stream).await,
        // Handshakes are large futures; boxed, they cost a resting connection nothing.
        Some(acceptor) => match Box::pin(acceptor.accept(stream)).await {
            Ok(stream) => echo(stream).await,
            Err(error) => eprintln!("TLS: {error}"),
        },
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0);
    let Ok(mut socket) = Box::pin(accept_async_with_config(stream, Some(config))).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let echoed = message.is_binary() || message.is_text();
        if echoed && socket.send(message).await.is_err() {
            return;
        }
    }
}
