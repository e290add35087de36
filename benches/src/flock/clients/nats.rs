//! A NATS client, as far as an echo needs one: it subscribes to a subject of its own and publishes to it
//! (docs.nats.io, "Client Protocol"), in binary WebSocket messages.

use rookery_shard::{ConnId, Shard};

use super::Clients;
use super::input::Next;

/// The login, and the subject of client `number`.
pub(super) fn hello(number: u32) -> Vec<u8> {
    format!("CONNECT {{\"verbose\":false}}\r\nSUB e.{number} 1\r\nPING\r\n").into_bytes()
}

/// A message of client `number` to itself.
pub(super) fn publish(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("PUB e.{number} {}\r\n", payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message.extend_from_slice(b"\r\n");
    message
}

/// One thing that the server says.
#[derive(Debug, PartialEq, Eq)]
enum Said<'a> {
    /// A message to a subject that we subscribed to.
    Message(&'a [u8]),
    /// The answer to the PING of [`hello`]: the session stands.
    Pong,
    /// It refuses something, and why.
    Refusal(&'a str),
    /// INFO and PING: nothing to do.
    Other,
}

/// Takes the first thing that the server says off `bytes`; none where it is not whole or no NATS.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Said<'a>> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let rest = &bytes[end + 2..];
    *bytes = rest;
    if line.starts_with("MSG ") {
        let len: usize = line.rsplit(' ').next()?.parse().ok()?;
        let payload = rest.get(..len)?;
        *bytes = rest.get(len..)?.strip_prefix(b"\r\n")?;
        return Some(Said::Message(payload));
    }
    Some(match line {
        "PONG" => Said::Pong,
        _ => match line.strip_prefix("-ERR") {
            Some(why) => Said::Refusal(why.trim()),
            None => Said::Other,
        },
    })
}

impl Clients {
    /// A WebSocket message of a NATS server holds any number of things that it says.
    pub(super) fn nats_said(
        &mut self,
        shard: &mut Shard<Self>,
        conn: ConnId,
        mut bytes: &[u8],
    ) -> Next {
        while !bytes.is_empty() {
            match take(&mut bytes) {
                Some(Said::Message(payload)) => {
                    self.echoed(payload);
                }
                Some(Said::Pong) => self.established(shard, conn),
                Some(Said::Refusal(why)) => return Next::End(format!("NATS refuses: {why}")),
                Some(Said::Other) => {}
                None => return Next::End("what the server says is no NATS".to_owned()),
            }
        }
        Next::Stay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_taken_apart() {
        let mut bytes: &[u8] =
            b"INFO {\"a\":1}\r\nPONG\r\nMSG e.7 1 4\r\n\r\n\r\n\r\nPING\r\n-ERR 'no'\r\n";
        let said: Vec<_> = std::iter::from_fn(|| take(&mut bytes)).collect();
        let expected = [
            Said::Other,
            Said::Pong,
            Said::Message(b"\r\n\r\n"),
            Said::Other,
            Said::Refusal("'no'"),
        ];
        assert_eq!(said, expected);
        assert!(bytes.is_empty());
        let odd: [&[u8]; 4] = [
            b"PONG",
            b"MSG e.7 1 9\r\nabc\r\n",
            b"MSG e 1 x\r\n",
            b"MSG e 1 3\r\nabcd\r\n",
        ];
        for mut odd in odd {
            assert_eq!(take(&mut odd), None);
        }
    }

    #[test]
    fn messages_go_to_oneself() {
        assert_eq!(publish(7, b"abc"), b"PUB e.7 3\r\nabc\r\n");
        assert!(hello(7).ends_with(b"SUB e.7 1\r\nPING\r\n"));
    }
}
