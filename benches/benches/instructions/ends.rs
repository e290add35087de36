//! Two ends of a TLS session, made by a real handshake.

use anyhow::bail;
use rookery_benches::handshakes::configurations;
use rookery_wire::tls::{ClientConfig, Handshake, Progress, ServerConfig, Session};

/// Both ends, at rest.
pub(crate) struct Ends {
    pub(crate) server: Session,
    pub(crate) client: Session,
}

/// A handshake as the load generator's clients make it.
pub(crate) fn shake_hands() -> anyhow::Result<Ends> {
    let (server, client) = configurations(false)?;
    let (mut hello, mut flight, mut finished) = (Vec::new(), Vec::new(), Vec::new());
    let mut there = Handshake::client(&client, "localhost", &mut hello)?;
    let mut here = Handshake::server(&server)?;
    if matches!(here.feed(&hello, &mut flight)?, Progress::Done { .. }) {
        bail!("a server was content with a ClientHello");
    }
    let Progress::Done {
        session: client, ..
    } = there.feed(&flight, &mut finished)?
    else {
        bail!("the server's flight did not end the handshake");
    };
    let Progress::Done {
        session: server, ..
    } = here.feed(&finished, &mut Vec::new())?
    else {
        bail!("the client's Finished did not end the handshake");
    };
    Ok(Ends { server, client })
}

/// A client in the middle of handshake after handshake.
pub(crate) struct Shaking {
    pub(crate) config: ServerConfig,
    client: ClientConfig,
    under_way: Option<Handshake>,
}

impl Shaking {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (config, client) = configurations(false)?;
        Ok(Self {
            config,
            client,
            under_way: None,
        })
    }

    /// What the client says next, where the server has said `flight`.
    pub(crate) fn says(&mut self, flight: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.under_way.take() {
            None => {
                let hello = Handshake::client(&self.client, "localhost", &mut bytes)?;
                self.under_way = Some(hello);
            }
            Some(mut client) => {
                if !matches!(client.feed(flight, &mut bytes)?, Progress::Done { .. }) {
                    bail!("the server's flight did not end the handshake");
                }
            }
        }
        Ok(bytes)
    }
}
