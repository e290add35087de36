//! Text of people: how it is cut to fit into messages, and what of a message may reach a terminal.

use rookery_wire::proto;

/// The most bytes of text that go into one message, however they came in; a server may take less.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 10;

/// A line of the user, or a part of one that is longer than [`TEXT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Without the line's end.
    pub(super) text: String,
    /// It is a line's first part.
    pub(super) first: bool,
    /// It is a line's last part.
    pub(super) last: bool,
}

impl Line {
    /// A whole one.
    pub(super) fn whole(text: String) -> Self {
        Self {
            text,
            first: true,
            last: true,
        }
    }

    /// The command that it is. A part of a line is text, whatever it begins with.
    pub(super) fn command(&self) -> Option<&str> {
        let trimmed = self.text.trim();
        (self.first && self.last && trimmed.starts_with('/')).then_some(trimmed)
    }

    /// Whether there is nothing to send in it.
    pub(super) fn is_empty(&self) -> bool {
        match self.first && self.last {
            true => self.text.trim().is_empty(),
            false => self.text.is_empty(),
        }
    }
}

/// How many of the bytes are whole characters: all, but for up to three of one that goes on after them.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    let goes_on = |at: &usize| {
        std::str::from_utf8(&bytes[*at..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let tail = bytes.len().saturating_sub(3)..bytes.len();
    tail.into_iter().find(goes_on).unwrap_or(bytes.len())
}

/// Cuts text between characters into pieces of at most so many bytes; of at least four, so that every
/// character fits.
pub(super) fn pieces(mut text: &str, bytes_max: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while text.len() > bytes_max.max(4) {
        let (piece, rest) = text.split_at(text.floor_char_boundary(bytes_max.max(4)));
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces
}

/// A message as it is shown.
pub(super) fn shown(message: &proto::Deliver) -> String {
    format!(
        "{} {}: {}",
        clock(message.hlc),
        message.sender_user_id,
        clean(&message.payload)
    )
}

/// The time of day of a hybrid logical clock, UTC.
pub(super) fn clock(hlc: u64) -> String {
    let seconds = (hlc >> 16) / 1_000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Somebody else's bytes, without what would command the terminal.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|char| {
            if char.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_wherever_the_bound_falls() {
        let text = "a\u{e9}\u{20ac}\u{1f426}".repeat(3);
        for bytes_max in 0..=text.len() {
            let pieces = pieces(&text, bytes_max);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            let longest = pieces.iter().map(|piece| piece.len()).max();
            assert!(longest <= Some(bytes_max.max(4)), "{pieces:?}");
        }
        for end in 0..=text.len() {
            let whole = whole_characters(&text.as_bytes()[..end]);
            assert_eq!(whole, text.floor_char_boundary(end));
        }
        // What no character can begin with is not waited for.
        assert_eq!(whole_characters(b"a\x80"), 2);
        assert_eq!(whole_characters(b"\xff"), 1);
    }
}
