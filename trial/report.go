package trial

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// How much of a story a difference shows.
const (
	around  = 3 // lines before and after each that is wrong
	reasons = 3 // decisions for each that is missing
)

// A row is a line of a difference.
type row struct {
	at    time.Duration
	mark  byte // ' ' as expected, '-' missing, '+' not expected, '!' forbidden
	text  string
	notes []string
}

// Reason is why the test failed, in one line; "" if it did not.
func (v *Verdict) Reason() string {
	if v.Story.Trouble != "" {
		return v.Story.Trouble
	}
	var wrong []string
	for _, r := range v.rows(false) {
		switch r.mark {
		case '-':
			wrong = append(wrong, fmt.Sprintf("missing: %s at %s", r.text, stamp(r.at)))
		case '+':
			wrong = append(wrong, fmt.Sprintf("not expected: %s at %s", r.text, stamp(r.at)))
		case '!':
			wrong = append(wrong, fmt.Sprintf("forbidden: %s at %s", r.text, stamp(r.at)))
		}
	}
	if len(wrong) > 1 {
		return fmt.Sprintf("%s (and %d more)", wrong[0], len(wrong)-1)
	}
	return strings.Join(wrong, "")
}

// Diff tells what differs and why, a line each, in the order of time.
func (v *Verdict) Diff() string {
	if v.OK() {
		return ""
	}
	var b strings.Builder
	if v.Story.Trouble != "" {
		fmt.Fprintf(&b, "    %s\n", v.Story.Trouble)
	}
	rows := v.rows(true)
	show := make([]bool, len(rows))
	for i, r := range rows {
		if r.mark != ' ' {
			for j := max(0, i-around); j <= min(len(rows)-1, i+around); j++ {
				show[j] = true
			}
		}
	}
	hidden := 0
	for i, r := range rows {
		if !show[i] {
			hidden++
			continue
		}
		if hidden > 0 {
			fmt.Fprintf(&b, "      %-9s %d as expected\n", "...", hidden)
			hidden = 0
		}
		fmt.Fprintf(&b, "    %c %-9s %s\n", r.mark, stamp(r.at), r.text)
		for _, n := range r.notes {
			fmt.Fprintf(&b, "                %s\n", n)
		}
	}
	if hidden > 0 {
		fmt.Fprintf(&b, "      %-9s %d as expected\n", "...", hidden)
	}
	return b.String()
}

// rows is what was expected and what came. With why each that is wrong says the
// reason, which may take a while.
func (v *Verdict) rows(why bool) []row {
	var rows []row
	for j, e := range v.Story.Events {
		r := row{at: e.At, mark: ' ', text: e.String()}
		switch forbidden, isForbidden := v.broken[j]; {
		case isForbidden:
			r.mark = '!'
			r.notes = append(r.notes, fmt.Sprintf("forbidden: %s", v.Test.Forbid[forbidden[0]]))
		case v.as[j] >= 0:
		case v.spare[j]:
			continue
		default:
			r.mark = '+'
			r.notes = append(r.notes, "not expected")
		}
		if r.mark != ' ' {
			r.notes = append(r.notes, e.reason()...)
		}
		rows = append(rows, r)
	}
	for _, i := range v.missing() {
		e := v.Test.Expect[i]
		from, _ := e.window()
		r := row{at: from, mark: '-', text: e.what(), notes: []string{"expected " + e.when() + ", and did not come"}}
		if why {
			r.notes = append(r.notes, v.whyMissing(e)...)
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	return rows
}

// reason is what led to an event.
func (e *Event) reason() (lines []string) {
	if e.why != "" {
		lines = append(lines, "because: "+e.why)
	}
	if e.decision != nil {
		lines = append(lines, "because: "+e.decision.String())
	}
	return lines
}

// whyMissing is what may explain that something did not come: the same thing at
// another time or with another content, then what the rules that could have done
// it decided near then, or what they wait for.
func (v *Verdict) whyMissing(e Expect) (lines []string) {
	from, to := e.window()
	for j, got := range v.Story.Events {
		if v.as[j] >= 0 || !e.about(got) {
			continue
		}
		switch {
		case !e.is(got) && e.in(got):
			lines = append(lines, "instead came "+got.String())
		case e.is(got) && got.At > to:
			if e.At != nil {
				to = from // the tolerance is no more part of what was meant
			}
			lines = append(lines, fmt.Sprintf("it came at %s, %s too late", stamp(got.At), stamp(got.At-to)))
		case e.is(got) && got.At < from:
			lines = append(lines, fmt.Sprintf("it came at %s, %s too early", stamp(got.At), stamp(from-got.At)))
		}
		if len(lines) == reasons {
			break
		}
	}
	names := senders(v.House, e)
	if len(names) == 0 {
		line := "no link, rule or machine names it as a target"
		if near, ok := config.Nearest(e.Topic, v.topics()); ok {
			line += fmt.Sprintf("; did you mean %q?", near)
		} else if names := announced(v.House); len(names) > 0 && e.Topic != "" {
			line += fmt.Sprintf(`; what a device that announces itself is told is expected by its name: device = "%s", value = true`, names[0])
		}
		return append(lines, line)
	}
	from, to = e.window()
	for _, name := range names {
		lines = append(lines, v.whyNot(name, from, to)...)
	}
	return lines
}

// topics are all on which something was sent.
func (v *Verdict) topics() (list []string) {
	for _, e := range v.Story.Events {
		list = append(list, e.Topic)
	}
	return list
}

// whyNot is what a rule decided last before a window was over, oldest first. If
// that says nothing about the window itself it is followed by where the rule
// stood at its end.
func (v *Verdict) whyNot(name string, from, to time.Duration) (lines []string) {
	last := time.Duration(-1)
	for _, s := range v.Story.steps {
		if s.at > to {
			break
		}
		if d := s.decision; d != nil && (d.Rule == name || strings.HasPrefix(d.Rule, name+"[") || strings.HasPrefix(d.Rule, name+".")) {
			lines, last = append(lines, fmt.Sprintf("%s %s", stamp(s.at), d)), s.at
		}
	}
	lines = lines[max(0, len(lines)-reasons):]
	if last >= from {
		return lines
	}
	at := min(to, v.Test.end())
	p := begun(v.House, v.Test)
	p.run(at)
	if p.up && p.story.Trouble == "" {
		p.at = at
		for _, why := range whyNot(p.engine, name, p.now()) {
			lines = append(lines, stamp(at)+" "+why)
		}
	}
	if len(lines) == 0 {
		return []string{"nothing had concerned " + name + " by then"}
	}
	return lines
}

// Timeline is the whole story, a line each: what was sent (>), what was decided (.)
// and what the house did (<).
func (s Story) Timeline() string {
	var b strings.Builder
	for _, s := range s.steps {
		mark, text := '>', s.sent
		switch {
		case s.decision != nil:
			mark, text = '.', s.decision.String()
		case s.event != nil:
			mark, text = '<', s.event.String()
		}
		fmt.Fprintf(&b, "    %-9s %c %s\n", stamp(s.at), mark, text)
	}
	return b.String()
}

// stamp is an offset as the owner would write it.
func stamp(d time.Duration) string { return config.Duration(d).String() }

// String is a thing sent to the house, in words.
func (s Send) String() string {
	switch {
	case s.Topic != "":
		return message(s.Topic, string(s.payload()), s.Retain)
	case s.Input != "":
		return fmt.Sprintf("input %s %s", s.Input, onOff(s.To != nil && bool(*s.To)))
	case s.Turn != "":
		return fmt.Sprintf("knob %s is turned by %d", s.Turn, s.By)
	case s.Sensor != "" && s.Value == nil:
		return fmt.Sprintf("sensor %s is unavailable", s.Sensor)
	case s.Sensor != "":
		return fmt.Sprintf("sensor %s %v", s.Sensor, s.Value)
	case s.Device != "":
		return fmt.Sprintf("device %s %v", s.Device, s.Value)
	case s.Webhook != "":
		return strings.TrimSpace("POST " + s.Webhook + " " + s.Body)
	case s.Restart > 0:
		return fmt.Sprintf("the hub stops for %v", s.Restart)
	case s.HTTP != "" && s.Status == 0:
		return fmt.Sprintf("the next request to %s finds no connection", s.HTTP)
	case s.HTTP != "":
		return fmt.Sprintf("the next request to %s is answered %d", s.HTTP, s.Status)
	}
	return "the clock is " + s.Clock
}

// String is what the house did, in words.
func (e *Event) String() string {
	var text string
	switch {
	case e.secret && e.HTTP != nil:
		text = cmp.Or(e.HTTP.Method, "GET") + " ***"
	case e.Device != "" && e.secret:
		text = fmt.Sprintf("device %s ***", e.Device)
	case e.Device != "":
		text = fmt.Sprintf("device %s %v", e.Device, Value{e.Value})
	case e.secret:
		text = message(e.Topic, "***", e.Retain)
	case e.HTTP != nil:
		text = strings.TrimSpace(fmt.Sprintf("%s %s %s", cmp.Or(e.HTTP.Method, "GET"), e.HTTP.URL, e.HTTP.Body))
	case e.Topic != "":
		text = message(e.Topic, e.Payload, e.Retain)
	}
	if e.Output != "" && e.Changed {
		output := fmt.Sprintf("output %s %s", e.Output, onOff(e.On))
		if text != "" {
			output += ": " + text
		}
		return output
	}
	return text
}

func message(topic, payload string, retain bool) string {
	if retain {
		payload += " (retained)"
	}
	return strings.TrimSpace(topic + " " + payload)
}

func onOff(on bool) string { return strings.ToLower(devices.Text(on)) }

// what is the thing that is expected, in words.
func (e Expect) what() string {
	switch {
	case e.Topic != "":
		payload := "anything"
		if e.Payload != nil {
			payload = string(*e.Payload)
		}
		if e.Retain != nil && !*e.Retain {
			payload += " (not retained)"
		}
		return message(e.Topic, payload, e.Retain != nil && *e.Retain)
	case e.Output != "" && e.To == nil:
		return fmt.Sprintf("output %s on or off", e.Output)
	case e.Output != "":
		return fmt.Sprintf("output %s %s", e.Output, onOff(bool(*e.To)))
	case e.Device != "" && e.Value == nil:
		return fmt.Sprintf("device %s is told something", e.Device)
	case e.Device != "":
		return fmt.Sprintf("device %s %v", e.Device, e.Value)
	case e.HTTP != "":
		return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", e.Method, e.HTTP, e.Body)), " ")
	}
	return fmt.Sprintf("notify %q", e.Notify)
}

// when is its time, in words.
func (e Expect) when() string {
	switch {
	case e.At != nil:
		return "at " + e.At.String()
	case len(e.Between) == 2:
		return fmt.Sprintf("between %v and %v", e.Between[0], e.Between[1])
	}
	return "at any time"
}

func (e Expect) String() string { return e.what() + " " + e.when() }
