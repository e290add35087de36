package rookery

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"
)

func session(t *testing.T) (context.Context, *server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx, start(t)
}

// expect receives messages and holds them to their order.
func expect(t *testing.T, ctx context.Context, c *Client, conversation, first uint64, payloads ...string) {
	t.Helper()
	for i, payload := range payloads {
		message, err := c.Receive(ctx)
		must(t, err)
		if message.ConversationID != conversation || message.Seq != first+uint64(i) || string(message.Payload) != payload {
			t.Fatalf("received %d:%d %q, not %d:%d %q", message.ConversationID, message.Seq, message.Payload,
				conversation, first+uint64(i), payload)
		}
	}
}

func refusedWith(t *testing.T, err error, code uint16) {
	t.Helper()
	var refused *Refused
	if !errors.As(err, &refused) || refused.Code != code {
		t.Fatalf("%v, not error %d", err, code)
	}
}

func TestASession(t *testing.T) {
	ctx, server := session(t)
	anna, bert := server.login(ctx, 7, 1, nil), server.login(ctx, 8, 1, nil)
	defer anna.Close()
	if anna.Welcome.UserID != 7 || anna.Welcome.DeviceID != 1 || anna.Welcome.PayloadBytesMax != 65536 {
		t.Fatalf("%+v", anna.Welcome)
	}
	opened, err := anna.OpenDirect(ctx, 8)
	must(t, err)
	direct := opened.ConversationID
	again, err := bert.OpenDirect(ctx, 7)
	must(t, err)
	if again.ConversationID != direct {
		t.Fatal("two conversations of the same two")
	}

	id := NewClientMsgID()
	ack, err := anna.Send(ctx, direct, id, []byte("hello"))
	must(t, err)
	expect(t, ctx, bert, direct, 1, "hello")
	expect(t, ctx, anna, direct, 1, "hello")

	// A retry is the same message; the id for another one is refused.
	retry, err := anna.Send(ctx, direct, id, []byte("hello"))
	must(t, err)
	if *retry != *ack {
		t.Fatalf("%+v, then %+v", ack, retry)
	}
	_, err = anna.Send(ctx, direct, id, []byte("something else"))
	refusedWith(t, err, 104)

	members, err := bert.Members(ctx, direct)
	must(t, err)
	if !reflect.DeepEqual(members, []uint64{7, 8}) {
		t.Fatalf("members %v", members)
	}
	carla := server.login(ctx, 9, 1, nil)
	defer carla.Close()
	_, err = carla.Members(ctx, direct)
	refusedWith(t, err, 101)
	_, err = carla.Send(ctx, direct, NewClientMsgID(), nil)
	refusedWith(t, err, 101)
	must(t, carla.Ping(ctx))

	must(t, bert.Close())
	if _, err := bert.Receive(ctx); err == nil {
		t.Fatal("messages of a connection that has ended")
	}
	_, err = bert.OpenDirect(ctx, 7)
	if err == nil {
		t.Fatal("an answer on a connection that has ended")
	}
}

func TestWhatWasMissedComesInOrder(t *testing.T) {
	ctx, server := session(t)
	anna := server.login(ctx, 7, 1, nil)
	defer anna.Close()
	opened, err := anna.CreateConversation(ctx, NewRequestID(), []uint64{8, 9})
	must(t, err)
	group := opened.ConversationID
	var payloads []string
	var ids []uint64
	for n := 1; n <= 250; n++ {
		payloads = append(payloads, fmt.Sprint(n))
		ack, err := anna.Send(ctx, group, NewClientMsgID(), []byte(payloads[n-1]))
		must(t, err)
		ids = append(ids, ack.MessageID)
	}
	expect(t, ctx, anna, group, 1, payloads...)

	// One that knows five syncs the rest, in pages.
	bert := server.login(ctx, 8, 1, map[uint64]uint64{group: 5})
	defer bert.Close()
	heads, err := bert.Conversations(ctx)
	must(t, err)
	if !reflect.DeepEqual(heads, []ConversationHead{{group, 250}}) {
		t.Fatalf("%+v", heads)
	}
	must(t, bert.Sync(ctx, group))
	expect(t, ctx, bert, group, 6, payloads[5:]...)

	// One that asks for nothing notices the gap before the next message.
	carla := server.login(ctx, 9, 1, nil)
	defer carla.Close()
	_, err = anna.Send(ctx, group, NewClientMsgID(), []byte("251"))
	must(t, err)
	expect(t, ctx, carla, group, 1, append(payloads, "251")...)

	// The past, newest first.
	var past []uint64
	for before := uint64(0); ; {
		page, err := bert.History(ctx, group, before, 100)
		must(t, err)
		for _, message := range page.Messages {
			past = append(past, message.MessageID)
			before = message.Seq
		}
		if page.HasMore == 0 {
			break
		}
	}
	if len(past) != 251 || past[250] != ids[0] || past[1] != ids[249] {
		t.Fatalf("%d messages of 251", len(past))
	}
}

// walk is the seqs of a whole outbox, of one conversation. A page may be empty before the last.
func walk(t *testing.T, ctx context.Context, c *Client, limit uint32) (seqs []uint64) {
	t.Helper()
	var cursor Cursor
	for {
		page, err := c.Outbox(ctx, cursor, limit)
		must(t, err)
		for _, message := range page.Messages {
			seqs = append(seqs, message.Seq)
		}
		if page.HasMore == 0 {
			return seqs
		}
		cursor = page.NextCursor
	}
}

func TestTheOutboxIsWhatWasNotAcknowledged(t *testing.T) {
	ctx, server := session(t)
	anna, bert := server.login(ctx, 7, 1, nil), server.login(ctx, 8, 1, nil)
	defer anna.Close()
	defer bert.Close()
	opened, err := anna.OpenDirect(ctx, 8)
	must(t, err)
	direct := opened.ConversationID
	for n := 1; n <= 3; n++ {
		_, err := anna.Send(ctx, direct, NewClientMsgID(), []byte{byte(n)})
		must(t, err)
	}
	expect(t, ctx, bert, direct, 1, "\x01", "\x02", "\x03")
	// In pages of two, the newest first.
	if unread := walk(t, ctx, bert, 2); !reflect.DeepEqual(unread, []uint64{3, 2, 1}) {
		t.Fatalf("seqs %v", unread)
	}
	must(t, bert.Acknowledge(ctx, direct))
	for len(walk(t, ctx, bert, 100)) > 0 {
		time.Sleep(100 * time.Millisecond)
	}
	if told := bert.Opened(); len(told) != 1 || told[0].ConversationID != direct || told[0].RequestID != 0 {
		t.Fatalf("told of %+v", told)
	}
}

func TestManyRequestsAtOnceAreEachAnswered(t *testing.T) {
	ctx, server := session(t)
	anna := server.login(ctx, 7, 1, nil)
	defer anna.Close()
	var all sync.WaitGroup
	for n := 0; n < 200; n++ {
		all.Add(1)
		go func(peer uint64) {
			defer all.Done()
			opened, err := anna.OpenDirect(ctx, peer)
			if err == nil {
				_, err = anna.Send(ctx, opened.ConversationID, NewClientMsgID(), []byte("hello"))
			}
			if err != nil {
				t.Error(err)
			}
		}(uint64(100 + n))
	}
	all.Wait()
	heads, err := anna.Conversations(ctx)
	must(t, err)
	if len(heads) != 200 {
		t.Fatalf("%d conversations", len(heads))
	}
}
