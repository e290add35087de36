//! One connection: TCP, TLS 1.3 or 1.2, and the upgrade with our subprotocol.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rookery_wire::proto;
use rookery_wire::tls::TrustAnybody;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};

use super::Args;
use crate::certificate;
use crate::cli::{Failure, output};
use crate::config::Environment;

/// Where `rookery serve` listens when nobody says anything.
const URL_DEFAULT: &str = "wss://127.0.0.1:8443";

/// From the first SYN to the upgraded connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// TCP with or without TLS around it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An upgraded connection.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A server, and how its certificate is judged.
pub(super) struct Target {
    url: String,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Target {
    /// Understands the URL and reads the trusted certificates.
    pub(super) fn new(args: &Args, env: &Environment) -> Result<Self, Failure> {
        let (url, origin) = match (&args.url, env.url()) {
            (Some(given), _) => (given.as_str(), "--url"),
            (None, Some(set)) => (set, "environment variable ROOKERY_URL:"),
            (None, None) => (URL_DEFAULT, "--url"),
        };
        let wrong = |what: &str| Failure::usage(format!("{origin} {url}: {what}"));
        let uri: Uri = url
            .parse()
            .map_err(|error| wrong(&format!("is no URL: {error}")))?;
        let secure = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => {
                return Err(wrong(
                    "must begin with wss:// (or ws:// for a plain listener)",
                ));
            }
        };
        let host = uri
            .host()
            .ok_or_else(|| wrong("names no host"))?
            .trim_matches(['[', ']'])
            .to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            Some(TlsConnector::from(Arc::new(tls(args, url, env)?)))
        } else {
            None
        };
        Ok(Self {
            url: url.to_owned(),
            host,
            port,
            tls,
        })
    }

    /// Another server, which is judged as this one is. None where the URL is none, or would take away the
    /// TLS that there is here.
    pub(super) fn elsewhere(&self, url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (is_secure, port) = match uri.scheme_str()? {
            "wss" => (true, 443),
            "ws" => (false, 80),
            _ => return None,
        };
        (is_secure == self.tls.is_some()).then_some(())?;
        Some(Self {
            url: url.to_owned(),
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(port),
            tls: self.tls.clone(),
        })
    }

    /// Connects.
    pub(super) async fn connect(&self) -> anyhow::Result<Socket> {
        match tokio::time::timeout(TIMEOUT, self.upgrade()).await {
            Ok(result) => result,
            Err(_) => bail!("{} did not answer within {} s", self.url, TIMEOUT.as_secs()),
        }
    }

    async fn upgrade(&self) -> anyhow::Result<Socket> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .with_context(|| {
                format!(
                    "cannot connect to {} (is the server running? `rookery serve` starts one)",
                    self.url
                )
            })?;
        tcp.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone())
                    .context("the URL's host can be in no certificate")?;
                Box::new(tls.connect(name, tcp).await.with_context(|| {
                    format!(
                        "no TLS with {} (for a certificate of your own, --ca FILE)",
                        self.url
                    )
                })?)
            }
        };
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .context("the URL makes no request")?;
        request.headers_mut().insert(
            "Sec-WebSocket-Protocol",
            HeaderValue::from_static(proto::SUBPROTOCOL),
        );
        let (socket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .map_err(|error| {
                anyhow!(
                    "{} did not upgrade to {}: {error}",
                    self.url,
                    proto::SUBPROTOCOL
                )
            })?;
        Ok(socket)
    }
}

fn tls(args: &Args, url: &str, env: &Environment) -> Result<ClientConfig, Failure> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(Failure::running)?;
    if args.insecure {
        output::note(format_args!(
            "WARNING: --insecure: the server's certificate is NOT verified. Anybody on the way to\n\
             WARNING: {url} can read and change every message, and take your login."
        ));
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnybody::new(algorithms)))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    if let Some(file) = &args.ca {
        trust(&mut roots, file)?;
    } else {
        let own = certificate::self_signed_path(&env.data(args.data.as_deref()));
        if own.exists() {
            trust(&mut roots, &own)?;
        }
        // A system without authorities is no mistake where the server is our own.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn trust(roots: &mut RootCertStore, file: &Path) -> Result<(), Failure> {
    let wrong = |what: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot trust {}: {what}", file.display()))
    };
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots
            .add(certificate.map_err(|error| wrong(&error))?)
            .map_err(|error| wrong(&error))?;
        added += 1;
    }
    if added == 0 {
        Err(wrong(&"it holds no certificate in PEM"))
    } else {
        Ok(())
    }
}
