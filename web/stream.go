package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// So many streams there may be at a time, and of one user or token. Who may look can't take
// the place of all others.
const (
	mostWatchers      = 32
	mostWatchersOfOne = 24
)

// watching are the streams that are open, by who watches.
type watching struct {
	mu  sync.Mutex
	all int
	of  map[visitorName]int
}

// A visitorName is a user's or a token's.
type visitorName struct {
	name    string
	session bool
}

// begin says why there may not be another one; "" if there may.
func (ws *watching) begin(who visitorName) (why string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.all >= mostWatchers:
		return fmt.Sprintf("%d pages are watching already, and more are not served", mostWatchers)
	case who.name != "" && ws.of[who] >= mostWatchersOfOne:
		return fmt.Sprintf("%d pages of %s are watching already, and more are not served", mostWatchersOfOne, who.name)
	}
	if ws.of == nil {
		ws.of = make(map[visitorName]int)
	}
	ws.all++
	ws.of[who]++
	return ""
}

func (ws *watching) end(who visitorName) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.all--
	if ws.of[who]--; ws.of[who] == 0 {
		delete(ws.of, who)
	}
}

// writeLimit is how long a watcher may take to take something. The house does
// not wait even that long: it closes the channel of one that falls behind.
const writeLimit = 5 * time.Second

// serveEvents streams what happens in the house until the watcher leaves, falls
// behind, is logged out, or the server closes. What it may see is judged by what counts
// when it is sent.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	v := visitorOf(r)
	name := visitorName{v.name, v.session != nil}
	if why := s.watching.begin(name); why != "" {
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, why)
		return
	}
	defer s.watching.end(name)

	// Watching begins before the view is taken, so nothing is missed between.
	events, stop := s.house.Watch()
	defer stop()
	whole, err := s.view(r.Context(), patience)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies would wait for the end
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	out := stream{w: w, control: http.NewResponseController(w)}
	out.err = out.control.SetReadDeadline(time.Time{}) // else the limit for requests would end the stream
	out.text("retry: 1000\n\n")
	who := judged{visitor: v}
	only := r.URL.Query().Get("only")
	first := whole.seenBy(who.visitor)
	switch only {
	case "things":
		first = first.ofThings()
	case "rules":
		first = first.ofThings()
		first.Things = nil
	}
	out.event("house", first)
	out.flush()
	tell := func(e Event) {
		switch only {
		case "things":
			e.Reading, e.Decision, e.Rule = nil, nil, nil
		case "rules":
			e = Event{Output: e.Output, Input: e.Input, Rule: e.Rule}
		}
		if some, ok := e.seenBy(who.rights); ok {
			out.event("", some.clean())
		}
	}
	goodbye := func(why string) {
		out.text(": " + why + "\n\n")
		out.flush()
	}

	beat := time.NewTicker(s.beat)
	defer beat.Stop()
	for out.err == nil {
		select {
		case e, ok := <-events:
			if !ok {
				goodbye("you fell behind, come again")
				return
			}
			if !who.again(s, r, false) {
				goodbye("you are logged out")
				return
			}
			tell(e)
			for range len(events) { // one write for all that is there
				if e, ok := <-events; ok {
					tell(e)
				}
			}
			out.flush()
		case <-who.ended():
			goodbye("you are logged out")
			return
		case <-beat.C:
			if !who.again(s, r, true) { // which also notes that it is used
				goodbye("you are logged out")
				return
			}
			now, err := s.view(r.Context(), patience)
			if err != nil {
				return // the page comes again and is told why
			}
			out.text(": still here\n\n")
			out.event("status", now.seenBy(who.visitor).status())
			out.flush()
		case <-r.Context().Done():
			return
		}
	}
}

// A stream writes server-sent events. After an error it does nothing.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
	err     error
}

func (s *stream) text(line string) { s.buf.WriteString(line) }

// event adds v as JSON, which has no line breaks.
func (s *stream) event(name string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of ours that can't be JSON
	}
	if name != "" {
		s.buf.WriteString("event: " + name + "\n")
	}
	s.buf.WriteString("data: ")
	s.buf.Write(b)
	s.buf.WriteString("\n\n")
}

func (s *stream) flush() {
	if s.err == nil {
		s.err = s.control.SetWriteDeadline(time.Now().Add(writeLimit))
	}
	if s.err == nil {
		_, s.err = s.w.Write(s.buf.Bytes())
	}
	if s.err == nil {
		s.err = s.control.Flush()
	}
	s.buf.Reset()
}
