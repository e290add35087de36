//! One question to the host that publishes a key set, and its answer: bounded in bytes, in what it may be, and by
//! whoever waits for it. What it answers is another's word until it has come over TLS, and never more than keys.

use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::jwks_url::JwksUrl;
use super::secret::FILE_BYTES_MAX;

/// Bytes of a status line and headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Addresses of the host that are tried.
const ADDRESSES_MAX: usize = 8;

/// Why there is no answer that could be a key set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("it cannot be reached: {0}")]
    Away(io::Error),
    #[error("this host trusts no certificate authority")]
    NoRoots,
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("it answers with no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it answers {0}, and redirects are not followed: name the URL that it leads to")]
    Redirect(StatusCode),
    #[error("it answers with {0}, and a key set is application/json or application/jwk-set+json")]
    Type(String),
    #[error("its answer is compressed, which nobody asked for")]
    Encoded,
    #[error("its answer is larger than 64 KiB and so no key set")]
    Large,
    #[error("its answer broke off: {0}")]
    Broken(String),
}

/// The body of the answer. Whoever asks gives up after a while.
pub(crate) async fn fetch(url: &JwksUrl) -> Result<Bytes, FetchError> {
    let (host, _) = url.place();
    let tcp = connect(url).await?;
    // Whatever serves the connection ends with this question.
    let mut tasks = JoinSet::new();
    if !url.is_tls() {
        return ask(url, tcp, &mut tasks).await;
    }
    let bad_name = |_| FetchError::Tls(io::Error::other("the host's name is none for TLS"));
    let name = ServerName::try_from(host).map_err(bad_name)?;
    let trusted = tokio::task::spawn_blocking(trust).await;
    let config = trusted.map_err(|_| FetchError::NoRoots)??;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(FetchError::Tls)?;
    ask(url, tls, &mut tasks).await
}

async fn connect(url: &JwksUrl) -> Result<TcpStream, FetchError> {
    let found = tokio::net::lookup_host(url.place()).await;
    let found = found.map_err(FetchError::Away)?;
    let mut last = io::Error::other("its name has no address that may be asked");
    for addr in found
        .filter(|addr| url.may_be_at(addr.ip()))
        .take(ADDRESSES_MAX)
    {
        match TcpStream::connect(addr).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(FetchError::Away(last))
}

/// The roots of this host, read anew each time: they change while a server runs for months.
fn trust() -> Result<ClientConfig, FetchError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(FetchError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| FetchError::Tls(io::Error::other(error)))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn ask<S>(url: &JwksUrl, stream: S, tasks: &mut JoinSet<()>) -> Result<Bytes, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    tasks.spawn(async {
        // What goes wrong is told to who waits for the answer.
        let _ = connection.await;
    });
    let request = Request::get(url.path_and_query())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, concat!("rookery/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Broken(error.to_string()))?;
    let response = sender.send_request(request).await?;
    judge(&response)?;
    let body = Limited::new(response.into_body(), FILE_BYTES_MAX as usize);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::Large),
        Err(error) => Err(FetchError::Broken(error.to_string())),
    }
}

/// Whether the answer may be a key set, before its body is read.
fn judge(response: &Response<Incoming>) -> Result<(), FetchError> {
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(FetchError::Redirect(status)),
        status => return Err(FetchError::Status(status)),
    }
    let header = |name| {
        let value = response.headers().get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
    };
    let kind = header(CONTENT_TYPE).unwrap_or_else(|| "no Content-Type".into());
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !matches!(essence, "application/json" | "application/jwk-set+json") {
        let shown: String = kind.chars().take(80).flat_map(char::escape_debug).collect();
        return Err(FetchError::Type(shown));
    }
    match header(CONTENT_ENCODING).as_deref() {
        None | Some("identity") => Ok(()),
        Some(_) => Err(FetchError::Encoded),
    }
}
