package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"hearth/devices"
)

// What conventions need that describe devices in names, units and JSON of their own.

// snakeName is a property's name made of the keys under which a device has it:
// "ENERGY", "TotalTariff" is energy_total_tariff.
func snakeName(parts ...any) string {
	var b strings.Builder
	b.Grow(32)
	gap := false
	put := func(c byte) {
		if gap && b.Len() > 0 {
			b.WriteByte('_')
		}
		gap = false
		b.WriteByte(c)
	}
	for _, part := range parts {
		gap = true
		text := fmt.Sprint(part)
		if text == "eCO2" {
			text = "eco2"
		}
		for i := 0; i < len(text) && b.Len() < 100; i++ {
			c := text[i]
			switch {
			case c >= 'A' && c <= 'Z':
				if i > 0 && (isLower(text[i-1]) || isDigit(text[i-1]) && i+1 < len(text) && isLower(text[i+1])) {
					gap = true
				}
				put(c + 'a' - 'A')
			case isLower(c) || isDigit(c):
				put(c)
			default:
				gap = true
			}
		}
	}
	if b.Len() == 0 {
		return "value"
	}
	return b.String()
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// sentence is what people read for a name: "local_temperature" is Local temperature.
func sentence(parts ...any) string {
	var words []string
	for _, part := range parts {
		words = append(words, strings.Fields(strings.ReplaceAll(fmt.Sprint(part), "_", " "))...)
	}
	text := []rune(strings.Join(words, " "))
	if len(text) > 0 {
		text[0] = unicode.ToUpper(text[0])
	}
	return string(text)
}

// plainUnit is a unit as people write it.
func plainUnit(unit string) string {
	if plain, ok := plainUnits[unit]; ok {
		return plain
	}
	return unit
}

var plainUnits = map[string]string{
	"C": "°C", "ºC": "°C", "℃": "°C", "F": "°F", "ºF": "°F", "℉": "°F", "lux": "lx", "Lux": "lx", "LX": "lx",
	"sec": "s", "second": "s", "seconds": "s", "minute": "min", "minutes": "min", "mins": "min", "hour": "h", "hours": "h",
	"ug/m3": "µg/m³", "µg/m3": "µg/m³", "μg/m³": "µg/m³", "ug/m³": "µg/m³", "mg/m3": "mg/m³", "m3": "m³", "m3/h": "m³/h",
	"VAR": "var", "VAr": "var", "Kg": "kg", "percent": "%", "mireds": "mired",
}

// plain1 is a JSON scalar with its number as float64.
func plain1(v any) any {
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		if err != nil {
			return nil
		}
		return f
	}
	return v
}

// plainJSON is a decoded document with numbers as float64; it leaves the document as it is.
func plainJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = plainJSON(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i, e := range v {
			a[i] = plainJSON(e)
		}
		return a
	}
	return plain1(v)
}

// textOf is a value as a device would write it in text.
func textOf(v any) string {
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b)
	}
	return devices.Text(v)
}

// text reads anything as text.
func text(r Reader) Reader {
	return then(r, func(v any) (any, error) { return textOf(v), nil })
}

// object reads a list or an object, or what is in place of it.
func object(r Reader) Reader {
	return then(r, func(v any) (any, error) { return plainJSON(v), nil })
}

// jsonText is a value in JSON, as short as it goes.
func jsonText(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return devices.Text(v)
	case string:
		if !strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == '"' || c == '\\' || c > '~' }) {
			return `"` + v + `"`
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "null"
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// asJSON encodes what is JSON already, or can be.
func asJSON(v any) (string, error) {
	switch v := v.(type) {
	case string:
		text := strings.TrimSpace(v)
		if !json.Valid([]byte(text)) || !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") {
			return "", fmt.Errorf("%.40q is no JSON object or list", v)
		}
		return text, nil
	case map[string]any, []any:
		return jsonText(v), nil
	}
	return "", fmt.Errorf("%.40q is no JSON object or list", textOf(v))
}

// sameJSON compares two decoded documents.
func sameJSON(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !sameJSON(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !sameJSON(a[i], b[i]) {
				return false
			}
		}
		return true
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}

var errNoList = errors.New("it is no JSON list")

// jsonElements cuts a list into its elements, which it does not look into. Those before
// what is broken, or beyond most, are given all the same.
func jsonElements(payload []byte, most int) (all [][]byte, err error) {
	text := bytes.TrimSpace(payload)
	if len(text) < 2 || text[0] != '[' {
		return nil, errNoList
	}
	depth, from := 0, 1
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ',':
			if depth == 1 {
				if len(all) >= most {
					return all, fmt.Errorf("the JSON list has more than %d entries", most)
				}
				all = append(all, bytes.TrimSpace(text[from:i]))
				from = i + 1
			}
		case ']', '}':
			if depth--; depth > 0 {
				continue
			}
			if last := bytes.TrimSpace(text[min(from, i):i]); len(last) > 0 || len(all) > 0 {
				all = append(all, last)
			}
			if text[i] != ']' || i < len(text)-1 {
				return all, errNoList
			}
			return all, nil
		}
	}
	return all, errors.New("the JSON list has no end")
}

// hexColor reads "#ff8800", with or without its sign.
func hexColor(v any) (r, g, b uint8, err error) {
	text, _ := v.(string)
	hex := strings.TrimPrefix(strings.TrimSpace(text), "#")
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || len(hex) != 6 {
		return 0, 0, 0, fmt.Errorf(`%.40q is no color such as "#ff8800"`, textOf(v))
	}
	return uint8(n >> 16), uint8(n >> 8), uint8(n), nil
}

// hsColor is a hue of 0 to 360 and a saturation of 0 to 100 at full brightness.
func hsColor(hue, saturation float64) string {
	h := math.Mod(math.Mod(hue, 360)+360, 360) / 60
	s := min(max(saturation/100, 0), 1)
	part := func(n float64) float64 {
		k := math.Mod(n+h, 6)
		return 1 - s*max(0, min(k, 4-k, 1))
	}
	return rgbColor(part(5), part(3), part(1))
}

// xyColor is a point of the CIE 1931 space at full brightness.
func xyColor(x, y float64) string {
	if y <= 0 {
		return rgbColor(1, 1, 1)
	}
	X, Z := x/y, (1-x-y)/y
	lin := [3]float64{
		X*3.2404542 - 1.5371385 - Z*0.4985314,
		-X*0.9692660 + 1.8760108 + Z*0.0415560,
		X*0.0556434 - 0.2040259 + Z*1.0572252,
	}
	most := max(lin[0], lin[1], lin[2], 1e-9)
	for i, c := range lin {
		c = max(c/most, 0)
		if c <= 0.0031308 {
			c *= 12.92
		} else {
			c = 1.055*math.Pow(c, 1/2.4) - 0.055
		}
		lin[i] = c
	}
	return rgbColor(lin[0], lin[1], lin[2])
}

// rgbColor is a colour of parts from 0 to 1.
func rgbColor(r, g, b float64) string {
	byteOf := func(c float64) int { return int(math.Round(min(max(c, 0), 1) * 255)) }
	return fmt.Sprintf("#%02x%02x%02x", byteOf(r), byteOf(g), byteOf(b))
}

// mistakes are what is wrong with an announcement: the first few, and how many more.
type mistakes struct {
	first []error
	more  int
}

func (m *mistakes) add(format string, args ...any) {
	if len(m.first) >= 3 {
		m.more++
		return
	}
	m.first = append(m.first, fmt.Errorf(format, args...))
}

// err is all of them in one line, nil if there are none.
func (m *mistakes) err() error {
	if len(m.first) == 0 {
		return nil
	}
	var texts []string
	for _, err := range m.first {
		texts = append(texts, err.Error())
	}
	if m.more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", m.more))
	}
	return errors.New(strings.Join(texts, "; "))
}

// snake is the name that text makes, in the letters of names; "" if nothing of it is left.
func snake(text string) string {
	text = plainLetters.Replace(strings.Map(func(r rune) rune {
		if r < 0x80 {
			return r
		}
		return unicode.ToLower(r)
	}, cutTo(text, maxText)))
	if !strings.ContainsFunc(text, func(r rune) bool { return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) }) {
		return ""
	}
	return cutTo(snakeName(text), 60)
}

var plainLetters = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "é", "e", "è", "e", "ê", "e", "á", "a", "à", "a",
	"â", "a", "å", "a", "ø", "o", "æ", "ae", "ñ", "n", "ç", "c", "í", "i", "ó", "o", "ô", "o", "ú", "u", "č", "c", "š", "s", "ž", "z",
	"ě", "e", "ř", "r", "ý", "y", "ł", "l", "ą", "a", "ę", "e", "ś", "s", "ć", "c", "ń", "n", "ź", "z", "ż", "z", "²", "2", "³", "3")
