package why

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/config"
)

// words puts an answer into plain sentences.
type words struct {
	zone *time.Location
	at   time.Time // the moment asked about
	live bool      // it is now
}

// answer is the whole of it, a line each.
func (w words) answer(a Answer) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	switch {
	case !a.Known && w.live:
		say("Nothing is known of %s: since history was kept it has neither changed nor been told anything.", a.Name)
	case !a.Known:
		say("Nothing is known of %s on %s: up to then it had neither changed nor been told anything.", a.Name, w.at.In(w.zone).Format("Mon, 2 Jan 2006 at 15:04:05"))
	case a.Kind == "rule" || a.Kind == "link":
		say("%s: %s %s, %s.", a.Name, a.Is, w.moment(a.Since), w.before(a.Since))
	default:
		say("%s became %s %s, %s.", a.Name, short(a.Is), w.moment(a.Since), w.before(a.Since))
	}
	if a.Because != nil {
		lines = append(lines, w.chain(a.Because)...)
	}
	for _, wait := range a.Waits {
		say("%s: %s", a.Name, wait)
	}
	if len(a.Others) > 0 {
		say("Others that had a say:")
		for _, o := range a.Others {
			lines = append(lines, "  "+w.clock(o.At)+"  "+w.other(o))
		}
	}
	lines = append(lines, w.could(a)...)
	if !a.LookedTo.IsZero() {
		say("Not everything before %s was looked at.", w.moment(a.LookedTo))
	}
	return lines
}

// chain is a change and what led to it, from the change back to what started it. What began
// a wait or an episode is told after what ended it, one step further in.
func (w words) chain(l *Link) (lines []string) {
	var tell func(l *Link, indent string)
	tell = func(l *Link, indent string) {
		text, more := w.link(l)
		for _, restart := range slices.Backward(l.Restarts) {
			more = append(more, "meanwhile the hub started again, "+w.moment(restart))
		}
		for _, held := range l.Held {
			more = append(more, "until then it was held back: "+held)
		}
		if text != "" {
			lines = append(lines, fmt.Sprintf("%s%s  %s", indent, w.clock(l.At), text))
			indent += "  "
		}
		for _, m := range more {
			lines = append(lines, indent+"          "+m)
		}
		indent = strings.TrimSuffix(indent, "  ")
		if text == "" {
			indent = strings.TrimSuffix(indent+"  ", "  ")
		}
		for _, b := range l.Because {
			tell(b, indent)
		}
		if l.GoesOn == nil {
			return
		}
		if len(l.Because) > 0 { // what ended it is told; this is what it was
			lines = append(lines, indent+"  which had begun so:")
			indent += "    "
		}
		tell(l.GoesOn, indent)
	}
	first := *l
	for _, m := range first.Held {
		lines = append(lines, "  until then it was held back: "+m)
	}
	for _, restart := range slices.Backward(first.Restarts) {
		lines = append(lines, "  before that the hub started again, "+w.moment(restart))
	}
	if first.After >= float64(prompt.Milliseconds()) && first.What == Changed && !first.Likely && len(first.Because) > 0 {
		lines = append(lines, fmt.Sprintf("  that was %s after it was told so", span(duration(first.After))))
	}
	if first.Likely {
		lines = append(lines, "  most likely because it was told so just before:")
	}
	for _, b := range first.Because {
		tell(b, "  ")
	}
	return lines
}

// link is one link, and what is to be said of it beside.
func (w words) link(l *Link) (text string, more []string) {
	value := short(l.Value)
	switch l.What {
	case Changed:
		text = fmt.Sprintf("%s became %s", l.Name, value)
		if l.By == "computed" {
			text = fmt.Sprintf("%s was computed anew: %s", l.Name, value)
		}
	case Message:
		switch {
		case l.Name == "" && l.By != "":
			text = "a message on " + l.By
		case value == "":
			text = "a message on " + l.Name
		default:
			text = fmt.Sprintf("%s said %s", l.Name, value)
		}
		if l.By != "" && l.Name != "" && l.By != l.Name {
			text += " (" + l.By + ")"
		}
		text += ", which no rule of this house sent"
	case Wire:
		text = fmt.Sprintf("%s became %s: that is wired, so here it begins", l.Name, value)
	case Webhook:
		text = fmt.Sprintf("somebody posted to %s", l.Name)
		if value != "" {
			text += ": " + value
		}
	case Time:
		if text = "it was time"; l.By != "" && l.By != "time" {
			text += ": " + l.By
		}
	case Person:
		text = l.By
	case Start:
		text = "the hub started"
	case Stop:
		text = "the hub stopped, and made its outputs safe"
	case Limit:
		text = l.By
		if l.Name != "" {
			text = "output." + l.Name + ": " + l.By
		}
	case NotKnown:
		text = "not known: " + l.By
	case Decided:
		return w.decision(l)
	}
	if l.Unsure {
		text += " (the clock was not set yet)"
	}
	return text, more
}

// decision is what a rule decided, and its conditions.
func (w words) decision(l *Link) (text string, more []string) {
	d := l.Decision
	text = d.Rule + d.Instance + " " + d.Outcome
	if l.Above {
		return text + ", as is told above", nil
	}
	if d.Trigger != "" {
		text += ": " + d.Trigger
	}
	if d.Why != "" && d.Why != persons[d.Rule] { // which comes next
		text += "; " + d.Why
	}
	if l.Lasted > 0 {
		text += fmt.Sprintf("; what ends it has held for %s", span(duration(l.Lasted)))
	}
	if l.After > 0 {
		text += fmt.Sprintf(", %s later", span(duration(l.After)))
	}
	if does := append(slices.Clone(d.Sets), d.Commands...); len(does) > 0 {
		for i := range does {
			does[i] = short(does[i])
		}
		text += " -> " + strings.Join(does, ", ")
	}
	for _, c := range d.Checks {
		held := "held"
		if !c.OK {
			held = "did not hold"
		}
		if c.Saw != "" {
			held += ", it saw " + short(c.Saw)
		}
		more = append(more, fmt.Sprintf("condition %s %s", c.Text, held))
	}
	return text, more
}

func (w words) other(o Other) string {
	text := o.Decision.Rule + o.Decision.Instance + " told it " + short(o.Tells)
	switch {
	case o.Came == "before" && !o.Same:
		text += ", and was overridden"
	case o.Came == "before":
		text += ", as did what came after it"
	case o.Same:
		text += " too, which changed nothing"
	default:
		text += ", which has not come to be"
		sep := ": "
		for _, held := range o.Held {
			text += sep + "it was held back, " + held
			sep = "; then "
		}
		if o.Gave != "" {
			text += sep + "it gave way to " + o.Gave
		}
	}
	if o.Decision.Trigger != "" {
		text += " (" + o.Decision.Trigger + ")"
	}
	return text
}

// could is what the rules could do, and what stops each.
func (w words) could(a Answer) (lines []string) {
	if a.Cover != "" {
		lines = append(lines, fmt.Sprintf("It is driven by cover.%s: hearth why %s says what could move that.", a.Cover, a.Cover))
	}
	if len(a.Could) == 0 {
		if a.Cover != "" {
			return lines
		}
		if a.Kind == "output" || a.Kind == "cover" || a.Kind == "device" || a.Kind == "variable" {
			lines = append(lines, "No rule can tell it anything.")
		}
		return lines
	}
	head, stops := "What could act on it, and what ", "stops each:"
	if a.Kind == "rule" || a.Kind == "link" || a.Kind == "machine" {
		head, stops = "What could set it off, and what ", "stops it:"
	}
	switch {
	case !a.Present:
		stops = "stopped each before; where they stand is not known:"
	case !w.live:
		stops = "stood in the way then:"
	}
	lines = append(lines, head+stops)
	for _, c := range a.Could {
		line := "  " + c.Rule
		if len(c.Tells) > 0 {
			line += " (" + strings.Join(c.Tells, ", ")
			if c.Maybe {
				line += ", maybe"
			}
			line += ")"
		}
		lines = append(lines, line)
		for _, n := range c.Now {
			for _, before := range []string{c.Rule + ", ", c.Rule + ": "} {
				n = strings.TrimPrefix(n, before)
			}
			lines = append(lines, "      "+n)
		}
		if c.Stopped != nil {
			lines = append(lines, fmt.Sprintf("      %s it was %s", w.moment(c.Last), w.stopped(c.Stopped)))
		}
		if c.Did != nil {
			lines = append(lines, fmt.Sprintf("      it last acted %s, %s", w.moment(c.Acted), w.before(c.Acted)))
		}
		if len(c.Now) == 0 && c.Stopped == nil && c.Did == nil {
			lines = append(lines, "      nothing has set it off")
		}
	}
	return lines
}

// stopped is what kept a rule from acting.
func (w words) stopped(d *Decision) string {
	text := d.Outcome + " when " + d.Trigger
	if d.Trigger == "" {
		text = d.Outcome
	}
	if d.Why != "" {
		text += ": " + d.Why
	}
	for _, c := range d.Checks {
		if !c.OK {
			text += fmt.Sprintf(": condition %s did not hold", c.Text)
			if c.Saw != "" {
				text += ", it saw " + short(c.Saw)
			}
		}
	}
	return text
}

// moment is local time as a person says it, near the moment asked about without the day.
func (w words) moment(t time.Time) string {
	t, at := t.In(w.zone), w.at.In(w.zone)
	clock := w.clock(t)
	switch day := t.Format(time.DateOnly); {
	case day == at.Format(time.DateOnly):
		return "at " + clock
	case day == at.AddDate(0, 0, -1).Format(time.DateOnly):
		return "the day before at " + clock
	case t.Year() == at.Year():
		return t.Format("on Mon, 2 Jan at ") + clock
	}
	return t.Format("on Mon, 2 Jan 2006 at ") + clock
}

// clock is the time of day.
func (w words) clock(t time.Time) string { return t.In(w.zone).Format("15:04:05") }

// before is how long a moment lies back.
func (w words) before(t time.Time) string {
	d := w.at.Sub(t)
	word := "before"
	if w.live {
		word = "ago"
	}
	switch {
	case d < time.Second:
		return "just then"
	case d < time.Minute:
		return fmt.Sprintf("%s %s", many(int(d/time.Second), "second"), word)
	case d < time.Hour:
		return fmt.Sprintf("%s %s", many(int(d/time.Minute), "minute"), word)
	case d < 48*time.Hour:
		return fmt.Sprintf("%s %s", many(int(d/time.Hour), "hour"), word)
	}
	return fmt.Sprintf("%s %s", many(int(d/(24*time.Hour)), "day"), word)
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func duration(milliseconds float64) time.Duration {
	return time.Duration(milliseconds * float64(time.Millisecond))
}

// span is a duration as the owner writes it, no finer than makes sense.
func span(d time.Duration) string {
	switch {
	case d >= time.Minute:
		d = d.Round(time.Second)
	case d >= time.Second:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Millisecond)
	}
	return config.Duration(d).String()
}

// short is the beginning of a long text.
func short(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
