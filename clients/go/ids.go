package rookery

import (
	"crypto/rand"
	"encoding/binary"
)

// RequestID is chosen by the client, never 0, and comes back in the answer.
type RequestID uint64

// ClientMsgID is a UUID that the client chooses, unique for its user over all devices: the same again
// within seven days is the same message.
type ClientMsgID [16]byte

// Cursor is where a page of an outbox begins: opaque, zero for the first page.
type Cursor [36]byte

// NewRequestID is a random one: also good for CreateConversation, which remembers it for seven days.
func NewRequestID() RequestID { return RequestID(random64()) }

// NewClientMsgID is a random UUID, of version 4. Keep it until its SendAck has come.
func NewClientMsgID() (id ClientMsgID) {
	random(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

func random64() uint64 {
	for {
		var bytes [8]byte
		random(bytes[:])
		if id := binary.LittleEndian.Uint64(bytes[:]); id != 0 {
			return id
		}
	}
}

func random(bytes []byte) {
	if _, err := rand.Read(bytes); err != nil {
		panic("the host has no randomness: " + err.Error())
	}
}

// answered says which request a message answers: the id that the request was sent with.
func answered(message any) []any {
	switch it := message.(type) {
	case *SendAck:
		return []any{it.ClientMsgID}
	case *SyncEnd:
		return []any{it.RequestID}
	case *HistoryPage:
		return []any{it.RequestID}
	case *OutboxPage:
		return []any{it.RequestID}
	case *ConversationOpened:
		return []any{it.RequestID}
	case *Conversations:
		return []any{it.RequestID}
	case *Members:
		return []any{it.RequestID}
	case *Pong:
		return []any{it.Nonce}
	case *Error:
		return []any{it.RequestID, it.ClientMsgID}
	}
	return nil
}
