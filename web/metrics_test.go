package web

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A scraped sample, as Prometheus would store it.
type scraped map[string]float64

// scrape reads the text format as strictly as its description allows: metadata once and
// before the samples, all lines of a metric together, no sample twice, names and escapes
// of the alphabet, a line feed at the end.
func scrape(text string) (scraped, error) {
	name := regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	label := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*`)
	all := make(scraped)
	kinds, done := make(map[string]string), make(map[string]bool)
	now := ""
	begin := func(family string) error {
		if family != now {
			if done[family] {
				return fmt.Errorf("%s comes in two places", family)
			}
			done[now], now = true, family
		}
		return nil
	}
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("no line feed at the end")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			word, rest, _ := strings.Cut(rest, " ")
			family, rest, _ := strings.Cut(rest, " ")
			if word != "HELP" && word != "TYPE" || name.FindString(family) != family {
				return nil, fmt.Errorf("%q is no metadata", line)
			}
			if err := begin(family); err != nil {
				return nil, err
			}
			if word == "TYPE" {
				if _, ok := kinds[family]; ok {
					return nil, fmt.Errorf("a second type of %s", family)
				}
				switch rest {
				case "counter", "gauge", "histogram", "summary", "untyped":
					kinds[family] = rest
				default:
					return nil, fmt.Errorf("%q is no type", line)
				}
			}
			continue
		}
		metric := name.FindString(line)
		family := metric
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(metric, suffix); ok && (kinds[base] == "histogram" || kinds[base] == "summary") {
				family = base
			}
		}
		if metric == "" || kinds[family] == "" {
			return nil, fmt.Errorf("%q: no type was told", line)
		}
		if err := begin(family); err != nil {
			return nil, err
		}
		rest := line[len(metric):]
		key := metric
		if strings.HasPrefix(rest, "{") {
			rest = rest[1:]
			seen := make(map[string]bool)
			for !strings.HasPrefix(rest, "}") {
				l := label.FindString(rest)
				if l == "" || seen[l] || !strings.HasPrefix(rest[len(l):], `="`) {
					return nil, fmt.Errorf("%q: no label at %q", line, rest)
				}
				seen[l] = true
				rest = rest[len(l)+2:]
				var value strings.Builder
				for !strings.HasPrefix(rest, `"`) {
					if rest == "" {
						return nil, fmt.Errorf("%q: a value has no end", line)
					}
					if rest[0] != '\\' {
						value.WriteByte(rest[0])
						rest = rest[1:]
						continue
					}
					c, ok := map[byte]byte{'\\': '\\', '"': '"', 'n': '\n'}[(rest + "  ")[1]]
					if !ok {
						return nil, fmt.Errorf("%q: no escape at %q", line, rest)
					}
					value.WriteByte(c)
					rest = rest[2:]
				}
				key += fmt.Sprintf(" %s=%q", l, value.String())
				rest = strings.TrimLeft(strings.TrimPrefix(rest[1:], ","), " ")
			}
			rest = rest[1:]
		}
		number, ok := strings.CutPrefix(rest, " ")
		v, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%q: no number", line)
		}
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("%q comes twice", key)
		}
		all[key] = v
	}
	return all, nil
}

func askMetrics(t *testing.T, s *Server, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", "http://127.0.0.1:8080/metrics", nil)
	r.RemoteAddr = "127.0.0.1:4711"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// Whatever devices call themselves, Prometheus reads it as it is meant, and the process
// beside it.
func TestMetricsAreRead(t *testing.T) {
	house := newHouse()
	hostile := "a\"b\\c\nd} 7\n# TYPE x counter\nx 1\n\xff\x1b[2J\u202e"
	long := strings.Repeat("é", 300)
	house.metrics = []Metric{
		{Name: "hearth_reading", Help: "With a \\ and\na line.", Samples: []Sample{
			{[]string{"device", "hall", "property", "temperature", "room", "", "unit", "°C"}, 21.5},
			{[]string{"device", hostile}, 1},
			{[]string{"device", long}, math.Inf(-1)},
			{[]string{"device", long + "x"}, 2}, // the same when it is cut
		}},
		{Name: "hearth_nothing", Help: "Has no sample."},
		{Name: "hearth_sent_total", Help: "Sent.", Counter: true, Samples: []Sample{{nil, 12345678}}},
	}
	w := askMetrics(t, New(house, Options{}))
	if w.Code != 200 || w.Header().Get("Content-Type") != metricsType {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	all, err := scrape(w.Body.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, w.Body)
	}
	want := scraped{
		`hearth_reading device="hall" property="temperature" unit="°C"`:                                    21.5,
		fmt.Sprintf("hearth_reading device=%q", "a\"b\\c d} 7 # TYPE x counter x 1 \uFFFD\uFFFD[2J\uFFFD"): 1,
		fmt.Sprintf("hearth_reading device=%q", strings.Repeat("é", 200)+"…"):                              math.Inf(-1),
		"hearth_sent_total": 12345678,
	}
	for key, want := range want {
		if got, ok := all[key]; !ok || got != want {
			t.Errorf("%s is %v, %v; want %v", key, got, ok, want)
		}
		delete(all, key)
	}
	for _, key := range []string{"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "go_goroutines"} {
		if _, ok := all[key]; !ok {
			t.Errorf("nothing is told of %s", key)
		}
	}
	for key := range all {
		if strings.HasPrefix(key, "hearth_") {
			t.Errorf("also %s", key)
		}
	}
}

// No other site and no other name may ask, a house that does not answer has no metrics,
// and who does not want them turns them off.
func TestWhoMayAskForMetrics(t *testing.T) {
	house := newHouse()
	s := New(house, Options{})
	if w := askMetrics(t, s, "Sec-Fetch-Site", "cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("another site: %d", w.Code)
	}
	r := httptest.NewRequest("GET", "http://evil.example/metrics", nil)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusMisdirectedRequest {
		t.Errorf("another name: %d", w.Code)
	}
	house.broken = errors.New("the hub has stopped")
	if w := askMetrics(t, s); w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "process_") {
		t.Errorf("no house: %d %s", w.Code, w.Body)
	}
	house.broken = nil
	off, here := false, "127.0.0.1:0"
	defer s.Close()
	for _, metrics := range []*bool{nil, &off, nil} {
		c, err := s.Prepare(Config{Listen: &here, Metrics: metrics})
		if err != nil {
			t.Fatal(err)
		}
		c.Commit()
		if w, want := askMetrics(t, s), map[bool]int{true: 200, false: 404}[metrics == nil]; w.Code != want {
			t.Errorf("metrics = %v: %d, want %d", metrics, w.Code, want)
		}
	}
}
