package devices

import (
	"errors"
	"slices"
	"strings"
)

// Captures is the names in braces in the source's topic, in their order.
func (s Source) Captures() []string {
	if !strings.Contains(s.Filter, "{") {
		return nil
	}
	var names []string
	for level := range strings.SplitSeq(s.Filter, "/") {
		if _, name, _, ok := cutCapture(level); ok {
			names = append(names, name)
		}
	}
	return names
}

// cutCapture takes the level "leak_{name}" apart.
func cutCapture(level string) (before, name, after string, ok bool) {
	i := strings.IndexByte(level, '{')
	if i < 0 {
		return "", "", "", false
	}
	j := strings.IndexByte(level[i:], '}')
	if j < 0 {
		return "", "", "", false
	}
	return level[:i], level[i+1 : i+j], level[i+j+1:], true
}

func checkCaptures(filter string) error {
	var seen []string
	for level := range strings.SplitSeq(filter, "/") {
		if !strings.ContainsAny(level, "{}") {
			continue
		}
		before, name, after, ok := cutCapture(level)
		switch {
		case strings.Contains(after, "{"):
			return errors.New("a level of a topic can hold one capture, not two")
		case !ok || strings.Contains(before+after, "}"):
			return errors.New("a brace stands alone: a capture is written {name}")
		case !isName(name):
			return errors.New("want a capture's name made of a-z, 0-9 and _, such as {name}")
		case slices.Contains(seen, name):
			return errors.New("the capture {" + name + "} is there twice")
		}
		seen = append(seen, name)
	}
	return nil
}

var withoutBraces = strings.NewReplacer("{", "", "}", "")

// plain is the filter with something in place of its captures, for what checks
// or matches plain filters.
func plain(filter string) string {
	return withoutBraces.Replace(filter)
}

// match compares a topic with a filter that has captures, level by level.
func (s Source) match(topic string) ([]string, bool) {
	if strings.HasPrefix(topic, "$") && !strings.HasPrefix(s.Filter, "$") {
		return nil, false
	}
	var values []string
	filter := s.Filter
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return values, true
		}
		t, trest, tmore := strings.Cut(topic, "/")
		if before, _, after, ok := cutCapture(f); ok {
			if len(t) <= len(before)+len(after) || !strings.HasPrefix(t, before) || !strings.HasSuffix(t, after) {
				return nil, false
			}
			values = append(values, t[len(before):len(t)-len(after)])
		} else if f != "+" && f != t {
			return nil, false
		}
		if !fmore || !tmore {
			return values, fmore == tmore || fmore && frest == "#"
		}
		filter, topic = frest, trest
	}
}

// With is the source with values in place of the captures of these names; a
// capture of another name stays.
func (s Source) With(names, values []string) Source {
	if len(names) == 0 {
		return s
	}
	levels := strings.Split(s.Filter, "/")
	for i, level := range levels {
		if before, name, after, ok := cutCapture(level); ok {
			if k := slices.Index(names, name); k >= 0 && k < len(values) {
				levels[i] = before + values[k] + after
			}
		}
	}
	s.Filter = strings.Join(levels, "/")
	return s
}
