package hub

import (
	"strings"
	"time"
	"unicode/utf8"

	"hearth/devices"
)

// What the hub says of itself, retained. None of these topics has three levels, as those of
// what is wired have.
const (
	status       = "hearth/status" // online; offline after an orderly end, and at another broker when there is no link
	version      = "hearth/version"
	startedAt    = "hearth/started" // RFC 3339; nothing while the clock is not known to be right
	clockIsKnown = "hearth/clock"   // ON or OFF: whether it is known to be right
	backedUp     = "hearth/backup"  // RFC 3339: when the newest backup by the clock was made; nothing if there are to be none
	problem      = "hearth/problem" // the first thing that is wrong, for a person; "none"
)

// complainEvery is how often one problem may follow another: some say for how long they have
// been, so they are another one each second.
const complainEvery = time.Minute

// problemLength is the most that Home Assistant takes as a state.
const problemLength = 255

// sayHealth publishes what is new of that.
func (h *Hub) sayHealth() {
	now := h.now()
	if h.opt.Version != "" {
		h.say(version, h.opt.Version)
	}
	h.say(clockIsKnown, devices.Text(now.Known))
	if now.Known && h.published[startedAt] == "" {
		h.say(startedAt, now.Wall.Add(h.began-now.Mono).Format(time.RFC3339))
	} else if !now.Known {
		h.say(startedAt, "") // the last life's
	}
	if h.cfg.Backup == nil {
		h.say(backedUp, "")
	} else if !h.backup.newest.IsZero() { // else nobody knows: the last life's stays
		h.say(backedUp, h.backup.newest.Format(time.RFC3339))
	}
	is, was := h.problem(), h.published[problem]
	if is == was || is != "none" && was != "none" && was != "" && now.Mono-h.complained < complainEvery {
		return
	}
	h.complained = now.Mono
	h.say(problem, is)
}

// problem is the first thing that is wrong: what concerns the whole house, then what is
// wired.
func (h *Hub) problem() string {
	var all []string
	if err := h.store.Trouble(); err != nil {
		all = append(all, "the disk refuses: "+err.Error())
	}
	if trouble := h.historyTrouble(); trouble != "" {
		all = append(all, trouble)
	}
	if h.reloadTrouble != "" {
		all = append(all, h.reloadTrouble)
	}
	if h.backup.wrong != "" && h.cfg.Backup != nil {
		all = append(all, "no backup was made: "+h.backup.wrong)
	}
	for _, i := range append(h.pins.Outputs(), h.pins.Inputs()...) {
		if i.Fault != "" {
			all = append(all, h.cfg.title(i.Name)+": "+i.Fault)
		}
	}
	for _, name := range h.cfg.Sensor.Names() {
		if why := h.sensors.Fault(name); why != "" {
			all = append(all, h.cfg.title(name)+": "+why)
		}
	}
	switch len(all) {
	case 0:
		return "none"
	case 1:
		return atMost(all[0], problemLength)
	}
	more := " (and " + devices.Text(float64(len(all)-1)) + " more)"
	return atMost(all[0], problemLength-len(more)) + more
}

// atMost cuts a text to so many bytes, between two characters.
func atMost(text string, n int) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "\uFFFD")
	if len(text) <= n {
		return text
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
