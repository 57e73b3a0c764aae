package gpio

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"
	"hearth/devices"

	"pgregory.net/rapid"
)

// A motor is a cover as it really is: outputs that switch when they get to it,
// and a curtain that moves while one of them is on.
type motor struct {
	cfg     Config
	guard   *Guard
	covers  *Covers
	now     time.Duration
	latency func() time.Duration
	unread  func() bool // whether an output that was switched can't be read
	pending []*change   // switches on their way, in order for each output
	on      map[string]bool
	off     map[string]time.Duration // when each was switched off last
	powered time.Duration            // since when one of them is on
	place   float64                  // where the curtain is
	speed   float64                  // against what is declared
	drift   float64                  // how far it may be from what can be computed
	log     strings.Builder
	news    strings.Builder
	wrong   string
}

type change struct {
	Drive
	at time.Duration
}

const bedroom = `
	[output.up]
	pin = "GPIO1"
	[output.down]
	pin = "GPIO2"
	[cover.bedroom]
	up = "up"
	down = "down"
	open_time = "20s"
	close_time = "10s"
`

func newMotor(t interface{ Fatal(...any) }, toml string) *motor {
	var cfg Config
	if err := config.Parse("config.toml", []byte(toml), &cfg).Err(); err != nil {
		t.Fatal(err)
	}
	m := &motor{cfg: cfg, guard: NewGuard(cfg), covers: NewCovers(cfg), place: 0.5, speed: 1,
		on: map[string]bool{}, off: map[string]time.Duration{"up": -time.Hour, "down": -time.Hour},
		latency: func() time.Duration { return 0 }, unread: func() bool { return false }}
	m.guard.slow = true
	return m
}

func (m *motor) cover() Cover { return m.cfg.Cover[0].Value }

// run is the direction in which it has power.
func (m *motor) run() int {
	switch {
	case m.on["up"] == m.on["down"]:
		return 0
	case m.on["up"]:
		return up
	}
	return down
}

// pass lets the curtain move until at.
func (m *motor) pass(at time.Duration) {
	if dir := m.run(); dir != 0 {
		from := max(m.now, m.powered+time.Duration(m.cover().Delay))
		if at > from {
			share := float64(at-from) / float64(m.cover().way(dir))
			m.place = max(0, min(1, m.place+float64(dir)*share*m.speed))
			m.drift += share * math.Abs(m.speed-1)
		}
		if at-m.powered >= m.cover().whole(dir) && m.speed > 0.92 {
			m.drift = 0 // it is at its end, and that is known
		}
	}
	m.now = at
	low, high, _ := m.covers.covers[0].move(at)
	if m.place < low-m.drift-1e-6 || m.place > high+m.drift+1e-6 {
		m.fail("it is at %.4f, and said to be from %.4f to %.4f, with a drift of %.4f", m.place, low, high, m.drift)
	}
}

func (m *motor) fail(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf("at %v: ", m.now) + fmt.Sprintf(format, args...)
	}
}

func (m *motor) until(end time.Duration) {
	for m.wrong == "" {
		next := end + 1
		look := func(at time.Duration, ok bool) {
			if ok {
				next = min(next, max(at, m.now))
			}
		}
		look(m.guard.Next())
		look(m.covers.Next())
		for _, c := range m.pending {
			look(c.at, true)
		}
		if next > end {
			m.pass(end)
			return
		}
		m.pass(next)
		for len(m.pending) > 0 && m.pending[0].at <= m.now {
			c := m.pending[0]
			m.pending = m.pending[1:]
			m.switched(c)
		}
		m.drive(m.guard.Advance(m.now))
		m.turn(m.covers.Advance(m.now))
		m.tell()
	}
}

func (m *motor) tell() {
	for _, p := range m.covers.News(m.now) {
		where := "?"
		if p.Known {
			where = fmt.Sprint(p.Percent)
		}
		fmt.Fprintf(&m.news, "%v %s %s\n", m.now, where, p.Moving)
	}
}

// switched is an output that gets to what it was told.
func (m *motor) switched(c *change) {
	if !c.Same && m.on[c.Output] != c.On {
		fmt.Fprintf(&m.log, "%v %s %s\n", m.now, c.Output, word(c.On))
		other := "up"
		if c.Output == "up" {
			other = "down"
		}
		switch {
		case c.On && m.on[other]:
			m.fail("both are on")
		case c.On && m.now-m.off[other] < 500*time.Millisecond:
			m.fail("%s goes on %v after the other went off", c.Output, m.now-m.off[other])
		}
		m.on[c.Output] = c.On
		if !c.On {
			m.off[c.Output] = m.now
		}
		m.powered = m.now
	}
	if m.unread() {
		m.turn(m.covers.Lost(c.Output, m.now))
	} else {
		m.turn(m.covers.Level(c.Output, m.on[c.Output], m.now))
	}
	if c.change {
		m.drive(m.guard.done(c.Output, c.On, m.now, false))
	}
}

func (m *motor) drive(drives []Drive) {
	for _, d := range drives {
		m.covers.Drove(m.guard, d, m.now)
		at := m.now + m.latency()
		for _, c := range m.pending {
			if c.Output == d.Output {
				at = max(at, c.at) // its line does one after the other
			}
		}
		m.pending = append(m.pending, &change{d, at})
		slices.SortStableFunc(m.pending, func(a, b *change) int { return cmp.Compare(a.at, b.at) })
	}
}

func (m *motor) turn(turns []Turn) {
	for _, t := range turns {
		m.output(t.Output, t.On)
	}
}

func (m *motor) output(name string, on bool) {
	drives, err := m.guard.Command(name, on, m.now)
	if err != nil {
		m.fail("%v", err)
	}
	m.drive(drives)
}

func (m *motor) command(value any) {
	turns, err := m.covers.Command("bedroom", value, m.now)
	if err != nil {
		m.fail("%v", err)
	}
	m.turn(turns)
	m.until(m.now)
	m.tell()
}

// What a cover does, a line for each switch.
func TestCover(t *testing.T) {
	for _, tt := range []struct{ name, extra, story, want string }{
		{"to the end where nobody knows where it is, and then to the middle", "", "0s 40",
			"0s down ON\n11s down OFF\n11.5s up ON\n19.5s up OFF\n"},
		{"to the upper end, for that is nearer to where it is to go", "", "0s 80",
			"0s up ON\n22s up OFF\n22.5s down ON\n24.5s down OFF\n"},
		{"an end has an overrun, a middle has none", "overrun = \"3s\"", "0s CLOSE\n20s 50\n40s OPEN",
			"0s down ON\n13s down OFF\n20s up ON\n30s up OFF\n40s up ON\n53s up OFF\n"},
		{"where it is already nothing happens", "", "0s off\n20s off\n30s 50\n60s 50\n70s 50.3\n80s 0\n100s 0.0",
			"0s down ON\n11s down OFF\n30s up ON\n40s up OFF\n1m20s down ON\n1m26s down OFF\n"},
		{"it is stopped, and knows where", "", "0s off\n20s on\n30s stop\n40s 25\n50s stop",
			"0s down ON\n11s down OFF\n20s up ON\n30s up OFF\n40s down ON\n42.5s down OFF\n"},
		{"a newer command takes the place of an older one", "", "0s off\n20s 50\n25s 10\n40s 30\n40.1s 60",
			"0s down ON\n11s down OFF\n20s up ON\n25s up OFF\n25.5s down ON\n27s down OFF\n40s up ON\n50s up OFF\n"},
		{"further in the same direction it does not stop", "", "0s off\n20s 50\n25s 100\n26s 80",
			"0s down ON\n11s down OFF\n20s up ON\n36s up OFF\n"},
		{"the motor starts late", "delay = \"1s\"", "0s off\n20s 50\n40s 0",
			"0s down ON\n12s down OFF\n20s up ON\n31s up OFF\n40s down ON\n47s down OFF\n"},
		{"one of its outputs is switched: it runs to that end", "", "0s up on\n40s 50\n60s down on\n61s down off\n70s 50",
			"0s up ON\n22s up OFF\n40s down ON\n45s down OFF\n1m0s down ON\n1m1s down OFF\n1m10s up ON\n1m12s up OFF\n"},
		{"one of its outputs is switched off: it gives up where it was to go", "", "0s off\n20s 50\n25s up off\n40s 50",
			"0s down ON\n11s down OFF\n20s up ON\n25s up OFF\n40s up ON\n45s up OFF\n"},
		{"one of its outputs is switched, and then it is sent to a place before it could turn round", "", "0s off\n20s on\n25s down on\n25.2s 20",
			"0s down ON\n11s down OFF\n20s up ON\n25s up OFF\n25.5s down ON\n26s down OFF\n"},
		{"toggle", "", "0s toggle\n5s toggle\n6s toggle\n30s toggle\n60s toggle",
			"0s up ON\n5s up OFF\n6s down ON\n17s down OFF\n30s up ON\n52s up OFF\n1m0s down ON\n1m11s down OFF\n"},
		{"stop while it waits to turn round", "", "0s off\n20s on\n25s 0\n25.2s stop\n30s 0",
			"0s down ON\n11s down OFF\n20s up ON\n25s up OFF\n30s down ON\n33.5s down OFF\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMotor(t, bedroom+tt.extra)
			for line := range strings.Lines(tt.story) {
				f := strings.Fields(line)
				at, err := time.ParseDuration(f[0])
				if err != nil {
					t.Fatal(err)
				}
				m.until(at)
				if len(f) == 3 {
					m.output(f[1], f[2] == "on")
					continue
				}
				c, err := ParseSet([]byte(f[1]), "cover")
				if err != nil {
					t.Fatal(err)
				}
				m.command(c.Value)
			}
			m.until(10 * time.Minute)
			if m.wrong != "" {
				t.Error(m.wrong)
			}
			if got := m.log.String(); got != tt.want {
				t.Errorf("it did\n%swant\n%s", got, tt.want)
			}
		})
	}
}

func TestWhatACoverTells(t *testing.T) {
	m := newMotor(t, bedroom)
	m.tell()
	m.until(time.Second)
	m.command(false)
	m.until(20 * time.Second)
	m.command(12.0)
	m.until(30 * time.Second)
	want := `0s ? stopped
1s ? closing
11s 0 closing
12s 0 stopped
20s 0 opening
21s 5 opening
22s 10 opening
22.4s 12 stopped
`
	if got := m.news.String(); got != want {
		t.Errorf("it told\n%swant\n%s", got, want)
	}
}

// 99.8 percent is not open.
func TestACoverThatIsAlmostAtAnEnd(t *testing.T) {
	for low, want := range map[float64]float64{0: 0, 0.001: 1, 0.5: 50, 0.998: 99, 1: 100} {
		m := newMotor(t, bedroom)
		m.covers.Started("bedroom", Place{low, low})
		if p, _ := m.covers.Position("bedroom", 0); p.Percent != want || !p.Known {
			t.Errorf("at %v it says %+v", low, p)
		}
	}
}

func TestWhatIsNoCommandOfACover(t *testing.T) {
	cs := NewCovers(configured(t, bedroom))
	for _, v := range []any{-1.0, 100.1, math.NaN(), math.Inf(1), "up", "NaN", "101", "", nil, []any{}} {
		if turns, err := cs.Command("bedroom", v, 0); err == nil || len(turns) > 0 {
			t.Errorf("%v was taken: %v", v, turns)
		}
	}
	if _, err := cs.Command("kitchen", true, 0); err == nil {
		t.Error("a cover that is none was taken")
	}
	if _, ok := cs.Next(); ok {
		t.Error("something is to come of it")
	}
}

// An output that was told to be on, and is not.
func TestACoverWhoseOutputDoesNothing(t *testing.T) {
	cs := NewCovers(configured(t, bedroom))
	turns, _ := cs.Command("bedroom", true, 0)
	if fmt.Sprint(turns) != "[{bedroom up true}]" {
		t.Fatal(turns)
	}
	cs.Told("up", true, 0)
	cs.Level("up", false, 0)
	if at, ok := cs.Next(); !ok || at != patience {
		t.Fatal(at, ok)
	}
	if turns = cs.Advance(patience); fmt.Sprint(turns) != "[{bedroom up false}]" {
		t.Error(turns)
	}
	if _, ok := cs.Next(); ok {
		t.Error("it still wants something")
	}
	// It goes off by itself long after it went on: at once.
	cs.Command("bedroom", true, time.Minute)
	cs.Told("up", true, time.Minute)
	cs.Level("up", true, time.Minute)
	cs.Level("up", false, time.Minute+10*time.Second)
	if at, ok := cs.Next(); !ok || at > time.Minute+10*time.Second {
		t.Fatal(at, ok)
	}
	if turns = cs.Advance(time.Minute + 10*time.Second); fmt.Sprint(turns) != "[{bedroom up false}]" {
		t.Error(turns)
	}
}

// An output that could not be read is looked at again before the motor moves by the
// other one; as long as it can't be, nobody knows where the cover is.
func TestACoverWhoseOutputCannotBeRead(t *testing.T) {
	cs := NewCovers(configured(t, bedroom))
	cs.Started("bedroom", Place{0.5, 0.5})
	cs.Command("bedroom", true, 0)
	cs.Told("up", true, 0)
	cs.Level("up", true, 0)
	if turns := cs.Lost("up", time.Second); fmt.Sprint(turns) != "[{bedroom up false}]" {
		t.Error(turns)
	}
	if p, _ := cs.Position("bedroom", time.Second); p.Known || cs.Place("bedroom") != (Place{0, 1}) {
		t.Error(p)
	}
	turns, _ := cs.Command("bedroom", false, 2*time.Second)
	if fmt.Sprint(turns) != "[{bedroom up false} {bedroom down true}]" {
		t.Error(turns)
	}
	cs.Told("down", true, 2*time.Second)
	cs.Level("down", true, 2*time.Second)
	if p, _ := cs.Position("bedroom", time.Minute); p.Known {
		t.Error(p) // up may be on as well
	}
	cs.Level("up", false, time.Minute)
	if p, _ := cs.Position("bedroom", time.Minute+9*time.Second); p.Known || p.Moving != "closing" {
		t.Error(p)
	}
	if p, _ := cs.Position("bedroom", time.Minute+10*time.Second); !p.Known || p.Percent != 0 {
		t.Error(p)
	}
}

// Both outputs are seen to be on, which no guard would let be.
func TestACoverThatIsDrivenBothWays(t *testing.T) {
	cs := NewCovers(configured(t, bedroom))
	cs.Started("bedroom", Place{0.5, 0.5})
	cs.Level("up", true, 0)
	cs.Level("down", true, time.Second)
	cs.Level("down", false, 2*time.Second)
	cs.Level("up", false, 3*time.Second)
	if p, _ := cs.Position("bedroom", 3*time.Second); p.Known || p.Moving != "stopped" {
		t.Error(p)
	}
}

// A reload in the middle of the way.
func TestACoverGoesOnOverAReload(t *testing.T) {
	m := newMotor(t, bedroom)
	m.covers.Started("bedroom", Place{0, 0})
	m.place = 0
	m.command(50.0)
	m.until(4 * time.Second)
	slower := strings.Replace(bedroom, "20s", "40s", 1) // it was measured anew
	next := NewCovers(configured(t, slower))
	next.adopt(m.covers, m.now)
	m.covers, m.cfg = next, configured(t, slower)
	m.until(time.Minute)
	if got := m.log.String(); got != "0s up ON\n16s up OFF\n" || m.wrong != "" {
		t.Error(got, m.wrong)
	}
	other := NewCovers(configured(t, strings.Replace(bedroom, "GPIO1", "GPIO5", 1)))
	other.adopt(next, m.now)
	if p := other.Place("bedroom"); p != (Place{0, 1}) {
		t.Errorf("on another wire it is at %v", p)
	}
}

// Random commands and switches against a motor as it really is: where the cover
// is said to be is where it is, as far as the motor keeps its declared times; both
// outputs are never on, and never one too soon after the other. At the end the
// cover comes to where it was told to be, on its own.
func TestCoverModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		toml := bedroom
		if rapid.Bool().Draw(t, "delay") {
			toml += "delay = \"700ms\"\n"
		}
		slowest := []int{0, 0, 30, 400, 3000}
		if rapid.Bool().Draw(t, "limit") {
			slowest = slowest[:4] // else max_on ends it before it is there
			toml = strings.Replace(toml, "GPIO1\"", "GPIO1\"\nmax_on = \"24s\"\nmin_off = \"3s\"", 1)
		}
		m := newMotor(t, toml)
		m.speed = rapid.SampledFrom([]float64{1, 1, 0.95, 1.05}).Draw(t, "speed")
		m.place = rapid.Float64Range(0, 1).Draw(t, "place")
		slow := rapid.SampledFrom(slowest).Draw(t, "slow")
		blind := rapid.SampledFrom([]int{0, 0, 5}).Draw(t, "blind")
		m.latency = func() time.Duration {
			return time.Duration(rapid.IntRange(0, slow).Draw(t, "latency")) * time.Millisecond
		}
		m.unread = func() bool { return blind > 0 && rapid.IntRange(0, blind).Draw(t, "blind") == 0 }
		value := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) any { return float64(rapid.IntRange(0, 100).Draw(t, "to")) }),
			rapid.SampledFrom([]any{true, false, "stop", "stop", devices.Toggle{}}))
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			m.until(m.now + time.Duration(rapid.OneOf(rapid.IntRange(0, 900), rapid.IntRange(0, 30_000)).Draw(t, "wait"))*time.Millisecond)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				m.output(rapid.SampledFrom([]string{"up", "down"}).Draw(t, "output"), rapid.Bool().Draw(t, "on"))
			default:
				m.command(value.Draw(t, "value"))
			}
			if m.wrong != "" {
				t.Fatal(m.wrong)
			}
		}
		m.unread = func() bool { return false }
		m.until(m.now + 2*time.Minute) // it stands still, whatever was wanted
		if m.run() != 0 {
			t.Fatal("it runs for ever")
		}
		coast := 0.1 * float64(slow) / 1000 // how far it goes within the latency of a stop
		if m.speed == 1 {
			if rapid.Bool().Draw(t, "forgotten") { // as after a crash
				m.covers = NewCovers(m.cfg)
			}
			to := float64(rapid.IntRange(0, 100).Draw(t, "last"))
			m.drift = 0
			m.command(value.Draw(t, "before"))
			if rapid.Bool().Draw(t, "meddled") {
				m.output(rapid.SampledFrom([]string{"up", "down"}).Draw(t, "by"), true)
			}
			m.until(m.now + time.Duration(rapid.IntRange(0, 2000).Draw(t, "then"))*time.Millisecond)
			m.command(to)
			m.until(m.now + 2*time.Minute)
			p, _ := m.covers.Position("bedroom", m.now)
			if far := math.Abs(m.place - to/100); far > closeEnough+coast+1e-6 || !p.Known {
				t.Fatalf("it was to go to %v, and is at %.4f, it says at %+v; what it did:\n%s", to, m.place, p, m.log.String())
			}
		} else {
			open := rapid.Bool().Draw(t, "open")
			m.command(!open)
			m.until(m.now + 2*time.Minute)
			m.command(open)
			m.until(m.now + 2*time.Minute)
			if math.Abs(m.place-end(open)) > 1e-6+coast {
				t.Fatalf("it was to be open=%v, and is at %.4f", open, m.place)
			}
		}
		if m.wrong != "" {
			t.Fatal(m.wrong)
		}
		if _, ok := m.covers.Next(); ok {
			t.Fatal("it stands still and wants to be woken")
		}
	})
}

func FuzzOverrun(f *testing.F) {
	for _, s := range []string{"10%", "2s", "NaN%", "-1%", "1e3%", "1h", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var o Overrun
		if o.UnmarshalText([]byte(text)) != nil {
			return
		}
		if d := o.of(time.Minute); d < 0 || d > 10*time.Minute {
			t.Errorf("%q is %v", text, d)
		}
	})
}
