package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A Series is what history has recorded under one name.
type Series struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit,omitempty"`
	Kind  string    `json:"kind"` // "number", "switch", "text" or "event", by its newest values
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Value any       `json:"value,omitempty"` // the newest; absent if nothing is known now
}

// A Point is one of its readings.
type Point struct {
	At     time.Time `json:"at"`
	Value  any       `json:"value,omitempty"`
	Bad    string    `json:"bad,omitempty"`    // why it was no value
	Gone   bool      `json:"gone,omitempty"`   // nothing is known from then on
	Event  bool      `json:"event,omitempty"`  // it happened, and left no value
	Found  bool      `json:"found,omitempty"`  // when the hub started: it is no news
	Unsure bool      `json:"unsure,omitempty"` // At is what a clock said that was not known to be right
	By     string    `json:"by,omitempty"`     // who asked for it, where no rule did
}

// A Bucket is a series in a stretch of time. Numbers are weighted by time; of a switch on
// counts as 1. One with neither N nor Held is empty: nothing is known of it.
type Bucket struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	N        int       `json:"readings"`
	Held     Seconds   `json:"known_seconds"` // how long of it a value was known
	On       Seconds   `json:"on_seconds"`
	Switches int       `json:"switches"`
	Min      float64   `json:"min"`
	Mean     float64   `json:"mean"`
	Max      float64   `json:"max"`
	Last     float64   `json:"last"`
}

// Empty says whether nothing is known of it.
func (b Bucket) Empty() bool { return b.N == 0 && b.Held == 0 }

// A Summary is a series in numbers.
type Summary struct {
	Bucket
	MinAt  time.Time `json:"min_at,omitzero"`
	MaxAt  time.Time `json:"max_at,omitzero"`
	Energy float64   `json:"energy_kwh,omitempty"` // of a power, or by how much a meter of energy went on
}

// Seconds is a duration that is a number of seconds as JSON.
type Seconds time.Duration

func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

func (s *Seconds) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(string(b), 64)
	*s = Seconds(v * float64(time.Second))
	return err
}

// A Past is what is asked of the history. Moments are from the first, included, to the
// second, excluded.
type Past interface {
	Series(ctx context.Context) ([]Series, error)
	// Points ends with an error where it could not go on.
	Points(ctx context.Context, name string, from, to time.Time) iter.Seq2[Point, error]
	// Chart makes n stretches of one length.
	Chart(ctx context.Context, name string, from, to time.Time, n int) ([]Bucket, error)
	Summary(ctx context.Context, name string, from, to time.Time) (Summary, error)
}

// mostBuckets is how many may be asked for at once.
const mostBuckets = 200_000

// servePast answers what is asked of the history.
func servePast(mux *http.ServeMux, past Past) {
	asked := func(r *http.Request) (name string, from, to time.Time, err error) {
		query := r.URL.Query()
		moment := func(key string) (t time.Time) {
			t, wrong := time.Parse(time.RFC3339Nano, query.Get(key))
			if wrong != nil {
				err = Mistaken(fmt.Errorf("%s: want a time such as 2026-11-29T22:15:00Z", key))
			}
			return t
		}
		return query.Get("name"), moment("from"), moment("to"), err
	}
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		all, err := past.Series(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		list(w, all)
	})
	mux.HandleFunc("GET /history/points", func(w http.ResponseWriter, r *http.Request) {
		name, from, to, err := asked(r)
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		putOff(w, workWithin)
		out := bufio.NewWriterSize(writerThat{w, func() { putOff(w, readWithin) }}, 64<<10)
		lines := json.NewEncoder(out)
		for p, err := range past.Points(r.Context(), name, from, to) {
			if err != nil {
				lines.Encode(refusal{err.Error()})
				break
			}
			if lines.Encode(p) != nil {
				return
			}
		}
		out.Flush()
	})
	mux.HandleFunc("GET /history/chart", func(w http.ResponseWriter, r *http.Request) {
		name, from, to, err := asked(r)
		n, wrong := strconv.Atoi(r.URL.Query().Get("n"))
		if err == nil && (wrong != nil || n < 1 || n > mostBuckets) {
			err = Mistaken(fmt.Errorf("n: want a number from 1 to %d", mostBuckets))
		}
		if err != nil {
			refuse(w, err)
			return
		}
		putOff(w, workWithin)
		all, err := past.Chart(r.Context(), name, from, to, n)
		if err != nil {
			refuse(w, err)
			return
		}
		list(w, all)
	})
	mux.HandleFunc("GET /history/summary", func(w http.ResponseWriter, r *http.Request) {
		name, from, to, err := asked(r)
		if err != nil {
			refuse(w, err)
			return
		}
		putOff(w, workWithin)
		s, err := past.Summary(r.Context(), name, from, to)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, s)
	})
}

// A writerThat does something before each write.
type writerThat struct {
	io.Writer
	before func()
}

func (w writerThat) Write(b []byte) (int, error) {
	w.before()
	return w.Writer.Write(b)
}

func times(name string, from, to time.Time) url.Values {
	return url.Values{"name": {name}, "from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}
}

// Series lists what history has, by name.
func (r *Remote) Series(ctx context.Context) (all []Series, err error) {
	err = r.ask(ctx, "GET", "/history", nil, &all)
	return all, err
}

// Chart makes n stretches of a series.
func (r *Remote) Chart(ctx context.Context, name string, from, to time.Time, n int) (all []Bucket, err error) {
	query := times(name, from, to)
	query.Set("n", strconv.Itoa(n))
	err = r.ask(ctx, "GET", "/history/chart", query, &all)
	return all, err
}

// Summary is a series in numbers.
func (r *Remote) Summary(ctx context.Context, name string, from, to time.Time) (s Summary, err error) {
	err = r.ask(ctx, "GET", "/history/summary", times(name, from, to), &s)
	return s, err
}

// Points are the readings of a series, as they come: they may be more than fits into memory.
func (r *Remote) Points(ctx context.Context, name string, from, to time.Time) iter.Seq2[Point, error] {
	return func(yield func(Point, error) bool) {
		patient := &Remote{r.slow, r.slow} // it takes as long as it takes
		err := patient.request(ctx, "GET", "/history/points", times(name, from, to), func(d *json.Decoder) error {
			for {
				var p struct {
					Point
					Error string
				}
				switch err := d.Decode(&p); {
				case errors.Is(err, io.EOF):
					return nil
				case err != nil:
					return fmt.Errorf("the hub's answer ended early: %w", err)
				case p.Error != "":
					return errors.New(p.Error)
				case !yield(p.Point, nil):
					return errEnough
				}
			}
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(Point{}, err)
		}
	}
}

var errEnough = errors.New("no more is wanted")
