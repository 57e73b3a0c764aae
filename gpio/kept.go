package gpio

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"hearth/store"

	"periph.io/x/conn/v3/gpio"
)

// kept is what the store holds of an output: enough to make it safe when the
// configuration can't be read, and to go on where safe = "hold". It is written
// within a second of an accepted command.
type kept struct {
	Pin       string `json:"pin,omitempty"`
	Chip      string `json:"chip,omitempty"` // of a pin on an expander: "mcp23017 I2C1 0x20"
	ActiveLow bool   `json:"active_low,omitempty"`
	Topic     string `json:"topic,omitempty"`
	OnWord    string `json:"on_word,omitempty"`
	OffWord   string `json:"off_word,omitempty"`
	Safe      string `json:"safe,omitempty"`
	On        bool   `json:"on"`

	Level float64 `json:"level,omitempty"` // percent, if not full
	Timed bool    `json:"timed,omitempty"` // it was on for a time, or about to go off: it does not go on at a start
	Was   bool    `json:"was,omitempty"`   // it was on before the hub ended and made it safe
	Fault string  `json:"fault,omitempty"` // what nobody has acknowledged

	Cycles uint64  `json:"cycles,omitempty"` // how often it went on
	Starts []int64 `json:"starts,omitempty"` // when, as Since, the last few

	// Since is when it became so, in nanoseconds of Unix time; 0 if the clock was
	// not to be trusted then. The shortest times go on from here after a restart.
	Since int64 `json:"since,omitempty"`
}

// keptWithin leaves time for the sync: what was accepted is on disk within a second.
const keptWithin = 900 * time.Millisecond

func (k kept) output() Output {
	return Output{Pin: k.Pin, ActiveLow: k.ActiveLow, Topic: k.Topic, OnWord: k.OnWord, OffWord: k.OffWord, Safe: k.Safe}
}

// of says whether it is about what o switches: another wire, or another topic,
// means another thing.
func (k kept) of(o Output) bool { return k.Pin == o.Pin && k.Topic == o.Topic }

// last is whether it goes on again where the last state counts.
func (k kept) last() bool { return k.On && !k.Timed || k.Was }

// same says whether two are equal.
func (k kept) same(other kept) bool {
	return slices.Equal(k.Starts, other.Starts) && reflect.DeepEqual(k, other)
}

// first is the state in which an output starts. last is what is kept of it from
// earlier, nil if nothing is; with safe = "hold" or initial = "last", or if
// somebody holds it on, it counts if it was the same pin or topic. ago is for how
// long it has been so, below 0 if nobody knows.
func first(o Output, last *kept, held bool, ago time.Duration) bool {
	switch {
	case o.Momentary > 0:
		return false
	case last != nil && last.of(o) && last.Fault != "" && o.Feedback != "":
		return o.Safe == "on"
	case last != nil && last.of(o) && (o.Safe == "hold" || o.Initial == "last" || held && last.On):
		over := last.On && o.MaxOn > 0 && ago >= time.Duration(o.MaxOn) // while the hub was away
		return last.last() && !over
	}
	return o.StartsOn()
}

// safe is the state of an output that nobody looks after any more; hold means
// that the pin has to be left as it is.
func safe(o Output) (on, hold bool) {
	return o.Safe == "on", o.Safe == "hold"
}

// keptOutputs is what the store holds, by name. The error names records that
// make no sense; the others are there all the same.
func keptOutputs(st *store.Store) (map[string]kept, error) {
	all := map[string]kept{}
	if st == nil {
		return all, nil
	}
	var wrong []error
	for name, value := range st.Each(store.Output) {
		var k kept
		if err := json.Unmarshal(value, &k); err != nil {
			wrong = append(wrong, fmt.Errorf("kept output %s: %w", name, err))
			continue
		}
		all[name] = k
	}
	return all, errors.Join(wrong...)
}

// keep puts the accepted state of an output into the store, forget takes the
// output out of it. Both only note it; the store writes in its own time.
func keep(st *store.Store, name string, k kept, within time.Duration) {
	if st == nil {
		return
	}
	value, err := json.Marshal(k)
	if err != nil {
		panic(err) // strings and booleans always encode
	}
	st.Put(store.Record{Kind: store.Output, Key: name, Value: value}, within, nil)
}

func forget(st *store.Store, name string) {
	if st != nil {
		st.Put(store.Record{Kind: store.Output, Key: name}, keptWithin, nil)
	}
}

// Safe gives the last accepted outputs their safe level, all at once, without
// any configuration: after a crash, or when there is none that can be read. It
// lets the pins go again; that a released pin keeps its level is up to the
// kernel (those of Raspberry Pi OS do). Outputs with safe = "hold" are left
// alone, and those on a topic, which only a hub can reach (see [Unreached]). For
// those on an expander bank has to come from [WithBuses]. The
// error names each output that could not be made safe, within a second at most,
// and why; one that another process holds, such as a hub that still runs, is
// among them.
func Safe(bank Bank, st *store.Store) error {
	outputs, wrong := keptOutputs(st)
	var tasks []task
	expanders := map[string]*expander{}
	for name, k := range outputs {
		if k.Topic != "" {
			continue
		}
		pin, err := keptPin(bank, nil, k, expanders)
		if _, hold := safe(k.output()); hold {
			continue
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s: %w", what(name, k.Pin), err))
			continue
		}
		tasks = append(tasks, task{what(name, k.Pin), func() error {
			if err := makeSafe(pin, k); err != nil {
				return err
			}
			// It was switched just now, by nobody knows which clock: min_off counts
			// from the next start.
			if on, hold := safe(k.output()); !hold && on != k.On {
				k.Was = k.last()
				k.On, k.Since = on, 0
				keep(st, name, k, keptWithin)
			}
			return nil
		}})
	}
	return errors.Join(wrong, together(acquireLimit, tasks))
}

// Unreached names the outputs on a topic that were last told something else than
// their safe state: what Safe can't do anything about.
func Unreached(st *store.Store) []string {
	outputs, _ := keptOutputs(st) // Safe has reported what is wrong
	var left []string
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		k := outputs[name]
		if on, hold := safe(k.output()); k.Topic != "" && !hold && on != k.On {
			left = append(left, fmt.Sprintf("%s, told %s", what(name, k.Topic), k.output().word(k.On)))
		}
	}
	return left
}

// makeSafe drives an output that nobody holds to its safe level.
func makeSafe(pin gpio.PinIO, k kept) error {
	on, _ := safe(k.output())
	if err := pin.Out(k.output().level(on)); err != nil {
		return err
	}
	return pin.Halt()
}

// what is how errors and logs call an output or input.
func what(name, pin string) string { return fmt.Sprintf("%s on %s", name, pin) }

// A task is one thing to do on one line.
type task struct {
	what string
	do   func() error
}

// together does all tasks at once and waits for them, but not longer than limit.
// The error names each task that failed or has not ended; the latter goes on
// and what it finds then is lost, unless it looks after that itself.
func together(limit time.Duration, tasks []task) error {
	type result struct {
		i   int
		err error
	}
	results := make(chan result, len(tasks))
	for i, t := range tasks {
		go func() { results <- result{i, t.do()} }()
	}
	errs := make([]error, len(tasks))
	for i, t := range tasks {
		errs[i] = fmt.Errorf("%s: no answer within %v", t.what, limit)
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for range tasks {
		select {
		case r := <-results:
			errs[r.i] = nil
			if r.err != nil {
				errs[r.i] = fmt.Errorf("%s: %w", tasks[r.i].what, r.err)
			}
		case <-timeout.C:
			return errors.Join(errs...)
		}
	}
	return errors.Join(errs...)
}
