package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Ten people ring in the same millisecond, at a bell that takes three seconds.
func TestTenTriggersInOneMillisecond(t *testing.T) {
	tests := []struct {
		mode string
		want string // what was sent, and when
	}{
		{`mode = "single"`, "0s begin 0|3s end 0"},
		{``, "0s begin 0|3s end 0"}, // single is the default
		{`mode = "restart"`, "0s begin 0|0s begin 1|0s begin 2|0s begin 3|0s begin 4|0s begin 5|0s begin 6|0s begin 7|0s begin 8|0s begin 9|3s end 9"},
		{`mode = "queued"`, "0s begin 0|3s end 0|3s begin 1|6s end 1|6s begin 2|9s end 2|9s begin 3|12s end 3|12s begin 4|15s end 4|15s begin 5|18s end 5|" +
			"18s begin 6|21s end 6|21s begin 7|24s end 7|24s begin 8|27s end 8|27s begin 9|30s end 9"},
		{`mode = "parallel"`, "0s begin 0|0s begin 1|0s begin 2|0s begin 3|0s begin 4|0s begin 5|0s begin 6|0s begin 7|0s begin 8|0s begin 9|" +
			"3s end 0|3s end 1|3s end 2|3s end 3|3s end 4|3s end 5|3s end 6|3s end 7|3s end 8|3s end 9"},
		{"mode = \"queued\"\nmax = 3", "0s begin 0|3s end 0|3s begin 1|6s end 1|6s begin 2|9s end 2"},
		{"mode = \"parallel\"\nmax = 3", "0s begin 0|0s begin 1|0s begin 2|3s end 0|3s end 1|3s end 2"},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.mode, "\n", " "), func(t *testing.T) {
			h := build(t, `
				[rule.bell]
				trigger = { event = "door/bell" }
				action = [{ publish = "x/begin", payload = "{value}" }, { delay = "3s" }, { publish = "x/end", payload = "{value}" }]
				`+test.mode)
			for i := range 10 {
				h.say("door/bell", fmt.Sprint(i), false)
			}
			h.pass(time.Minute)
			if got := strings.Join(h.sent, "|"); got != test.want {
				t.Errorf("sent\n%s\nwant\n%s", strings.ReplaceAll(got, "|", "\n"), strings.ReplaceAll(test.want, "|", "\n"))
			}
		})
	}
}

// What is dropped is told, with the reason.
func TestWhatAModeDropsIsTold(t *testing.T) {
	h := build(t, `
		[rule.bell]
		trigger = { event = "door/bell" }
		action = { pulse = "lamp", for = "3s" }
		mode = "queued"
		max = 2`)
	for range 3 {
		h.say("door/bell", "x", false)
	}
	h.want(`
		12:00:00 rule.bell fired: door/bell (now x) -> lamp ON
		12:00:00 rule.bell queued: door/bell (now x); 1 before it
		12:00:00 rule.bell ignored: door/bell (now x); 2 runs are going or wait, which is max`)
}

// Each {name} has a mode of its own: one that runs does not stand in the way of
// another.
func TestEachCaptureHasAModeOfItsOwn(t *testing.T) {
	h := build(t, `
		[rule.bell]
		trigger = { event = "door/{name}/bell" }
		action = [{ publish = "x/{name}", payload = "begin" }, { delay = "3s" }, { publish = "x/{name}", payload = "end" }]`)
	h.say("door/front/bell", "x", false)
	h.say("door/back/bell", "x", false)
	h.say("door/front/bell", "x", false)
	h.pass(time.Minute)
	if want := []string{"0s front begin", "0s back begin", "3s front end", "3s back end"}; !slices.Equal(h.sent, want) {
		t.Errorf("sent %q, want %q", h.sent, want)
	}
}
