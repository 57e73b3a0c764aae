package gpio

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"

	"pgregory.net/rapid"
)

// Covers, at work on pins. The house of cover_test.go: 20 s up, 10 s down.

func (h *house) cover(value any) {
	h.t.Helper()
	if err := h.pins.Command(devices.Command{Output: "bedroom", Value: value}); err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
}

// at sleeps until so many seconds after the beginning.
func (h *house) at(seconds float64) {
	time.Sleep(time.Duration(seconds*float64(time.Second)) - time.Since(h.began))
	synctest.Wait()
}

// isAt expects where the cover is said to be.
func (h *house) isAt(want string) {
	h.t.Helper()
	synctest.Wait()
	if got := h.pins.Covers()[0].Waits; got != want {
		h.t.Errorf("the cover is %q, want %q", got, want)
	}
}

func TestACoverTellsItsPosition(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.cover(false)
		h.at(20)
		h.heard = nil
		h.cover(12.0)
		h.at(30)
		h.mu.Lock()
		var got []string
		for _, r := range h.heard {
			got = append(got, fmt.Sprintf("%v %s %v", r.At.Mono.Seconds(), r.Source, r.Value))
		}
		h.mu.Unlock()
		// Where the cover is comes before what its output is.
		want := "[20 bedroom 0 20 bedroom.moving opening 20 up true 21 bedroom 5 21 bedroom.moving opening " +
			"22 bedroom 10 22 bedroom.moving opening 22.4 bedroom 12 22.4 bedroom.moving stopped 22.4 up false]"
		if s := fmt.Sprint(got); s != want {
			t.Errorf("the hub heard %v, want %v", s, want)
		}
	})
}

// Nobody tells the hub anything, and it tells nobody: the motor stops in time.
func TestACoverStopsWhileTheHubIsStalled(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.full = make(chan struct{})
		h.cover(50.0)
		h.at(600)
		h.wantSwitched("GPIO2", "0 H, 11 L")
		h.wantSwitched("GPIO1", "11.5 H, 21.5 L")
		h.isAt("50 % open, stopped")
		close(h.full)
	})
}

func TestACoverOverTheEndsOfTheHub(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.isAt("somewhere, stopped")
		h.cover(false)
		h.at(20)
		h.cover(true)
		h.at(25)
		if err := h.pins.Close(); err != nil { // on its way
			t.Error(err)
		}
		h.at(100)
		h.open(bedroom)
		h.isAt("25 % open, stopped")
		h.at(101)
		h.crash() // standing still; takes 2 s
		h.open(bedroom)
		h.isAt("25 % open, stopped")
		h.cover(75.0)
		h.at(105)
		h.isAt("35 % open, opening")
		h.crash()
		h.open(bedroom)
		h.isAt("somewhere, stopped")
		h.cover(false)
		h.at(130)
		h.isAt("closed, stopped")
		h.pins.Close()
		other := bedroom + "[output.lamp]\npin = \"GPIO3\""
		h.open(other)
		h.isAt("closed, stopped")
		h.pins.Close()
		h.open("[output.lamp]\npin = \"GPIO3\"")
		h.pins.Close()
		h.open(other) // the one that was taken out was not looked after
		h.isAt("somewhere, stopped")
	})
}

// A line that hangs when the motor is to stop: it is on for longer, and that
// counts.
func TestACoverWhoseLineHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.cover(false)
		h.at(20)
		h.cover(50.0)
		h.at(25)
		h.sim.Hang("GPIO1", true)
		h.at(33)
		h.sim.Hang("GPIO1", false)
		h.at(40)
		h.wantSwitched("GPIO1", "20 H, 33 L")
		h.isAt("65 % open, stopped")
	})
}

func TestACoverWhoseLineFails(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.cover(false)
		h.at(20)
		h.cover(50.0)
		h.at(25)
		h.sim.Fail("GPIO1", errors.New("bus error"))
		h.at(60) // it can't be stopped, and nobody can tell where it is
		h.isAt("somewhere, opening")
		if f := h.pins.Covers()[0].Fault; !strings.Contains(f, "bus error") {
			t.Errorf("the fault is %q", f)
		}
		if err := h.pins.Command(devices.Command{Output: "bedroom", Value: 50.0}); err == nil {
			t.Error("it is to move, and can't")
		}
		h.sim.Fail("GPIO1", nil)
		h.at(70) // the line is back, and off
		h.isAt("somewhere, stopped")
		h.cover(50.0)
		h.at(120)
		h.wantSwitched("GPIO2", "0 H, 11 L, 70 H, 81 L")
		h.isAt("50 % open, stopped")
	})
}

func TestACoverAndAReload(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.cover(false)
		h.at(20)
		h.cover(50.0)
		h.at(25)
		h.reload(bedroom + "[output.lamp]\npin = \"GPIO3\"")
		h.at(40)
		h.wantSwitched("GPIO1", "20 H, 30 L")
		h.isAt("50 % open, stopped")
		h.heard = nil
		h.reload("[output.up]\npin = \"GPIO1\"\n[output.down]\npin = \"GPIO2\"")
		h.set("up", true)
		h.at(45)
		h.reload(bedroom) // over a motor that runs: it is taken to its end
		h.at(100)
		h.wantSwitched("GPIO1", "20 H, 30 L, 40 H, 67 L")
		h.isAt("open, stopped")
		if err := h.pins.Command(devices.Command{Output: "bedroom", Value: 101.0}); err == nil {
			t.Error("101 percent were taken")
		}
		if err := h.pins.Command(devices.Command{Output: "bed", Value: 50.0}); err == nil {
			t.Error("a cover that is none was taken")
		}
		h.cover(false)
		h.at(105)
		h.reload("[output.up]\npin = \"GPIO1\"\n[output.down]\npin = \"GPIO2\"") // nobody would stop it
		h.at(200)
		h.wantSwitched("GPIO2", "0 H, 11 L, 100 H, 105 L")
	})
}

// It is on disk that a motor moves before it does; but a disk that hangs does not
// keep it from moving.
func TestACoverIsMarkedBeforeItMoves(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.cover(false)
		h.at(20)
		h.isAt("closed, stopped")
		disk := func() Place { return keptCovers(h.st)["bedroom"].Place }
		if disk() != (Place{0, 0}) {
			t.Errorf("kept is %v", disk())
		}
		h.pins.mu.Lock()
		turns, _ := h.pins.covers.Command("bedroom", true, h.pins.now())
		h.pins.turn(turns)
		if on, _ := h.pins.guard.State("up"); disk() != (Place{0, 1}) || !on {
			t.Errorf("kept is %v, up is %v", disk(), on)
		}
		h.pins.marks["bedroom"] = make(chan struct{}) // never on disk
		h.pins.mu.Unlock()
		h.at(21)
		h.wantSwitched("GPIO1", "20.25 H")
	})
}

// Commands that a hung line can't take are refused one day, not piled up.
func TestACoverIsNotToldForEver(t *testing.T) {
	inHouse(t, func(h *house) {
		h.open(bedroom)
		h.sim.Hang("GPIO1", true)
		n := 0
		for ; n < 4*queueLimit; n++ {
			if h.pins.Command(devices.Command{Output: "bedroom", Value: "stop"}) != nil {
				break
			}
		}
		if n < queueLimit/2 || n > 2*queueLimit {
			t.Errorf("%d commands were taken", n)
		}
		h.sim.Hang("GPIO1", false)
		time.Sleep(time.Minute)
		h.cover(false)
	})
}

// Random commands, switches, hung lines and reloads: where the cover is said to be
// is where the levels of its pins have taken it.
func TestACoverIsWhereItsPinsHaveTakenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, func(t *rapid.T) {
			h := &house{sim: NewSim(), began: time.Now()}
			options := h.options()
			options.Store, options.Publish = nil, nil
			var cfg Config
			if err := config.Parse("config.toml", []byte(bedroom), &cfg).Err(); err != nil {
				t.Fatal(err)
			}
			pins, err := Open(cfg, options)
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(1, 30).Draw(t, "steps") {
				switch rapid.IntRange(0, 9).Draw(t, "step") {
				default:
					value := rapid.OneOf(rapid.SampledFrom([]any{true, false, "stop", devices.Toggle{}}),
						rapid.Custom(func(t *rapid.T) any { return float64(rapid.IntRange(0, 100).Draw(t, "to")) })).Draw(t, "value")
					if err := pins.Command(devices.Command{Output: "bedroom", Value: value}); err != nil {
						t.Fatal(err)
					}
				case 4:
					pins.Set(rapid.SampledFrom([]string{"up", "down"}).Draw(t, "output"), rapid.Bool().Draw(t, "on"))
				case 5, 6, 7:
					time.Sleep(time.Duration(rapid.IntRange(1, 200).Draw(t, "time")) * 73 * time.Millisecond)
				case 8:
					h.sim.Hang(rapid.SampledFrom([]string{"GPIO1", "GPIO2"}).Draw(t, "hangs"), rapid.Bool().Draw(t, "hang"))
				case 9:
					if c, err := pins.Prepare(cfg); err == nil {
						c.Commit()
					}
				}
				if rapid.Bool().Draw(t, "settles") {
					synctest.Wait()
				}
			}
			for _, pin := range []string{"GPIO1", "GPIO2"} {
				h.sim.Hang(pin, false)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			at := pins.Covers()[0].Waits
			if strings.HasSuffix(at, "ing") {
				t.Fatalf("it is %s for ever", at)
			}
			if err := pins.Close(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			// Where the motor has taken it, from wherever it began.
			low, high := 0.0, 1.0
			for i := range []int{0, 1} {
				pos := float64(i)
				for _, m := range moves(h.sim) {
					share := float64(m.took) / float64(cfg.Cover[0].Value.way(m.dir))
					pos = max(0, min(1, pos+float64(m.dir)*share))
				}
				if i == 0 {
					low = pos
				} else {
					high = pos
				}
			}
			if low != high {
				return // it did not come to an end
			}
			want := Position{Percent: math.Round(100 * low), Known: true, Moving: "stopped"}
			if low > 0 && low < 1 {
				want.Percent = max(1, min(99, want.Percent))
			}
			near := want // a rounding apart
			near.Percent = math.Round(100*low + 1e-6)
			if s := want.String(); at != s && at != near.String() {
				t.Fatalf("it is %s, and said to be %s", s, at)
			}
		})
	})
}

// A way that a motor has gone.
type way struct {
	dir  int
	took time.Duration
}

// moves are the ways that the levels of the pins made, in order.
func moves(sim *Sim) (ways []way) {
	type change struct {
		at  time.Time
		dir int
		on  bool
	}
	var all []change
	for _, dir := range []int{up, down} {
		pin := map[int]string{up: "GPIO1", down: "GPIO2"}[dir]
		for _, s := range sim.History(pin) {
			all = append(all, change{s.At, dir, bool(s.Level)})
		}
	}
	slices.SortStableFunc(all, func(a, b change) int { return a.at.Compare(b.at) })
	var began time.Time
	running := 0
	for _, c := range all {
		switch {
		case c.on && running == 0:
			running, began = c.dir, c.at
		case !c.on && running == c.dir:
			ways = append(ways, way{c.dir, c.at.Sub(began)})
			running = 0
		}
	}
	return ways
}
