package rookery

import (
	"crypto/rand"
	"encoding/binary"
)

// RequestID is chosen by the client, never 0, and comes back in the answer.
type RequestID uint64

// ClientMsgID is chosen by the client, unique for its user over all devices: the same again within
// seven days is the same message.
type ClientMsgID uint64

// NewRequestID is a random one: also good for CreateConversation, which remembers it for seven days.
func NewRequestID() RequestID { return RequestID(random64()) }

// NewClientMsgID is a random one. Keep it until its SendAck has come.
func NewClientMsgID() ClientMsgID { return ClientMsgID(random64()) }

func random64() uint64 {
	for {
		var bytes [8]byte
		if _, err := rand.Read(bytes[:]); err != nil {
			panic("the host has no randomness: " + err.Error())
		}
		if id := binary.LittleEndian.Uint64(bytes[:]); id != 0 {
			return id
		}
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
		return []any{it.RequestID, ClientMsgID(it.RequestID)}
	}
	return nil
}
