//! What a client is at rest: the few plain bytes that stand in the engine's slot table.

/// How far a client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::flock) enum Phase {
    /// TLS and the HTTP upgrade.
    #[default]
    Opening,
    /// The login was sent.
    Login,
    /// Messages flow.
    Live,
    /// Messages flow; the server wants it to reconnect.
    Leaving,
    /// We asked the server to close, to connect elsewhere.
    Going,
    /// We asked the server to close, and await its answer.
    Parting,
    /// We cut it off without a word.
    Cut,
    /// Counted and told; the engine closes it.
    Ended,
}

/// An index into an arena, or none, in four bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::flock) struct Place(u32);

impl Place {
    /// Of an arena's index.
    pub(super) fn at(index: u32) -> Self {
        Self(index.wrapping_add(1))
    }

    /// The index, where there is one.
    pub(super) fn index(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::flock) struct Conn {
    /// Its number on this shard.
    pub(super) local: u32,
    /// Where its TLS session lies; none without TLS.
    pub(super) tls: Place,
    /// Where its link lies; none at rest.
    pub(super) link: Place,
    /// How far it has come.
    pub(super) phase: Phase,
}

const _: () = assert!(size_of::<Conn>() == 16);
