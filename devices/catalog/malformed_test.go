package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/devices"
)

// storyMessages are those of a story.
func storyMessages(t testing.TB, file string) (all []devices.Message) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if more, ok := strings.CutPrefix(line, "\t"); ok && len(all) > 0 {
			m := &all[len(all)-1]
			m.Payload = append(append(m.Payload, '\n'), more...)
			continue
		}
		op, rest, _ := strings.Cut(line, " ")
		topic, payload, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if op == "<" || op == "<r" {
			all = append(all, devices.Message{Topic: topic, Payload: []byte(payload), Retain: op == "<r", Initial: op == "<r"})
		}
	}
	return all
}

// broken are payloads that are no JSON any more.
func broken(payload []byte) (all [][]byte) {
	n := len(payload)
	number := bytes.IndexAny(payload, "0123456789")
	all = [][]byte{
		payload[:n/3], payload[:n/2], payload[:n-1],
		append([]byte{0}, payload...), append(bytes.Clone(payload), 0), append([]byte("\xff\xfe"), payload...), append([]byte("\xef\xbb\xbf"), payload...),
		append(bytes.Clone(payload), '}'), append([]byte(`{"x":`), payload...), append(bytes.Clone(payload), payload...),
		[]byte(strings.Repeat("[", 20_000)), []byte(strings.Repeat(`{"a":`, 20_000)),
		bytes.ReplaceAll(payload, []byte(`"`), []byte(`'`)), bytes.ReplaceAll(payload, []byte(`":`), []byte(`"=`)), bytes.ReplaceAll(payload, []byte(`"`), []byte("\"\x01")),
	}
	if number > 0 && payload[number-1] == ':' {
		all = append(all, slices.Concat(payload[:number], []byte("NaN,"), payload[number:]))
	}
	return slices.DeleteFunc(all, func(b []byte) bool { return bytes.Equal(b, payload) }) // which has no quotes to break
}

// odd are payloads that are JSON, most of them, and not what a device would send: some of
// their values are another, one after the other.
func odd(payload []byte) (all [][]byte) {
	var d devices.Document
	if d.Scan(payload, devices.AllValues) != nil {
		return nil
	}
	var within func(n devices.Node) [][]byte
	within = func(n devices.Node) (values [][]byte) {
		for _, v := range n.All() {
			values = append(append(values, v.Text()), within(v)...)
		}
		return values
	}
	values := within(d.Root())
	for i, other := range []string{"1e999", "-1e308", "null", "{}", "[]", `"\u0000"`, "\"\xff\xfe\"", `"` + strings.Repeat("x", 70_000) + `"`, "true", "18446744073709551616",
		`"{{ value_json"`, `"{% if %}"`, `"a/#/+"`, `{"a":[{"a":[{"a":[7]}]}]}`} {
		for k := range min(5, len(values)) {
			v := values[(k*len(values)/5+i)%len(values)]
			at := cap(payload) - cap(v) // where it stands
			all = append(all, slices.Concat(payload[:at], []byte(other), payload[at+len(v):]))
		}
	}
	for _, whole := range []string{"7", `"text"`, "null", "true", "{}", "[[]]", "\x00", "\xff", " ", "1e999"} {
		all = append(all, []byte(whole))
	}
	return append(all, slices.Concat([]byte("["), payload, []byte("]")),
		bytes.Replace(payload, []byte("{"), []byte(`{"":1,"":2,`), 1), // names that are there twice
		bytes.ReplaceAll(payload, []byte(","), []byte(" ,\n\t ")))
}

// What is malformed costs nothing but itself, is counted, and named with its topic. What is
// only odd costs no more, and is made good by the next message that is right.
func TestMalformed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	brokenOnes, oddOnes := 0, 0
	for _, file := range files {
		messages := storyMessages(t, file)
		h := newHome(t, nil)
		hear := func(m devices.Message) {
			h.Apply(h.Index().Read(m), m, h.now)
			h.Take(m)
			for h.Rest() {
			}
			h.Settle(h.now.Wall)
		}
		times := func(topic string) int {
			faults, _ := h.Faults()
			for _, f := range faults {
				if f.Topic == topic {
					return f.Times
				}
			}
			return 0
		}
		ids := func() []string { return slices.Sorted(maps.Keys(h.states)) }
		announces := make(map[string]bool)
		last := make(map[string]devices.Message)
		var topics []string
		for _, m := range messages {
			before := fmt.Sprint(ids())
			hear(m)
			if fmt.Sprint(ids()) != before && len(m.Payload) > 0 {
				announces[m.Topic] = true
			}
			if _, ok := last[m.Topic]; !ok {
				topics = append(topics, m.Topic)
			}
			last[m.Topic] = m
		}
		for _, topic := range topics {
			m := last[topic]
			if len(m.Payload) == 0 || m.Payload[0] != '{' && m.Payload[0] != '[' || !json.Valid(m.Payload) {
				continue
			}
			if len(h.Index().Read(m)) == 0 && !announces[topic] {
				continue // nobody listens
			}
			if hear(m); times(topic) > 0 || len(m.Payload) < 3 {
				continue // it is wrong in the story, or nothing
			}
			hear(devices.Message{Topic: topic, Payload: []byte("text"), Initial: m.Initial})
			seen := times(topic)
			if seen == 0 {
				continue // which may be text as well
			}
			hear(m)
			there := ids()
			for _, payload := range broken(m.Payload) {
				brokenOnes++
				seen++
				hear(devices.Message{Topic: topic, Payload: payload, Initial: m.Initial})
				if n := times(topic); n != seen {
					t.Errorf("%s: %s %.200q: counted %d times, want %d", file, topic, payload, n, seen)
					seen = n
				}
				if now := ids(); !slices.Equal(now, there) {
					t.Fatalf("%s: %s %.200q: %q, want %q", file, topic, payload, now, there)
				}
			}
			hear(m)
			if n := times(topic); n != 0 {
				t.Errorf("%s: %s: the right message does not mend it: %+v", file, topic, h.catalog.faults.topics[topic])
			}
			for _, payload := range odd(m.Payload) {
				oddOnes++
				hear(devices.Message{Topic: topic, Payload: payload, Initial: m.Initial})
				if faults, _ := h.Faults(); len(faults) > maxFaults {
					t.Fatalf("%d faults", len(faults))
				}
			}
			hear(m)
			for _, id := range there {
				if h.states[id] == nil {
					t.Errorf("%s: %s: %s is lost for ever", file, topic, id)
				}
			}
		}
	}
	t.Logf("%d broken payloads, each counted; %d odd ones", brokenOnes, oddOnes)
	if brokenOnes < 1000 || oddOnes < 1000 {
		t.Errorf("%d broken payloads and %d odd ones", brokenOnes, oddOnes)
	}
}

// All devices together have no more properties than there is room for. When some go there is
// room for others.
func TestThereIsRoomForSoManyProperties(t *testing.T) {
	c := New()
	say := func(topic, payload string) {
		c.Take(devices.Message{Topic: topic, Payload: []byte(payload)})
		for c.Waits("") {
			c.Rest()
		}
	}
	list := func(base string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,{"ieee_address":"0x%s%03d","type":"Router","friendly_name":"d%d","definition":{"vendor":"x","model":"y","exposes":[`, base, i, i)
			for p := range 150 {
				fmt.Fprintf(&b, `%.*s{"type":"numeric","property":"p%d","access":1}`, min(p, 1), ",", p)
			}
			b.WriteString("]}}")
		}
		return "[" + b.String()[1:] + "]"
	}
	count := func() (n int) {
		for _, d := range c.Devices() {
			n += len(d.Properties)
		}
		return n
	}
	for _, base := range []string{"a", "b", "c", "d"} {
		say(base+"/bridge/devices", list(base, 40))
	}
	if n := count(); n > MaxAll || n < MaxAll-200 {
		t.Errorf("they have %d properties, want at most %d", n, MaxAll)
	}
	if faults, _ := c.Faults(); len(faults) == 0 || !strings.Contains(faults[len(faults)-1].Why, "all devices together") {
		t.Errorf("%+v", faults)
	}
	for _, base := range []string{"a", "b", "c"} {
		say(base+"/bridge/devices", "[]")
	}
	say("e/bridge/devices", list("e", 10))
	if n := count(); n < 1500 {
		t.Errorf("of %d properties none has room", n)
	}
}
