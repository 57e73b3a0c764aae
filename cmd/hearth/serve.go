package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"hearth/config"
	"hearth/control"
	"hearth/gpio"
	"hearth/hub"
)

type serveCommand struct {
	Config   string     `short:"c" placeholder:"FILE" help:"Configuration; default ./config.toml if there is one, else /etc/hearth/config.toml."`
	Sim      bool       `help:"Simulate the pins. The default on a machine that has none."`
	LogLevel slog.Level `default:"info" placeholder:"LEVEL" help:"Log what is at least this important: debug, info (default), warn or error."`
}

// Run runs the house until ctx ends. SIGHUP reads the configuration again.
func (c *serveCommand) Run(ctx context.Context, std streams) error {
	// Caught from the start: a reload that comes early must not end the hub.
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	path, err := findConfig(c.Config)
	if err != nil {
		return err
	}
	log := newLogger(std.err, c.LogLevel)
	undone, err := config.Recover(path)
	if len(undone) > 0 {
		log.Warn("a change of the configuration was not in force yet when the hub ended, so what was before stands in the files again", "files", undone)
	}
	if err != nil {
		log.Warn("a change of the configuration was not in force yet when the hub ended, and could not be undone", "err", err)
	}
	cfg, doc := hub.Load(path)
	broken := complain(std.err, path, doc)
	bank, simulated, err := openBank(c.Sim)
	if broken != nil {
		// Better no house than one that nobody described. But what the last one
		// switched on must not stay on for that.
		if err == nil {
			err = makeSafe(cfg, bank, log)
		}
		if err != nil {
			log.Error("the outputs may not be safe", "err", err)
		}
		return broken
	}
	if err != nil {
		return err
	}
	if simulated && !c.Sim {
		io.WriteString(std.err, noPins)
	}
	asked := make(chan chan control.Reloaded)
	made := ""
	h, err := hub.New(cfg, hub.Options{
		Bank:      bank,
		Simulated: simulated,
		Clock:     hub.SystemClock(),
		Log:       log,
		Version:   versionText(),
		Alive:     watchdog(log),
		FirstUser: func(name, password string) {
			made = name
			tellUser(std.err, cfg, name, password)
		},
		Invite: func(url string) { tellSetup(std.err, url) },
		Reload: func(ctx context.Context) (done control.Reloaded, err error) {
			answer := make(chan control.Reloaded, 1)
			select {
			case asked <- answer:
			case <-ctx.Done():
				return done, context.Cause(ctx)
			}
			select {
			case done = <-answer:
				return done, nil
			case <-ctx.Done():
				return done, context.Cause(ctx)
			}
		},
	})
	if err != nil {
		return err
	}
	first := made // a reload may make one too
	if kept := gpio.KeptByKernel(cfg.Pins, bank, sysfs); len(kept) > 0 {
		log.Warn(keptWarning(kept))
	}
	s := service{hub: h, path: path, log: log, err: std.err}

	var beside sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	beside.Go(func() { s.control(ctx, reload, asked) })
	welcome(std.err, cfg, h, bank, first)
	notify(log, ready(contents(cfg)))
	err = h.Run(ctx)
	cancel()
	beside.Wait()
	return err
}

// noPins stands where nobody overlooks it: a relay that is wired and never
// clicks is hard to understand.
const noPins = `
*** This machine has no GPIO chip, so all pins are SIMULATED. Nothing wired will switch.
*** The page shows them and lets you drive inputs. --sim says that this is intended.

`

// openBank is the pins of this machine; simulated ones if asked for, or if it
// has none.
func openBank(sim bool) (bank gpio.Bank, simulated bool, err error) {
	if sim {
		return gpio.NewSim(), true, nil
	}
	bank, err = gpio.OpenKernel()
	if err == nil {
		return bank, false, nil
	}
	// A chip that may not be opened is a mistake to be mended, not a reason to
	// simulate: somebody has wired something to it.
	if chips, _ := filepath.Glob("/dev/gpiochip*"); len(chips) > 0 {
		return nil, false, fmt.Errorf("%w (is this user in the group gpio? --sim simulates the pins)", err)
	}
	return gpio.NewSim(), true, nil
}

// welcome tells a person what runs, where, and what to try next. A journal
// gets the first part only, in one line.
// made is the user that was made for it, if one was.
func welcome(w io.Writer, cfg *hub.Config, h *hub.Hub, bank gpio.Bank, made string) {
	addrs, page := h.Addrs(), cmp.Or(h.PageURL(), "off")
	if other := cfg.Broker.Connect; other != nil {
		addrs = []string{other.Address} // the hub is a client there
	}
	if toJournal() {
		fmt.Fprintf(w, "hearth %s: %s; MQTT on %s, page %s, %v\n", versionText(), contents(cfg), strings.Join(addrs, " "), page, bank)
		return
	}
	fmt.Fprintf(w, "hearth %s: %s\n", versionText(), contents(cfg))
	fmt.Fprintf(w, "  MQTT  %s\n", strings.Join(addrs, "  "))
	fmt.Fprintf(w, "  page  %s\n", page)
	fmt.Fprintf(w, "  pins  %v\n", bank)
	fmt.Fprintf(w, "  data  %s\n", cfg.DataDir())
	if flag, ok := brokerFlag(addrs); ok {
		fmt.Fprintln(w, "Try in another terminal:")
		if !cfg.Broker.AnonymousAllowed() {
			fmt.Fprintf(w, "  export HEARTH_USER=%s %s=...\n", cmp.Or(made, "NAME"), passwordVariable)
		}
		fmt.Fprintf(w, "  hearth sub%s 'hearth/#'\n", flag)
		if outputs := cfg.Output.Names(); len(outputs) > 0 {
			fmt.Fprintf(w, "  hearth pub%s hearth/%s/set TOGGLE\n", flag, outputs[0])
		}
	}
	fmt.Fprintln(w, "Ready. Ctrl-C stops it and leaves every output in its safe state.")
}

// tellUser tells a person the password of the first user. Nothing else knows it.
func tellUser(w io.Writer, cfg *hub.Config, name, password string) {
	if toJournal() {
		fmt.Fprintf(w, "<5>nobody could log in to MQTT, so a first user was made: %s with the password %s, which is told this once; hearth user passwd %s sets another\n", name, password, name)
		return
	}
	fmt.Fprintf(w, firstUser, name, password, cfg.UsersFile(), name)
}

// tellSetup tells a person where to make the first user of the page. Who reads the console
// of the hub, or its journal, may.
func tellSetup(w io.Writer, url string) {
	if toJournal() {
		fmt.Fprintf(w, "<5>nobody can log in to the page yet: make the first user at %s within an hour; this is told once\n", url)
		return
	}
	fmt.Fprintf(w, setupLink, url)
}

const setupLink = `
*** Nobody can log in to the page yet. Within an hour, make the first user at:
***     %s
*** The link is good for one user. hearth user add NAME --role admin makes one, too.

`

const firstUser = `
*** Nobody could log in to MQTT yet, so a first user was made, who may do everything,
*** also on the page:
***     user      %s
***     password  %s
*** This is told once. Its hash is in %s; hearth user passwd %s sets another.

`

// brokerFlag is how hearth pub and sub find this broker; "" for the default.
func brokerFlag(addrs []string) (flag string, ok bool) {
	for _, a := range addrs {
		if a == defaultBroker {
			return "", true
		}
	}
	for _, a := range addrs {
		if !strings.HasPrefix(a, "ws://") && !strings.HasPrefix(a, "wss://") {
			return " --broker " + a, true
		}
	}
	return "", false
}

// A service is a hub that runs, as its operator sees it.
type service struct {
	hub  *hub.Hub
	path string
	log  *slog.Logger
	err  io.Writer
}

// control obeys the operator until ctx ends.
func (s service) control(ctx context.Context, reload <-chan os.Signal, asked <-chan chan control.Reloaded) {
	for {
		select {
		case <-ctx.Done():
			s.log.Info("stopping")
			notify(s.log, stopping())
			return
		case <-reload:
			s.reload()
		case answer := <-asked:
			answer <- s.reload()
		}
	}
}

// reload puts the configuration as it is now in force, or leaves all as it was
// and says why.
func (s service) reload() (done control.Reloaded) {
	notify(s.log, reloading())
	cfg, doc := hub.Load(s.path)
	err := complain(said{s.err, &done}, s.path, doc)
	if err == nil {
		err = s.hub.Reload(cfg)
	}
	if err != nil {
		s.hub.ReloadFailed(err)
		s.log.Error("the configuration was not taken over, the old one stays", "err", err)
		done.Error = err.Error()
		notify(s.log, ready("the old configuration is in force: "+done.Error))
		return done
	}
	s.log.Info("reloaded", "file", s.path, "house", contents(cfg))
	for _, doubt := range s.hub.Doubts() { // which are in the log, too
		done.Said = append(done.Said, "warning: "+doubt)
	}
	done.Now = contents(cfg)
	notify(s.log, ready(done.Now))
	return done
}

// said keeps the lines that pass, for whoever asked.
type said struct {
	io.Writer
	done *control.Reloaded
}

func (s said) Write(line []byte) (int, error) {
	s.done.Said = append(s.done.Said, strings.TrimSuffix(string(line), "\n"))
	return s.Writer.Write(line)
}
