package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/hub"
)

// gpioTestCommand tries one output or input while no hub runs. Whatever way it
// ends, short of being killed, an output gets its safe state, as at the end of a
// hub: what drives it is the same code, with its max_on and its interlocks.
type gpioTestCommand struct {
	Name string        `arg:"" help:"An output or input of the configuration."`
	For  time.Duration `default:"5s" placeholder:"TIME" help:"How long an output is switched at most before it goes back; default 5s, never longer than its max_on."`
	pinFlags
}

func (c *gpioTestCommand) Run(ctx context.Context, std streams) error {
	if c.For <= 0 {
		return usageError{errors.New("--for wants a time above 0, such as 5s")}
	}
	// The end of a terminal or of an SSH connection must not leave it on either.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	defer stop()
	path, err := findConfig(c.Config)
	if err != nil {
		return err
	}
	cfg, doc := hub.Load(path)
	if err := complain(std.err, path, doc); err != nil {
		return fmt.Errorf("%w: nothing is switched by it", err)
	}
	alone, err := cfg.Alone(c.Name)
	if err != nil {
		return err
	}
	bank, simulated, err := openBank(c.Sim)
	if err != nil {
		return err
	}
	if simulated {
		fmt.Fprintln(std.out, "The pins are SIMULATED: nothing wired will switch.")
	} else if err := cfg.Free(); err != nil { // nobody holds a chip on a bus, or a PWM channel
		return fmt.Errorf("%w\nA hub runs. It has to stop first, and with it the whole house: sudo systemctl stop hearth", err)
	}
	bank, closeBuses := cfg.WithExpanders(bank)
	defer closeBuses()
	t := &tryout{gpioTestCommand: c, cfg: cfg, alone: alone, bank: bank, simulated: simulated, out: std.out, lines: lines(std.in), heard: make(chan devices.Reading, 64)}
	if _, ok := alone.Input.Get(c.Name); ok {
		return t.input(ctx)
	}
	return t.output(ctx)
}

// lines reads a person's answers; it is closed at the end of input. What waits
// for the next one is left behind when the program ends.
func lines(r io.Reader) <-chan string {
	all := make(chan string)
	go func() {
		defer close(all)
		for s := bufio.NewScanner(r); s.Scan(); {
			all <- s.Text()
		}
	}()
	return all
}

// A tryout is one such test.
type tryout struct {
	*gpioTestCommand
	cfg       *hub.Config
	alone     gpio.Config
	bank      gpio.Bank
	simulated bool
	out       io.Writer
	lines     <-chan string
	heard     chan devices.Reading
	pins      *gpio.Pins
}

// open takes the lines. Readings come on t.heard until the func is called, which
// also makes everything safe.
func (t *tryout) open() (closePins func() error, err error) {
	began := time.Now()
	over := make(chan struct{})
	t.pins, err = gpio.Open(t.alone, gpio.Options{
		Bank:   t.bank,
		Strict: true,
		Now:    func() devices.Now { return devices.Now{Mono: time.Since(began), Wall: time.Now()} },
		Feed: func(r devices.Reading) {
			select {
			case t.heard <- r:
			case <-over:
			}
		},
		Log: slog.New(slog.DiscardHandler),
	})
	switch {
	case errors.Is(err, syscall.EBUSY) && strings.Contains(err.Error(), `"`+gpio.Consumer+`"`):
		return nil, fmt.Errorf("%w\nA hub runs and has the pin. It has to stop first, and with it the whole house: sudo systemctl stop hearth", err)
	case err != nil:
		return nil, err
	}
	return sync.OnceValue(func() error {
		close(over)
		return t.pins.Close()
	}), nil
}

var (
	errStopped = errors.New("the test was stopped, so it tells nothing")
	errHangs   = errors.New("the line does not answer")
)

// output steps through an output: is it as it should be, switch, switch back,
// was it the other way in between.
func (t *tryout) output(ctx context.Context) (err error) {
	o, _ := t.alone.Output.Get(t.Name)
	rest := o.StartsOn()
	limit := t.For
	if most := time.Duration(o.MaxOn); most > 0 && !rest {
		limit = min(limit, most)
	}
	if press := time.Duration(o.Momentary); press > 0 {
		limit = min(limit, press)
	}
	u := gpio.Use{Name: t.Name, Table: "output", Pin: o.Pin, ActiveLow: o.ActiveLow}.On(t.bank)
	if u.Wrong != "" {
		return errors.New(u.Wrong)
	}
	fmt.Fprintf(t.out, "%s: output on %s%s. On is a %s level, off a %s one.\n", t.Name, o.Pin, place(u), levelWord(*o, true), levelWord(*o, false))
	for _, c := range u.Cautions {
		fmt.Fprintln(t.out, wrap("  ", c, 79))
	}
	if err := t.partners(ctx); err != nil {
		return err
	}
	if least := t.minimum(); least != "" {
		fmt.Fprintf(t.out, "It has %s, which this test does not keep: that is up to you.\n", least)
	}
	fmt.Fprintf(t.out, "Taking the pin drives it to %s, its safe state.\n", strings.ToUpper(word(rest)))
	if yes, err := t.ask(ctx, "Take it?", true); err != nil || !yes {
		return orStopped(err)
	}
	closePins, err := t.open()
	if err != nil {
		return err
	}
	defer func() {
		if e := closePins(); e != nil {
			err = errors.Join(err, fmt.Errorf("it may NOT be in its safe state: %w", e))
			return
		}
		how := strings.ToUpper(word(rest))
		if o.Safe == "hold" {
			how = "as it was last, " + how
		}
		fmt.Fprintf(t.out, "%s is in its safe state, %s, and the pin is free.\n", t.Name, how)
	}()
	if err := t.settled(ctx, *o, rest); err != nil {
		return err
	}
	isRest, err := t.ask(ctx, fmt.Sprintf("Is what it switches %s now?", word(rest)), true)
	if err != nil {
		return err
	}
	yes, err := t.ask(ctx, fmt.Sprintf("Switch it %s, for %v at most?", strings.ToUpper(word(!rest)), limit), true)
	if err != nil || !yes {
		return orStopped(err)
	}
	if err := t.switched(ctx, *o, rest, limit); err != nil {
		return err
	}
	changed, err := t.ask(ctx, fmt.Sprintf("Was it %s in between?", word(!rest)), true)
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, wrap("=> ", verdict(t.Name, *o, rest, isRest, changed), 79))
	return nil
}

// orStopped is the error of a question that was answered with no, or not at all.
func orStopped(err error) error {
	if err != nil {
		return err
	}
	return errStopped
}

// verdict is what was learned: whether all was as it should be at rest, and
// whether switching changed it.
func verdict(name string, o gpio.Output, rest, isRest, changed bool) string {
	switch {
	case isRest && changed:
		return fmt.Sprintf("%s works as configured.", name)
	case isRest:
		return fmt.Sprintf("%s: the pin switched and nothing came of it. Is it the right pin of the header (hearth gpio draws it)? "+
			"Has the relay board its own 5 V, and ground in common with the Pi? Does 3.3 V suffice for its input?", name)
	case !changed:
		return fmt.Sprintf("%s is %s when it should be %s, and the other way round: set active_low = %t in [output.%s]. "+
			"But if the relay's own lamp is right, the load hangs on the wrong contact: NC where NO is meant.", name, word(!rest), word(rest), !o.ActiveLow, name)
	}
	return fmt.Sprintf("%s was %s all the time: something else feeds it, the relay's contact is welded, or the load is not wired through the relay.", name, word(!rest))
}

// place says where a pin is: " (gpiochip0:17, pin 11 of the header)".
func place(u gpio.Placed) string {
	if u.HeaderPin == 0 {
		return " (" + u.ID + ")"
	}
	return fmt.Sprintf(" (%s, pin %d of the header)", u.ID, u.HeaderPin)
}

func word(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func levelWord(o gpio.Output, on bool) string {
	if on != o.ActiveLow {
		return "high"
	}
	return "low"
}

// minimum is the shortest times of the output: min_off = "5m".
func (t *tryout) minimum() string {
	o, _ := t.cfg.Output.Get(t.Name)
	var all []string
	for _, m := range []struct {
		key   string
		least config.Duration
	}{{"min_on", o.MinOn}, {"min_off", o.MinOff}} {
		if m.least > 0 {
			all = append(all, fmt.Sprintf("%s = %q", m.key, m.least))
		}
	}
	return strings.Join(all, " and ")
}

// partners says what is held off meanwhile, and asks about what can't be.
func (t *tryout) partners(ctx context.Context) error {
	told := map[string]bool{t.Name: true}
	for _, l := range t.alone.Interlock {
		for _, name := range l.Value.Outputs {
			if told[name] {
				continue
			}
			told[name] = true
			o, _ := t.cfg.Output.Get(name)
			if o.Topic == "" {
				fmt.Fprintf(t.out, "interlock.%s: %s on %s is taken too and held off.\n", l.Name, name, o.Pin)
				continue
			}
			yes, err := t.ask(ctx, fmt.Sprintf("interlock.%s: %s is on a topic, out of reach from here. Is it off, and will stay so?", l.Name, name), false)
			if err != nil || !yes {
				return orStopped(err)
			}
		}
	}
	return nil
}

// ask puts a question. Enter alone is usual. The end of input, and of ctx, is
// errStopped, as is q.
func (t *tryout) ask(ctx context.Context, question string, usual bool) (bool, error) {
	choice := "[Y/n/q]"
	if !usual {
		choice = "[y/N/q]"
	}
	for {
		fmt.Fprintf(t.out, "%s %s ", question, choice)
		select {
		case line, ok := <-t.lines:
			if !isTerminal(t.out) || !ok {
				fmt.Fprintln(t.out)
			}
			switch answer := strings.ToLower(strings.TrimSpace(line)); {
			case !ok || answer == "q" || answer == "quit":
				return false, errStopped
			case answer == "":
				return usual, nil
			case answer == "y" || answer == "yes":
				return true, nil
			case answer == "n" || answer == "no":
				return false, nil
			}
		case <-ctx.Done():
			fmt.Fprintln(t.out)
			return false, errStopped
		}
	}
}

// settled waits until the pin was read back as on or off.
func (t *tryout) settled(ctx context.Context, o gpio.Output, on bool) error {
	timeout := time.NewTimer(t.patience())
	defer timeout.Stop()
	for {
		select {
		case r := <-t.heard:
			switch {
			case r.Source != t.Name:
			case r.Bad != "":
				return errors.New(r.Bad)
			case r.Value == on:
				fmt.Fprintf(t.out, "%s is %s: %s reads %s.\n", t.Name, strings.ToUpper(word(on)), o.Pin, levelWord(o, on))
				return nil
			}
		case <-timeout.C:
			return fmt.Errorf("output %s on %s: %w", t.Name, o.Pin, errHangs)
		case <-ctx.Done():
			return errStopped
		}
	}
}

// patience is how long a switch may take: the gap of an interlock, and a while.
func (t *tryout) patience() time.Duration {
	longest := time.Duration(0)
	for _, l := range t.alone.Interlock {
		longest = max(longest, time.Duration(l.Value.Gap))
	}
	return longest + 3*time.Second
}

// switched switches away from the state of rest and back: at Enter, or after
// limit.
func (t *tryout) switched(ctx context.Context, o gpio.Output, rest bool, limit time.Duration) error {
	if err := t.pins.Set(t.Name, !rest); err != nil {
		return err
	}
	if err := t.settled(ctx, o, !rest); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "Enter switches it back %s; after %v it goes by itself.\n", word(rest), limit)
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	var stopped error
	select {
	case line, ok := <-t.lines:
		if !ok || strings.TrimSpace(line) == "q" {
			stopped = errStopped
		}
	case <-timeout.C:
	case <-ctx.Done():
		return errStopped // Close switches it
	}
	if err := t.pins.Set(t.Name, rest); err != nil {
		return err
	}
	return errors.Join(t.settled(ctx, o, rest), stopped)
}

// input tells each change of an input until ctx ends. Simulated, each line of
// input turns it round, since nothing else does.
func (t *tryout) input(ctx context.Context) error {
	in, _ := t.alone.Input.Get(t.Name)
	u := gpio.Use{Name: t.Name, Table: "input", Pin: in.Pin}.On(t.bank)
	if u.Wrong != "" {
		return errors.New(u.Wrong)
	}
	closePins, err := t.open()
	if err != nil {
		return err
	}
	on := "high"
	if in.ActiveLow {
		on = "low"
	}
	fmt.Fprintf(t.out, "%s: input on %s%s, on when %s.", t.Name, in.Pin, place(u), on)
	if in.Debounce > 0 {
		fmt.Fprintf(t.out, " What is shorter than %v does not show.", in.Debounce)
	}
	answers := t.lines
	if t.simulated {
		fmt.Fprint(t.out, " Enter turns it round.")
	} else {
		answers = nil
	}
	fmt.Fprintln(t.out, " Ctrl-C ends.")
	began := time.Now()
	changes, goesOn, state := 0, 0, false
	tell := func(r devices.Reading) error {
		at := time.Since(began).Seconds()
		switch {
		case r.Bad != "":
			return errors.New(r.Bad)
		case r.Source != t.Name: // a press
			fmt.Fprintf(t.out, "%8.3f s  %s: %v\n", at, r.Source, r.Value)
			return nil
		}
		state = r.Value == true
		if !r.Initial {
			changes++
		}
		if !r.Initial && state {
			goesOn++
		}
		fmt.Fprintf(t.out, "%8.3f s  %-3s  %s\n", at, strings.ToUpper(word(state)), count(changes, "change"))
		return nil
	}
	select { // how it is at first
	case r := <-t.heard:
		err = tell(r)
	case <-ctx.Done():
	}
	for ended := false; !ended && err == nil; {
		select {
		case r := <-t.heard:
			err = tell(r)
		case _, more := <-answers:
			if ended = !more; ended {
				break
			}
			if err = t.pins.Drive(t.Name, !state); err != nil {
				break
			}
			for was := changes; changes == was && err == nil && ctx.Err() == nil; {
				select {
				case r := <-t.heard:
					err = tell(r)
				case <-ctx.Done():
				}
			}
		case <-ctx.Done():
			ended = true
		}
	}
	lost := t.pins.Inputs()[0].Lost
	err = errors.Join(err, closePins())
	fmt.Fprintf(t.out, "%s, %d of them on; %d came too fast to be told apart.\n", count(changes, "change"), goesOn, lost)
	return err
}
