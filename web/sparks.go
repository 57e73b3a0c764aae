package web

import (
	"context"
	"slices"
	"sync"
	"time"

	"hearth/history"
)

// Sparks are small pictures of the last day: so many stretches, the height of each as one
// letter, and a space where nothing is known. A stretch that is over is looked up once, so
// that keeping those of a whole house costs little.
const (
	sparkCells  = 48
	sparkLength = 24 * time.Hour / sparkCells
	sparkFresh  = 5 * time.Minute // for how long the newest stretch is good enough
	sparkBudget = 2 * time.Second // of one request; the next one goes on
	mostSparks  = 2000
)

var sparkHeights = "0123456789abcdefghijklmnopqrstuvwxyz"

type sparks struct {
	mu sync.Mutex
	of map[string]*spark // by series
}

// A spark is the last day of one series. The first of its cells is that of begin.
type spark struct {
	begin time.Time
	cells []sparkCell
	at    time.Time // as of when the last one is known
	used  time.Time
}

type sparkCell struct {
	mean  float64
	known bool
}

// take brings one up to date.
func (s *spark) take(past *history.History, series string, now time.Time) error {
	if !s.at.IsZero() && !now.Before(s.at) && now.Sub(s.at) < sparkFresh {
		return nil
	}
	begin := now.Truncate(sparkLength).Add(-(sparkCells - 1) * sparkLength)
	from := begin
	keep := s.cells[:0]
	if over := begin.Sub(s.begin); !s.at.IsZero() && over >= 0 && over < sparkCells*sparkLength && !now.Before(s.at) {
		// All but the last one, which was not over.
		keep = s.cells[min(int(over/sparkLength), len(s.cells)-1) : len(s.cells)-1]
		from = begin.Add(time.Duration(len(keep)) * sparkLength)
	}
	n := sparkCells - len(keep)
	buckets, err := past.Chart(series, from, from.Add(time.Duration(n)*sparkLength), n)
	if err != nil {
		return err
	}
	cells := slices.Clone(keep)
	for _, b := range buckets {
		cells = append(cells, sparkCell{b.Mean, sound(b)})
	}
	for len(cells) < sparkCells {
		cells = append(cells, sparkCell{})
	}
	s.begin, s.cells, s.at = begin, cells, now
	return nil
}

// String is it as letters; "" where there is nothing to see.
func (s *spark) String() string {
	low, high, known := 0.0, 0.0, 0
	for _, c := range s.cells {
		if !c.known {
			continue
		}
		if known == 0 {
			low, high = c.mean, c.mean
		}
		known++
		low, high = min(low, c.mean), max(high, c.mean)
	}
	if known < 2 {
		return ""
	}
	text := make([]byte, len(s.cells))
	for i, c := range s.cells {
		switch {
		case !c.known:
			text[i] = ' '
		case high == low:
			text[i] = sparkHeights[len(sparkHeights)/2]
		default:
			text[i] = sparkHeights[int((c.mean-low)/(high-low)*float64(len(sparkHeights)-1)+0.5)]
		}
	}
	return string(text)
}

// all are those of some series.
func (s *sparks) all(ctx context.Context, past *history.History, names []string, now time.Time) (map[string]string, error) {
	s.mu.Lock() // who comes while one looks finds it done
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = make(map[string]*spark)
	}
	began := time.Now()
	texts := make(map[string]string, len(names))
	for _, name := range names[:min(len(names), mostSparks)] {
		one := s.of[name]
		if one == nil {
			one = new(spark)
			s.of[name] = one
		}
		one.used = now
		if ctx.Err() == nil && time.Since(began) < sparkBudget {
			if err := one.take(past, name, now); err != nil {
				return nil, err
			}
		}
		if text := one.String(); text != "" {
			texts[name] = text
		}
	}
	for name, one := range s.of { // what nobody has looked at for a day
		if now.Sub(one.used) > 24*time.Hour {
			delete(s.of, name)
		}
	}
	return texts, nil
}

// A sparking makes the sparks of one stream, beside it: of a house that has just started that
// takes seconds, and a switch that turns does not wait for it.
type sparking struct {
	due   <-chan time.Time // to draw anew; nil: never
	drawn chan drawnFor
	draw  func(who judged)
	end   func()
}

// drawnFor are sparks as one may see them by the rights of then.
type drawnFor struct {
	by      judged
	heights map[string]string // as of sparksFor
}

// drawSparks begins to draw those that a visitor sees, if they are wanted.
func (s *Server) drawSparks(ctx context.Context, who judged, wanted bool) sparking {
	if !wanted {
		return sparking{end: func() {}}
	}
	ctx, stop := context.WithCancel(ctx)
	ticker := time.NewTicker(sparkFresh)
	var underway sync.WaitGroup
	d := sparking{due: ticker.C, drawn: make(chan drawnFor, 1)}
	d.draw = func(who judged) {
		underway.Go(func() {
			if heights, err := s.sparksFor(ctx, who.visitor); err == nil && len(heights) > 0 {
				select {
				case d.drawn <- drawnFor{who, heights}:
				default: // the ones before still wait for somebody slow
				}
			}
		})
	}
	d.end = func() {
		stop()
		ticker.Stop()
		underway.Wait()
	}
	d.draw(who)
	return d
}

// sparksFor are those of all numbers that a visitor sees on the page of the house, by the names
// of their properties; none where no history is kept.
func (s *Server) sparksFor(ctx context.Context, who visitor) (map[string]string, error) {
	v, err := s.view(ctx, patience)
	if err != nil {
		return nil, err
	}
	past, err := s.house.History(ctx)
	if err != nil {
		return nil, err
	}
	type one struct{ path, series string }
	var all []one
	var names []string
	for _, t := range v.seenBy(who).Things {
		for _, p := range t.Properties {
			if p.Series != "" && p.Level != nil {
				all = append(all, one{t.path(p), p.Series})
				names = append(names, p.Series)
			}
		}
	}
	texts, err := s.sparks.all(ctx, past, names, v.Now)
	if err != nil {
		return nil, err
	}
	answer := make(map[string]string, len(all))
	for _, o := range all {
		if text := texts[o.series]; text != "" {
			answer[o.path] = text
		}
	}
	return answer, nil
}
