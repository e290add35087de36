package rookery

import (
	"context"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// serve runs a server of a few lines, which has welcomed the client when the script begins.
func serve(t *testing.T, script func(ctx context.Context, socket *websocket.Conn)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"rookery.v1"}})
		if err != nil {
			return
		}
		defer socket.CloseNow()
		if _, _, err := socket.Read(r.Context()); err != nil {
			return
		}
		say(r.Context(), socket, &Welcome{UserID: 7, DeviceID: 1, HeartbeatIntervalMs: 60_000})
		script(r.Context(), socket)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/"
}

func say(ctx context.Context, socket *websocket.Conn, message any) {
	// Where it fails, the test that waits for it does.
	_ = socket.Write(ctx, websocket.MessageBinary, Encode(message))
}

func TestWhoIsToldToReconnectDoesSoWithNothingUnderWay(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	elsewhere := serve(t, func(ctx context.Context, socket *websocket.Conn) {
		_, frame, err := socket.Read(ctx)
		if message, _ := Decode(frame); err == nil {
			say(ctx, socket, &Pong{message.(*Ping).Nonce})
		}
		_, _, _ = socket.Read(ctx)
	})
	first := serve(t, func(ctx context.Context, socket *websocket.Conn) {
		_, frame, err := socket.Read(ctx)
		if err != nil {
			return
		}
		sent, _ := Decode(frame)
		urls := []Alternative{{[]byte("ws://127.0.0.1:1/")}, {[]byte("wss://127.0.0.1:1/")}, {[]byte(elsewhere)}}
		say(ctx, socket, &Reconnect{NotAfterMs: 200, Alternatives: urls})
		say(ctx, socket, &SendAck{ClientMsgID: sent.(*Send).ClientMsgID, ConversationID: 5, MessageID: 1})
		_, _, _ = socket.Read(ctx)
	})
	client, err := Dial(ctx, first, "good", Options{HaveSeq: map[uint64]uint64{5: 3}})
	must(t, err)
	acked := make(chan error, 1)
	go func() {
		_, err := client.Send(ctx, 5, NewClientMsgID(), []byte("under way"))
		acked <- err
	}()
	<-client.Told()
	moved, err := client.Reconnect(ctx)
	must(t, err)
	defer moved.Close()
	must(t, <-acked)
	if _, err := client.OpenDirect(ctx, 8); err == nil {
		t.Fatal("something new was asked on a connection that was left")
	}
	must(t, moved.Ping(ctx))
	if moved.HaveSeq(5) != 3 {
		t.Fatalf("have_seq %d", moved.HaveSeq(5))
	}
}

func TestNoAlternativeTakesTheTLSAway(t *testing.T) {
	urls := []Alternative{{[]byte("ws://a/")}, {[]byte("wss://b/")}, {[]byte("nonsense")}}
	if found := alternatives(&Reconnect{Alternatives: urls}, "wss://c/"); !reflect.DeepEqual(found, []string{"wss://b/"}) {
		t.Fatalf("%v", found)
	}
}
