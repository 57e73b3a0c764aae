package web

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/devices"
	"hearth/history"
)

// What a smallHouse remembers: a real history, which a test fills.
type memory struct {
	past   *history.History
	err    error
	now    devices.Now
	topics map[string][]string
	secret []string
}

func (h *smallHouse) History(context.Context) (*history.History, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory.past == nil && h.memory.err == nil {
		return nil, errors.New("no history is kept")
	}
	return h.memory.past, h.memory.err
}

func (h *smallHouse) Recorded(_ context.Context, names ...string) (some []Series, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.memory.past == nil {
		return nil, cmp.Or(h.memory.err, errors.New("no history is kept"))
	}
	for _, s := range h.memory.past.Series() {
		if (len(names) == 0 || slices.Contains(names, s.Name)) && !slices.Contains(h.memory.secret, s.Name) {
			some = append(some, Series{s.Name, s.Unit, s.Kind, s.First, s.Last, h.memory.topics[s.Name]})
		}
	}
	return some, nil
}

// remember gives a house a history that begins at a moment.
func (h *smallHouse) remember(t testing.TB, began time.Time) {
	t.Helper()
	h.past.Lock() // a history of before may ask what time it is
	h.memory = memory{now: devices.Now{Wall: began, Known: true}, topics: map[string][]string{}}
	h.past.Unlock()
	past, err := history.Open(t.TempDir(), history.Config{}, history.Options{Zone: began.Location(), Boot: "x", Now: func() devices.Now {
		h.past.Lock()
		defer h.past.Unlock()
		return h.memory.now
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.memory.past = past
	t.Cleanup(func() { past.Close() })
}

// recall gives all that a house shows a day behind it, under the names that it has.
func (h *smallHouse) recall(t testing.TB) {
	now := h.view.Now
	h.remember(t, now.AddDate(0, 0, -1))
	say := func(source, unit string, p Property) {
		for i := range 6 {
			at := now.AddDate(0, 0, -1).Add(time.Duration(i) * 4 * time.Hour)
			switch {
			case p.Kind == "switch":
				h.said(at, source, "", i%2 == 0)
			case p.Level != nil:
				h.said(at, source, unit, *p.Level+float64(i*i%7))
			default:
				h.said(at, source, "", fmt.Sprint(p.Text, i%3))
			}
		}
		h.memory.topics[source] = p.See
	}
	for i, thing := range h.view.Things {
		h.view.Things[i].Properties = slices.Clone(thing.Properties)
		for k, p := range thing.Properties {
			source := thing.Name + "." + p.Name
			h.view.Things[i].Properties[k].Series = source
			say(source, p.Unit, p)
		}
	}
	for _, p := range slices.Concat(h.view.Outputs, h.view.Inputs) {
		say(p.Name, "", thingOf(p, true).Properties[0])
	}
	h.at(now)
}

// at lets time pass, to a moment.
func (h *smallHouse) at(at time.Time) devices.Now {
	h.past.Lock()
	defer h.past.Unlock()
	h.memory.now.Mono += at.Sub(h.memory.now.Wall)
	h.memory.now.Wall = at
	return h.memory.now
}

// said records a reading at a moment; nil: nothing is known any more.
func (h *smallHouse) said(at time.Time, source, unit string, value any) {
	r := devices.Reading{Source: source, Value: value, At: h.at(at)}
	if value == nil {
		r.Gone = true
	} else {
		r.Text = devices.Text(value)
	}
	h.memory.past.Seen(r, unit)
}

func asked[T any](t *testing.T, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 200 {
		t.Fatalf("%d %v: %.500s", w.Code, err, w.Body)
	}
	return v
}

func TestTheHistoryAsJSON(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	house.said(noon.Add(23*time.Hour), "odd", "W", math.NaN())
	house.said(noon.Add(23*time.Hour+time.Minute), "odd", "W", math.MaxFloat64)
	house.said(noon.Add(23*time.Hour+2*time.Minute), "odd", "W", -3.5)
	s := New(house, Options{Log: quietLog})
	list := asked[SeriesList](t, ask(s, "GET", "/api/v1/history", ""))
	if len(list.Series) != 5 || list.Series[3].Name != "kitchen.temperature" || list.Series[3].Unit != "°C" || list.Series[3].Kind != "number" {
		t.Errorf("%+v", list)
	}
	type answer = Stretch
	q := "?from=2026-03-10T12:00&to=2026-03-10T18:00:00%2B01:00"
	cells := asked[answer](t, ask(s, "GET", "/api/v1/history/kitchen.temperature"+q+"&points=6", "")).Cells
	if len(cells) != 6 || *cells[0].Min != 18 || *cells[0].Max != 19.1 || cells[0].N != 12 || cells[0].Held != 3600 || *cells[4].Last != 23.9 || cells[5].Min != nil || cells[5].Held != 0 {
		t.Errorf("%+v", cells)
	}
	if lamp := asked[answer](t, ask(s, "GET", "/api/v1/history/heater"+q+"&points=1", "")).Cells; len(lamp) != 1 || lamp[0].On != 4*3600 || lamp[0].Switches != 1 {
		t.Errorf("%+v", lamp)
	}
	changes := asked[answer](t, ask(s, "GET", "/api/v1/history/kitchen.mode"+q+"&raw=true", "")).Changes
	if len(changes) != 2 || changes[1].Value != "comfort" || !changes[1].At.Equal(noon.Add(4*time.Hour)) {
		t.Errorf("%+v", changes)
	}
	if odd := asked[answer](t, ask(s, "GET", "/api/v1/history/odd?raw=true", "")).Changes; fmt.Sprint(len(odd), odd[0].Value, odd[2].Value) != "3 <nil> -3.5" {
		t.Errorf("%+v", odd)
	}
	asked[answer](t, ask(s, "GET", "/api/v1/history/odd", ""))
	for i := range mostChanges + 5 {
		house.said(noon.Add(24*time.Hour+time.Duration(i)*time.Millisecond), "fast", "", float64(i))
	}
	house.change(func(v *View) { v.Now = noon.Add(25 * time.Hour) })
	first := asked[answer](t, ask(s, "GET", "/api/v1/history/fast?raw=true", ""))
	rest := asked[answer](t, ask(s, "GET", "/api/v1/history/fast?raw=true&from="+url.QueryEscape(first.Next.Format(time.RFC3339Nano))+"&to="+url.QueryEscape(noon.Add(26*time.Hour).Format(time.RFC3339)), ""))
	if len(first.Changes) != mostChanges || len(rest.Changes) != 5 || rest.Changes[0].Value != float64(mostChanges) || !rest.Next.IsZero() {
		t.Errorf("%d and from %v %d", len(first.Changes), first.Next, len(rest.Changes))
	}

	for path, want := range map[string]int{
		"kitchen.temperature?points=0": 400, "kitchen.temperature?points=2001": 400, "kitchen.temperature?points=x": 400, "kitchen.temperature?from=yesterday": 400,
		"kitchen.temperature?from=2026-03-10&to=2026-03-10": 400, "kitchen.temperature?from=2026-03-11&to=2026-03-10": 400, "kitchen.temperature?from=1980-01-01&to=2026-03-10": 400,
		"kitchen.temperature?format=xml": 400, "kitchen.temperature?format=csv&by=week": 400, "kitchen.temperatur": 404, "kitchen.temperatur.csv": 404, "a/b": 404, "": 404, "kitchen.temperature.csv": 200,
		"kitchen.temperature?from=99999-01-01": 400, "kitchen.temperature?from=2026-03-10T12:00:00%2B01:00": 200,
	} {
		if w := ask(s, "GET", "/api/v1/history/"+path, ""); w.Code != want {
			t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
		}
	}
	house.memory.err, house.memory.past = errors.New("no history is kept"), nil
	for _, path := range []string{"/api/v1/history", "/api/v1/history/heater"} {
		if w := ask(s, "GET", path, ""); w.Code != 503 || !strings.Contains(w.Body.String(), "no history is kept") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := ask(s, "GET", "/thing/heater", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "There is no chart: no history is kept") || !strings.Contains(w.Body.String(), `aria-label="heater"`) {
		t.Errorf("the page of a thing without a history: %d", w.Code)
	}
}

// What a device says is no formula, whoever opens the file.
func TestTheHistoryAsCSV(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	evil := []string{`=HYPERLINK("http://x","y")`, "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\tx", "harmless, \"quoted\"\r\nand =1", "-7.5"}
	for i, text := range evil {
		house.said(noon.Add(time.Duration(i+1)*time.Second), "=evil/topic", "=unit", text)
	}
	house.said(noon.Add(time.Minute), "cold", "°C", -7.5)
	house.memory.topics["=evil/topic"] = []string{"=evil/topic"}
	s := New(house, Options{Log: quietLog})
	rows := func(path string) (all [][]string) {
		t.Helper()
		w := ask(s, "GET", path, "")
		all, err := csv.NewReader(w.Body).ReadAll()
		if err != nil || w.Code != 200 || w.Header().Get("Content-Type") != "text/csv; charset=utf-8" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), `attachment; filename="`) {
			t.Fatalf("%s: %d %v %v", path, w.Code, err, w.Header())
		}
		return all
	}
	got := rows("/api/v1/history/" + url.PathEscape("=evil/topic") + "?format=csv")
	if len(got) != len(evil)+1 {
		t.Fatalf("%q", got)
	}
	for _, row := range got {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("%q", cell)
			}
		}
	}
	if got := rows("/api/v1/history/cold.csv"); fmt.Sprint(got[1]) != "[2026-03-10T12:01:00.000+01:00 cold -7.5 °C ]" {
		t.Errorf("%q", got)
	}
	if got := rows("/api/v1/history/kitchen.temperature.csv?by=hour"); len(got) != 1+22 || fmt.Sprint(got[1]) != "[2026-03-10T12:00:00+01:00 kitchen.temperature 18 18.55 19.1 19.1 3600 0 12 °C]" {
		t.Errorf("%d rows: %q", len(got), got)
	}
	if got := rows("/api/v1/history/heater.csv?by=day"); len(got) != 3 || got[1][0] != "2026-03-10T00:00:00+01:00" || got[1][6] != "28800" {
		t.Errorf("%q", got)
	}
	if got := rows("/api/v1/history/kitchen.mode.csv"); len(got) != 7 || got[2][2] != "comfort" {
		t.Errorf("%q", got)
	}
}

// Who may not see a topic finds nothing of what was recorded of it, anywhere, in the same
// words as of what is not there.
func TestWhoMaySeeThePast(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	house.said(noon, "calc.warmth", "", 3.0)
	house.said(noon, "garage/door/state", "", "open")
	house.memory.topics["garage/door/state"] = []string{"garage/door/state"}
	house.said(noon, "code", "", "1234")
	house.memory.secret = []string{"code"}
	people := family()
	s := lan(house, people)
	guest, anna := cookie(t, s, "guest"), cookie(t, s, "anna")
	names := func(who []string) (names []string) {
		for _, one := range asked[SeriesList](t, get(s, "/api/v1/history", who...)).Series {
			names = append(names, one.Name)
		}
		return names
	}
	if got := fmt.Sprint(names(anna)); got != "[calc.warmth garage/door/state heater kitchen.mode kitchen.power kitchen.temperature]" {
		t.Errorf("anna: %s", got)
	}
	if got := fmt.Sprint(names(guest)); got != "[kitchen.mode kitchen.power kitchen.temperature]" {
		t.Errorf("guest: %s", got)
	}
	for _, name := range []string{"heater", "garage/door/state", "calc.warmth", "code", "nothing/such"} {
		for _, path := range []string{"/api/v1/history/", "/thing/", "/chart/"} {
			if w := get(s, path+url.PathEscape(name), guest...); w.Code != 404 || w.Body.String() != fmt.Sprintf("{\"error\":\"nothing is recorded of \\\"%s\\\"\"}\n", name) {
				t.Errorf("guest, %s%s: %d %.300s", path, name, w.Code, w.Body)
			}
			want := 200
			if name == "code" || name == "nothing/such" {
				want = 404
			}
			if w := get(s, path+url.PathEscape(name), anna...); w.Code != want {
				t.Errorf("anna, %s%s: %d %.300s", path, name, w.Code, w.Body)
			}
		}
		for _, path := range []string{"/thing/kitchen.temperature", "/chart/kitchen.temperature"} {
			w := get(s, path+"?with="+url.QueryEscape(name), guest...)
			if w.Code != 200 || strings.Contains(w.Body.String(), name) {
				t.Errorf("guest, %s with %s: %d", path, name, w.Code)
			}
		}
	}
	page := func(who []string) string { return get(s, "/thing/kitchen.temperature", who...).Body.String() }
	if p := page(guest); strings.Contains(p, "?at=") || strings.Contains(p, "heater") {
		t.Error("the guest is told why, or of the heater")
	}
	if p := page(anna); !strings.Contains(p, `href="/why/kitchen.temperature?at=2026-03-11T11%3A55%3A00%2B01%3A00"`) {
		t.Error("anna is not led to why")
	}
	people.change(func(h *household) { h.rights["guest"] = part{See, []string{"zigbee2mqtt/"}} })
	for who, want := range map[string]int{"guest": 0, "anna": 2} {
		r := httptest.NewRequest("GET", "/api/v1/events", nil)
		r.Header.Set("Cookie", cookie(t, s, who)[1])
		if got, err := s.sparksFor(t.Context(), s.who(r)); err != nil || len(got) != want {
			t.Errorf("%s is told sparks %v %v, want %d", who, got, err, want)
		}
	}
}

// The stream that the page of the house begins with tells the last day of each number, too.
func TestSparksComeWithTheHouse(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	s := serve(t, house)
	w, _ := watchOn(t, s.Addr(), "things")
	if first := w.next(); !strings.HasPrefix(first, "house ") {
		t.Errorf("first came %.80s", first)
	}
	if got, want := w.next(), `sparks {"kitchen.power":"`; !strings.HasPrefix(got, want) || !strings.Contains(got, `"kitchen.temperature":"2579cegjl    x`) || len(got) > 500 {
		t.Errorf("then came %s", got)
	}
	house.report(Reading{Source: "a/b", At: noon}) // of which this stream tells nothing
	kitchen := house.view.Things[len(house.view.Things)-1]
	house.mu.Lock()
	house.tell(Event{Thing: &kitchen})
	house.mu.Unlock()
	if got := w.next(); !strings.HasPrefix(got, `{"thing":{"name":"kitchen"`) {
		t.Errorf("after that came %s", got)
	}
}

// A spark follows the day, and asks the past only for what is new.
func TestSparks(t *testing.T) {
	house := newHouse()
	livedIn(t, house, noon)
	var one spark
	past, now := house.memory.past, noon.Add(24*time.Hour)
	if err := one.take(past, "kitchen.temperature", now); err != nil || one.String() != "2579cegjl    xz02579cegjlnqsuxz02579cegjlnqsuxz " {
		t.Errorf("%q %v", one.String(), err)
	}
	for i := range 24 {
		house.said(now.Add(time.Duration(i)*5*time.Minute), "kitchen.temperature", "°C", 15.0)
	}
	house.at(now.Add(2 * time.Hour))
	before := one.String()
	if one.take(past, "kitchen.temperature", now.Add(time.Minute)); one.String() != before {
		t.Errorf("it was asked again after a minute: %q", one.String())
	}
	other := spark{}
	for _, after := range []time.Duration{10 * time.Minute, 45 * time.Minute, 2 * time.Hour} {
		one.take(past, "kitchen.temperature", now.Add(after))
	}
	other.take(past, "kitchen.temperature", now.Add(2*time.Hour))
	if one.String() != other.String() || !strings.HasSuffix(one.String(), "0000 ") || len(one.String()) != sparkCells {
		t.Errorf("bit by bit %q, at once %q", one.String(), other.String())
	}
	if one.take(past, "kitchen.temperature", now.Add(-time.Hour)); len(one.cells) != sparkCells {
		t.Errorf("the clock was set back: %q", one.String())
	}
	if one.take(past, "kitchen.temperature", now.Add(100*24*time.Hour)); one.String() != "" {
		t.Errorf("long after: %q", one.String())
	}
}

// A slowReader takes nothing until it is let go.
type slowReader struct {
	*httptest.ResponseRecorder
	reached, let chan struct{}
	once         sync.Once
}

func (r *slowReader) Write(b []byte) (int, error) {
	r.once.Do(func() { close(r.reached); <-r.let })
	return r.ResponseRecorder.Write(b)
}

// Who reads a file slowly holds one place, and keeps out nobody but himself; the owner gets hers
// also where all others are taken.
func TestSlowReadersOfFiles(t *testing.T) {
	house, people := newHouse(), family()
	people.passwords["opa"], people.rights["opa"] = "morgens um acht", part{See, nil}
	livedIn(t, house, noon)
	s := lan(house, people)
	const path = "/api/v1/history/kitchen.temperature?format=csv&from=2026-03-10T12:00:00%2B01:00&to=2026-03-11T12:00:00%2B01:00"
	with := func(user string) []string { return slices.Concat(from, cookie(t, s, user)) }
	let := make(chan struct{})
	var reading sync.WaitGroup
	hold := func(user string) {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		header := with(user)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		r.Host, r.RemoteAddr = "192.168.1.5", r.Header.Get("From")
		w := &slowReader{ResponseRecorder: httptest.NewRecorder(), reached: make(chan struct{}), let: let}
		reading.Go(func() { s.Handler().ServeHTTP(w, r) })
		<-w.reached
		if w.Code != 200 {
			t.Errorf("%s: %d", user, w.Code)
		}
	}
	hold("oma")
	if w := ask(s, "GET", path, "", with("oma")...); w.Code != 429 || said(t, w) == "" {
		t.Errorf("a second file at once: %d", w.Code)
	}
	hold("opa")
	if w := ask(s, "GET", path, "", with("anna")...); w.Code != 200 || strings.Count(w.Body.String(), "\n") < 200 {
		t.Errorf("the owner: %d", w.Code)
	}
	close(let)
	reading.Wait()
	if w := ask(s, "GET", path, "", with("oma")...); w.Code != 200 {
		t.Errorf("once it is read: %d", w.Code)
	}
}
