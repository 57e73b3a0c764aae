package catalog

import (
	"testing"
	"time"
)

// A Shelly of the first generation says "stop" when its shutter is down, and where that is in
// another message, before it or after it. It is closed all the same, and is never said to be
// open on its way there.
func TestAShutterThatOnlySaysThatItStopped(t *testing.T) {
	h := newHome(t, nil)
	const on = "shellies/shellyswitch25-AA11BB/"
	h.hears("shellies/announce", `{"id":"shellyswitch25-AA11BB","model":"SHSW-25","mac":"E868E7AA11BB","mode":"roller","fw_ver":"x"}`, false)
	hears := func(about, payload string) (cover []any) {
		h.t.Helper()
		h.pass(time.Second)
		for _, c := range h.hears(on+about, payload, false) {
			if c.Property == "cover" {
				cover = append(cover, c.Value)
			}
		}
		return cover
	}
	story := []struct {
		about, payload string
		want           any // of the cover; nil: nothing is said of it
	}{
		{"roller/0", "stop", "stopped"}, // and nobody knows where
		{"roller/0/pos", "100", "open"},
		{"roller/0", "stop", "open"}, // as it says every half minute
		{"roller/0", "close", "closing"},
		{"roller/0", "stop", "stopped"}, // 100 % is where it was
		{"roller/0/pos", "0", "closed"},
		{"roller/0", "stop", "closed"},
		{"roller/0/pos", "0", nil},
		{"roller/0", "open", "opening"},
		{"roller/0/pos", "40", nil},
		{"roller/0", "stop", "open"},
		{"roller/0/pos", "0", "closed"}, // what moved it was not said
		{"roller/0/pos", "-1", nil},
		{"roller/0", "stop", "stopped"}, // it is not calibrated any more
	}
	for i, s := range story {
		got := hears(s.about, s.payload)
		if len(got) != 1 && s.want != nil || s.want == nil && len(got) > 0 || s.want != nil && got[0] != s.want {
			t.Errorf("%d: %s %s: %v, want %v", i, s.about, s.payload, got, s.want)
		}
	}
	// What it was told while it is so already, it has obeyed.
	hears("roller/0/pos", "0")
	h.tell("shellyswitch25_aa11bb", "", "close")
	h.want(h.watch(time.Minute))
}
