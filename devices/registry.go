package devices

import (
	"maps"
	"slices"
	"strings"
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

// commanded is what an output was told last, on or off or a level, and how many
// reports on commands are still to come: only the last of them is news.
type commanded struct {
	value   any // bool or float64
	reports int // 0: its level has not been reported yet, but whether it is on has
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
	if output, ok := strings.CutSuffix(r.Source, levelOf); ok {
		if c := g.commanded[output]; c != nil && c.reports == 0 {
			delete(g.commanded, output)
		}
	}
	g.Reported(r.Source)
}

// levelOf is the property in which an output with levels reports the level, beside
// whether it is on.
const levelOf = ".level"

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
	c := g.commanded[output]
	if c == nil {
		return
	}
	c.reports--
	if _, level := c.value.(float64); c.reports < 0 || c.reports == 0 && !level {
		delete(g.commanded, output)
	}
}

// Commanded is what an output was told last, and how many reports on commands are still to
// come.
type Commanded struct {
	Value   any `json:"value"` // bool or float64
	Reports int `json:"reports,omitempty"`
}

// Commanded is what outputs were told that have not reported on all of it.
func (g *Registry) Commanded() map[string]Commanded {
	all := make(map[string]Commanded, len(g.commanded))
	for output, c := range g.commanded {
		all[output] = Commanded{c.value, c.reports}
	}
	return all
}

// Restore makes the registry what another one was whose All and Commanded these are; of
// readings that were no value it knows nothing.
func (g *Registry) Restore(all []Reading, told map[string]Commanded) {
	*g = Registry{last: make(map[string]*newest, len(all)), commanded: make(map[string]*commanded, len(told))}
	for _, r := range all {
		g.room(r)
		g.last[r.Source] = &newest{Reading: r}
	}
	for output, c := range told {
		g.commanded[output] = &commanded{c.Value, c.Reports}
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

// Command notes that an output was told a value, on which it will report: on or
// off, a level, or the position of a cover. One that is told to stop stands where it
// reports; other words are about neither.
func (g *Registry) Command(output string, value any) {
	switch value.(type) {
	case bool, float64:
	default:
		if value == "stop" {
			delete(g.commanded, output)
		}
		return
	}
	if g.commanded == nil {
		g.commanded = make(map[string]*commanded)
	}
	c := g.commanded[output]
	if c == nil {
		c = new(commanded)
		g.commanded[output] = c
	}
	c.value = value
	c.reports++
}

// Level is the newest of what an output reported and what it was told: whether it
// is on, which a cover is where it is not closed; off and not known while there is
// neither.
func (g *Registry) Level(output string) (on, known bool) {
	if c := g.commanded[output]; c != nil && c.reports > 0 {
		return percent(c.value) > 0, true
	}
	switch last, _ := g.Last(output); v := last.Value.(type) {
	case float64:
		return v > 0, true
	default:
		return Bool(v)
	}
}

// Percent is the same in numbers from 0 to 100: the level of an output that has
// levels, the position of a cover. An output that is off stands at 0, whatever its
// level was or will be.
func (g *Registry) Percent(output string) (level float64, known bool) {
	c := g.commanded[output]
	if c != nil && c.reports > 0 {
		return percent(c.value), true
	}
	last, _ := g.Last(output)
	if position, ok := last.Value.(float64); ok {
		return position, true
	}
	switch on, known := Bool(last.Value); {
	case !known:
		return 0, false
	case !on:
		return 0, true
	case c != nil && percent(c.value) > 0:
		return percent(c.value), true
	}
	last, _ = g.Last(output + levelOf)
	level, known = last.Value.(float64)
	return level, known
}

// percent is what an output is told, as a number: on is all there is.
func percent(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case bool:
		if v {
			return 100
		}
	}
	return 0
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
