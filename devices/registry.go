package devices

import (
	"maps"
	"slices"
)

// A Registry keeps the newest valid reading of each source and what was last
// commanded of each output. One goroutine owns it. The zero value is empty.
type Registry struct {
	last      map[string]Reading
	commanded map[string]*commanded // of outputs that have not reported on it yet
	bad       map[string]bad
	changed   map[string]bool
	captured  map[string]map[string]bool // by the source that captures, those it stands for
}

// MaxCaptured is how many topics a source with captures may stand for; a device
// that invents topics must not fill the memory.
const MaxCaptured = 1000

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
		g.last, g.changed = make(map[string]Reading), make(map[string]bool)
	}
	if last, ok := g.last[r.Source]; ok {
		if r.Initial && last.Restored && last.Text == r.Text {
			// Found again as it was kept: it is as old as it was, for a sensor that
			// died must not seem to have spoken at each start.
			r.At, r.Restored = last.At, true
		}
		r.Old = last.Value
	}
	g.last[r.Source] = r
	g.changed[r.Source] = true
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
	r, ok := g.last[source]
	return r, ok
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
	return Bool(g.last[output].Value)
}

// All is every source's newest reading, by the source's text.
func (g *Registry) All() []Reading {
	all := make([]Reading, 0, len(g.last))
	for _, k := range slices.Sorted(maps.Keys(g.last)) {
		all = append(all, g.last[k])
	}
	return all
}

// Changes is the readings applied since Changes was last called, in no order.
func (g *Registry) Changes() []Reading {
	if len(g.changed) == 0 {
		return nil
	}
	all := make([]Reading, 0, len(g.changed))
	for k := range g.changed {
		all = append(all, g.last[k])
	}
	g.changed = make(map[string]bool) // cleared it would stay as large as it ever was
	return all
}

// Forget drops a source that the configuration no longer names.
func (g *Registry) Forget(source string) {
	delete(g.last, source)
	delete(g.changed, source)
	delete(g.commanded, source)
	delete(g.bad, source)
	for _, known := range g.captured {
		delete(known, source)
	}
}
