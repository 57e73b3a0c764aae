package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hearth/history"
)

// The page of one thing, or of one of its properties, or of a series that is no thing: how
// it is, how it was, and what it comes from.

// A subject is what such a page is about.
type subject struct {
	name     string // in the address: "heater", "kitchen.temperature", "garage/door/state"
	title    string
	thing    *Thing // nil: it is none
	property *Property
	series   string // "": nothing of it is recorded
}

func (s subject) path() string { return "/thing/" + url.PathEscape(s.name) }

// subject finds in things, as a visitor sees them, what a name is of.
func (v View) subject(name string) (subject, bool) {
	t, p := v.find(name)
	if t == nil {
		return subject{}, false
	}
	return subject{name, t.spoken(*p), t, p, p.Series}, true
}

// called is what people call what a name stands for, as a visitor sees it; the name itself
// where they call it nothing else.
func (v View) called(name string) string {
	if one, ok := v.subject(name); ok && one.thing.Label != "" {
		return one.title
	}
	return name
}

// subjectFor finds what a name is of among all that a visitor may see.
func (s *Server) subjectFor(ctx context.Context, v View, rights Rights, name string) (subject, error) {
	if one, ok := v.subject(name); ok {
		return one, nil
	}
	series, err := s.seriesFor(ctx, rights, name)
	if err != nil {
		if _, told := errors.AsType[refusal](err); !told { // no history: then there is no such series either
			err = nothingRecorded(name)
		}
		return subject{}, err
	}
	return subject{name: name, title: mended(name, mostName), series: series.Name}, nil
}

// --- What stretch of time ---

// A period is one of the ranges that one chooses from. A live one ends a little after now, at
// a multiple of grid, so that there is room for what comes.
type period struct {
	Name    string
	y, m, d int
	grid    time.Duration
}

var ranges = []period{
	{"day", 0, 0, 1, 15 * time.Minute},
	{"week", 0, 0, 7, 2 * time.Hour},
	{"month", 0, 1, 0, 6 * time.Hour},
	{"year", 1, 0, 0, 24 * time.Hour},
}

// A stretch is what a page shows.
type stretch struct {
	from, to time.Time
	name     string // of the range; "" for one that was chosen freely
	live     bool   // it ends with the present
}

func (s stretch) shifted(by int) stretch {
	for _, r := range ranges {
		if r.Name == s.name {
			s.from, s.to = s.from.AddDate(by*r.y, by*r.m, by*r.d), s.to.AddDate(by*r.y, by*r.m, by*r.d)
			return s
		}
	}
	length := s.to.Sub(s.from) * time.Duration(by)
	s.from, s.to = s.from.Add(length), s.to.Add(length)
	return s
}

// chosen reads what stretch of time an address is about.
func chosen(q url.Values, now time.Time) (stretch, error) {
	name := cmp.Or(q.Get("range"), "day")
	i := slices.IndexFunc(ranges, func(r period) bool { return r.Name == name })
	if i < 0 {
		return stretch{}, refusal{http.StatusBadRequest, "range: want day, week, month or year"}
	}
	r := ranges[i]
	s := stretch{name: name}
	switch {
	case q.Get("from") != "":
		from, to, err := stretchOf(q, now.AddDate(0, 0, -1), now)
		s = stretch{from: from, to: to}
		if name := q.Get("range"); name != "" { // from there on for so long
			s.name = name
		}
		s.live = !to.Before(now)
		return s, err
	case q.Get("day") != "": // it ends with that day
		day, err := parseMoment(q.Get("day"), now.Location())
		if err != nil {
			return s, err
		}
		s.to = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, now.Location())
	default:
		midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
		s.to, s.live = midnight.Add(now.Sub(midnight).Truncate(r.grid)+r.grid), true
	}
	s.from = s.to.AddDate(-r.y, -r.m, -r.d)
	return s, nil
}

// --- The page ---

// These are what its template takes.
type (
	thingSheet struct {
		Title, Of string
		Card      *thingRow
		History   string // why there is none
		Figure    *figure
		Stats     []fact
		Changes   []changeRow
		Facts     []fact
		CSV       []choice
	}
	figure struct {
		drawing
		Name, Path    string // of the page
		From, To      string
		Live          bool
		Ranges        []choice
		Earlier       string
		Later         string // "" when it would be all to come
		Range         string // for the forms
		Day           string
		FromStart     string   // to all that is recorded; "" where a part of the chart is older
		Shown, Others []choice // what stands in it beside the first, with the way without it; what could
		Zoomed        bool
	}
	choice struct {
		Text, Path string
		Now        bool
	}
	fact struct{ What, Is, When string }

	changeRow struct {
		At           time.Time
		Is           string
		Because      string
		Why          string // where more is told
		Gone         bool
		Time, Moment string
	}
)

// thingPage makes what is on the page of one thing.
func (s *Server) thingPage(r *http.Request, v View) (any, error) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	w, rights := s.wordsFor(r), visitorOf(r).rights
	one, err := s.subjectFor(ctx, v, rights, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	page := thingSheet{Title: one.title}
	if t := one.thing; t != nil {
		page.Card = &thingRow{*t, v.Now, w}
		page.Of = t.Room
		page.Facts = facts(one, rights, w)
	}
	past, err := s.house.History(ctx)
	if err != nil {
		page.History = w.say(sentence(err.Error()))
		return page, nil
	}
	var c chart
	if page.Figure, c, err = s.figure(ctx, r, v, past, one); err != nil {
		return nil, err
	}
	if len(c.series) == 0 {
		return page, nil
	}
	page.Stats = c.stats(c.series[0])
	if page.Changes, err = lastChanges(ctx, past, one, v.Now, rights.Whole(See), w); err != nil {
		return nil, err
	}
	if !c.series[0].some() {
		return page, nil
	}
	file := func(by string) string {
		q := url.Values{"format": {"csv"}, "from": {c.from.Format(time.RFC3339)}, "to": {c.to.Format(time.RFC3339)}}
		if by != "" {
			q.Set("by", by)
		}
		return "/api/v1/history/" + url.PathEscape(one.series) + "?" + q.Encode()
	}
	page.CSV = []choice{{w.text("thing.csv"), file(""), false}, {w.text("thing.csv_hour"), file("hour"), false}, {w.text("thing.csv_day"), file("day"), false}}
	return page, nil
}

// serveChart sends the chart of such a page alone, for the module that puts it in place of
// the one before.
func (s *Server) serveChart(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") { // a person, who wants the page around it
		http.Redirect(w, r, "/thing/"+url.PathEscape(r.PathValue("name"))+"?"+r.URL.RawQuery, http.StatusSeeOther)
		return
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	v, err := s.view(ctx, patience)
	if err != nil {
		refuseFor(w, err)
		return
	}
	v = v.seenBy(visitorOf(r))
	one, err := s.subjectFor(ctx, v, visitorOf(r).rights, r.PathValue("name"))
	var past *history.History
	if err == nil {
		past, err = s.house.History(ctx)
	}
	var f *figure
	if err == nil {
		f, _, err = s.figure(ctx, r, v, past, one)
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	var b bytes.Buffer
	if err := pages()[s.wordsFor(r).language+"/thing"].ExecuteTemplate(&b, "chart", f); err != nil {
		s.log.Error("a chart could not be written", "err", err)
		refuse(w, http.StatusInternalServerError, "the chart could not be written: "+err.Error())
		return
	}
	send(w, r, "text/html; charset=utf-8", b.Bytes())
}

const mostOthers = 300

// figure draws what an address asks for.
func (s *Server) figure(ctx context.Context, r *http.Request, v View, past *history.History, one subject) (*figure, chart, error) {
	leave, err := s.looking.begin(ctx)
	if err != nil {
		return nil, chart{}, err
	}
	defer leave()
	q, w, rights := r.URL.Query(), s.wordsFor(r), visitorOf(r).rights
	span, err := chosen(q, v.Now)
	if err != nil {
		return nil, chart{}, err
	}
	c := chart{from: span.from, to: span.to, now: v.Now, words: w}
	subjects := []subject{one}
	with := q["with"]
	for _, name := range with[:min(len(with), 2*mostSeries)] { // each asks the house
		other, err := s.subjectFor(ctx, v, rights, name)
		if err == nil && len(subjects) < mostSeries && !slices.ContainsFunc(subjects, func(s subject) bool { return s.name == other.name }) {
			subjects = append(subjects, other)
		}
	}
	for _, of := range subjects {
		p, err := s.plot(ctx, past, of, c)
		if err != nil {
			return nil, c, err
		}
		c.series = append(c.series, p)
	}

	f := &figure{drawing: c.draw(), Name: one.name, Path: one.path(), From: c.from.Format(time.RFC3339), To: c.to.Format(time.RFC3339), Live: span.live, Range: span.name, Zoomed: span.name == ""}
	at := func(change func(url.Values)) string {
		all := url.Values{}
		for _, key := range []string{"range", "from", "to", "day"} {
			if q.Get(key) != "" {
				all.Set(key, q.Get(key))
			}
		}
		for _, s := range subjects[1:] {
			all.Add("with", s.name)
		}
		change(all)
		if text := all.Encode(); text != "" {
			return one.path() + "?" + text
		}
		return one.path()
	}
	plain := func(all url.Values) {
		for _, key := range []string{"range", "from", "to", "day"} {
			all.Del(key)
		}
	}
	for _, r := range ranges {
		text := map[string]string{"day": w.text("chart.range.day"), "week": w.text("chart.range.week"), "month": w.text("chart.range.month"), "year": w.text("chart.range.year")}[r.Name]
		f.Ranges = append(f.Ranges, choice{text, at(func(all url.Values) { plain(all); all.Set("range", r.Name) }), r.Name == span.name})
	}
	move := func(by int) string {
		next := span.shifted(by)
		if by > 0 && !next.from.Before(v.Now) {
			return ""
		}
		return at(func(all url.Values) {
			plain(all)
			if span.name != "" {
				all.Set("range", span.name)
			}
			all.Set("from", next.from.Format(time.RFC3339))
			all.Set("to", next.to.Format(time.RFC3339))
		})
	}
	f.Earlier, f.Later = move(-1), move(1)
	f.Day = v.Now.Format(time.DateOnly)
	if !span.live {
		f.Day = span.to.Add(-time.Second).Format(time.DateOnly)
	}
	if f.Since != "" && c.since().Before(v.Now) {
		f.FromStart = at(func(all url.Values) {
			plain(all)
			all.Set("from", c.since().Format(time.RFC3339))
			all.Set("to", v.Now.Format(time.RFC3339))
		})
	}
	for i, other := range subjects[1:] {
		f.Shown = append(f.Shown, choice{other.title, at(func(all url.Values) { all["with"] = slices.Delete(slices.Clone(all["with"]), i, i+1) }), false})
	}
	if len(subjects) < mostSeries {
		f.Others = others(v, one, subjects)
	}
	return f, c, nil
}

// others are what can stand in a chart beside one: first what is of the same device.
func others(v View, one subject, shown []subject) (all []choice) {
	add := func(t Thing) {
		for _, p := range t.Properties {
			if p.Series == "" || len(all) == mostOthers || slices.ContainsFunc(shown, func(s subject) bool { return s.series == p.Series }) {
				continue
			}
			all = append(all, choice{Text: t.spoken(p), Path: t.path(p)})
		}
	}
	if one.thing != nil {
		add(*one.thing)
	}
	for _, t := range v.Things {
		if one.thing == nil || t.Name != one.thing.Name {
			add(t)
		}
	}
	return all
}

// So many readings are looked at for the exact moments of a state, and so many states are drawn.
const (
	mostPoints = 20_000
	mostRuns   = 600
)

// plot gets what is drawn of a series.
func (s *Server) plot(ctx context.Context, past *history.History, of subject, c chart) (plotted, error) {
	p := plotted{Name: of.name, Title: of.title, Kind: history.Number}
	if of.property != nil {
		p.Unit, p.Steps = of.property.Unit, of.property.Kind == "level"
		switch {
		case of.property.Kind == "switch":
			p.Kind = history.Switch
		case of.property.Level == nil && of.property.Text != "":
			p.Kind = history.Text
		}
	}
	if of.series == "" {
		return p, nil
	}
	found, err := s.house.Recorded(ctx, of.series)
	if err != nil || len(found) == 0 {
		return p, err
	}
	p.Kind = found[0].Kind
	p.Unit = cmp.Or(p.Unit, mended(found[0].Unit, 20))
	if first := found[0].First.In(c.from.Location()); !first.After(c.now) { // a clock may have been wrong
		p.since = first
	}
	if p.cells, err = past.Chart(of.series, c.from, c.to, cellsDrawn); err != nil || p.Kind == history.Number || p.Kind == history.Press {
		return p, err
	}
	n := 0
	for _, b := range p.cells {
		n += b.N
	}
	if n > mostPoints {
		p.cut = p.Kind == history.Text
		return p, nil
	}
	var points []history.Point
	before, ok, err := past.Changed(of.series, c.from.Add(-time.Microsecond))
	if err != nil {
		return p, err
	}
	since := c.from
	if ok && (p.Kind == history.Text || len(p.cells) > 0 && p.cells[0].Held > 0) {
		points = append(points, before)
		since = before.At
	}
	read := 0
	for one, err := range past.Readings(of.series, c.from, c.to) {
		if err != nil || ctx.Err() != nil {
			return p, errors.Join(err, ctx.Err())
		}
		if one.Bad == "" && !one.Gone {
			read++
		}
		points = append(points, one)
	}
	if p.Kind == history.Switch && read < n || len(points) > 2*mostPoints { // readings are not kept as long as what is computed of them
		return p, nil
	}
	until := c.to
	if c.now.Before(until) {
		until = c.now
	}
	p.runs = runsOf(points, past.Pauses(since, until), c.from, until, c.words)
	switch {
	case len(p.runs) <= mostRuns:
	case p.Kind == history.Switch: // how much of each cell it was on says more
		p.runs = nil
	default:
		least := c.to.Sub(c.from) / mostRuns
		p.runs = slices.DeleteFunc(p.runs, func(r run) bool { return r.to.Sub(r.from) < least })
		p.cut = true
	}
	return p, nil
}

// stats is a series in numbers.
func (c chart) stats(s plotted) (all []fact) {
	w := c.words
	if !s.some() {
		return nil
	}
	total := sum(s.cells)
	when := func(is func(history.Bucket) bool) string {
		for _, b := range s.cells {
			if sound(b) && is(b) {
				return c.moment(b.From)
			}
		}
		return ""
	}
	add := func(what, is, when string) { all = append(all, fact{what, is, when}) }
	switch s.Kind {
	case history.Number:
		add(w.text("thing.min"), w.number(total.Min, s.Unit), when(func(b history.Bucket) bool { return b.Min == total.Min }))
		add(w.text("thing.mean"), w.number(total.Mean, s.Unit), "")
		add(w.text("thing.max"), w.number(total.Max, s.Unit), when(func(b history.Bucket) bool { return b.Max == total.Max }))
		add(w.text("thing.last"), w.number(total.Last, s.Unit), "")
		if energy, ok := energyOf(s); ok {
			add(w.text("thing.energy"), w.number(energy, "kWh"), "")
		}
	case history.Switch:
		share := 0.0
		if total.Held > 0 {
			share = float64(total.On) / float64(total.Held) * 100
		}
		add(w.text("thing.on_for"), w.span(total.On), w.number(share, "%"))
		add(w.text("thing.switches"), w.number(float64(total.Switches), ""), "")
		add(w.text("thing.last"), map[bool]string{true: w.text("is.on"), false: w.text("is.off")}[total.Last > 0], "")
	case history.Text:
		held := make(map[string]time.Duration)
		var known []string
		for _, r := range s.runs {
			if _, ok := held[r.is]; !ok {
				known = append(known, r.is)
			}
			held[r.is] += r.to.Sub(r.from)
		}
		slices.SortStableFunc(known, func(a, b string) int { return cmp.Compare(held[b], held[a]) })
		for _, is := range known[:min(len(known), 6)] {
			add(is, w.span(held[is]), "")
		}
	}
	add(w.text("thing.readings"), w.number(float64(total.N), ""), "")
	return all
}

// energyOf is what a power came to, or by how much a meter went on, in kWh.
func energyOf(s plotted) (energy float64, ok bool) {
	power, meter := map[string]float64{"W": 0.001, "kW": 1}[s.Unit], map[string]float64{"Wh": 0.001, "kWh": 1, "MWh": 1000}[s.Unit]
	last, some := 0.0, false
	for _, b := range s.cells {
		if !sound(b) {
			continue
		}
		switch {
		case power > 0:
			energy += b.Mean * b.Held.Hours() * power
		case some && b.Last >= last:
			energy += (b.Last - last) * meter
		case some: // it was set anew, or began at zero
			energy += max(0, b.Last) * meter
		default:
			energy += max(0, b.Last-b.Min) * meter
		}
		last, some = b.Last, true
	}
	return energy, power > 0 || meter > 0
}

const (
	changesShown  = 10
	changesWithin = 400 * time.Millisecond // of looking for them
)

// lastChanges are the newest changes of a series, each with what is known of why.
func lastChanges(ctx context.Context, past *history.History, one subject, now time.Time, whole bool, w *words) (rows []changeRow, err error) {
	if one.series == "" {
		return nil, nil
	}
	began := time.Now()
	at := now
	for len(rows) < changesShown && time.Since(began) < changesWithin && ctx.Err() == nil {
		p, ok, err := past.Changed(one.series, at)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		row := changeRow{At: sane(p.At), Gone: p.Gone, Time: w.clock(p.At.In(now.Location()), now), Moment: p.At.Format(time.RFC3339)}
		switch v := p.Value.(type) {
		case bool:
			row.Is = map[bool]string{true: w.text("is.on"), false: w.text("is.off")}[v]
		case float64:
			unit := ""
			if one.property != nil {
				unit = one.property.Unit
			}
			row.Is = w.number(v, unit)
		default:
			row.Is = w.is(mended(cmp.Or(p.Text, fmt.Sprint(v)), 100))
		}
		if p.Gone {
			row.Is = w.text("away")
		}
		if whole { // what is told in sentences may tell of other things
			switch {
			case p.Decision != 0:
				d, ok, err := past.Decision(p.Decision)
				if err != nil {
					return nil, err
				}
				if ok {
					row.Because = Decision{Rule: d.Rule, Outcome: string(d.Outcome), Text: sentence(d.String())}.in(w).Text
				}
			case p.By != "":
				row.Because = w.say(sentence(p.By))
			case p.Initial:
				row.Because = w.text("thing.found")
			}
			row.Why = whyPath(one.name, p.At)
		}
		rows = append(rows, row)
		if next := p.At.Add(-time.Microsecond); next.Before(at) {
			at = next
		} else {
			break
		}
	}
	return rows, nil
}

// facts are where something comes from.
func facts(one subject, rights Rights, w *words) (all []fact) {
	t, p := one.thing, one.property
	add := func(what, is string) {
		if is != "" {
			all = append(all, fact{What: what, Is: mended(is, mostText)})
		}
	}
	add(w.text("thing.name"), one.name)
	add(w.text("thing.room"), t.Room)
	add(w.text("thing.pin"), t.Line)
	add(w.text("thing.line"), t.Hint)
	add(w.text("thing.topic"), strings.Join(p.See, ", "))
	if p.Tells && may(rights, p.Use, Use) {
		add(w.text("thing.told"), strings.Join(p.Use, ", "))
	}
	if one.series != one.name {
		add(w.text("thing.series"), one.series)
	}
	return all
}
