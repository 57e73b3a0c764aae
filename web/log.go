package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// The page of what happened: what rules did and wait for is in View. Of readings, of which a
// house may have a hundred thousand, it has the newest, and the others are found by typing.

// So many readings the page has at once.
const mostReadings = 500

// A logSheet is what its template takes.
type logSheet struct {
	ReadingList
	Find string
}

// Cut says that there are others.
func (l logSheet) Cut() bool { return l.All > len(l.Readings) || l.Find != "" }

// A ReadingList is some readings by name, of how many.
type ReadingList struct {
	Readings []Reading `json:"readings"`
	All      int       `json:"all"` // that there are, or that have what was looked for
}

// found are the newest of the readings that have a text in their name, the names of the device and
// its room, or their value.
func found(all []Reading, text string) ReadingList {
	if text = strings.ToLower(strings.TrimSpace(text)); text != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(r Reading) bool {
			return !strings.Contains(strings.ToLower(r.Source+" "+r.Of+" "+r.Text), text)
		})
	}
	list := ReadingList{Readings: all, All: len(all)}
	if len(all) > mostReadings {
		some := slices.Clone(all)
		slices.SortStableFunc(some, func(a, b Reading) int { return b.At.Compare(a.At) })
		some = some[:mostReadings]
		slices.SortStableFunc(some, func(a, b Reading) int { return strings.Compare(a.Source, b.Source) })
		list.Readings = some
	}
	return list
}

func (s *Server) logPage(r *http.Request, v View) (any, error) {
	find := mended(r.URL.Query().Get("find"), mostName)
	return logSheet{found(v.Readings, find), find}, nil
}

// serveReadings sends those that have a text.
func (s *Server) serveReadings(w http.ResponseWriter, r *http.Request) {
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	leave, err := s.whole.rest(ctx)
	if err != nil {
		refuseFor(w, err)
		return
	}
	defer leave()
	v, err := s.view(ctx, patience)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	list := found(v.seenBy(visitorOf(r)).Readings, r.URL.Query().Get("find"))
	list.Readings = allSaid(s.wordsFor(r), list.Readings, Reading.in)
	send(w, r, "application/json", asJSON(list))
}

// ofLog is v with no more readings than the page of what happened has.
func (v View) ofLog() View {
	list := found(v.Readings, "")
	v.Readings, v.Things = list.Readings, nil
	if list.All > len(list.Readings) {
		v.AllReadings = list.All
	}
	return v
}
