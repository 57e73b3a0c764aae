package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, never negative, written as text: "500ms",
// "60s", "15m", "2h", "7d", "1h30m". Units are those of time.ParseDuration and
// d for 24 hours, which comes first.
type Duration time.Duration

const day = 24 * time.Hour

var errDuration = errors.New(`want a duration such as "15m"`)

// ParseDuration reads a duration as the owner writes it. The error says what
// would be right, as the text of a mistake does.
func ParseDuration(s string) (Duration, error) {
	d, ok := parseDuration(s)
	if ok {
		return d, nil
	}
	if like := durationLike(s); like != "" {
		return 0, errors.New("want a duration: write " + strconv.Quote(like))
	}
	return 0, errDuration
}

func parseDuration(s string) (Duration, bool) {
	if len(s) > 64 || strings.ContainsAny(s, "+-") {
		return 0, false
	}
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		// Through ParseDuration as well, so that "1.5d" works and digits are checked.
		hours, err := time.ParseDuration(n + "h")
		if err != nil || hours > math.MaxInt64/24 || strings.ContainsAny(n, "hmsuµn") {
			return 0, false
		}
		days = 24 * hours
		if rest == "" {
			return Duration(days), true
		}
		s = rest
	}
	d, err := time.ParseDuration(s)
	if err != nil || s == "0" || d < 0 || d > math.MaxInt64-days {
		return 0, false
	}
	return Duration(days + d), true
}

// durationLike turns "60", "5 min" or "2 Hours" into the text that was meant;
// it is "" where nothing of the kind was.
func durationLike(s string) string {
	if s = withUnit(s); s != "" {
		if _, ok := parseDuration(s); ok {
			return s
		}
	}
	return ""
}

func withUnit(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	digits := strings.TrimLeft(s, "0123456789.")
	n, unit := s[:len(s)-len(digits)], strings.TrimSpace(digits)
	switch unit {
	case "", "sec", "secs", "second", "seconds":
		unit = "s"
	case "min", "mins", "minute", "minutes":
		unit = "m"
	case "hr", "hrs", "hour", "hours":
		unit = "h"
	case "day", "days":
		unit = "d"
	case "msec", "millis", "milliseconds":
		unit = "ms"
	case "w", "week", "weeks":
		if w, err := strconv.Atoi(n); err == nil && w < 1000 {
			return strconv.Itoa(7*w) + "d"
		}
	default:
		return strings.ReplaceAll(s, " ", "")
	}
	return n + unit
}

// String is the shortest way to write it: "15m", "7d", "1h30m", "1.5s".
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	if d < 0 { // cannot be written, but may be computed
		return time.Duration(d).String()
	}
	var b strings.Builder
	if n := time.Duration(d) / day; n > 0 {
		b.WriteString(strconv.Itoa(int(n)) + "d")
	}
	rest := time.Duration(d) % day
	if h := rest / time.Hour; h > 0 {
		b.WriteString(strconv.Itoa(int(h)) + "h")
	}
	if m := rest % time.Hour / time.Minute; m > 0 {
		b.WriteString(strconv.Itoa(int(m)) + "m")
	}
	if s := rest % time.Minute; s > 0 {
		b.WriteString(s.String())
	}
	return b.String()
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}
