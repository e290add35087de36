//! The thread behind the admin port: its listeners, its connections, and their bounds.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, oneshot};

use super::client::socket_path;
use super::deadline::{CONNECTION_MAX, Deadline};
use super::routes::{Routes, Way};
use super::token::Token;
use super::view::View;
use crate::config::{self, Config};

/// Connections of a listener at a time; more wait in its backlog.
const CONNECTIONS_MAX: usize = 64;
/// A request's line and headers must have come within this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request's line and headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How often it looks at the shards of its own accord.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The running admin port.
pub(crate) struct Admin {
    addrs: Vec<SocketAddr>,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What may be refused before anything is written: its addresses, and the token that the operator named.
pub(crate) struct Reserved {
    loopback: Vec<std::net::TcpListener>,
    token: Option<Token>,
}

impl Reserved {
    /// From here on nobody else has them.
    pub(crate) fn take(config: &config::Admin) -> anyhow::Result<Self> {
        let mut loopback = Vec::new();
        for &addr in &config.listen {
            let listener = std::net::TcpListener::bind(addr)
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .with_context(|| format!("cannot listen on {addr} (admin.listen)"))?;
            loopback.push(listener);
        }
        let token = config.token_file.as_deref().map(Token::read).transpose()?;
        Ok(Self { loopback, token })
    }
}

impl Admin {
    /// Begins to listen where the configuration says; the data directory is this process's already.
    pub(crate) fn start(
        config: &Config,
        reserved: Reserved,
        view: Arc<View>,
    ) -> anyhow::Result<Self> {
        let Reserved { loopback, token } = reserved;
        let socket = socket_path(config.admin.socket.as_deref(), &config.data);
        let unix = bind(&socket)
            .with_context(|| format!("cannot make the admin socket {}", socket.display()))?;
        let addrs = loopback
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<io::Result<_>>()?;
        let token = match (token, loopback.is_empty()) {
            (None, false) => Some(Token::read_or_make(&config.data.join("admin.token"))?),
            (token, _) => token,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let routes = Arc::new(Routes::new(view, token));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        served = serve(unix, loopback, routes) => {
                            if let Err(error) = served {
                                tracing::error!(%error, "the admin port does not listen");
                            }
                        }
                        _ = stopped => {}
                    }
                });
                // A disk may hang, and with it what was to be written.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            addrs,
            socket,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens on loopback.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin port's thread panicked");
        }
        // A stale one is replaced at the next start.
        let _ = fs::remove_file(&self.socket);
    }
}

/// Makes the socket where only the server's user can reach it, and moves it to its place: so it is never
/// there with another mode, and one that a killed process left is replaced.
fn bind(path: &Path) -> io::Result<StdUnixListener> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let private = folder.join(format!(".admin-{}", std::process::id()));
    let _ = fs::remove_dir_all(&private);
    fs::DirBuilder::new().mode(0o700).create(&private)?;
    let made = bind_in(&private).and_then(|listener| {
        let socket = private.join("s");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600))?;
        fs::rename(&socket, path)?;
        Ok(listener)
    });
    let _ = fs::remove_dir_all(&private);
    made
}

/// By the folder's descriptor, since an address has room for 107 bytes of a path only (unix(7)).
fn bind_in(folder: &Path) -> io::Result<StdUnixListener> {
    let folder = File::open(folder)?;
    let listener = StdUnixListener::bind(format!("/proc/self/fd/{}/s", folder.as_raw_fd()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Either kind of connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Either kind of listener.
enum Listener {
    Socket(UnixListener),
    Loopback(TcpListener),
}

impl Listener {
    async fn next(&self) -> io::Result<(Box<dyn Stream>, Way)> {
        Ok(match self {
            Self::Socket(listener) => (Box::new(listener.accept().await?.0), Way::Socket),
            Self::Loopback(listener) => (Box::new(listener.accept().await?.0), Way::Loopback),
        })
    }
}

async fn serve(
    unix: StdUnixListener,
    loopback: Vec<std::net::TcpListener>,
    routes: Arc<Routes>,
) -> io::Result<()> {
    let mut listeners = vec![Listener::Socket(UnixListener::from_std(unix)?)];
    for listener in loopback {
        listeners.push(Listener::Loopback(TcpListener::from_std(listener)?));
    }
    for listener in listeners {
        tokio::spawn(accept(listener, Arc::clone(&routes)));
    }
    loop {
        routes.look();
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Each listener has places of its own: whoever fills those of loopback leaves the socket to the operator.
async fn accept(listener: Listener, routes: Arc<Routes>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.next().await {
            Ok((stream, way)) => {
                let routes = Arc::clone(&routes);
                tokio::spawn(async move {
                    converse(stream, routes, way).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, until it ends or has lasted for too long.
async fn converse(stream: Box<dyn Stream>, routes: Arc<Routes>, way: Way) {
    let until = Arc::new(Deadline::at(Instant::now() + CONNECTION_MAX));
    let service = service_fn(|request| {
        let (routes, until) = (Arc::clone(&routes), Arc::clone(&until));
        async move { routes.answer(request, way, &until).await }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::debug!(%error, "an admin connection ended");
            }
        }
        () = until.passes() => tracing::debug!("an admin connection lasted for too long"),
    }
}
