package gpio

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"

	"pgregory.net/rapid"
)

// pressed is what a button with these keys tells of levels that change at these
// milliseconds, the first being a press. Deadlines are served when they are due.
func pressed(t *testing.T, keys string, changes ...int) string {
	t.Helper()
	p := NewPresses(configured(t, "[input.button]\npin = \"GPIO1\"\n"+keys))
	var told []string
	note := func(made []Press) {
		for _, m := range made {
			told = append(told, fmt.Sprintf("%d %s", m.At.Milliseconds(), m.Kind))
		}
	}
	until := func(end time.Duration) {
		for at, ok := p.Next(); ok && at < end; at, ok = p.Next() {
			note(p.Advance(at))
		}
	}
	for i, ms := range changes {
		at := time.Duration(ms) * time.Millisecond
		until(at)
		note(p.Level("button", i%2 == 0, at))
	}
	until(time.Hour)
	return strings.Join(told, ", ")
}

func TestPresses(t *testing.T) {
	const all = "double = \"500ms\"\nhold = \"2s\""
	for _, tt := range []struct {
		name, keys string
		changes    []int
		want       string
	}{
		{"three gestures", all, []int{0, 100, 5000, 5100, 5300, 5400, 10000, 13000, 15000, 15100}, "600 single, 5300 double, 12000 hold, 15600 single"},
		{"the second press comes at the last moment", all, []int{0, 100, 600, 700}, "600 double"},
		{"the second press comes too late", all, []int{0, 100, 601, 700}, "600 single, 1200 single"},
		{"the second press is held", all, []int{0, 100, 300, 9000}, "300 double"},
		{"the first press is long, but no hold", all, []int{0, 1999, 2100, 2200}, "2100 double"},
		{"a press soon after a hold is a new gesture", all, []int{0, 3000, 3100, 3200}, "2000 hold, 3700 single"},
		{"four quick presses are two doubles", all, []int{0, 100, 200, 300, 400, 500, 600, 700}, "200 double, 600 double"},
		{"a third press begins anew", all, []int{0, 100, 200, 300, 400, 500}, "200 double, 1000 single"},
		{"pressed and never released", all, []int{0}, "2000 hold"},

		{"only hold: single is at the release", "hold = \"1s\"", []int{0, 100, 200, 300, 5000, 7000}, "100 single, 300 single, 6000 hold"},
		{"only double: a long press is a press", "double = \"300ms\"", []int{0, 9000}, "9300 single"},

		{"up to three: double has to wait", all + "\npresses = 3", []int{0, 100, 200, 300, 2000, 2100, 2200, 2300, 2400, 2500}, "800 double, 2400 triple"},
		{"a later press that is held is a press", all + "\npresses = 3", []int{0, 100, 200, 4000}, "4500 double"},
		{"five", "double = \"300ms\"\npresses = 5", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, "8 quintuple"},
		{"four of five", "double = \"300ms\"\npresses = 5", []int{0, 1, 2, 3, 4, 5, 6, 7}, "307 quadruple"},
		{"neither key: no gestures", "debounce = \"50ms\"", []int{0, 100}, ""},
	} {
		if got := pressed(t, tt.keys, tt.changes...); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWhatIsFoundIsNoPress(t *testing.T) {
	p := NewPresses(configured(t, "[input.button]\npin = \"GPIO1\"\nhold = \"1s\""))
	p.Found("button", true)
	if _, ok := p.Next(); ok {
		t.Error("a button that is found pressed becomes a hold")
	}
	if made := p.Level("button", false, time.Second); made != nil {
		t.Errorf("its release is %v", made)
	}
	if made := p.Level("button", false, time.Second); made != nil {
		t.Errorf("and again: %v", made)
	}
	p.Level("button", true, 2*time.Second)
	if made := p.Level("button", false, 2*time.Second+1); len(made) != 1 || made[0].Kind != "single" {
		t.Errorf("the next press is %v", made)
	}
}

func TestGesturesOfAnInput(t *testing.T) {
	for _, tt := range []struct{ keys, want string }{
		{"", "[]"},
		{"hold = \"1s\"", "[single hold]"},
		{"double = \"1s\"", "[single double]"},
		{"double = \"1s\"\nhold = \"1s\"\npresses = 4", "[single double triple quadruple hold]"},
	} {
		cfg := configured(t, "[input.button]\npin = \"GPIO1\"\n"+tt.keys)
		if got := fmt.Sprint(cfg.Input[0].Value.Gestures()); got != tt.want {
			t.Errorf("%q gives %s, want %s", tt.keys, got, tt.want)
		}
	}
}

// However late it is asked, a button tells the same gestures of the same levels,
// and it never tells more gestures than there were presses.
func TestPressesDoNotDependOnWhenTheyAreAsked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := func(label string, most int) time.Duration {
			return time.Duration(rapid.IntRange(1, most).Draw(t, label)) * time.Millisecond
		}
		in := Input{Pin: "GPIO1", Presses: rapid.IntRange(2, 5).Draw(t, "presses")}
		if rapid.Bool().Draw(t, "doubles") {
			in.Double = config.Duration(ms("double", 300))
		}
		if in.Double == 0 || rapid.Bool().Draw(t, "holds") {
			in.Hold = config.Duration(ms("hold", 600))
		}
		cfg := Config{Input: config.Table[Input]{{Name: "button", Value: in}}}
		prompt, lazy := NewPresses(cfg), NewPresses(cfg)
		var first, second []Press
		var now time.Duration
		on := false
		presses := 0
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			next := now + ms("later", 500)
			for at, ok := prompt.Next(); ok && at < next; at, ok = prompt.Next() {
				first = append(first, prompt.Advance(at)...)
			}
			now, on = next, !on
			first = append(first, prompt.Level("button", on, now)...)
			second = append(second, lazy.Level("button", on, now)...)
			if on {
				presses++
			}
		}
		first = append(first, prompt.Advance(now+time.Hour)...)
		second = append(second, lazy.Advance(now+time.Hour)...)
		if !slices.Equal(first, second) {
			t.Fatalf("asked in time %v, asked late %v", first, second)
		}
		if len(first) > presses || !slices.IsSortedFunc(first, func(a, b Press) int { return int(a.At - b.At) }) {
			t.Fatalf("%d presses make %v", presses, first)
		}
	})
}
