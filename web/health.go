package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hearth/doctor"
)

// Doctor tells how the house and its machine are doing.
type Doctor interface {
	Report(ctx context.Context) (doctor.Report, error)
}

// A checkup is a report with its figures in words.
type checkup struct {
	doctor.Report
	Figures []vital `json:"figures"`
}

// A vital is one number, as people read it.
type vital struct {
	Group string `json:"group"` // "machine", "hub", "broker"
	Key   string `json:"key"`
	Label string `json:"label"`
	Text  string `json:"text"`
	Bad   bool   `json:"bad,omitempty"`
}

// Of are the figures of a group.
func (c checkup) Of(group string) (some []vital) {
	for _, f := range c.Figures {
		if f.Group == group {
			some = append(some, f)
		}
	}
	return some
}

// checkup is told to those who may see the whole house.
func (s *Server) checkup(r *http.Request) (checkup, error) {
	if !visitorOf(r).rights.Whole(See) {
		return checkup{}, errSeeWhole
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	report, err := s.house.Report(ctx)
	if err != nil {
		return checkup{}, err
	}
	report.Findings = append([]doctor.Finding{}, report.Findings...) // as JSON it is [] where all is well
	for i, f := range report.Findings {
		report.Findings[i] = doctor.Finding{Level: doctor.Level(mended(string(f.Level), 20)), What: sentence(f.What), Do: sentence(f.Do)}
	}
	for _, list := range []*[]string{&report.Hub.Troubles, &report.Hub.Faults, &report.Hub.Held, &report.Hub.Readable, &report.Hub.HistoryDamaged, &report.Hub.Anonymous} {
		*list = each(*list, sentence)
	}
	report.Hub.Certificates = each(report.Hub.Certificates, func(c doctor.Certificate) doctor.Certificate {
		c.File = sentence(c.File)
		return c
	})
	w := s.wordsFor(r)
	for i, f := range report.Findings {
		report.Findings[i].What, report.Findings[i].Do = w.say(f.What), w.say(f.Do)
	}
	return checkup{report, w.figures(report)}, nil
}

// figures are what there is to know, as far as it is known.
func (w *words) figures(r doctor.Report) (all []vital) {
	m, h := r.Machine, r.Hub
	group := "machine"
	say := func(key, label, text string, bad bool) {
		if text != "" {
			all = append(all, vital{group, key, label, mended(text, mostName), bad})
		}
	}
	of := func(part, whole int64) string {
		if whole == 0 {
			return ""
		}
		return w.text("health.of", "part", w.bytes(part), "whole", w.bytes(whole))
	}
	yes := func(is bool) string {
		return map[bool]string{true: w.text("health.yes"), false: w.text("health.no")}[is]
	}
	say("model", w.text("health.model"), m.Model, false)
	if t := m.Temperature; t != nil {
		say("temperature", w.text("health.temperature"), w.number(float64(int(*t*10+0.5))/10, "°C"), *t >= 75)
	}
	if bits := m.Throttled; bits != nil {
		switch {
		case *bits&0xf != 0:
			say("power", w.text("health.power"), w.text("health.power_now"), true)
		case *bits != 0:
			say("power", w.text("health.power"), w.text("health.power_was"), true)
		default:
			say("power", w.text("health.power"), w.text("health.power_good"), false)
		}
	}
	say("memory", w.text("health.memory"), of(m.Available, m.Memory), m.Available < m.Memory/20)
	say("disk", w.text("health.disk"), of(m.DiskFree, m.DiskSize), m.ReadOnly || m.DiskFree < m.DiskSize/50)
	clock := w.text("health.clock_unknown")
	if h.ClockKnown {
		clock = w.text("health.clock_known")
	}
	if m.TimeSource != "" {
		clock += ", " + m.TimeSource
	}
	if m.Offset != nil {
		clock += fmt.Sprintf(" (%s)", w.number(*m.Offset*1000, "ms"))
	}
	say("clock", w.text("health.clock"), clock, !h.ClockKnown)
	say("rtc", w.text("health.rtc"), yes(m.RTC), false)
	watchdog := w.text("health.no")
	switch {
	case h.Watchdog != "":
		watchdog = h.Watchdog
	case m.Watchdog == "active":
		watchdog = w.text("health.watchdog_other")
	}
	say("watchdog", w.text("health.watchdog"), watchdog, false)
	say("uptime", w.text("health.uptime"), w.lasted(m.Uptime*1000), false)

	group = "hub"
	say("version", w.text("health.version"), h.Version, false)
	if !h.Started.IsZero() {
		say("running", w.text("health.running"), w.lasted(float64(r.At.Sub(h.Started).Milliseconds())), false)
	}
	if h.Resident > 0 {
		text := w.bytes(h.Resident)
		if h.Limit > 0 {
			text = of(h.Resident, h.Limit)
		}
		say("resident", w.text("health.resident"), text, h.Limit > 0 && h.Resident > h.Limit/10*9)
	}
	say("loop", w.text("health.loop"), w.number(h.Loop*1000, "ms"), h.Loop > 0.25)
	say("written", w.text("health.written"), w.bytes(h.Written), false)
	if h.PerDay > 0 {
		say("per_day", w.text("health.per_day"), w.bytes(h.PerDay), false)
	}
	if h.History {
		say("history", w.text("health.history"), w.bytes(h.HistoryBytes), len(h.HistoryDamaged) > 0)
		if !h.HistoryOldest.IsZero() {
			say("oldest", w.text("health.oldest"), w.clock(h.HistoryOldest, r.At), false)
		}
	}
	say("backups", w.text("health.backups"), yes(h.Backups), false)

	group = "broker"
	names := make([]string, 0, len(h.Broker))
	for name := range h.Broker {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		say("broker-"+strings.ReplaceAll(name, " ", "-"), w.counter(name), fmt.Sprint(h.Broker[name]), false)
	}
	return all
}

// counter is what a number of the broker is called.
func (w *words) counter(name string) string {
	switch name {
	case "clients":
		return w.text("health.broker_clients")
	case "retained topics":
		return w.text("health.broker_retained")
	case "messages in":
		return w.text("health.broker_in")
	case "messages out":
		return w.text("health.broker_out")
	case "dropped":
		return w.text("health.broker_dropped")
	case "refused":
		return w.text("health.broker_refused")
	case "inbox waiting":
		return w.text("health.broker_waiting")
	case "inbox merged":
		return w.text("health.broker_merged")
	case "commands refused":
		return w.text("health.broker_commands")
	}
	return mended(name, mostName)
}

func (s *Server) healthPage(r *http.Request, v View) (any, error) { return s.checkup(r) }

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	c, err := s.checkup(r)
	if err != nil {
		refuseFor(w, err)
		return
	}
	send(w, r, "application/json", asJSON(c))
}
