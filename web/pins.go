package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Wiring is the house as it is wired.
type Wiring interface {
	// Board is what the pins are for; how they are is in the View.
	Board(ctx context.Context) (Board, error)

	// Acknowledge takes back the fault of an output that waits for that, and lets any other
	// fault be listed quietly until it is another one.
	Acknowledge(ctx context.Context, name string) error
}

// A Board is the 40-pin header of a Raspberry Pi, and what is used of pins that are not on
// it.
type Board struct {
	Simulated bool       `json:"simulated"`
	Pins      []BoardPin `json:"pins"` // by their number
	Others    []BoardPin `json:"others"`
}

// A BoardPin is one pin with what is known of it.
type BoardPin struct {
	Number  int    `json:"number,omitempty"` // on the header, from 1
	Line    string `json:"line"`             // "3V3", "GND", "GPIO17", "relays:3"
	Role    string `json:"role,omitempty"`   // what else it can be: "SDA1"
	PowerUp string `json:"power_up,omitempty"`
	Caution string `json:"caution,omitempty"`

	// Held is who has it beside the configuration: a bus, a driver, another program.
	Held string `json:"held,omitempty"`
	// For are those in the configuration on whose account that is so.
	For []string `json:"for,omitempty"`

	Uses []PinUse `json:"uses,omitempty"` // in the configuration, mostly one
	Used bool     `json:"used,omitempty"` // by what is not to be seen by whoever is told of it
}

// A PinUse is what the configuration wants a pin for.
type PinUse struct {
	Name      string   `json:"name"`
	Label     string   `json:"label,omitempty"` // what people call it, where that is another
	Table     string   `json:"table"`           // "output", "input", "counter", "encoder", "expander"
	ActiveLow bool     `json:"active_low,omitempty"`
	Pull      string   `json:"pull,omitempty"`   // "up", "down"
	Config    string   `json:"config,omitempty"` // its lines, as they are written
	Wrong     string   `json:"wrong,omitempty"`  // why there is no such pin
	Cautions  []string `json:"cautions,omitempty"`

	State *Pin `json:"state,omitempty"` // how it is; set by web
}

// Kind is how a pin is drawn: "power", "ground", "ours", "held", "wrong" or "free".
func (p BoardPin) Kind() string {
	switch {
	case p.Line == "GND":
		return "ground"
	case p.Line == "3V3" || p.Line == "5V":
		return "power"
	case slices.ContainsFunc(p.Uses, func(u PinUse) bool {
		return u.Wrong != "" || u.State != nil && u.State.Fault != "" && !u.State.Acknowledged
	}):
		return "wrong"
	case len(p.Uses) > 0:
		return "ours"
	case p.Held != "" || p.Used:
		return "held"
	}
	return "free"
}

// Anchor is where its details are on the page.
func (p BoardPin) Anchor() string {
	if p.Number > 0 {
		return fmt.Sprint("pin-", p.Number)
	}
	return fmt.Sprintf("line-%x", p.Line)
}

// Example is what would make a free pin an output.
func (p BoardPin) Example() string {
	if p.Kind() != "free" {
		return ""
	}
	return fmt.Sprintf("[output.name]\npin = %q", p.Line)
}

// Title is what people call it.
func (u PinUse) Title() string { return cmp.Or(u.Label, u.Name) }

// Volts is its physical level: "high", "low", or "" if that is not known.
func (u PinUse) Volts() string {
	switch {
	case u.State == nil || !u.State.Known || u.State.Shows != "":
		return ""
	case u.State.On != u.ActiveLow:
		return "high"
	}
	return "low"
}

func (p BoardPin) clean() BoardPin {
	p.Line, p.Role, p.Held, p.Caution = mended(p.Line, mostName), mended(p.Role, 40), mended(p.Held, mostName), sentence(p.Caution)
	p.For = each(p.For, asName)
	p.Uses = each(p.Uses, func(u PinUse) PinUse {
		u.Name, u.Label, u.Table, u.Pull, u.Wrong = mended(u.Name, mostName), mended(u.Label, mostName), mended(u.Table, 40), mended(u.Pull, 40), sentence(u.Wrong)
		u.Config = mendedLines(u.Config, 4000)
		u.Cautions = each(u.Cautions, sentence)
		return u
	})
	return p
}

func asName(s string) string { return mended(s, mostName) }

// mendedLines is mended of each line of a text.
func mendedLines(s string, most int) string {
	var lines []string
	for line := range strings.Lines(mended(strings.ReplaceAll(s, "\n", "\u2028"), most)) {
		lines = append(lines, strings.ReplaceAll(line, "\u2028", "\n"))
	}
	return strings.Join(lines, "")
}

// seenBy is p as a visitor may see it: that a pin is taken is told to all, for it is no
// place for another wire.
func (p BoardPin) seenBy(r Rights, v View) BoardPin {
	see := func(name string) bool { return r.On(seen(name), See) }
	var some []PinUse
	for _, u := range p.Uses {
		if !see(u.Name) {
			p.Used = true
			continue
		}
		for _, pins := range [][]Pin{v.Outputs, v.Inputs} {
			if i := slices.IndexFunc(pins, func(one Pin) bool { return one.Name == u.Name }); i >= 0 {
				u.State = &pins[i]
			}
		}
		if !r.Whole(See) {
			u.Config, u.Cautions = "", nil // which may name others
		}
		some = append(some, u)
	}
	p.Uses = some
	p.For = slices.DeleteFunc(slices.Clone(p.For), func(name string) bool { return !see(name) })
	if !r.Whole(See) && p.Held != "" && len(p.For) == 0 {
		p.Held, p.Used = "", true // by what, may be another's
	}
	return p
}

// board is the header as a visitor may see it.
func (s *Server) board(r *http.Request, v View) (Board, error) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	b, err := s.house.Board(ctx)
	if err != nil {
		return Board{}, err
	}
	who := visitorOf(r).rights
	show := func(p BoardPin) BoardPin { return p.seenBy(who, v).clean() }
	b.Pins, b.Others = each(b.Pins, show), each(b.Others, show)
	b.Others = slices.DeleteFunc(b.Others, func(p BoardPin) bool { return len(p.Uses) == 0 })
	return b.in(s.wordsFor(r)), nil
}

// Sides are the pins as they lie on the board, two in a row.
func (b Board) Sides() (rows [][]BoardPin) { return slices.Collect(slices.Chunk(b.Pins, 2)) }

// All are those that there is something to say about.
func (b Board) All() (all []BoardPin) {
	for _, p := range slices.Concat(b.Pins, b.Others) {
		if k := p.Kind(); k != "power" && k != "ground" {
			all = append(all, p)
		}
	}
	return all
}

func (s *Server) pinsPage(r *http.Request, v View) (any, error) { return s.board(r, v) }

func (s *Server) servePins(w http.ResponseWriter, r *http.Request) {
	v, err := s.view(r.Context(), patience)
	if err == nil {
		var b Board
		if b, err = s.board(r, v.seenBy(visitorOf(r)).in(s.wordsFor(r))); err == nil {
			send(w, r, "application/json", asJSON(b))
			return
		}
	}
	refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
}

// takeAcknowledge takes back a fault, in the name of who may use what has it.
func (s *Server) takeAcknowledge(w http.ResponseWriter, r *http.Request) {
	if err := isJSON(r); err != nil {
		refuseFor(w, err)
		return
	}
	name, may := r.PathValue("name"), visitorOf(r).rights
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	switch {
	case !may.On(seen(name), See) || s.why(ctx, name, func(v View) []Pin { return slices.Concat(v.Outputs, v.Inputs) }) == http.StatusNotFound:
		refuse(w, http.StatusNotFound, "no output or input is named "+name)
	case !may.On(used(name), Use):
		refuse(w, http.StatusForbidden, "you may look at "+name+" and not use it")
	default:
		if err := s.house.Acknowledge(ctx, name); err != nil {
			why := err.Error()
			if !may.Whole(See) {
				why = "the fault of " + name + " was not acknowledged" // the reason may be another thing
			}
			refuse(w, http.StatusConflict, why)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
