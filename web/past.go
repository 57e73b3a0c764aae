package web

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth/devices"
	"hearth/history"
)

// A Past is what the house remembers.
type Past interface {
	// History is what was recorded; an error says why there is nothing to ask.
	History(ctx context.Context) (*history.History, error)

	// Recorded are those of some series that were recorded and may be shown at all, or of
	// all that were, by name.
	Recorded(ctx context.Context, names ...string) ([]Series, error)
}

// A Series is what was recorded under one name.
type Series struct {
	Name  string       `json:"name"`
	Unit  string       `json:"unit,omitempty"`
	Kind  history.Kind `json:"kind"` // "number", "switch", "text", "event"
	First time.Time    `json:"first"`
	Last  time.Time    `json:"last"`

	// Topics are those one has to be allowed to see, to see this; with none it is for
	// those alone who may see everything.
	Topics []string `json:"-"`
}

// So many questions about the past are answered at a time, and so many files are written.
// Each may take a processor of a small machine for some tens of milliseconds.
const (
	mostLooking = 3
	mostExports = 2
)

// A queue lets so many through at a time as it has places.
type queue chan struct{}

// begin waits for a place; done gives it back.
func (q queue) begin(ctx context.Context) (done func(), err error) {
	select {
	case q <- struct{}{}:
		return func() { <-q }, nil
	case <-ctx.Done():
		return nil, errors.New("too many ask for so much at once; try again")
	}
}

// exports are the places in which files are written, as long as their readers take for them: each
// visitor has one at a time, and who may change the whole house has places of their own, so that
// no reader who takes their time keeps out the owner.
type exports struct {
	all, owners queue
	mu          sync.Mutex
	busy        map[visitorName]bool
}

func newExports() *exports {
	return &exports{all: make(queue, mostExports), owners: make(queue, mostExports), busy: make(map[visitorName]bool)}
}

func (d *exports) begin(ctx context.Context, v visitor) (done func(), err error) {
	if v.rights.Whole(Change) {
		return d.owners.begin(ctx)
	}
	d.mu.Lock()
	busy := d.busy[v.key()]
	d.busy[v.key()] = true
	d.mu.Unlock()
	if busy {
		return nil, refusal{http.StatusTooManyRequests, "a file is being written for you already, so this one has to wait"}
	}
	free := func() {
		d.mu.Lock()
		delete(d.busy, v.key())
		d.mu.Unlock()
	}
	leave, err := d.all.begin(ctx)
	if err != nil {
		free()
		return nil, err
	}
	return func() { leave(); free() }, nil
}

// rest is begin for a question that keeps the house itself busy, the longer the more there is
// in it: the place is given back as long after the answer as that took, so that however many
// ask, the house has half of its time for what it is there for.
func (q queue) rest(ctx context.Context) (done func(), err error) {
	leave, err := q.begin(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	return func() {
		if took := time.Since(began); took < 5*time.Millisecond {
			leave()
		} else {
			time.AfterFunc(min(took, time.Second), leave)
		}
	}, nil
}

// nothingRecorded is said in the same words whether there is such a series or not.
func nothingRecorded(name string) error {
	return refusal{http.StatusNotFound, fmt.Sprintf("nothing is recorded of %q", mended(name, mostName))}
}

// seriesFor finds a series that a visitor may see.
func (s *Server) seriesFor(ctx context.Context, rights Rights, name string) (Series, error) {
	found, err := s.house.Recorded(ctx, name)
	switch {
	case err != nil:
		return Series{}, err
	case len(found) == 0 || !may(rights, found[0].Topics, See):
		return Series{}, nothingRecorded(name)
	}
	return found[0], nil
}

// now is the time of the house, in its zone.
func (s *Server) nowOf(ctx context.Context) (time.Time, error) {
	v, err := s.view(ctx, patience)
	return v.Now, err
}

// parseMoment reads a time as the page and programs write it. A year before 1970 leads a
// house whose clock stands at its beginning.
func parseMoment(text string, zone *time.Location) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil && t.Year() >= 1969 && t.Year() < 2200 {
			return t.In(zone), nil
		}
	}
	return time.Time{}, refusal{http.StatusBadRequest, fmt.Sprintf("%q is no time: want one such as 2026-11-30T08:00:00+01:00, or a date", mended(text, 40))}
}

const (
	leastStretch = 10 * time.Second
	mostStretch  = 20 * 366 * 24 * time.Hour
)

// stretchOf reads from and to, in place of which others stand where they are not given.
func stretchOf(q url.Values, from, to time.Time) (time.Time, time.Time, error) {
	var err error
	if text := q.Get("to"); text != "" {
		if to, err = parseMoment(text, to.Location()); err != nil {
			return from, to, err
		}
	}
	if text := q.Get("from"); text != "" {
		if from, err = parseMoment(text, to.Location()); err != nil {
			return from, to, err
		}
	} else if q.Get("to") != "" {
		from = to.AddDate(0, 0, -1)
	}
	switch length := to.Sub(from); {
	case length < leastStretch:
		return from, to, refusal{http.StatusBadRequest, fmt.Sprintf("from has to be at least %v before to", leastStretch)}
	case length > mostStretch:
		return from, to, refusal{http.StatusBadRequest, "from and to are more than 20 years apart"}
	}
	return from, to, nil
}

// serveSeriesList lists what was recorded and a visitor may see.
func (s *Server) serveSeriesList(w http.ResponseWriter, r *http.Request) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	leave, err := s.whole.rest(ctx)
	if err != nil {
		refuseFor(w, err)
		return
	}
	all, err := s.house.Recorded(ctx)
	leave()
	if err != nil {
		refuseFor(w, err)
		return
	}
	rights := visitorOf(r).rights
	some := SeriesList{Series: []Series{}}
	for _, one := range all {
		if may(rights, one.Topics, See) {
			one.Name, one.Unit, one.First, one.Last = mended(one.Name, mostName), mended(one.Unit, 20), sane(one.First), sane(one.Last)
			some.Series = append(some.Series, one)
		}
	}
	send(w, r, "application/json", asJSON(some))
}

const (
	mostCells   = 2000
	mostChanges = 10_000
)

// A SeriesList is what was recorded and a visitor may see, by name.
type SeriesList struct {
	Series []Series `json:"series"`
}

// A Stretch is a series in some time, in cells or reading by reading.
type Stretch struct {
	Name    string       `json:"name"`
	Unit    string       `json:"unit,omitempty"`
	Kind    history.Kind `json:"kind"`
	From    time.Time    `json:"from"`
	To      time.Time    `json:"to"`
	Cells   []Cell       `json:"cells,omitzero"`
	Changes []Point      `json:"changes,omitzero"` // with raw=true
	Next    time.Time    `json:"next,omitzero"`    // from where there are more changes
}

// A Cell is a stretch of a series. Numbers that JSON has no form for are left out.
type Cell struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	N        int       `json:"n"`    // readings
	Held     float64   `json:"held"` // for how many seconds a value was known
	Min      *float64  `json:"min,omitempty"`
	Mean     *float64  `json:"mean,omitempty"`
	Max      *float64  `json:"max,omitempty"`
	Last     *float64  `json:"last,omitempty"`
	On       float64   `json:"on"` // for how many seconds it was on, or above 0
	Switches int       `json:"switches"`
}

func cellOf(b history.Bucket) Cell {
	c := Cell{From: sane(b.From), To: sane(b.To), N: b.N, Held: b.Held.Seconds(), On: b.On.Seconds(), Switches: b.Switches}
	if sound(b) {
		c.Min, c.Mean, c.Max, c.Last = &b.Min, &b.Mean, &b.Max, &b.Last
	}
	return c
}

// A Point is one reading of the past.
type Point struct {
	At    time.Time `json:"at"`
	Value any       `json:"value"`
	Bad   string    `json:"bad,omitempty"`
	Gone  bool      `json:"gone,omitempty"`
	Event bool      `json:"event,omitempty"`
	Found bool      `json:"found,omitempty"` // when the hub started
}

func pointOf(p history.Point) Point {
	c := Point{At: sane(p.At), Value: p.Value, Bad: mended(p.Bad, mostName), Gone: p.Gone, Event: p.Event, Found: p.Initial}
	switch v := p.Value.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			c.Value = nil
		}
	case bool, nil:
	case string:
		c.Value = mended(v, mostText)
	default:
		c.Value = mended(devices.Text(v), mostText)
	}
	if p.Gone || p.Bad != "" {
		c.Value = nil
	}
	return c
}

// serveSeries tells one series: in cells, each reading with ?raw=true, or as CSV with
// ?format=csv or .csv behind its name.
func (s *Server) serveSeries(w http.ResponseWriter, r *http.Request) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	name, q, rights := r.PathValue("name"), r.URL.Query(), visitorOf(r).rights
	series, err := s.seriesFor(ctx, rights, name)
	asCSV := q.Get("format") == "csv"
	if shorter, ok := strings.CutSuffix(name, ".csv"); ok && err != nil {
		if series, err = s.seriesFor(ctx, rights, shorter); err == nil {
			asCSV = true
		}
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	if format := q.Get("format"); format != "" && format != "csv" && format != "json" {
		refuse(w, http.StatusBadRequest, "format: want json or csv")
		return
	}
	now, err := s.nowOf(ctx)
	var past *history.History
	if err == nil {
		past, err = s.house.History(ctx)
	}
	var from, to time.Time
	if err == nil {
		from, to, err = stretchOf(q, now.AddDate(0, 0, -1), now)
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	if asCSV {
		s.sendCSV(w, r, past, series, from, to)
		return
	}
	leave, err := s.looking.begin(ctx)
	if err != nil {
		refuseFor(w, err)
		return
	}
	defer leave()
	answer := Stretch{Name: mended(series.Name, mostName), Unit: mended(series.Unit, 20), Kind: series.Kind, From: from, To: to}
	if q.Get("raw") == "true" {
		answer.Changes = []Point{}
		for p, err := range past.Readings(series.Name, from, to) {
			if err != nil || ctx.Err() != nil {
				refuseFor(w, errors.Join(err, ctx.Err()))
				return
			}
			if len(answer.Changes) == mostChanges { // the rest is asked for from there on
				answer.Next = sane(p.At)
				break
			}
			answer.Changes = append(answer.Changes, pointOf(p))
		}
	} else {
		n := 300
		if text := q.Get("points"); text != "" {
			if n, err = strconv.Atoi(text); err != nil || n < 1 || n > mostCells {
				refuse(w, http.StatusBadRequest, fmt.Sprintf("points: want a number from 1 to %d", mostCells))
				return
			}
		}
		buckets, err := past.Chart(series.Name, from, to, n)
		if err != nil {
			refuseFor(w, err)
			return
		}
		answer.Cells = []Cell{}
		for _, b := range buckets {
			answer.Cells = append(answer.Cells, cellOf(b))
		}
	}
	send(w, r, "application/json", asJSON(answer))
}

// --- CSV ---

const (
	mostRows     = 1_000_000
	exportLimit  = 5 * time.Minute
	exportPerPut = 10 * time.Second // how long a reader may take for what was sent
)

// harmless is a text that no spreadsheet takes for a formula.
func harmless(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(text[0])) {
		return "'" + text
	}
	return text
}

// sendCSV streams readings, or what they were in each hour or day.
func (s *Server) sendCSV(w http.ResponseWriter, r *http.Request, past *history.History, series Series, from, to time.Time) {
	by := r.URL.Query().Get("by")
	if by != "" && by != "hour" && by != "day" {
		refuse(w, http.StatusBadRequest, "by: want hour or day, or leave it out for each reading")
		return
	}
	ctx, done := context.WithTimeout(r.Context(), exportLimit)
	defer done()
	waiting, stop := context.WithTimeout(ctx, patience)
	leave, err := s.exports.begin(waiting, visitorOf(r))
	stop()
	if err != nil {
		refuseFor(w, err)
		return
	}
	defer leave()
	var buckets []history.Bucket
	switch by {
	case "hour":
		begin := time.Date(from.Year(), from.Month(), from.Day(), from.Hour(), 0, 0, 0, from.Location())
		n := int((to.Sub(begin) + time.Hour - 1) / time.Hour)
		buckets, err = past.Chart(series.Name, begin, begin.Add(time.Duration(n)*time.Hour), n)
	case "day":
		buckets, err = past.Days(series.Name, from, to)
	}
	if err != nil {
		refuseFor(w, err)
		return
	}

	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=\"%s.csv\"", fileName(series.Name)))
	if r.Method == http.MethodHead {
		return
	}
	control := http.NewResponseController(w)
	out := bufio.NewWriterSize(timed{w, control}, 32<<10)
	defer out.Flush()
	rows := csv.NewWriter(out)
	rows.UseCRLF = true
	defer rows.Flush()
	name, unit := harmless(series.Name), harmless(series.Unit)
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	if by != "" {
		rows.Write([]string{"time", "name", "min", "mean", "max", "last", "on_seconds", "switches", "readings", "unit"})
		for _, b := range buckets {
			if b.Empty() {
				continue
			}
			cells := []string{b.From.Format(time.RFC3339), name, "", "", "", "", number(b.On.Seconds()), strconv.Itoa(b.Switches), strconv.Itoa(b.N), unit}
			if sound(b) && series.Kind != history.Text && series.Kind != history.Press {
				cells[2], cells[3], cells[4], cells[5] = number(b.Min), number(b.Mean), number(b.Max), number(b.Last)
			}
			if rows.Write(cells) != nil {
				return
			}
		}
		return
	}
	rows.Write([]string{"time", "name", "value", "unit", "note"})
	n := 0
	for p, err := range past.Readings(series.Name, from, to) {
		if n++; err != nil || n > mostRows || ctx.Err() != nil {
			why := "not all of it: " // a file that is cut must say so
			switch {
			case err != nil:
				why += err.Error()
			case n > mostRows:
				why += fmt.Sprintf("a file has at most %d readings; ask for the rest from %s on", mostRows, p.At.Format(time.RFC3339))
			default:
				why += "it took too long"
			}
			rows.Write([]string{"", name, "", "", harmless(mended(why, mostText))})
			return
		}
		if rows.Write([]string{p.At.Format("2006-01-02T15:04:05.000Z07:00"), name, plainCell(p), unit, harmless(noteOf(p))}) != nil {
			return
		}
	}
}

// plainCell is a value in a cell: only a number may begin with a sign.
func plainCell(p history.Point) string {
	if p.Gone || p.Bad != "" {
		return ""
	}
	if f, ok := p.Value.(float64); ok {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return harmless(strings.ToValidUTF8(devices.Text(p.Value), "\uFFFD"))
}

func noteOf(p history.Point) string {
	var notes []string
	switch {
	case p.Gone:
		notes = append(notes, strings.TrimSuffix("unavailable: "+p.Bad, ": "))
	case p.Bad != "":
		notes = append(notes, "not valid: "+p.Bad)
	}
	if p.Initial {
		notes = append(notes, "found at start")
	}
	if !p.Sure {
		notes = append(notes, "clock not known")
	}
	return mended(strings.Join(notes, ", "), mostText)
}

// fileName is a name that every file system takes, and every header.
func fileName(name string) string {
	plain := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '_'
	}, name)
	return plain[:min(len(plain), 80)]
}

// timed gives a reader a while for each piece, however long the whole takes.
type timed struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (t timed) Write(b []byte) (int, error) {
	if err := t.control.SetWriteDeadline(time.Now().Add(exportPerPut)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return t.ResponseWriter.Write(b)
}
