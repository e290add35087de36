//! Echo on tokio (one thread) with fastwebsockets over hyper, and tokio-rustls for TLS: its own example,
//! without vectored writes over TLS as that example does.

use anyhow::Context as _;
use clap::Parser as _;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rookery_peers::options::{BACKLOG, Options};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: rookery_peers::Allocator = rookery_peers::Allocator;

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
        None => upgraded(stream, true).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => upgraded(stream, false).await,
            Err(error) => eprintln!("TLS: {error}"),
        },
    }
}

/// HTTP until the upgrade; what follows it is a task of its own, so that hyper's state is gone by then.
async fn upgraded<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, vectored: bool) {
    let service = service_fn(move |request| answer(request, vectored));
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        eprintln!("HTTP: {error}");
    }
}

async fn answer(
    mut request: Request<Incoming>,
    vectored: bool,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgrade) = upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        // Unconstrained, as the library's example: a connection at rest gains nothing from a budget.
        let _ = tokio::task::unconstrained(echo(upgrade, vectored)).await;
    });
    Ok(response)
}

async fn echo(upgrade: upgrade::UpgradeFut, vectored: bool) -> Result<(), WebSocketError> {
    let mut socket = upgrade.await?;
    socket.set_writev(vectored);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
