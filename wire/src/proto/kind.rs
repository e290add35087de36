//! The kinds of frames, and the two enums of borrowed frames: what clients send, what servers send.
//!
//! Kinds below 0x40 are sent by clients, 0x40 to 0x7f by either side, from 0x80 by servers. The gaps
//! are left for relatives of their neighbours.

use rkyv::{Archive, Deserialize, Serialize};

use super::frame::{Encoder, FrameError, Owner, access, encode_into, owned, split};
use super::limits::Limits;
use super::messages::*;

/// A message struct that is a frame of its own.
pub trait Message:
    Sized + Archive<Archived: Deserialize<Self, Owner>> + for<'a> Serialize<Encoder<'a>>
{
    /// The second byte of its frames.
    const KIND: Kind;
}

macro_rules! kinds {
    (
        client { $($(#[$cdoc:meta])* $client:ident($carchived:ident) = $cnumber:literal,)* }
        either { $($(#[$edoc:meta])* $either:ident($earchived:ident) = $enumber:literal,)* }
        server { $($(#[$sdoc:meta])* $server:ident($sarchived:ident) = $snumber:literal,)* }
    ) => {
        /// The second byte of a frame: which struct the archive holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$cdoc])* $client = $cnumber,)*
            $($(#[$edoc])* $either = $enumber,)*
            $($(#[$sdoc])* $server = $snumber,)*
        }

        impl Kind {
            /// All kinds, ascending.
            pub const ALL: &'static [Self] =
                &[$(Self::$client,)* $(Self::$either,)* $(Self::$server,)*];

            /// The kind of a byte.
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($cnumber => Some(Self::$client),)*
                    $($enumber => Some(Self::$either),)*
                    $($snumber => Some(Self::$server),)*
                    _ => None,
                }
            }

            /// Its name, as in the documents.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$client => stringify!($client),)*
                    $(Self::$either => stringify!($either),)*
                    $(Self::$server => stringify!($server),)*
                }
            }
        }

        $(impl Message for $client { const KIND: Kind = Kind::$client; })*
        $(impl Message for $either { const KIND: Kind = Kind::$either; })*
        $(impl Message for $server { const KIND: Kind = Kind::$server; })*

        /// A validated frame of a client, read in place.
        #[derive(Clone, Copy, Debug)]
        pub enum ClientFrame<'a> {
            $($(#[$cdoc])* $client(&'a $carchived),)*
            $($(#[$edoc])* $either(&'a $earchived),)*
        }

        impl<'a> ClientFrame<'a> {
            /// Bounds and validates a frame. A kind that only servers send is an unknown kind here.
            pub fn parse(frame: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
                let (kind, archive) = split(frame, limits)?;
                match kind {
                    $(Kind::$client => Ok(Self::$client(access::<$client>(archive, limits)?)),)*
                    $(Kind::$either => Ok(Self::$either(access::<$either>(archive, limits)?)),)*
                    other => Err(FrameError::Kind { got: other as u8 }),
                }
            }

            /// Appends the canonical encoding of the same message.
            pub fn encode_into(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$client(archived) => encode_into(&owned::<$client>(archived), out),)*
                    $(Self::$either(archived) => encode_into(&owned::<$either>(archived), out),)*
                }
            }

            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$client(_) => Kind::$client,)*
                    $(Self::$either(_) => Kind::$either,)*
                }
            }
        }

        /// A validated frame of a server, read in place.
        #[derive(Clone, Copy, Debug)]
        pub enum ServerFrame<'a> {
            $($(#[$sdoc])* $server(&'a $sarchived),)*
            $($(#[$edoc])* $either(&'a $earchived),)*
        }

        impl<'a> ServerFrame<'a> {
            /// Bounds and validates a frame. A kind that only clients send is an unknown kind here.
            pub fn parse(frame: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
                let (kind, archive) = split(frame, limits)?;
                match kind {
                    $(Kind::$server => Ok(Self::$server(access::<$server>(archive, limits)?)),)*
                    $(Kind::$either => Ok(Self::$either(access::<$either>(archive, limits)?)),)*
                    other => Err(FrameError::Kind { got: other as u8 }),
                }
            }

            /// Appends the canonical encoding of the same message.
            pub fn encode_into(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$server(archived) => encode_into(&owned::<$server>(archived), out),)*
                    $(Self::$either(archived) => encode_into(&owned::<$either>(archived), out),)*
                }
            }

            /// Its kind.
            pub const fn kind(&self) -> Kind {
                match self {
                    $(Self::$server(_) => Kind::$server,)*
                    $(Self::$either(_) => Kind::$either,)*
                }
            }
        }
    };
}

kinds! {
    client {
        /// See [`Login`].
        Login(ArchivedLogin) = 0x01,
        /// See [`Send`].
        Send(ArchivedSend) = 0x10,
        /// See [`Sync`].
        Sync(ArchivedSync) = 0x11,
        /// See [`History`].
        History(ArchivedHistory) = 0x12,
        /// See [`DeliverAck`].
        DeliverAck(ArchivedDeliverAck) = 0x13,
        /// See [`Outbox`].
        Outbox(ArchivedOutbox) = 0x14,
        /// See [`OpenDirect`].
        OpenDirect(ArchivedOpenDirect) = 0x20,
        /// See [`CreateConversation`].
        CreateConversation(ArchivedCreateConversation) = 0x21,
        /// See [`ListConversations`].
        ListConversations(ArchivedListConversations) = 0x22,
        /// See [`ListMembers`].
        ListMembers(ArchivedListMembers) = 0x23,
    }
    either {
        /// See [`Ping`].
        Ping(ArchivedPing) = 0x40,
        /// See [`Pong`].
        Pong(ArchivedPong) = 0x41,
    }
    server {
        /// See [`Welcome`].
        Welcome(ArchivedWelcome) = 0x81,
        /// See [`Reconnect`].
        Reconnect(ArchivedReconnect) = 0x82,
        /// See [`SendAck`].
        SendAck(ArchivedSendAck) = 0x90,
        /// See [`Deliver`].
        Deliver(ArchivedDeliver) = 0x91,
        /// See [`SyncEnd`].
        SyncEnd(ArchivedSyncEnd) = 0x92,
        /// See [`HistoryPage`].
        HistoryPage(ArchivedHistoryPage) = 0x93,
        /// See [`Lagged`].
        Lagged(ArchivedLagged) = 0x94,
        /// See [`OutboxPage`].
        OutboxPage(ArchivedOutboxPage) = 0x95,
        /// See [`ConversationOpened`].
        ConversationOpened(ArchivedConversationOpened) = 0xa0,
        /// See [`Conversations`].
        Conversations(ArchivedConversations) = 0xa1,
        /// See [`Members`].
        Members(ArchivedMembers) = 0xa2,
        /// See [`Error`].
        Error(ArchivedError) = 0xe0,
    }
}
