package gpio

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/store"

	"periph.io/x/conn/v3/gpio"
)

// A house for the stories: simulated pins, a real store, virtual time, and a
// hub that only writes down what it is told.
type house struct {
	t     *testing.T
	dir   string // of the store; the only thing that outlives a crash
	sim   *Sim
	st    *store.Store
	pins  *Pins
	began time.Time

	mu    sync.Mutex
	heard []devices.Reading
	sent  []string      // what was published: "0.5 cmnd/boiler/POWER ON"
	full  chan struct{} // while not nil, the hub takes no reading
}

// inHouse runs a story in its own bubble of time.
func inHouse(t *testing.T, story func(h *house)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: dir, sim: NewSim(), began: time.Now()}
		h.powerUp()
		defer func() { // also of a story that fails, or that it did is not told
			if h.pins != nil {
				if err := h.pins.Close(); err != nil {
					t.Error("close:", err)
				}
			}
			h.st.Close()
		}()
		story(h)
	})
}

func (h *house) powerUp() {
	st, err := store.Open(h.dir, store.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.st = st
}

// crash ends the hub without a word: the pins are as they were, the store has
// what it had. (A process that is killed leaves no goroutines; here they are
// made harmless by a bank of their own.)
func (h *house) crash() {
	h.t.Helper()
	time.Sleep(2 * time.Second) // longer than keptWithin
	synctest.Wait()
	h.st.Close()
	old, pins := h.sim, h.pins
	h.sim = NewSim()
	for i, p := range old.pins {
		p.mu.Lock()
		h.sim.pins[i].level = p.level
		p.mu.Unlock()
	}
	h.sim.inherit(old)
	pins.Close()
	h.pins = nil
	h.powerUp()
}

func (h *house) options() Options {
	return Options{
		Bank:  h.sim,
		Store: h.st,
		Now: func() devices.Now {
			now := time.Now()
			return devices.Now{Mono: now.Sub(h.began), Wall: now, Known: true}
		},
		Feed: func(r devices.Reading) {
			h.mu.Lock()
			full := h.full
			h.mu.Unlock()
			if full != nil {
				<-full
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.heard = append(h.heard, r)
		},
		Publish: func(m devices.Message) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.sent = append(h.sent, fmt.Sprintf("%v %s %s", time.Since(h.began).Seconds(), m.Topic, m.Payload))
			return nil
		},
	}
}

// configured is what the owner wrote, without a mistake.
func configured(t *testing.T, toml string) Config {
	t.Helper()
	var cfg Config
	if err := config.Parse("config.toml", []byte(toml), &cfg).Err(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// open starts the pins, and expects it to work.
func (h *house) open(toml string) {
	h.t.Helper()
	pins, err := Open(configured(h.t, toml), h.options())
	if err != nil {
		h.t.Fatal(err)
	}
	h.pins = pins
	synctest.Wait()
}

func (h *house) reload(toml string) {
	h.t.Helper()
	c, err := h.pins.Prepare(configured(h.t, toml))
	if err != nil {
		h.t.Fatal(err)
	}
	c.Commit()
	synctest.Wait()
}

func (h *house) set(output string, on bool) {
	h.t.Helper()
	if err := h.pins.Set(output, on); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) drive(pin string, l gpio.Level) {
	h.t.Helper()
	if err := h.sim.Drive(pin, l); err != nil {
		h.t.Fatal(err)
	}
}

// hears expects what the hub was told since the last time, one reading a line:
// "0.05 pir ON", with "initial" where it is. Each pin reports in its own order;
// between pins there is none.
func (h *house) hears(want ...string) {
	h.t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	var got []string
	for _, r := range h.heard {
		text := r.Text
		if r.Bad != "" {
			text = "bad: " + r.Bad
		} else if devices.Text(r.Value) != r.Text {
			h.t.Errorf("%s: value %v with text %s", r.Source, r.Value, r.Text)
		}
		if r.Initial {
			text += " initial"
		}
		got = append(got, fmt.Sprintf("%v %s %s", r.At.Mono.Seconds(), r.Source, text))
	}
	h.heard = nil
	bySource := func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) }
	slices.SortStableFunc(got, bySource)
	slices.SortStableFunc(want, bySource)
	if !slices.Equal(got, want) {
		h.t.Errorf("the hub heard\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// sends expects what was published since the last time; between topics there is
// no order.
func (h *house) sends(want ...string) {
	h.t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.sent)
	slices.Sort(want)
	if !slices.Equal(h.sent, want) {
		h.t.Errorf("sent was\n\t%s\nwant\n\t%s", strings.Join(h.sent, "\n\t"), strings.Join(want, "\n\t"))
	}
	h.sent = nil
}

// switched is when a pin changed its level since the beginning: "10 L, 10.5 H".
func (h *house) switched(pin string) string {
	synctest.Wait()
	var changes []string
	level := gpio.Low
	for _, s := range h.sim.History(pin) {
		if s.Level != level {
			changes = append(changes, fmt.Sprintf("%v %s", s.At.Sub(h.began).Seconds(), map[gpio.Level]string{gpio.High: "H", gpio.Low: "L"}[s.Level]))
		}
		level = s.Level
	}
	return strings.Join(changes, ", ")
}

func (h *house) wantSwitched(pin, want string) {
	h.t.Helper()
	if got := h.switched(pin); got != want {
		h.t.Errorf("%s was switched %q, want %q", pin, got, want)
	}
}

// saw expects the whole history of a pin: driven levels as H and L, those from
// outside as h and l.
func (h *house) saw(pin, want string) {
	h.t.Helper()
	synctest.Wait()
	if got := history(h.sim, pin); got != want {
		h.t.Errorf("%s saw %q, want %q", pin, got, want)
	}
}

func history(sim *Sim, pin string) string {
	var b strings.Builder
	for _, s := range sim.History(pin) {
		letter := "L"
		if s.Level {
			letter = "H"
		}
		if !s.Driven {
			letter = strings.ToLower(letter)
		}
		b.WriteString(letter)
	}
	return b.String()
}

// holds expects these pins to be taken, and no others.
func (h *house) holds(want ...string) {
	h.t.Helper()
	var got []string
	for _, pin := range h.sim.Names() {
		if h.sim.Held(pin) {
			got = append(got, pin)
		}
	}
	if !slices.Equal(got, want) {
		h.t.Errorf("held are %v, want %v", got, want)
	}
}

// remembers expects the outputs in the store, as "name pin ON".
func (h *house) remembers(want ...string) {
	h.t.Helper()
	all, err := keptOutputs(h.st)
	if err != nil {
		h.t.Error(err)
	}
	var got []string
	for name, k := range all {
		got = append(got, fmt.Sprintf("%s %s %v", name, k.Pin, map[bool]string{true: "ON", false: "OFF"}[k.On]))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		h.t.Errorf("kept are %q, want %q", got, want)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error is %q, want %q in it", err, part)
		}
	}
}
