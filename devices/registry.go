package devices

import (
	"maps"
	"slices"
)

// A Registry keeps the newest valid reading of each source and what was last
// commanded of each output. One goroutine owns it. The zero value is empty.
type Registry struct {
	last      map[string]*newest
	commanded map[string]*commanded // of outputs that have not reported on it yet
	bad       map[string]bad
	changed   []*newest                  // since Changes was last called
	captured  map[string]map[string]bool // by the source that captures, those it stands for
}

// MaxCaptured is how many topics a source with captures may stand for; a device
// that invents topics must not fill the memory.
const MaxCaptured = 1000

// MaxMessage is how large, in bytes, a message may be that is remembered whole, with
// the newest value of a source or by a run that waits.
const MaxMessage = 16 << 10

// newest is the newest reading of a source.
type newest struct {
	Reading
	changed bool // it is in the list of those
}

// commanded is what an output was told last, and how many reports on commands
// are still to come: only the last of them is news.
type commanded struct {
	on      bool
	reports int
}

// Apply records r. A bad reading leaves the value as it was and is counted.
func (g *Registry) Apply(r Reading) {
	if !g.room(r) {
		return
	}
	if r.Bad != "" {
		if g.bad == nil {
			g.bad = make(map[string]bad)
		}
		g.bad[r.Source] = bad{g.bad[r.Source].n + 1, r.Bad}
		g.Reported(r.Source)
		return
	}
	if g.last == nil {
		g.last = make(map[string]*newest)
	}
	last, ok := g.last[r.Source]
	if ok {
		if r.Initial && last.Restored && last.Text == r.Text {
			// Found again as it was kept: it is as old as it was, for a sensor that
			// died must not seem to have spoken at each start.
			r.At, r.Restored = last.At, true
		}
		r.Old = last.Value
	}
	if r.Message != nil && len(r.Message.Payload) > MaxMessage {
		r.Message = nil // it has been seen, and need not be remembered
	}
	if !ok {
		last = new(newest)
		g.last[r.Source] = last
	}
	if last.Reading = r; !last.changed {
		last.changed = true
		g.changed = append(g.changed, last)
	}
	if r.Initial { // taken anew: what was told before is past
		delete(g.commanded, r.Source)
	}
	g.Reported(r.Source)
}

// room reports whether a reading may be kept: of each source with captures, those
// of the first MaxCaptured that it was seen to stand for.
func (g *Registry) room(r Reading) bool {
	if r.Captured == nil {
		return true
	}
	known := g.captured[r.Captured.Source]
	switch {
	case known[r.Source]:
		return true
	case len(known) >= MaxCaptured:
		return false
	case known == nil:
		if g.captured == nil {
			g.captured = make(map[string]map[string]bool)
		}
		known = make(map[string]bool)
		g.captured[r.Captured.Source] = known
	}
	known[r.Source] = true
	return true
}

// Reported notes that an output has answered a command, or will not.
func (g *Registry) Reported(output string) {
	if c := g.commanded[output]; c != nil {
		if c.reports--; c.reports <= 0 {
			delete(g.commanded, output)
		}
	}
}

// Last is the newest valid reading of a source.
func (g *Registry) Last(source string) (Reading, bool) {
	if last := g.last[source]; last != nil {
		return last.Reading, true
	}
	return Reading{}, false
}

// bad counts the readings that could not be a value.
type bad struct {
	n   int
	why string // the last was none
}

// Bad counts the readings of a source that could not be a value, and says why the
// last of them was none.
func (g *Registry) Bad(source string) (n int, why string) { return g.bad[source].n, g.bad[source].why }

// Command notes that an output was told a level, on which it will report.
func (g *Registry) Command(output string, on bool) {
	if g.commanded == nil {
		g.commanded = make(map[string]*commanded)
	}
	c := g.commanded[output]
	if c == nil {
		c = new(commanded)
		g.commanded[output] = c
	}
	c.on = on
	c.reports++
}

// Level is the newest of what an output reported and what it was told; off and
// not known while there is neither.
func (g *Registry) Level(output string) (on, known bool) {
	if c := g.commanded[output]; c != nil {
		return c.on, true
	}
	last, _ := g.Last(output)
	return Bool(last.Value)
}

// All is every source's newest reading, by the source's text.
func (g *Registry) All() []Reading {
	all := make([]Reading, 0, len(g.last))
	for _, k := range slices.Sorted(maps.Keys(g.last)) {
		all = append(all, g.last[k].Reading)
	}
	return all
}

// Changes is the newest readings of the sources of which some were applied since Changes was
// last called.
func (g *Registry) Changes() []Reading {
	if len(g.changed) == 0 {
		return nil
	}
	all := make([]Reading, 0, len(g.changed))
	for _, last := range g.changed {
		last.changed = false
		all = append(all, last.Reading)
	}
	g.changed = nil
	return all
}

// Forget drops a source that the configuration no longer names.
func (g *Registry) Forget(source string) {
	g.changed = slices.DeleteFunc(g.changed, func(last *newest) bool { return last == g.last[source] })
	delete(g.last, source)
	delete(g.commanded, source)
	delete(g.bad, source)
	for _, known := range g.captured {
		delete(known, source)
	}
}
