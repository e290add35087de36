// Package rookery is a client of the Rookery protocol, version 1, written from docs/protocol.md alone.
//
// One Client is one connection. Messages come out of Receive in their conversation's order, without
// duplicates; a gap is synced by itself.
package rookery

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The largest frame of a server by default is a quarter of it.
const frameBytesMax = 1 << 20

// Options are what a connection may be given.
type Options struct {
	TLS *tls.Config
	// HaveSeq says, by conversation, up to where nothing is missing from earlier connections.
	HaveSeq map[uint64]uint64
	// ResumeToken is an earlier Welcome's, or nothing.
	ResumeToken []byte
}

// Refused is an Error in answer to a request.
type Refused struct {
	Code       uint16
	RetryAfter time.Duration
	Reason     string
}

func (r *Refused) Error() string { return fmt.Sprintf("error %d: %s", r.Code, r.Reason) }

// Client is one logged-in connection. Its methods may be called at the same time.
type Client struct {
	Welcome    Welcome
	url, token string
	options    Options
	socket     *websocket.Conn
	end        context.CancelFunc
	ended      chan struct{}
	toldSignal chan struct{}

	mutex    sync.Mutex
	told     *told
	leaving  bool
	why      error
	waiting  map[any]chan any
	haveSeq  map[uint64]uint64
	early    map[uint64]map[uint64]Deliver
	syncing  map[uint64]bool
	messages []Deliver
	opened   []ConversationOpened
	arrived  chan struct{}
}

// Dial connects and logs in.
func Dial(ctx context.Context, url, token string, options Options) (*Client, error) {
	transport := &http.Transport{TLSClientConfig: options.TLS}
	socket, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport},
		Subprotocols:    []string{"rookery.v1"},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(frameBytesMax)
	c := &Client{
		url:        url,
		token:      token,
		options:    options,
		socket:     socket,
		ended:      make(chan struct{}),
		toldSignal: make(chan struct{}),
		waiting:    make(map[any]chan any),
		haveSeq:    make(map[uint64]uint64),
		early:      make(map[uint64]map[uint64]Deliver),
		syncing:    make(map[uint64]bool),
		arrived:    make(chan struct{}),
	}
	for conversation, seq := range options.HaveSeq {
		c.haveSeq[conversation] = seq
	}
	if err := c.logIn(ctx, token, options.ResumeToken); err != nil {
		socket.Close(websocket.StatusNormalClosure, "")
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	c.end = end
	go c.read(life)
	go c.beat(life)
	return c, nil
}

func (c *Client) logIn(ctx context.Context, token string, resume []byte) error {
	if err := c.write(ctx, &Login{Token: []byte(token), ResumeToken: resume}); err != nil {
		return err
	}
	_, frame, err := c.socket.Read(ctx)
	if err != nil {
		return err
	}
	message, err := Decode(frame)
	if err != nil {
		return err
	}
	switch it := message.(type) {
	case *Welcome:
		c.Welcome = *it
		return nil
	case *Error:
		return refusal(it)
	}
	return fmt.Errorf("the answer to Login is a %T", message)
}

// Close says goodbye and ends the connection.
func (c *Client) Close() error {
	err := c.socket.Close(websocket.StatusNormalClosure, "")
	c.end()
	<-c.ended
	return err
}

// Send sends a message and returns once it is durable. After a lost connection send it again, with the
// same id.
func (c *Client) Send(ctx context.Context, conversation uint64, id ClientMsgID, payload []byte) (*SendAck, error) {
	return ask[SendAck](ctx, c, id, &Send{id, conversation, payload})
}

// OpenDirect is the conversation with one other user.
func (c *Client) OpenDirect(ctx context.Context, peer uint64) (*ConversationOpened, error) {
	id := NewRequestID()
	return ask[ConversationOpened](ctx, c, id, &OpenDirect{id, peer})
}

// CreateConversation makes a conversation with others. The same id within seven days makes no second one.
func (c *Client) CreateConversation(ctx context.Context, id RequestID, others []uint64) (*ConversationOpened, error) {
	return ask[ConversationOpened](ctx, c, id, &CreateConversation{id, others})
}

// Conversations are all that the user is in.
func (c *Client) Conversations(ctx context.Context) ([]ConversationHead, error) {
	var all []ConversationHead
	for after := uint64(0); ; after = all[len(all)-1].ConversationID {
		id := NewRequestID()
		page, err := ask[Conversations](ctx, c, id, &ListConversations{id, after, c.Welcome.PageMessagesMax})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Conversations...)
		if page.HasMore == 0 {
			return all, nil
		}
	}
}

// Members are the user ids of a conversation.
func (c *Client) Members(ctx context.Context, conversation uint64) ([]uint64, error) {
	id := NewRequestID()
	members, err := ask[Members](ctx, c, id, &ListMembers{id, conversation})
	if err != nil {
		return nil, err
	}
	return members.MemberUserIDs, nil
}

// Sync asks for all that is missing of a conversation; it comes out of Receive.
func (c *Client) Sync(ctx context.Context, conversation uint64) error {
	for {
		id := NewRequestID()
		have := c.HaveSeq(conversation)
		end, err := ask[SyncEnd](ctx, c, id, &Sync{id, conversation, have, c.Welcome.PageMessagesMax})
		if err != nil || end.LastSeq >= end.HeadSeq || c.HaveSeq(conversation) == have {
			return err
		}
	}
}

// History is a page of the past, newest first: before a seq, or the newest with 0.
func (c *Client) History(ctx context.Context, conversation, beforeSeq uint64, limit uint32) (*HistoryPage, error) {
	id := NewRequestID()
	return ask[HistoryPage](ctx, c, id, &History{id, conversation, beforeSeq, limit})
}

// Outbox is a page of what this device has not acknowledged, what came last first. Where its HasMore is 1
// there is another, at its NextCursor.
func (c *Client) Outbox(ctx context.Context, cursor Cursor, limit uint32) (*OutboxPage, error) {
	id := NewRequestID()
	return ask[OutboxPage](ctx, c, id, &Outbox{id, cursor, limit})
}

// Acknowledge says that this device has everything of a conversation that Receive was given.
func (c *Client) Acknowledge(ctx context.Context, conversation uint64) error {
	return c.write(ctx, &DeliverAck{conversation, c.HaveSeq(conversation)})
}

// Ping is a round trip.
func (c *Client) Ping(ctx context.Context) error {
	nonce := random64()
	_, err := ask[Pong](ctx, c, nonce, &Ping{nonce})
	return err
}

// HaveSeq is the highest seq of a conversation below which nothing is missing.
func (c *Client) HaveSeq(conversation uint64) uint64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.haveSeq[conversation]
}

// Opened takes the conversations that others opened since the last call.
func (c *Client) Opened() []ConversationOpened {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	opened := c.opened
	c.opened = nil
	return opened
}

// Receive is the next message; after the connection's end, and the last message, the reason for it.
func (c *Client) Receive(ctx context.Context) (Deliver, error) {
	for {
		c.mutex.Lock()
		if len(c.messages) > 0 {
			next := c.messages[0]
			c.messages = c.messages[1:]
			c.mutex.Unlock()
			return next, nil
		}
		arrived, why := c.arrived, c.why
		c.mutex.Unlock()
		if why != nil {
			return Deliver{}, why
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return Deliver{}, ctx.Err()
		}
	}
}

func (c *Client) write(ctx context.Context, message any) error {
	return c.socket.Write(ctx, websocket.MessageBinary, Encode(message))
}

// ask sends a request and waits for what answers its id.
func ask[T any](ctx context.Context, c *Client, id, request any) (*T, error) {
	answer := make(chan any, 1)
	c.mutex.Lock()
	leaving := c.leaving
	if !leaving {
		c.waiting[id] = answer
	}
	c.mutex.Unlock()
	if leaving {
		return nil, errLeaving
	}
	defer func() {
		c.mutex.Lock()
		delete(c.waiting, id)
		c.mutex.Unlock()
	}()
	if err := c.write(ctx, request); err != nil {
		return nil, err
	}
	select {
	case message := <-answer:
		switch it := message.(type) {
		case *T:
			return it, nil
		case *Error:
			return nil, refusal(it)
		}
		return nil, fmt.Errorf("a %T is answered by a %T", request, message)
	case <-c.ended:
		return nil, c.why
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func refusal(it *Error) *Refused {
	return &Refused{it.Code, time.Duration(it.RetryAfterMs) * time.Millisecond, string(it.Reason)}
}

func (c *Client) read(ctx context.Context) {
	defer close(c.ended)
	for {
		_, frame, err := c.socket.Read(ctx)
		if err == nil {
			err = c.take(ctx, frame)
		}
		if err != nil {
			c.mutex.Lock()
			c.why = err
			close(c.arrived)
			c.mutex.Unlock()
			c.end()
			return
		}
	}
}

func (c *Client) take(ctx context.Context, frame []byte) error {
	message, err := Decode(frame)
	var unread *FrameError
	if errors.As(err, &unread) && unread.Name == "Kind" {
		return nil // Of a later server.
	}
	if err != nil {
		c.socket.Close(websocket.StatusProtocolError, "")
		return err
	}
	if ping, asks := message.(*Ping); asks {
		return c.write(ctx, &Pong{ping.Nonce})
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch it := message.(type) {
	case *Deliver:
		c.deliver(ctx, it)
	case *Lagged:
		go c.catchUp(ctx)
	case *Reconnect:
		c.onReconnect(it)
	case *ConversationOpened:
		if it.RequestID == 0 {
			c.opened = append(c.opened, *it)
		}
	}
	for _, id := range answered(message) {
		if answer, waits := c.waiting[id]; waits {
			delete(c.waiting, id)
			answer <- message
		}
	}
	return nil
}

// deliver orders by seq, drops duplicates, keeps what is early and asks for what is missing.
func (c *Client) deliver(ctx context.Context, message *Deliver) {
	conversation, have := message.ConversationID, c.haveSeq[message.ConversationID]
	if message.Seq <= have {
		return
	}
	early := c.early[conversation]
	if early == nil {
		early = make(map[uint64]Deliver)
		c.early[conversation] = early
	}
	early[message.Seq] = *message
	for next, there := early[have+1]; there; next, there = early[have+1] {
		have++
		delete(early, have)
		c.messages = append(c.messages, next)
	}
	c.haveSeq[conversation] = have
	close(c.arrived)
	c.arrived = make(chan struct{})
	if len(early) > 0 && !c.syncing[conversation] {
		c.syncing[conversation] = true
		go func() {
			// Where it fails, the connection has ended or the next message asks again.
			_ = c.Sync(ctx, conversation)
			c.mutex.Lock()
			defer c.mutex.Unlock()
			delete(c.syncing, conversation)
		}()
	}
}

// catchUp syncs everything, after the server skipped this device.
func (c *Client) catchUp(ctx context.Context) {
	conversations, err := c.Conversations(ctx)
	for _, head := range conversations {
		if err != nil {
			return // The connection has ended.
		}
		if head.HeadSeq > c.HaveSeq(head.ConversationID) {
			err = c.Sync(ctx, head.ConversationID)
		}
	}
}

// beat notices a server that is gone: it would answer a Ping within an interval.
func (c *Client) beat(life context.Context) {
	interval := time.Duration(c.Welcome.HeartbeatIntervalMs) * time.Millisecond
	for {
		select {
		case <-time.After(interval):
		case <-life.Done():
			return
		}
		ctx, cancel := context.WithTimeout(life, interval)
		err := c.Ping(ctx)
		cancel()
		if err != nil {
			c.end()
			return
		}
	}
}
