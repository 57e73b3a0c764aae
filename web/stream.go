package web

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// So many streams there may be at a time, and of one user or token. Who may look can't take
// the place of all others.
const (
	mostWatchers      = 128
	mostWatchersOfOne = 112
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

func (v visitor) key() visitorName { return visitorName{v.name, v.session != nil} }

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

// serveEvents streams what happens in the house until the watcher leaves, does not take what
// it is sent, is logged out, or the server closes. What it may see is judged by what counts
// when it is sent.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	v := visitorOf(r)
	leave, ok := s.enter(w, v)
	if !ok {
		return
	}
	defer leave()

	// Watching begins before the view is taken, so nothing is missed between.
	next := s.feed.join()
	defer s.feed.leave()
	whole, err := s.view(r.Context(), patience)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}

	out, ok := s.openStream(w, r)
	if !ok {
		return
	}
	who, words := judged{visitor: v}, s.wordsFor(r)
	if !who.again(s, r, true) { // by what counts now
		refuse(w, http.StatusUnauthorized, "you are logged out")
		return
	}
	only := r.URL.Query().Get("only")
	first := whole.seenBy(who.visitor)
	switch only {
	case "things":
		first = first.ofThings()
	case "rules":
		first = first.ofThings()
		first.Things = nil
	case "log": // whose events are all
		first, only = first.ofLog(), ""
	default:
		only = "" // everything
	}
	out.event("house", first.in(words))
	out.flush()
	goodbye := func(why string) {
		out.text(": " + why + "\n\n")
		out.flush()
	}

	sparks := s.drawSparks(r.Context(), who, only == "things")
	defer sparks.end()
	for out.err == nil {
		select {
		case <-next.ready:
		case <-sparks.due:
			sparks.draw(who)
		case d := <-sparks.drawn:
			if !who.again(s, r, false) {
				goodbye("you are logged out")
				return
			}
			if d.by.set == who.set && d.by.version == who.version {
				out.event("sparks", d.heights)
			} else { // rights are others meanwhile
				sparks.draw(who)
			}
		case <-who.ended():
			goodbye("you are logged out")
			return
		case <-r.Context().Done():
			return
		}
		told := 0
		for at := next; at != nil && isReady(at.ready); at = next { // one write for all that is there
			if !who.again(s, r, at.status != nil) { // which also notes that it is used
				goodbye("you are logged out")
				return
			}
			out.write(at.as(&who, only, words))
			if at.status != nil {
				out.text(": still here\n\n")
				out.event("status", at.status.seenBy(who.visitor).status().in(words))
			}
			if at.over != "" {
				goodbye(at.over)
				return
			}
			told += len(at.events)
			next = at.next
		}
		out.flush()
		// While much happens the streams do not all write in the same moment, which would
		// hold up the house.
		select {
		case <-time.After(s.feed.pause(told) * time.Duration(75+rand.N(50)) / 100):
		case <-who.ended():
		case <-r.Context().Done():
		}
	}
}

func isReady(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// enter gives a visitor one of the places that there are for streams, until leave is called,
// or says that there is none.
func (s *Server) enter(w http.ResponseWriter, v visitor) (leave func(), ok bool) {
	name := v.key()
	if why := s.watching.begin(name); why != "" {
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, why)
		return nil, false
	}
	return func() { s.watching.end(name) }, true
}

// openStream begins a stream; false if who asks wants its header alone.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request) (*stream, bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies would wait for the end
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil, false
	}
	out := &stream{w: w, control: http.NewResponseController(w), limit: s.limit}
	out.err = out.control.SetReadDeadline(time.Time{})        // else the limit for requests would end the stream
	out.text(fmt.Sprintf("retry: %d\n\n", 1000+rand.N(1500))) // or after a reload all would ask at once
	return out, true
}

// A stream writes server-sent events. After an error it does nothing.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	err     error
}

func (s *stream) text(line string) { s.write([]byte(line)) }

func (s *stream) event(name string, v any) { s.write(appendEvent(nil, name, v)) }

func (s *stream) write(text []byte) {
	if s.err == nil {
		s.err = s.control.SetWriteDeadline(time.Now().Add(s.limit))
	}
	if s.err == nil {
		_, s.err = s.w.Write(text)
	}
}

func (s *stream) flush() {
	if s.err == nil {
		s.err = s.control.Flush()
	}
}
