//! The payload of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use std::borrow::Cow;

use super::{Error, Event};
use crate::proto::CloseCode;

/// The event of a close frame with this payload.
pub(super) fn parse(payload: Cow<'_, [u8]>) -> Result<Event<'_>, Error> {
    let code = match *payload {
        [] => {
            return Ok(Event::Close {
                code: None,
                reason: Cow::Borrowed(""),
            });
        }
        //= RFC 6455 section 5.5.1: If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer
        [_] => return Err(Error::CloseHalfCode),
        [high, low, ..] => u16::from_be_bytes([high, low]),
    };
    if !may_be_sent(code) {
        return Err(Error::CloseCodeInvalid(code));
    }
    let reason = match payload {
        Cow::Borrowed(payload) => str::from_utf8(&payload[2..]).map(Cow::Borrowed),
        Cow::Owned(payload) => {
            str::from_utf8(&payload[2..]).map(|reason| Cow::Owned(reason.to_owned()))
        }
    };
    let reason = reason.map_err(|_| Error::Utf8)?;
    Ok(Event::Close {
        code: Some(CloseCode(code)),
        reason,
    })
}

/// Codes that a close frame may carry: those of section 7.4.1 that are not reserved, those
/// registered since (1012 to 1014), libraries' and applications' (3000 to 4999).
fn may_be_sent(code: u16) -> bool {
    //= RFC 6455 section 7.4.1: 1005 is a reserved value and MUST NOT be set as a status code in a Close control frame by an endpoint.
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
