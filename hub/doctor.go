package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"hearth/doctor"
	"hearth/gpio"
)

// Doctor is what a configuration tells of a house: how it can be reached, what is on its
// disk, and who has its pins. It is for a machine whether or not a hub runs there.
func (c *Config) Doctor(opt Options) doctor.Hub {
	d := doctor.Hub{Simulated: opt.Simulated, Trusts: c.Hub.Clock == "trust", Watchdog: c.Hub.Watchdog, Backups: c.Backup != nil, History: c.History.Enabled == nil || *c.History.Enabled}
	d.Page, d.PageOpen = c.Web.Reach()
	d.PageTLS = c.Web.TLS != nil
	if c.Broker.Connect == nil && c.Broker.AnonymousAllowed() {
		for _, at := range c.Broker.Listen {
			if reachable(at) {
				d.Anonymous = append(d.Anonymous, at)
			}
		}
	}
	certificate := func(files []string, until time.Time, err error) {
		if err == nil { // what is wrong with one that can't be read, hearth check says
			d.Certificates = append(d.Certificates, doctor.Certificate{File: files[0], Left: time.Until(until).Seconds()})
		}
	}
	if t := c.Web.TLS; t != nil {
		until, err := t.Until()
		certificate(t.Files(), until, err)
	}
	if t := c.Broker.TLS; t != nil && !(c.Web.TLS != nil && t.Files()[0] == c.Web.TLS.Files()[0]) {
		until, err := t.Until()
		certificate(t.Files(), until, err)
	}
	secret := c.files
	if len(c.Secret) == 0 {
		secret = nil
	}
	for _, file := range append([]string{c.UsersFile()}, secret...) {
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o004 != 0 {
			d.Readable = append(d.Readable, file)
		}
	}
	board := c.board(opt)
	for _, pin := range board.Pins {
		for _, u := range pin.Uses {
			if pin.Held != "" {
				d.Held = append(d.Held, u.Table+" "+u.Name+" is on "+pin.Line+", which is taken: "+pin.Held)
			}
		}
	}
	for _, u := range c.Uses() {
		if placed := u.On(opt.Bank); placed.Wrong != "" && !strings.Contains(u.Pin, ":") {
			d.Held = append(d.Held, u.Table+" "+u.Name+": "+placed.Wrong)
		}
	}
	return d
}

// reachable says whether others than this machine can come to an address of broker.listen.
func reachable(at string) bool {
	scheme, at, found := strings.Cut(at, "://")
	if !found {
		scheme, at = "tcp", scheme
	}
	host, _, err := net.SplitHostPort(at)
	if scheme == "unix" || err != nil {
		return false
	}
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return !strings.EqualFold(host, "localhost") && (err != nil || !ip.IsLoopback())
}

// Report is how the house and its machine are doing. The loop says what it knows; the rest is
// looked up on the goroutine of whoever asks.
func (p page) Report(ctx context.Context) (doctor.Report, error) {
	var cfg *Config
	asked := time.Now()
	live, err := ask(ctx, p.Hub, func() doctor.Hub {
		cfg = p.cfg
		now := p.now()
		d := doctor.Hub{Version: p.opt.Version, Started: now.Wall.Add(p.began - now.Mono), ClockKnown: now.Known, Crashed: p.crashed, Broker: p.counters()}
		if err := p.store.Trouble(); err != nil {
			d.Troubles = append(d.Troubles, "the disk refuses: "+err.Error())
		}
		for _, trouble := range []string{p.historyTrouble(), p.linkTrouble(), p.reloadTrouble} {
			if trouble != "" {
				d.Troubles = append(d.Troubles, trouble)
			}
		}
		if p.backup.wrong != "" && p.cfg.Backup != nil {
			d.Troubles = append(d.Troubles, "no backup was made: "+p.backup.wrong)
		}
		for _, pins := range [][]gpio.Info{p.pins.Outputs(), p.pins.Inputs()} {
			for _, i := range pins {
				if i.Fault != "" {
					d.Faults = append(d.Faults, i.Name+": "+i.Fault)
				}
			}
		}
		for _, name := range p.cfg.Sensor.Names() {
			if why := p.sensors.Fault(name); why != "" {
				d.Faults = append(d.Faults, name+": "+why)
			}
		}
		return d
	})
	if err != nil {
		return doctor.Report{}, err
	}
	took := time.Since(asked)
	d := cfg.Doctor(p.opt)
	d.Running, d.Loop = true, took.Seconds()
	d.Version, d.Started, d.ClockKnown, d.Crashed, d.Broker, d.Troubles, d.Faults = live.Version, live.Started, live.ClockKnown, live.Crashed, live.Broker, live.Troubles, live.Faults
	root := cmp.Or(p.opt.Root, "/")
	d.Resident, d.Limit, d.Written = doctor.Own(root)
	if ran := p.clock.Mono() - p.began; ran >= time.Hour {
		d.PerDay = int64(float64(d.Written) / ran.Hours() * 24)
	}
	if p.past != nil {
		h := p.past.Health()
		d.HistoryBytes, d.HistoryOldest, d.HistoryDamaged, d.HistoryLost = h.Bytes, h.Oldest, h.Found, h.Lost
	}
	r := doctor.Report{At: p.now().Wall, Machine: doctor.Look(root, cfg.DataDir()), Hub: d}
	r.Findings = doctor.Examine(r.Machine, r.Hub)
	return r, nil
}

// Health is the same for `hearth doctor`.
func (d desk) Health(ctx context.Context) (json.RawMessage, error) {
	r, err := page(d).Report(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
