package gpio

import (
	"testing"
	"time"

	"periph.io/x/conn/v3/gpio"

	"pgregory.net/rapid"
)

// knob is an encoder seen from outside: the two lines of a knob that is at a step.
type knob struct {
	turns *Turns
	step  int
	at    time.Duration
	a, b  gpio.Level
	told  int
}

func newKnob(e Encoder, step int) *knob {
	k := &knob{turns: NewTurns(e), step: step}
	k.a, k.b = lines(step)
	k.turns.Found(k.a, k.b, 0)
	k.at = 2 * time.Second
	k.turns.Advance(k.at)
	return k
}

// lines is how the lines are at a step.
func lines(step int) (a, b gpio.Level) {
	return step&3 == 1 || step&3 == 2, step&3 == 2 || step&3 == 3
}

// turn moves the knob by one step; the contact that changes bounces so often.
func (k *knob) turn(by, bounces int) {
	k.step += by
	a, b := lines(k.step)
	for i := range 2*bounces + 1 {
		k.at += 100 * time.Microsecond
		if a != k.a {
			k.told += k.turns.Edge(false, a != gpio.Level(i%2 == 1), k.at)
		} else {
			k.told += k.turns.Edge(true, b != gpio.Level(i%2 == 1), k.at)
		}
	}
	k.a, k.b = a, b
}

func TestTurns(t *testing.T) {
	low, high := -2.0, 3.0
	for _, tt := range []struct {
		name     string
		encoder  Encoder
		steps    []int // where the knob goes, one after the other
		turned   int
		position float64
	}{
		{"one detent", Encoder{}, []int{4}, 1, 1},
		{"nearly one", Encoder{}, []int{3}, 0, 0},
		{"nearly one, and back", Encoder{}, []int{3, -3, 0}, 0, 0},
		{"there and back", Encoder{}, []int{8, 0}, 0, 0},
		{"against the clock", Encoder{}, []int{-12}, -3, -3},
		{"reverse", Encoder{Reverse: true}, []int{-12}, 3, 3},
		{"two steps a detent", Encoder{Steps: 2}, []int{12}, 6, 6},
		{"one step a detent", Encoder{Steps: 1}, []int{3}, 3, 3},
		{"to the end and beyond, and back", Encoder{Min: &low, Max: &high}, []int{40, 36}, 9, 2},
		{"the other end", Encoder{Min: &low, Max: &high}, []int{-40}, -10, -2},
	} {
		k := newKnob(tt.encoder, 0)
		for _, to := range tt.steps {
			for k.step != to {
				if k.step < to {
					k.turn(1, 0)
				} else {
					k.turn(-1, 0)
				}
			}
		}
		if k.told != tt.turned || k.turns.Position != tt.position {
			t.Errorf("%s: turned %d, at %v, want %d, %v", tt.name, k.told, k.turns.Position, tt.turned, tt.position)
		}
	}
}

// A line that a pull-up has yet to charge is no turn, and a knob that was found
// between two detents counts from where it comes to rest.
func TestAStartIsNoTurn(t *testing.T) {
	turns := NewTurns(Encoder{Steps: 1})
	turns.Found(gpio.Low, gpio.Low, 0)
	if n := turns.Edge(false, gpio.High, 5*ms) + turns.Edge(true, gpio.High, 6*ms); n != 0 {
		t.Errorf("the pull-ups turned it by %d", n)
	}
	k := newKnob(Encoder{}, 2)
	k.turns.Found(k.a, k.b, k.at)
	k.at += 100 * ms
	k.turn(1, 0)
	k.turn(1, 0)
	k.at += 2 * time.Second
	for range 4 {
		k.turn(1, 0)
	}
	if k.told != 1 {
		t.Errorf("one detent later it was turned by %d", k.told)
	}
}

// Whatever bounces, what is told is where the knob is.
func TestBouncesNetToTheTruePosition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "steps")
		start := rapid.IntRange(0, 3).Draw(t, "start")
		k := newKnob(Encoder{Steps: steps}, start)
		for range rapid.IntRange(1, 200).Draw(t, "moves") {
			k.turn(rapid.SampledFrom([]int{1, -1}).Draw(t, "by"), rapid.IntRange(0, 5).Draw(t, "bounces"))
		}
		for (k.step-start)%steps != 0 { // to the next detent
			k.turn(1, 0)
		}
		if want := (k.step - start) / steps; k.told != want || k.turns.Position != float64(want) {
			t.Fatalf("told %d, at %v, want %d", k.told, k.turns.Position, want)
		}
		if k.turns.Lost != 0 {
			t.Errorf("%d edges are said to be lost", k.turns.Lost)
		}
	})
}

// Any edges in any order: it never moves by more than an edge can, and what it told
// adds up to where it is.
func FuzzTurns(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 255}, 4, false)
	f.Add([]byte{1, 3, 0, 2, 1, 3, 0, 2}, 1, true)
	f.Fuzz(func(t *testing.T, edges []byte, steps int, reverse bool) {
		if steps != 1 && steps != 2 {
			steps = 4
		}
		turns := NewTurns(Encoder{Steps: steps, Reverse: reverse})
		turns.Found(gpio.Low, gpio.Low, 0)
		at, sum, moved := 100*ms, 0, 0
		for _, e := range edges {
			at += time.Duration(e>>2) * 20 * ms
			if e == 255 {
				turns.Missed(1, e&1 != 0, e&2 != 0, at)
				continue
			}
			n := turns.Edge(e&1 != 0, e&2 != 0, at)
			if n != 0 && n != 1 && n != -1 {
				t.Fatalf("an edge turned it by %d", n)
			}
			sum += n
			moved++
			if turns.Position != float64(sum) {
				t.Fatalf("told %d, at %v", sum, turns.Position)
			}
		}
		if max(sum, -sum) > moved/steps {
			t.Fatalf("%d edges turned it by %d", moved, sum)
		}
	})
}
