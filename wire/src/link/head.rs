//! The HTTP exchange in front of the WebSocket: one head each way.

use super::{Error, Writer};
use crate::ws::upgrade;

/// A head that is being read. Gone when the WebSocket is open.
pub(super) struct Head {
    /// A client's request, until it is sent.
    request: Vec<u8>,
    awaited: Awaited,
    /// What has come of it; at most [`upgrade::HEAD_BYTES_MAX`] and one receive.
    read: Vec<u8>,
}

enum Awaited {
    Request,
    Response {
        key: [u8; 16],
        subprotocol: Option<String>,
    },
}

impl Head {
    /// A server's.
    pub(super) fn request() -> Self {
        Self {
            request: Vec::new(),
            awaited: Awaited::Request,
            read: Vec::new(),
        }
    }

    /// A client's.
    pub(super) fn response(client: &upgrade::ClientRequest<'_>) -> Self {
        let mut request = Vec::new();
        client.encode(&mut request);
        let awaited = Awaited::Response {
            key: client.key,
            subprotocol: client.subprotocol.map(str::to_owned),
        };
        Self {
            request,
            awaited,
            read: Vec::new(),
        }
    }

    /// What a client says first, once; nothing from a server.
    pub(super) fn first_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.request)
    }

    /// Reads on. Where the head is whole, answers it and tells how much of `plain` belonged to it.
    pub(super) fn read(
        &mut self,
        server: &upgrade::Server,
        writer: &mut Writer<'_>,
        plain: &[u8],
    ) -> Result<Option<usize>, Error> {
        let before = self.read.len();
        self.read.extend_from_slice(plain);
        let whole = match &self.awaited {
            Awaited::Request => match server.parse(&self.read)? {
                None => None,
                Some((len, request)) => {
                    let mut answer = Vec::new();
                    request.accept(&mut answer);
                    writer.raw(&[&answer]);
                    Some(len)
                }
            },
            Awaited::Response { key, subprotocol } => {
                let asked = upgrade::ClientRequest {
                    host: "",
                    path: "",
                    key: *key,
                    subprotocol: subprotocol.as_deref(),
                };
                asked.check(&self.read)?
            }
        };
        Ok(whole.map(|len| len.saturating_sub(before)))
    }
}
