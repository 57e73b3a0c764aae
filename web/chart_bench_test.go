package web

import (
	"compress/gzip"
	"fmt"
	"math"
	"testing"
	"time"
)

// aYear is a house that remembers a year of a temperature that was told every minute, and of a
// heater and a mode that change every hour and every six.
func aYear(b testing.TB) (*smallHouse, *Server) {
	house := newHouse()
	began := noon.AddDate(-1, 0, 0)
	house.remember(b, began)
	level := 20.0
	for i := 0; began.Add(time.Duration(i) * time.Minute).Before(noon); i++ {
		at := began.Add(time.Duration(i) * time.Minute)
		house.said(at, "hall.temperature", "°C", math.Round(200+50*math.Sin(float64(i)/1440*2*math.Pi)+float64(i%7))/10)
		if i%60 == 0 {
			house.said(at, "heater", "", i/60%2 == 0)
		}
		if i%360 == 0 {
			house.said(at, "hall.mode", "", []string{"eco", "comfort", "away"}[i/360%3])
		}
	}
	house.at(noon)
	house.view.Things = []Thing{{Name: "hall", Properties: []Property{
		{Name: "temperature", Kind: "value", Level: &level, Unit: "°C", Known: true, Series: "hall.temperature"}, {Name: "mode", Kind: "value", Text: "eco", Known: true, Series: "hall.mode"}}}}
	return house, New(house, Options{Log: quietLog})
}

// What a page with a chart costs, from the question to the last byte.
func BenchmarkAChart(b *testing.B) {
	_, s := aYear(b)
	for _, path := range []string{"/chart/hall.temperature?range=day", "/chart/hall.temperature?range=week", "/chart/hall.temperature?range=month", "/chart/hall.temperature?range=year",
		"/chart/heater?range=year", "/chart/hall.mode?range=year", "/chart/hall.temperature?range=year&with=heater&with=hall.mode", "/thing/hall.temperature?range=year", "/api/v1/history/hall.temperature?points=2000"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if w := ask(s, "GET", path, "", "Accept-Encoding", "gzip"); w.Code != 200 {
					b.Fatal(w.Code, w.Body)
				}
			}
			if each := b.Elapsed() / time.Duration(b.N); b.N > 10 && each > 100*time.Millisecond {
				b.Errorf("it takes %v, want at most 100 ms", each)
			}
		})
	}
}

// The sparks of a house of so many numbers: all anew, as when the hub has started, and again
// when five minutes have passed.
func BenchmarkSparks(b *testing.B) {
	for _, n := range []int{30, 500} {
		house := newHouse()
		house.remember(b, noon.AddDate(0, 0, -2))
		level := 20.0
		for i := range n {
			name := fmt.Sprint("device_", i)
			house.view.Things = append(house.view.Things, Thing{Name: name, Properties: []Property{{Name: "power", Kind: "value", Level: &level, Unit: "W", Known: true, Series: name + ".power"}}})
		}
		for at := noon.AddDate(0, 0, -2); at.Before(noon); at = at.Add(2 * time.Minute) {
			for i := range n {
				house.said(at, fmt.Sprint("device_", i, ".power"), "W", float64((at.Minute()*7+i)%100))
			}
		}
		house.at(noon)
		s := New(house, Options{Log: quietLog})
		ask1 := func(b *testing.B) {
			heights, err := s.sparksFor(b.Context(), visitor{rights: everything{}})
			if err != nil || len(heights) != n {
				b.Fatal(len(heights), err)
			}
			b.ReportMetric(float64(len(pack(asJSON(heights), gzip.BestSpeed))), "bytes")
		}
		b.Run(fmt.Sprint(n, "/anew"), func(b *testing.B) {
			for b.Loop() {
				s.sparks.of = nil
				ask1(b)
			}
		})
		now := noon
		b.Run(fmt.Sprint(n, "/five minutes later"), func(b *testing.B) {
			for b.Loop() {
				now = now.Add(sparkFresh)
				house.view.Now = now
				ask1(b)
			}
		})
		b.Run(fmt.Sprint(n, "/again"), func(b *testing.B) {
			for b.Loop() {
				ask1(b)
			}
		})
	}
}
