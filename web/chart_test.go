package web

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/history"
)

// drawn is a chart as its template writes it.
func drawn(t testing.TB, c chart, language string) string {
	t.Helper()
	c.words = allWords()[language]
	var b strings.Builder
	if err := pages()[language+"/thing"].ExecuteTemplate(&b, "chart", &figure{drawing: c.draw()}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// drawingOf is the drawing alone.
func drawingOf(page string) string {
	i, j := strings.Index(page, `<svg class="drawing"`), strings.Index(page, "</div>\n<p class=\"readout\"")
	return strings.ReplaceAll(page[i:j], "><", ">\n<")
}

// of makes cells of a stretch: NaN is one of which nothing is known.
func of(from, to time.Time, values ...float64) (cells []history.Bucket) {
	each := to.Sub(from) / time.Duration(len(values))
	for i, v := range values {
		b := history.Bucket{From: from.Add(time.Duration(i) * each), To: from.Add(time.Duration(i+1) * each)}
		if !math.IsNaN(v) {
			b.N, b.Held, b.Min, b.Mean, b.Max, b.Last = 1, each, v, v, v, v
			if v > 0 {
				b.On = each
			}
		}
		cells = append(cells, b)
	}
	return cells
}

var gap = math.NaN()

// What is drawn of known values is known to the pixel.
func TestWhatIsDrawn(t *testing.T) {
	from := time.Date(2026, 3, 10, 0, 0, 0, 0, noon.Location())
	to := from.Add(10 * time.Hour)
	temperature := plotted{Name: "a", Title: "A", Unit: "°C", Kind: history.Number, cells: of(from, to, 10, 20, gap, 15, gap, 20, 20, 10, gap, gap)}
	temperature.cells[1].Min, temperature.cells[1].Max = 15, 20
	target := plotted{Name: "b", Title: "B", Unit: "°C", Kind: history.Number, Steps: true, cells: of(from, to, 12, 12, 18, 18, 18, gap, 12, 12, gap, gap)}
	power := plotted{Name: "c", Title: "C", Unit: "W", Kind: history.Number, cells: of(from, to, -100, 300, 300, 300, 300, 300, 300, 300, gap, gap)}
	lamp := plotted{Name: "d", Title: "D", Kind: history.Switch, cells: of(from, to, 1, 1, 0, gap, 1, 0, 0, 0, gap, gap)}
	lamp.cells[4].On /= 4
	c := chart{from: from, to: to, now: from.Add(8 * time.Hour), series: []plotted{temperature, target, power, lamp}}
	page := drawn(t, c, "en")
	golden(t, "chart.svg", drawingOf(page))
	for _, want := range []string{
		`<path class="line s0" d="M50 200L150 0M300 100H400M550 0L650 0L750 200"/>`, // 10 at the bottom, 20 at the top, gaps
		`<path class="band s0" d="M50 200L150 0L150 100L50 200Z"/>`,
		`<path class="line s1" d="M0 160H100V160H200V40H300V40H400V40H500M600 160H700V160H800"/>`,
		`>20 °C</text>`, `>300 W</text>`, `A: between 10 °C and 20 °C, 15.83 °C on average, 10 °C last.`, `D: on for 2 h 15 min`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("it lacks %s:\n%s", want, page)
		}
	}
	if german := drawn(t, c, "de"); !strings.Contains(german, "im Mittel 15,83 °C") || !strings.Contains(german, "10. März 00:00 bis 10. März 10:00") {
		t.Error(german)
	}
}

// Whatever a device says of a number, there is a drawing that a browser takes, and JSON.
func TestNumbersThatCantBeDrawn(t *testing.T) {
	from, to := noon, noon.Add(24*time.Hour)
	broken := regexp.MustCompile(`NaN|Inf|e\+|undefined`)
	for name, cells := range map[string][]history.Bucket{
		"nothing": nil, "only gaps": of(from, to, gap, gap), "one": of(from, to, 5), "zero": of(from, to, 0, 0, 0), "negative": of(from, to, -5, -10.5),
		"infinite": of(from, to, 1, math.Inf(1), 2, math.Inf(-1)), "the greatest": of(from, to, math.MaxFloat64, -math.MaxFloat64), "huge": of(from, to, 1e300, -1e300),
		"great": of(from, to, 123456789, 123456790), "tiny": of(from, to, 1e-300, 5e-324), "tiny steps": of(from, to, 1e9, 1e9+1e-6),
	} {
		page := drawn(t, chart{from: from, to: to, now: to, series: []plotted{{Name: "x", Title: "X", Unit: "W", Kind: history.Number, cells: cells}}}, "en")
		paths := regexp.MustCompile(` d="([^"]*)"`).FindAllStringSubmatch(page, -1)
		for _, p := range paths {
			if broken.MatchString(p[1]) {
				t.Errorf("%s: %s", name, p[1])
			}
		}
		data := regexp.MustCompile(`(?s)values-of-chart">(.*)</script>`).FindStringSubmatch(page)
		if len(data) < 2 || !json.Valid([]byte(data[1])) {
			t.Errorf("%s: %s", name, data)
		}
		if empty := strings.Contains(page, "Nothing is recorded of this time."); empty != (name == "nothing" || name == "only gaps") {
			t.Errorf("%s: told to be empty: %v", name, empty)
		}
	}
}

// Ticks are at what the clock of the house shows, also on days of 23 and 25 hours.
func TestTicks(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	date := func(y int, m time.Month, d, h, min int) time.Time { return time.Date(y, m, d, h, min, 0, 0, berlin) }
	for _, c := range []struct {
		from, to time.Time
		want     string
	}{
		{date(2026, 3, 10, 0, 0), date(2026, 3, 11, 0, 0), "10 Mar|03:00|06:00|09:00|12:00|15:00|18:00|21:00|11 Mar"},
		{date(2026, 3, 29, 0, 0), date(2026, 3, 30, 0, 0), "29 Mar@0%|03:00@8.696%|06:00@21.739%|09:00|12:00|15:00|18:00|21:00|30 Mar@100%"}, // 23 hours
		{date(2026, 10, 25, 0, 0), date(2026, 10, 26, 0, 0), "25 Oct@0%|04:00@20%|08:00@36%|12:00@52%|16:00|20:00|26 Oct@100%"},              // 25 hours
		{date(2026, 10, 25, 0, 0), date(2026, 10, 25, 5, 0), "25 Oct@0%|01:00@16.667%|02:00@33.333%|02:00@50%|03:00@66.667%|04:00|05:00"},    // 2 o'clock comes twice
		{date(2026, 3, 10, 10, 2), date(2026, 3, 10, 10, 7), "10:02|10:03|10:04|10:05|10:06|10:07"},
		{date(2026, 3, 10, 10, 2), date(2026, 3, 10, 10, 3), "10:02:00|10:02:15|10:02:30|10:02:45|10:03:00"},
		{date(2026, 3, 10, 12, 15), date(2026, 3, 17, 12, 15), "11 Mar|12 Mar|13 Mar|14 Mar|15 Mar|16 Mar|17 Mar"},
		{date(2026, 3, 10, 0, 0), date(2026, 4, 10, 0, 0), "16 Mar|23 Mar|30 Mar|6 Apr"},
		{date(2025, 3, 12, 0, 0), date(2026, 3, 12, 0, 0), "May|Jul|Sep|Nov|2026|Mar"},
		{date(2020, 3, 12, 0, 0), date(2026, 3, 12, 0, 0), "2021|2022|2023|2024|2025|2026"},
	} {
		var got []string
		for _, k := range (chart{from: c.from, to: c.to, words: allWords()["en"]}).ticks() {
			got = append(got, k.Text+"@"+k.X)
		}
		wanted := strings.Split(c.want, "|")
		ok := len(got) == len(wanted)
		for i := range wanted {
			ok = ok && strings.HasPrefix(got[i], wanted[i])
		}
		if !ok {
			t.Errorf("%v to %v:\n%v, want\n%v", c.from, c.to, got, wanted)
		}
	}
	// No stretch has too many, or none where the page can show it.
	for length := 10 * time.Second; length < mostStretch; length = length * 5 / 4 {
		if n := len(chart{from: date(2024, 5, 5, 5, 5), to: date(2024, 5, 5, 5, 5).Add(length), words: allWords()["en"]}.ticks()); n < 2 || n > mostTicks+2 {
			t.Errorf("%v has %d ticks", length, n)
		}
	}
	if z := (chart{from: date(2026, 10, 25, 0, 0), to: date(2026, 10, 26, 0, 0)}).offsets(); fmt.Sprint(z) != "[[1792879200000 7200] [1792890000000 3600]]" {
		t.Error(z)
	}
}

func TestScales(t *testing.T) {
	w := allWords()["de"]
	for _, c := range []struct {
		low, high float64
		want      string
	}{
		{18.2, 22.4, "18 20 22 24 W"}, {0, 1, "0,0 0,5 1,0 W"}, {-3, 7, "-5 0 5 10 W"}, {20, 20, "19,0 19,5 20,0 20,5 21,0 W"}, {0, 0, "-0,5 0,0 0,5 W"},
		{0, 2345, "0 1000 2000 3000 W"}, {0, 4.2e7, "0 M 20 M 40 M 60 M W"}, {5, -5, "0,0 0,5 1,0 W"},
	} {
		var got []string
		for _, l := range newScale(c.low, c.high).levels(0, "W", w) {
			got = append(got, l.Text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v to %v: %s, want %s", c.low, c.high, strings.Join(got, " "), c.want)
		}
	}
}
