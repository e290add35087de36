//! Every maximum of the protocol in one place, with its reason.

/// The most bytes of a message's payload, unless configured otherwise: text with keys and padding
/// is well under 4 KiB; media travels elsewhere and is only referred to.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of a token: a JWT with a large key and many claims stays under 4 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The most other members named in one CreateConversation (1,024 with the caller).
pub const MEMBERS_MAX: usize = 1_023;

/// The most messages or rows in one answer.
pub const PAGE_MESSAGES_MAX: usize = 100;

/// The most bytes of an Error's reason: a sentence.
pub const REASON_BYTES_MAX: usize = 256;

/// The most addresses in a Reconnect: a client needs one that answers.
pub const ALTERNATIVES_MAX: usize = 8;

/// The most bytes of such an address: a DNS name has at most 253, and most are far shorter.
pub const ALTERNATIVE_BYTES_MAX: usize = 256;

/// The most bytes of a Login's frame: what a client has to say before it has proven anything.
pub const LOGIN_FRAME_BYTES_MAX: usize = FRAME_HEADER_BYTES + ROOT_BYTES_MAX + 2 * TOKEN_BYTES_MAX;

/// The version and kind bytes.
pub const FRAME_HEADER_BYTES: usize = 2;

/// Room for the fixed part of any archive; the largest (Deliver) has 68 bytes.
const ROOT_BYTES_MAX: usize = 80;

/// Bounds that a frame is held to while it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a whole frame.
    pub frame_bytes_max: usize,
    /// The most bytes of a payload.
    pub payload_bytes_max: usize,
    /// The most bytes of a token or resume token.
    pub token_bytes_max: usize,
    /// The most user ids in a list.
    pub members_max: usize,
    /// The most messages or rows in an answer.
    pub page_messages_max: usize,
}

impl Limits {
    /// What a server accepts from clients.
    pub const CLIENT_FRAMES: Self = Self::client_frames(PAYLOAD_BYTES_MAX);

    /// What a client accepts from a server: pages are as large as their rows allow.
    pub const SERVER_FRAMES: Self = Self {
        frame_bytes_max: FRAME_HEADER_BYTES
            + ROOT_BYTES_MAX
            + PAGE_MESSAGES_MAX * (PAYLOAD_BYTES_MAX + ROOT_BYTES_MAX),
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        token_bytes_max: TOKEN_BYTES_MAX,
        members_max: MEMBERS_MAX + 1,
        page_messages_max: PAGE_MESSAGES_MAX,
    };

    /// What a server accepts from clients where the payload's maximum is configured. The frame
    /// bound is the largest of a Send, a Login with both tokens and a full CreateConversation.
    pub const fn client_frames(payload_bytes_max: usize) -> Self {
        let lists = [payload_bytes_max, 2 * TOKEN_BYTES_MAX, 8 * MEMBERS_MAX];
        let mut list_max = 0;
        let mut i = 0;
        while i < lists.len() {
            if lists[i] > list_max {
                list_max = lists[i];
            }
            i += 1;
        }
        Self {
            frame_bytes_max: FRAME_HEADER_BYTES + ROOT_BYTES_MAX + list_max,
            payload_bytes_max,
            token_bytes_max: TOKEN_BYTES_MAX,
            members_max: MEMBERS_MAX,
            page_messages_max: PAGE_MESSAGES_MAX,
        }
    }
}

const _: () = {
    // The relative pointers of an archive are i32.
    assert!(Limits::SERVER_FRAMES.frame_bytes_max < i32::MAX as usize);
    assert!(Limits::CLIENT_FRAMES.frame_bytes_max < 66 * 1024);
    assert!(size_of::<super::ArchivedDeliver>() <= ROOT_BYTES_MAX);
    assert!(size_of::<super::ArchivedWelcome>() <= ROOT_BYTES_MAX);
};
