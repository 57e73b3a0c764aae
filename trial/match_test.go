package trial

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func at(d time.Duration) *Offset     { return (*Offset)(&d) }
func payloadOf(text string) *Payload { return (*Payload)(&text) }
func to(on bool) *Level              { return (*Level)(&on) }

func sent(d time.Duration, topic, payload string) *Event {
	return &Event{At: d, Topic: topic, Payload: payload}
}

func expected(d time.Duration, topic, payload string) Expect {
	return Expect{At: at(d), Topic: topic, Payload: payloadOf(payload)}
}

// What came is compared with what was expected: which expectations nothing was,
// which events nobody expected, which are forbidden.
func TestStrictness(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	between := func(from, to time.Duration, topic string) Expect {
		return Expect{Between: []Offset{Offset(from), Offset(to)}, Topic: topic}
	}
	retained := true
	for _, c := range []struct {
		name   string
		test   Test
		events []*Event

		missing, extra, forbidden []int
	}{
		{"on time", Test{Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(s, "a", "ON")}, nil, nil, nil},
		{"200 ms late", Test{Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(1200*ms, "a", "ON")}, nil, nil, nil},
		{"201 ms late", Test{Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(1201*ms, "a", "ON")}, []int{0}, []int{0}, nil},
		{"early", Test{Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(999*ms, "a", "ON")}, []int{0}, []int{0}, nil},
		{"another payload", Test{Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(s, "a", "OFF")}, []int{0}, []int{0}, nil},
		{"a window is closed", Test{Expect: []Expect{between(s, 2*s, "a"), between(s, 2*s, "b")}}, []*Event{sent(s, "a", ""), sent(2*s, "b", "")}, nil, nil, nil},
		{"equal times in any order", Test{Expect: []Expect{expected(s, "a", "1"), expected(s, "b", "2")}}, []*Event{sent(s, "b", "2"), sent(s, "a", "1")}, nil, nil, nil},
		{"each event counts once", Test{Expect: []Expect{expected(s, "a", "ON"), expected(s, "a", "ON")}}, []*Event{sent(s, "a", "ON")}, []int{1}, nil, nil},
		{"windows that overlap find a way", Test{Expect: []Expect{between(0, 9*s, "a"), between(0, 2*s, "a")}}, []*Event{sent(s, "a", ""), sent(5*s, "a", "")}, nil, nil, nil},
		{"nothing is expected", Test{}, []*Event{sent(s, "a", "ON")}, nil, []int{0}, nil},
		{"ignored", Test{Ignore: []string{"a/#"}}, []*Event{sent(s, "a/b", "ON"), sent(s, "b", "ON")}, nil, []int{1}, nil},
		{"ignored but expected", Test{Ignore: []string{"a/#"}, Expect: []Expect{expected(s, "a/b", "ON")}}, []*Event{sent(0, "a/b", "ON"), sent(s, "a/b", "ON")}, nil, nil, nil},
		{"a repeat", Test{Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(s, "a", "ON"), sent(2*s, "a", "ON")}, nil, []int{1}, nil},
		{"a repeat is tolerated", Test{Repeats: true, Expect: []Expect{expected(s, "a", "ON")}}, []*Event{sent(s, "a", "ON"), sent(2*s, "b", "ON"), sent(3*s, "a", "ON")}, nil, []int{1}, nil},
		{"no repeat after another payload", Test{Repeats: true, Expect: []Expect{expected(s, "a", "ON"), expected(2*s, "a", "OFF")}}, []*Event{sent(s, "a", "ON"), sent(2*s, "a", "OFF"), sent(3*s, "a", "ON")}, nil, []int{2}, nil},
		{"a repeat may be what is expected", Test{Repeats: true, Expect: []Expect{expected(s, "a", "ON"), expected(3*s, "a", "ON")}}, []*Event{sent(s, "a", "ON"), sent(2*s, "a", "ON"), sent(3*s, "a", "ON")}, nil, nil, nil},
		{"an output that changes", Test{Expect: []Expect{{At: at(s), Output: "x", To: to(true)}}}, []*Event{{At: s, Output: "x", On: true, Changed: true}}, nil, nil, nil},
		{"to another level", Test{Expect: []Expect{{At: at(s), Output: "x", To: to(true)}}}, []*Event{{At: s, Output: "x", Changed: true}}, []int{0}, []int{0}, nil},
		{"either way", Test{Expect: []Expect{{At: at(s), Output: "x"}}}, []*Event{{At: s, Output: "x", Changed: true}}, nil, nil, nil},
		{"an output on a topic is one event", Test{Expect: []Expect{{At: at(s), Output: "x", To: to(true)}}}, []*Event{{At: s, Output: "x", On: true, Changed: true, Topic: "t", Payload: "ON"}}, nil, nil, nil},
		{"or the message", Test{Expect: []Expect{expected(s, "t", "ON")}}, []*Event{{At: s, Output: "x", On: true, Changed: true, Topic: "t", Payload: "ON"}}, nil, nil, nil},
		{"a notification is one event", Test{Expect: []Expect{{At: at(s), Notify: "hi"}}}, []*Event{{At: s, Topic: "notify/phone", Payload: "hi", Notify: "hi"}}, nil, nil, nil},
		{"not retained", Test{Expect: []Expect{{At: at(s), Topic: "a", Retain: &retained}}}, []*Event{sent(s, "a", "ON")}, []int{0}, []int{0}, nil},
		{"the hub's own topics", Test{Expect: []Expect{expected(s, "hearth/x/state", "ON")}}, []*Event{{At: 0, Topic: "hearth/x/state", Payload: "OFF", Free: true}, {At: s, Topic: "hearth/x/state", Payload: "ON", Free: true}}, nil, nil, nil},
		{"forbidden", Test{Expect: []Expect{expected(s, "a", "ON")}, Forbid: []Expect{between(s, 2*s, "a")}}, []*Event{sent(s, "a", "ON")}, nil, nil, []int{0}},
		{"forbidden at another time", Test{Expect: []Expect{expected(s, "a", "ON")}, Forbid: []Expect{between(1500*ms, 2*s, "a")}}, []*Event{sent(s, "a", "ON")}, nil, nil, nil},
		{"forbidden always", Test{Ignore: []string{"a"}, Forbid: []Expect{{Topic: "a", Payload: payloadOf("OFF")}}}, []*Event{sent(s, "a", "ON"), sent(5*s, "a", "OFF")}, nil, nil, []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &Verdict{Test: c.test, Story: Story{Events: c.events}}
			v.judge()
			var forbidden []int
			for j := range c.events {
				if len(v.broken[j]) > 0 {
					forbidden = append(forbidden, j)
				}
			}
			if !slices.Equal(v.missing(), c.missing) || !slices.Equal(v.extra(), c.extra) || !slices.Equal(forbidden, c.forbidden) {
				t.Errorf("missing %v, extra %v, forbidden %v; want %v, %v, %v", v.missing(), v.extra(), forbidden, c.missing, c.extra, c.forbidden)
			}
			if ok := len(c.missing)+len(c.extra)+len(c.forbidden) == 0; v.OK() != ok || (v.Reason() == "") != ok {
				t.Errorf("OK is %v and the reason %q", v.OK(), v.Reason())
			}
		})
	}
}

func TestEqualPayloads(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"ON", "ON", true},
		{"ON", "on", false},
		{"22.0", "22", true},
		{"22.0000005", "22", true},
		{"22.00001", "22", false},
		{`{"a":1,"b":[true,null,"x"]}`, ` {"b":[true,null,"x"], "a":1.0}`, true},
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":1}`, `{"b":1}`, false},
		{`[1,2]`, `[2,1]`, false},
		{`"1"`, `1`, false},
		{`1`, `true`, false},
		{`{}`, `[]`, false},
		{`null`, `{}`, false},
		{"", "null", false},
	} {
		if Equal(c.a, c.b) != c.same || Equal(c.b, c.a) != c.same {
			t.Errorf("Equal(%s, %s) is not %v", c.a, c.b, c.same)
		}
	}
}

// Of the times in a recipe every form that may stand there is read, and nothing
// else.
func TestRecipeTimes(t *testing.T) {
	for text, want := range map[string]string{
		"00:00:00":        "0s",
		"00:00:00.05":     "50ms",
		"01:02:03.004":    "1h2m3.004s",
		"49:04:00":        "49h4m0s",
		"-00:00:01":       "-1s",
		"00:60:00":        "",
		"00:00":           "",
		"1":               "",
		"00:00:-1":        "",
		"00:00:00.1.2":    "",
		"99999999:00:00":  "",
		"00:00:00.000001": "1µs",
	} {
		var o offset
		err := o.UnmarshalText([]byte(text))
		if got := fmt.Sprint(time.Duration(o)); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
}
