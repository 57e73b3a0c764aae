package web

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/VictoriaMetrics/metrics"
)

// A Metric is one number of the house, or several that differ in their labels, as
// Prometheus reads it. Name and Help are the hub's own; what stands in labels may come
// from anybody.
type Metric struct {
	Name    string // "hearth_inbox_waiting"; of a counter it ends in _total
	Help    string // what it is, one sentence
	Counter bool   // it only grows, until the hub starts anew
	Samples []Sample
}

// A Sample is one of its numbers. One that is not known is left out, not zero.
type Sample struct {
	Labels []string // name, value, name, value...; an empty value is as good as no label
	Value  float64
}

// metricsType is that of the text format: https://prometheus.io/docs/instrumenting/exposition_formats/
const metricsType = "text/plain; version=0.0.4; charset=utf-8"

// serveMetrics answers Prometheus: the house, then the process.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	if !visitorOf(r).rights.Whole(See) {
		refuse(w, http.StatusForbidden, "this tells of the whole house, and you may see a part of it")
		return
	}
	if s.set.Load().quiet {
		refuse(w, http.StatusNotFound, "web.metrics = false turns this off")
		return
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	leave, err := s.whole.rest(ctx)
	var all []Metric
	if err == nil {
		all, err = s.house.Metrics(ctx)
		leave()
	}
	if err != nil { // then Prometheus sets up = 0, and what it had of the house is stale
		refuse(w, http.StatusServiceUnavailable, "the house does not answer: "+err.Error())
		return
	}
	var b bytes.Buffer
	for _, m := range all {
		m.write(&b)
	}
	metrics.WriteProcessMetrics(&b)
	metrics.WriteFDMetrics(&b)
	w.Header().Set("Content-Type", metricsType)
	w.Write(b.Bytes())
}

// write appends the metric in the text format. No two lines have the same labels: names
// that are mended may come to be the same, and a second one would spoil the first.
func (m Metric) write(b *bytes.Buffer) {
	if len(m.Samples) == 0 {
		return
	}
	kind := "gauge"
	if m.Counter {
		kind = "counter"
	}
	b.WriteString("# HELP " + m.Name + " " + strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(m.Help) + "\n")
	b.WriteString("# TYPE " + m.Name + " " + kind + "\n")
	seen := make(map[string]bool, len(m.Samples))
	for _, s := range m.Samples {
		labels := labelsOf(s.Labels)
		if seen[labels] {
			continue
		}
		seen[labels] = true
		b.WriteString(m.Name + labels + " " + number(s.Value) + "\n")
	}
}

// labelsOf is {name="value",...}, or nothing.
func labelsOf(pairs []string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		value := pairs[i+1]
		if value == "" {
			continue
		}
		if b.Len() == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(pairs[i] + `="` + escaped(value) + `"`)
	}
	if b.Len() > 0 {
		b.WriteByte('}')
	}
	return b.String()
}

// escaped is a label's value as it stands between quotes. Most need nothing of this.
func escaped(value string) string {
	plain := len(value) <= mostName && utf8.ValidString(value)
	for i := 0; plain && i < len(value); i++ {
		plain = value[i] >= ' ' && value[i] < utf8.RuneSelf && value[i] != '"' && value[i] != '\\'
	}
	if plain {
		return value
	}
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(mended(value, mostName))
}

func number(v float64) string {
	switch {
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
