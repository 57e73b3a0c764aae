package control

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"
)

var noonOf = time.Date(2026, 11, 29, 12, 0, 0, 0, time.FixedZone("CET", 3600))

func (q *quietHouse) Series(context.Context) ([]Series, error) {
	return []Series{{Name: "hall.temperature", Unit: "°C", Kind: "number", First: noonOf, Last: noonOf, Value: 21.5}}, nil
}

// Points of "much" are many, and of "broken" the second can't be read.
func (q *quietHouse) Points(ctx context.Context, name string, from, to time.Time) iter.Seq2[Point, error] {
	return func(yield func(Point, error) bool) {
		switch name {
		case "much":
			for i := range 200_000 {
				if ctx.Err() != nil || !yield(Point{At: from.Add(time.Duration(i) * time.Second), Value: float64(i)}, nil) {
					return
				}
			}
		case "broken":
			if yield(Point{At: from, Gone: true, Bad: "away"}, nil) {
				yield(Point{}, errors.New("the disk is broken"))
			}
		default:
			yield(Point{}, Mistaken(errors.New("nothing is recorded of "+name)))
		}
	}
}

func (q *quietHouse) Chart(_ context.Context, name string, from, to time.Time, n int) ([]Bucket, error) {
	return []Bucket{{From: from, To: to, N: n, On: Seconds(1500 * time.Millisecond)}}, nil
}

func (q *quietHouse) Summary(context.Context, string, time.Time, time.Time) (Summary, error) {
	return Summary{Energy: 1.5, MinAt: noonOf}, nil
}

// The past comes over the socket: values as they are, many as they come, and an error in
// the middle of them as one.
func TestThePastIsAsked(t *testing.T) {
	dir := t.TempDir()
	server := open(t, dir, &quietHouse{})
	defer server.Wait()
	defer server.End()
	hub := Ask(dir)
	if all, err := hub.Series(t.Context()); err != nil || len(all) != 1 || all[0].Value != 21.5 || !all[0].First.Equal(noonOf) {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := hub.Chart(t.Context(), "x", noonOf, noonOf.Add(time.Hour), 40); err != nil || len(all) != 1 || all[0].N != 40 || !all[0].To.Equal(noonOf.Add(time.Hour)) || all[0].On != Seconds(1500*time.Millisecond) {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := hub.Chart(t.Context(), "x", noonOf, noonOf, 0); err == nil || !strings.Contains(err.Error(), "want a number from 1") {
		t.Errorf("%v", err)
	}
	if s, err := hub.Summary(t.Context(), "x", noonOf, noonOf); err != nil || s.Energy != 1.5 || !s.MinAt.Equal(noonOf) || !s.MaxAt.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	n, last := 0, Point{}
	for p, err := range hub.Points(t.Context(), "much", noonOf, noonOf) {
		if err != nil {
			t.Fatal(err)
		}
		n, last = n+1, p
	}
	if n != 200_000 || last.Value != 199_999.0 || !last.At.Equal(noonOf.Add(199_999*time.Second)) {
		t.Errorf("%d, the last %+v", n, last)
	}
	for range hub.Points(t.Context(), "much", noonOf, noonOf) {
		break // and no more is read
	}
	for name, want := range map[string]string{"broken": "the disk is broken", "x": "nothing is recorded of x"} {
		var got []Point
		var failed error
		for p, err := range hub.Points(t.Context(), name, noonOf, noonOf) {
			if failed = err; err == nil {
				got = append(got, p)
			}
		}
		if failed == nil || failed.Error() != want || len(got) != len(name)/6 {
			t.Errorf("%s: %+v, %v", name, got, failed)
		}
	}
}
