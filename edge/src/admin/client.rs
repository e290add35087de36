//! The other end of the admin socket: what the operator's verbs use.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// An answer that has not come by then does not.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same of one for which a server looks at every connection.
const WALK_PATIENCE: Duration = Duration::from_secs(30);

/// Why a server could not be asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server listens there.
    #[error("no server answers at {}: {source} (is it running? --data names its data directory)", .socket.display())]
    Away {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It broke off.
    #[error("the server broke off: {0}")]
    Broken(String),
    /// It refused, and said why.
    #[error("{0}")]
    Refused(String),
}

/// Where a server with this configuration and data directory listens.
pub fn socket_path(configured: Option<&Path>, data: &Path) -> PathBuf {
    configured.map_or_else(|| data.join("admin.sock"), Path::to_owned)
}

/// See the module.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// For the server behind this socket. Connects for each request.
    pub fn new(socket: PathBuf) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { socket, runtime })
    }

    /// The body of a GET's answer.
    pub fn get(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::GET, path, PATIENCE)
    }

    /// The same of a question about every connection, which may take the server half a minute.
    pub fn get_walk(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::GET, path, WALK_PATIENCE)
    }

    /// The body of a POST's answer.
    pub fn post(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::POST, path, PATIENCE)
    }

    /// The body of a DELETE's answer.
    pub fn delete(&self, path: &str) -> Result<Bytes, ClientError> {
        self.request(Method::DELETE, path, PATIENCE)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        patience: Duration,
    ) -> Result<Bytes, ClientError> {
        self.runtime.block_on(async {
            let whole = async {
                let response = self.send(method, path).await?;
                let body = response.into_body().collect().await.map_err(broken)?;
                Ok(body.to_bytes())
            };
            let answered = tokio::time::timeout(patience, whole).await;
            let late = || format!("no answer within {} s", patience.as_secs());
            answered.unwrap_or_else(|_| Err(ClientError::Broken(late())))
        })
    }

    /// Hands over the pieces of a long answer as they come, until it ends or the receiver has enough.
    pub fn stream(
        &self,
        path: &str,
        mut receive: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ClientError> {
        self.runtime.block_on(async {
            let mut body = self.send(Method::GET, path).await?.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(broken)?;
                if frame.data_ref().is_some_and(|bytes| !receive(bytes)) {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn send(&self, method: Method, path: &str) -> Result<Response<Incoming>, ClientError> {
        let away = |source| ClientError::Away {
            socket: self.socket.clone(),
            source,
        };
        let stream = connect(&self.socket).map_err(away)?;
        let stream = UnixStream::from_std(stream).map_err(away)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "rookery")
            .body(Empty::<Bytes>::new())
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        // A 503 of these two is their answer.
        let is_judgement = path == "/healthz" || path == "/readyz";
        if response.status().is_success() || is_judgement {
            return Ok(response);
        }
        let body = response.into_body().collect().await.map_err(broken)?;
        let why = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
        Err(ClientError::Refused(why))
    }
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken(error.to_string())
}

/// By the folder's descriptor, since an address has room for 107 bytes of a path only (unix(7)).
fn connect(socket: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let folder = File::open(folder)?;
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    path.push(name);
    let stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
