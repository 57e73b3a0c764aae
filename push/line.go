package push

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth/devices"
)

// A Point is a reading to be sent. As a line it is
//
//	hearth,device=plug,property=power,room=Study,unit=W value=21.5 1796009883664000000
//
// with value for a number, 1 or 0 for on and off, and text for anything else: the type of a
// field must not change. What a line has no way to hold becomes another character:
// line feeds and control characters U+FFFD, a backslash in a tag, which could
// escape what follows, ⧵ (U+29F5), which looks like it.
//
// After https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/.
type Point struct {
	At       devices.Now
	Name     string // by which it is included or excluded: "plug.power"
	Device   string
	Property string // "" is the main one
	Room     string
	Unit     string
	Value    any
}

// mostText is how many bytes of a text are sent. InfluxDB takes 64 KiB.
const mostText = 1024

// fit says whether the line protocol has a form for the value, and cuts what is long.
func (p *Point) fit() bool {
	switch v := p.Value.(type) {
	case bool:
		return true
	case float64:
		return !math.IsNaN(v) && !math.IsInf(v, 0)
	case string:
		if len(v) > mostText { // which must not be held for the part of it
			p.Value = strings.Clone(v[:mostText])
		}
		return true
	}
	return false
}

// appendLine appends the line. now is when the clock is known to be right: with it a
// reading of before that was so gets its time.
func (p Point) appendLine(b []byte, to Target, now devices.Now) []byte {
	tags := map[string]string{"device": p.Device, "property": p.Property, "room": p.Room, "unit": p.Unit}
	maps.Copy(tags, to.Tags)
	b = append(b, escape(tagText(to.measurement()), `, `)...)
	for _, key := range slices.Sorted(maps.Keys(tags)) { // sorted is quicker for the database
		if value := tagText(tags[key]); value != "" {
			b = append(b, ',')
			b = append(b, key...)
			b = append(b, '=')
			b = append(b, escape(value, `,= `)...)
		}
	}
	switch v := p.Value.(type) {
	case bool:
		b = append(b, " value="...)
		if v {
			b = append(b, '1')
		} else {
			b = append(b, '0')
		}
	case float64:
		b = append(b, " value="...)
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	case string:
		b = append(b, ` text="`...)
		b = append(b, escape(fieldText(v), `"\`)...)
		b = append(b, '"')
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.time(now).UnixNano(), 10)
	return append(b, '\n')
}

// time is when it was measured, by the clock as it is known now.
func (p Point) time(now devices.Now) time.Time {
	if p.At.Known {
		return p.At.Wall
	}
	return now.Wall.Add(p.At.Mono - now.Mono)
}

// escape puts a backslash before the characters.
func escape(s, characters string) string {
	if !strings.ContainsAny(s, characters) {
		return s
	}
	var b bytes.Buffer
	for i := range len(s) {
		if strings.IndexByte(characters, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// tagText is s as a tag can be.
func tagText(s string) string { return strings.ReplaceAll(fieldText(s), `\`, "\u29f5") }

// fieldText is s as a field can be: UTF-8, in one line.
func fieldText(s string) string {
	plain := true
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < utf8.RuneSelf && s[i] != 0x7f
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
