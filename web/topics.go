package web

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Messages are those of the house's broker.
type Messages interface {
	// Listen has hear called for each message on a topic that a filter matches, until stop
	// is. It is called on the goroutine of whoever published, and must not wait. The error
	// says what is wrong with the filter.
	Listen(filter string, hear func(Message)) (stop func(), err error)

	// Retained are the messages that are kept on such topics, by topic.
	Retained(filter string) ([]Message, error)

	// Publish publishes by hand, in the name of By(ctx), whose rights it obeys.
	Publish(ctx context.Context, m Message) error
}

// A Message is one of MQTT.
type Message struct {
	Topic   string
	Payload []byte // not to be changed
	QoS     byte
	Retain  bool
	Hidden  bool // nobody is to see the payload
	Whole   bool // the hub tells of the whole house there, so that it is for those alone who may see all of it
	At      time.Time
}

func (m Message) seenBy(r Rights) bool { return r.On(m.Topic, See) && (!m.Whole || r.Whole(See)) }

// A topicRow is what was said last on a topic.
type topicRow struct {
	Topic  string    `json:"topic"`
	Text   string    `json:"text"`             // its beginning
	Binary bool      `json:"binary,omitempty"` // Text is hexadecimal
	Size   int       `json:"size"`
	QoS    byte      `json:"qos,omitempty"`
	Retain bool      `json:"retain,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Times  int       `json:"times,omitempty"` // messages since the row was sent before
}

// Wide says that the text is given a line of its own.
func (t topicRow) Wide() bool {
	return len(t.Text) > 24 || strings.HasPrefix(t.Text, "{") || strings.HasPrefix(t.Text, "[")
}

// A rowOfTopic is what the template of a row takes.
type rowOfTopic struct {
	topicRow
	Now time.Time
}

// How much of a payload is shown, in bytes of what is no text.
const mostBinary = 48

func rowOf(m Message) topicRow {
	row := topicRow{Topic: mended(m.Topic, mostName), Size: len(m.Payload), QoS: m.QoS, Retain: m.Retain, At: sane(m.At)}
	switch {
	case m.Hidden:
		row.Text, row.Size = "***", 0
	case isText(m.Payload):
		row.Text = mended(string(m.Payload[:min(len(m.Payload), 4*mostText)]), mostText)
	default:
		row.Binary, row.Text = true, hex.EncodeToString(m.Payload[:min(len(m.Payload), mostBinary)])
		if len(m.Payload) > mostBinary {
			row.Text += "…"
		}
	}
	return row
}

// isText says whether a payload is for people to read.
func isText(payload []byte) bool {
	start := payload[:min(len(payload), 4*mostText)]
	for len(start) > 0 {
		c, size := utf8.DecodeRune(start)
		if c == utf8.RuneError && size == 1 {
			return len(start) < utf8.UTFMax && len(start) < len(payload) && !utf8.FullRune(start) // cut within one
		}
		if unicode.IsControl(c) && c != '\n' && c != '\t' && c != '\r' {
			return false
		}
		start = start[size:]
	}
	return true
}

// filterOf is the MQTT filter that was asked for; all topics if none was.
func filterOf(r *http.Request) string {
	if f := r.URL.Query().Get("filter"); f != "" {
		return f
	}
	return "#"
}

// mostRetained is how many topics a page begins with.
const mostRetained = 500

// A topicSheet is what is on the page of topics.
type topicSheet struct {
	Filter  string
	Rows    []topicRow
	Left    int    // topics beyond those
	Wrong   string // with the filter
	Publish bool   // there may be something that who looks may publish
}

// retained are the rows of what is retained, as a visitor may see it, and how many are left out.
func (s *Server) retained(filter string, who Rights) (rows []topicRow, left int, err error) {
	all, err := s.house.Retained(filter)
	if err != nil {
		return nil, 0, err
	}
	for _, m := range all {
		switch {
		case !m.seenBy(who):
		case len(rows) == mostRetained:
			left++
		default:
			rows = append(rows, rowOf(m))
		}
	}
	return rows, left, nil
}

func (s *Server) topicsPage(r *http.Request, v View) (any, error) {
	who := visitorOf(r).rights
	sheet := topicSheet{Filter: mended(filterOf(r), mostName), Publish: who.Most() >= Use}
	rows, left, err := s.retained(filterOf(r), who)
	if err != nil {
		sheet.Wrong = sentence(err.Error())
	}
	sheet.Rows, sheet.Left = rows, left
	return sheet, nil
}

// An ear hears what is published, and keeps of each topic the newest until that is sent. However
// much that is, it takes no more room than so many topics.
type ear struct {
	mu     sync.Mutex
	rights Rights
	latest map[string]*heard
	order  []string // topics in latest, oldest first
	total  int      // messages
	left   int      // of topics for which there was no room
	ready  chan struct{}
}

// A heard message is the newest of its topic.
type heard struct {
	Message
	size  int // of the payload, of which only the beginning is kept
	times int
}

const (
	mostHeard  = 1000                   // topics that may wait to be sent
	mostTopics = 200                    // that are sent at once
	listenFor  = 250 * time.Millisecond // between two sendings
)

func (e *ear) hear(m Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !m.seenBy(e.rights) {
		return
	}
	e.total++
	h := e.latest[m.Topic]
	switch {
	case h == nil && len(e.latest) == mostHeard:
		e.left++
	case h == nil:
		h = &heard{}
		e.latest[m.Topic] = h
		e.order = append(e.order, m.Topic)
	}
	if h != nil {
		h.size, h.times = len(m.Payload), h.times+1
		h.Message = m
		h.Payload = slices.Clone(m.Payload[:min(len(m.Payload), 4*mostText+1)])
	}
	select {
	case e.ready <- struct{}{}:
	default:
	}
}

// A hearing is what an ear gives at a time.
type hearing struct {
	Topics   []topicRow `json:"topics"`
	Messages int        `json:"messages"`       // that were heard since the one before
	Left     int        `json:"left,omitempty"` // of topics that are not shown, for there are too many
}

func (e *ear) take() (h hearing, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h.Messages, h.Left, e.total, e.left = e.total, e.left, 0, 0
	n := min(len(e.order), mostTopics)
	h.Topics = make([]topicRow, 0, n)
	for _, topic := range e.order[:n] {
		if one := e.latest[topic]; one.seenBy(e.rights) {
			row := rowOf(one.Message)
			if row.Times = one.times; !one.Hidden {
				row.Size = one.size
			}
			h.Topics = append(h.Topics, row)
		}
		delete(e.latest, topic)
	}
	e.order = append(e.order[:0], e.order[n:]...)
	return h, len(e.order) > 0
}

func (e *ear) judge(r Rights) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rights = r
}

// serveTopics streams what is published on the topics that a filter matches: first what is
// retained ("retained"), then at most four times a second the newest of each topic.
func (s *Server) serveTopics(w http.ResponseWriter, r *http.Request) {
	v := visitorOf(r)
	leave, ok := s.enter(w, v)
	if !ok {
		return
	}
	defer leave()
	e := &ear{rights: v.rights, latest: make(map[string]*heard), ready: make(chan struct{}, 1)}
	stop, err := s.house.Listen(filterOf(r), e.hear)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	defer stop()
	rows, left, err := s.retained(filterOf(r), v.rights)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	out, ok := s.openStream(w, r)
	if !ok {
		return
	}
	out.event("retained", hearing{Topics: append([]topicRow{}, rows...), Left: left})
	out.flush()
	who := judged{visitor: v}
	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	var due <-chan time.Time // of the pause, while something waits
	for out.err == nil {
		again := false
		select {
		case <-e.ready:
			if due == nil {
				due = pause.C
			}
			continue
		case <-due:
		case <-beat.C:
			again = true
			out.text(": still here\n\n")
		case <-who.ended():
			return
		case <-r.Context().Done():
			return
		}
		if !who.again(s, r, again) {
			out.text(": you are logged out\n\n")
			out.flush()
			return
		}
		e.judge(who.rights)
		if due != nil {
			h, more := e.take()
			out.event("", h)
			if due = nil; more {
				due = pause.C
			}
			pause.Reset(listenFor)
		}
		out.flush()
	}
}

// --- By hand ---

// A publisher is Rights that know what may be published over MQTT.
type publisher interface{ Publish(topic string) bool }

// mayPublish says whether somebody may publish by hand: who may use a topic and publish on it
// over MQTT, too, or may change the house anyway.
func mayPublish(r Rights, topic string) bool {
	p, ok := r.(publisher)
	return r.On(topic, Change) || r.On(topic, Use) && ok && p.Publish(topic)
}

// A byHand is what is posted to publish a message.
type byHand struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
}

const (
	maxByHand  = 256 << 10
	wantByHand = `{"topic":"a/b","payload":"ON","qos":0,"retain":false}`
)

func (s *Server) takePublish(w http.ResponseWriter, r *http.Request) {
	var m byHand
	err := readJSON(w, r, maxByHand, wantByHand, &m)
	if err == nil && m.QoS > 2 {
		err = Mistaken("want " + wantByHand)
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	if !mayPublish(visitorOf(r).rights, m.Topic) {
		refuse(w, http.StatusForbidden, "you may not publish to "+m.Topic)
		return
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	if err := s.house.Publish(ctx, Message{Topic: m.Topic, Payload: []byte(m.Payload), QoS: m.QoS, Retain: m.Retain}); err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
