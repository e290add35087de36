package rookery

import (
	"context"
	"errors"
	"strings"
	"time"
)

// errLeaving is the answer to what is asked while the connection is being left.
var errLeaving = errors.New("this connection is being left: ask on the next one")

// told is what the server has asked for, and when.
type told struct {
	frame Reconnect
	at    time.Time
}

// Told is closed once the server wants this client to reconnect.
func (c *Client) Told() <-chan struct{} { return c.toldSignal }

// onReconnect remembers the last one. The caller holds the mutex.
func (c *Client) onReconnect(frame *Reconnect) {
	if c.told == nil {
		close(c.toldSignal)
	}
	c.told = &told{*frame, time.Now()}
}

// Reconnect leaves as the server wanted it, and connects again: at one of the servers that it named, or at
// the same URL. It waits for a moment of its own within the window, and for what is under way; nothing new
// can be asked meanwhile. Messages that Receive has not given yet come again.
func (c *Client) Reconnect(ctx context.Context) (*Client, error) {
	c.mutex.Lock()
	asked := c.told
	c.mutex.Unlock()
	urls := []string{c.url}
	if asked != nil {
		if err := c.awaitMoment(ctx, asked); err != nil {
			return nil, err
		}
		urls = append(alternatives(&asked.frame, c.url), c.url)
	}
	// Where the server has closed it already, there is nobody to say goodbye to.
	_ = c.Close()
	options := c.options
	options.ResumeToken = c.Welcome.ResumeToken
	options.HaveSeq = c.received()
	var failed error
	for _, url := range urls {
		next, err := Dial(ctx, url, c.token, options)
		if err == nil {
			return next, nil
		}
		failed = err
	}
	return nil, failed
}

func (c *Client) awaitMoment(ctx context.Context, asked *told) error {
	first := time.Duration(asked.frame.NotBeforeMs) * time.Millisecond
	last := time.Duration(asked.frame.NotAfterMs) * time.Millisecond
	if last < first {
		last = first
	}
	moment := asked.at.Add(first + time.Duration(random64()%uint64(last-first+1)))
	select {
	case <-time.After(time.Until(moment)):
	case <-c.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.mutex.Lock()
	c.leaving = true
	c.mutex.Unlock()
	for c.isWaiting() && time.Now().Before(asked.at.Add(last)) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-c.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *Client) isWaiting() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return len(c.waiting) > 0
}

// received is what Receive has given, by conversation.
func (c *Client) received() map[uint64]uint64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	have := make(map[uint64]uint64, len(c.haveSeq))
	for conversation, seq := range c.haveSeq {
		have[conversation] = seq
	}
	for _, message := range c.messages {
		if message.Seq <= have[message.ConversationID] {
			have[message.ConversationID] = message.Seq - 1
		}
	}
	return have
}

// alternatives are in any order, and none would take away the TLS that there is.
func alternatives(frame *Reconnect, url string) []string {
	scheme, _, _ := strings.Cut(url, "://")
	var urls []string
	for _, alternative := range frame.Alternatives {
		if other := string(alternative.URL); strings.HasPrefix(other, scheme+"://") {
			urls = append(urls, other)
		}
	}
	for n := len(urls); n > 1; n-- {
		other := random64() % uint64(n)
		urls[n-1], urls[other] = urls[other], urls[n-1]
	}
	return urls
}
