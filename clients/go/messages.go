package rookery

// The messages of protocol version 1, each a struct whose fields are the root's, in order. `max` is the
// limit of a list.

const version = 1

type Login struct {
	Token       []byte `name:"token" max:"8192"`
	ResumeToken []byte `name:"resume_token" max:"8192"`
}

type Welcome struct {
	UserID              uint64 `name:"user_id"`
	DeviceID            uint32 `name:"device_id"`
	SessionID           uint64 `name:"session_id"`
	ResumeToken         []byte `name:"resume_token" max:"8192"`
	ServerTimeMs        uint64 `name:"server_time_ms"`
	ExpiresAtMs         uint64 `name:"expires_at_ms"`
	HeartbeatIntervalMs uint32 `name:"heartbeat_interval_ms"`
	ReconnectJitterMs   uint32 `name:"reconnect_jitter_ms"`
	PayloadBytesMax     uint32 `name:"payload_bytes_max"`
	PageMessagesMax     uint32 `name:"page_messages_max"`
}

type Alternative struct {
	URL []byte `name:"url" max:"256"`
}

// Reconnect tells to leave, at a moment within the window, and to connect again.
type Reconnect struct {
	ServerTimeMs uint64        `name:"server_time_ms"`
	NotBeforeMs  uint32        `name:"not_before_ms"`
	NotAfterMs   uint32        `name:"not_after_ms"`
	Alternatives []Alternative `name:"alternatives" max:"8"`
	Reason       []byte        `name:"reason" max:"256"`
}

type Send struct {
	ClientMsgID    ClientMsgID `name:"client_msg_id"`
	ConversationID uint64      `name:"conversation_id"`
	Payload        []byte      `name:"payload" max:"65536"`
}

type SendAck struct {
	ClientMsgID    ClientMsgID `name:"client_msg_id"`
	ConversationID uint64      `name:"conversation_id"`
	MessageID      uint64      `name:"message_id"`
	HLC            uint64      `name:"hlc"`
}

type Deliver struct {
	ConversationID uint64      `name:"conversation_id"`
	Seq            uint64      `name:"seq"`
	MessageID      uint64      `name:"message_id"`
	SenderUserID   uint64      `name:"sender_user_id"`
	SenderDeviceID uint32      `name:"sender_device_id"`
	ClientMsgID    ClientMsgID `name:"client_msg_id"`
	HLC            uint64      `name:"hlc"`
	Payload        []byte      `name:"payload" max:"65536"`
}

type Sync struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
	HaveSeq        uint64    `name:"have_seq"`
	Limit          uint32    `name:"limit"`
}

type SyncEnd struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
	LastSeq        uint64    `name:"last_seq"`
	HeadSeq        uint64    `name:"head_seq"`
}

type History struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
	BeforeSeq      uint64    `name:"before_seq"`
	Limit          uint32    `name:"limit"`
}

type HistoryPage struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
	Messages       []Deliver `name:"messages" max:"100"`
	HasMore        uint8     `name:"has_more"`
}

type DeliverAck struct {
	ConversationID uint64 `name:"conversation_id"`
	Seq            uint64 `name:"seq"`
}

type Outbox struct {
	RequestID RequestID `name:"request_id"`
	Cursor    Cursor    `name:"cursor"`
	Limit     uint32    `name:"limit"`
}

type OutboxPage struct {
	RequestID     RequestID `name:"request_id"`
	Messages      []Deliver `name:"messages" max:"100"`
	NextCursor    Cursor    `name:"next_cursor"`
	HasMore       uint8     `name:"has_more"`
	NeedsFullSync uint8     `name:"needs_full_sync"`
}

type OpenDirect struct {
	RequestID  RequestID `name:"request_id"`
	PeerUserID uint64    `name:"peer_user_id"`
}

type CreateConversation struct {
	RequestID     RequestID `name:"request_id"`
	MemberUserIDs []uint64  `name:"member_user_ids" max:"1023"`
}

type ConversationOpened struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
	HeadSeq        uint64    `name:"head_seq"`
	MemberUserIDs  []uint64  `name:"member_user_ids" max:"1024"`
}

type ListConversations struct {
	RequestID           RequestID `name:"request_id"`
	AfterConversationID uint64    `name:"after_conversation_id"`
	Limit               uint32    `name:"limit"`
}

type ConversationHead struct {
	ConversationID uint64 `name:"conversation_id"`
	HeadSeq        uint64 `name:"head_seq"`
}

type Conversations struct {
	RequestID     RequestID          `name:"request_id"`
	Conversations []ConversationHead `name:"conversations" max:"100"`
	HasMore       uint8              `name:"has_more"`
}

type ListMembers struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
}

type Members struct {
	RequestID      RequestID `name:"request_id"`
	ConversationID uint64    `name:"conversation_id"`
	MemberUserIDs  []uint64  `name:"member_user_ids" max:"1024"`
}

type Ping struct {
	Nonce uint64 `name:"nonce"`
}

type Pong struct {
	Nonce uint64 `name:"nonce"`
}

type Lagged struct {
	Skipped uint64 `name:"skipped"`
}

// Error is what the server answers to a request that failed. One of the two ids at most is not zero.
type Error struct {
	RequestID    RequestID   `name:"request_id"`
	ClientMsgID  ClientMsgID `name:"client_msg_id"`
	Code         uint16      `name:"code"`
	RetryAfterMs uint32      `name:"retry_after_ms"`
	Reason       []byte      `name:"reason" max:"256"`
}

// kinds has a value of each kind's struct.
var kinds = map[byte]any{
	0x01: Login{},
	0x10: Send{},
	0x11: Sync{},
	0x12: History{},
	0x13: DeliverAck{},
	0x14: Outbox{},
	0x20: OpenDirect{},
	0x21: CreateConversation{},
	0x22: ListConversations{},
	0x23: ListMembers{},
	0x40: Ping{},
	0x41: Pong{},
	0x81: Welcome{},
	0x82: Reconnect{},
	0x90: SendAck{},
	0x91: Deliver{},
	0x92: SyncEnd{},
	0x93: HistoryPage{},
	0x94: Lagged{},
	0x95: OutboxPage{},
	0xa0: ConversationOpened{},
	0xa1: Conversations{},
	0xa2: Members{},
	0xe0: Error{},
}
