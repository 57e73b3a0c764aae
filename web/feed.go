package web

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// A feed is what happens in the house, for all pages that watch it. The house tells it once,
// however many they are, and is not waited for: it goes on at its own speed while this
// gathers what it said, keeps of each thing the newest, and writes it out once for all who
// may see the same.
//
// What is gathered comes in batches, each of which leads to the next. So every stream reads
// at its own speed, and what the slowest has read is given back.
type feed struct {
	house *viewing
	watch func() (<-chan Event, func())
	beat  func() time.Duration // between two signs of life

	mu        sync.Mutex
	streams   int
	now       *life // nil: nobody watches
	gathering sync.WaitGroup
}

// A life of a feed is from the first stream that joins until the last leaves, or the house
// has it begin anew.
type life struct {
	open  *batch // what is gathered next; guarded by the feed's mu
	end   func()
	ended chan struct{}
}

// A batch is what happened between two moments. All but next is written before ready is
// closed, and not any more.
type batch struct {
	ready chan struct{}

	events []Event // cleaned, the newest of each thing alone
	status *View   // a sign of life: what of it has no events is told again
	over   string  // why this is the last one; whoever watched begins anew
	next   *batch

	mu      sync.Mutex
	written map[readership][]byte
}

// pause is how long to wait for more after so much was told. While little happens each thing
// is shown at once. Where hundreds of readings a second come, ten pictures a second are enough
// for people, or five where a hundred of them look on, and the house has its time for itself.
func (f *feed) pause(events int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(time.Duration(events)*5*time.Millisecond, 100*time.Millisecond+time.Duration(f.streams)*time.Millisecond)
}

// join begins to watch: what happens from now on is in the batch that it returns, and in
// those that follow.
func (f *feed) join() *batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streams++
	if f.now == nil {
		events, stop := f.watch()
		ctx, end := context.WithCancel(context.Background())
		l := &life{open: &batch{ready: make(chan struct{})}, end: end, ended: make(chan struct{})}
		f.now = l
		f.gathering.Go(func() {
			defer close(l.ended)
			defer stop()
			defer end()
			f.gather(ctx, l, events)
		})
	}
	return f.now.open
}

// leave is said once for each join.
func (f *feed) leave() {
	f.mu.Lock()
	f.streams--
	l := f.now
	last := f.streams == 0 && l != nil
	if last {
		f.now = nil
	}
	f.mu.Unlock()
	if last {
		l.end()
		<-l.ended
	}
}

func (f *feed) gather(ctx context.Context, l *life, events <-chan Event) {
	beat := time.NewTicker(f.beat())
	defer beat.Stop()
	for {
		var b gathered
		select {
		case e, ok := <-events:
			b.take(e, ok)
		case <-beat.C:
			v, err := f.house.ask(ctx, patience)
			if err != nil {
				b.over = "the house does not answer"
				break
			}
			b.status = &v
		case <-ctx.Done():
			return
		}
		for range len(events) {
			e, ok := <-events
			b.take(e, ok)
		}
		f.publish(l, &b)
		if b.over != "" {
			return
		}
		select {
		case <-time.After(f.pause(len(b.events))):
		case <-ctx.Done():
			return
		}
	}
}

// publish gives out what was gathered.
func (f *feed) publish(l *life, g *gathered) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := l.open
	b.events, b.status, b.over = g.events, g.status, g.over
	if b.over == "" {
		b.next = &batch{ready: make(chan struct{})}
		l.open = b.next
	} else if f.now == l {
		f.now = nil // who joins now begins another
	}
	close(b.ready)
}

// gathered is a batch in the making.
type gathered struct {
	batch
	at map[string]int // where the events of a thing are
}

func (g *gathered) take(e Event, ok bool) {
	if !ok {
		g.over = "come again: much has changed, or you fell behind"
		return
	}
	e = e.clean()
	if e.Output != nil {
		g.put("output "+e.Output.Name, Event{Output: e.Output})
	}
	if e.Input != nil {
		g.put("input "+e.Input.Name, Event{Input: e.Input})
	}
	if e.Reading != nil {
		g.put("reading "+e.Reading.Source, Event{Reading: e.Reading})
	}
	if e.Decision != nil {
		g.events = append(g.events, Event{Decision: e.Decision}) // each counts
	}
	if e.Thing != nil {
		g.put("thing "+e.Thing.Name, Event{Thing: e.Thing})
	}
	if e.Rule != nil {
		g.put("rule "+e.Rule.Name, Event{Rule: e.Rule})
	}
}

// put takes the newest of something, after which an older one says nothing any more.
func (g *gathered) put(of string, e Event) {
	if i, there := g.at[of]; there {
		g.events[i] = e
		return
	}
	if g.at == nil {
		g.at = make(map[string]int)
	}
	g.at[of] = len(g.events)
	g.events = append(g.events, e)
}

// A readership are visitors who see the same of the house, in one language.
type readership struct {
	only     string // what the page asked for: "things", "rules", "" is everything
	language string
	most     Level

	// Of those whose rights are not the same everywhere: who it is, as of when.
	who     visitorName
	version any
}

func readershipOf(j *judged, only string, w *words) readership {
	most := min(j.rights.Most(), Use) // no more is asked of what is told here
	if j.rights.Whole(most) {
		return readership{only: only, language: w.language, most: most}
	}
	return readership{only: only, language: w.language, who: j.visitor.key(), version: j.version}
}

// as is b in the format of the stream, as one may see it.
func (b *batch) as(j *judged, only string, w *words) []byte {
	who := readershipOf(j, only, w)
	b.mu.Lock()
	defer b.mu.Unlock()
	text, there := b.written[who]
	if !there {
		if b.written == nil {
			b.written = make(map[readership][]byte)
		}
		text = b.write(j.rights, only, w)
		b.written[who] = text
	}
	return text
}

func (b *batch) write(r Rights, only string, w *words) (text []byte) {
	for _, e := range b.events {
		switch only {
		case "things":
			e.Reading, e.Decision, e.Rule = nil, nil, nil
		case "rules":
			e = Event{Output: e.Output, Input: e.Input, Rule: e.Rule}
		}
		if some, ok := e.seenBy(r); ok {
			text = appendEvent(text, "", some.in(w))
		}
	}
	return text
}

// appendEvent adds a server-sent event with v as JSON, which has no line breaks.
func appendEvent(text []byte, name string, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of ours that can't be JSON
	}
	if name != "" {
		text = append(text, "event: "+name+"\n"...)
	}
	text = append(text, "data: "...)
	text = append(text, b...)
	return append(text, "\n\n"...)
}

// A viewing asks the house for pictures. Those who want one while another is being made
// share the next, so that a hundred pages that come again at once ask for two.
type viewing struct {
	house House

	mu      sync.Mutex
	making  sync.WaitGroup
	running bool
	next    *picture  // which is not yet begun; nil: nobody waits
	rested  time.Time // when the house has rested from the one before
}

type picture struct {
	done chan struct{}
	view View // cleaned
	err  error
}

var errSlow = errors.New("it took too long")

// ask is a picture of the house no older than the question.
func (v *viewing) ask(ctx context.Context, within time.Duration) (View, error) {
	v.mu.Lock()
	p := v.next
	if p == nil {
		p = &picture{done: make(chan struct{})}
		v.next = p
	}
	if !v.running {
		v.running = true
		v.making.Go(v.make)
	}
	v.mu.Unlock()
	ctx, stop := context.WithTimeoutCause(ctx, within, errSlow)
	defer stop()
	select {
	case <-p.done:
		return p.view, p.err
	case <-ctx.Done():
		return View{}, context.Cause(ctx)
	}
}

// make makes pictures as long as somebody waits for one.
func (v *viewing) make() {
	for {
		v.mu.Lock()
		if v.next == nil {
			v.running = false
			v.mu.Unlock()
			return
		}
		rested := v.rested
		v.mu.Unlock()
		time.Sleep(time.Until(rested))
		v.mu.Lock()
		p := v.next // who came meanwhile has the same
		v.next = nil
		v.mu.Unlock()
		ctx, stop := context.WithTimeoutCause(context.Background(), patience, errSlow)
		began := time.Now()
		p.view, p.err = v.house.View(ctx)
		stop()
		p.view = p.view.clean()
		close(p.done)
		if took := time.Since(began); took > 5*time.Millisecond && p.err == nil { // a large house, which has other things to do
			rested = time.Now().Add(min(took, time.Second))
		}
		v.mu.Lock()
		v.rested = rested
		v.mu.Unlock()
	}
}
