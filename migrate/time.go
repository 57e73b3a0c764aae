package migrate

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// clockTime reads "7:00", "07:00:30" or 7:00 and writes it as Hearth does.
func clockTime(text string) (string, bool) {
	parts := strings.Split(strings.TrimSpace(text), ":")
	if len(parts) != 2 && len(parts) != 3 {
		return "", false
	}
	limits := []int{23, 59, 59}
	n := make([]int, 3)
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 || v > limits[i] || len(p) > 2 {
			return "", false
		}
		n[i] = v
	}
	if n[2] != 0 {
		return fmt.Sprintf("%02d:%02d:%02d", n[0], n[1], n[2]), true
	}
	return fmt.Sprintf("%02d:%02d", n[0], n[1]), true
}

// duration writes one as Hearth reads it: "1h30m".
func duration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	s := ""
	if d < 0 {
		s, d = "-", -d
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / u.unit; n > 0 {
			s += strconv.FormatInt(int64(n), 10) + u.name
			d -= n * u.unit
		}
	}
	return s
}

// longest is what Hearth takes for a wait.
const longest = 1000 * 24 * time.Hour

// seconds is a number of them as a duration.
func seconds(f float64) (time.Duration, bool) {
	if !(f >= -longest.Seconds() && f <= longest.Seconds()) {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)).Round(time.Millisecond), true
}

// span reads "00:05:00", "-00:30" or a number of seconds.
func spanOf(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		return seconds(f)
	}
	sign := 1.0
	if t, ok := strings.CutPrefix(text, "-"); ok {
		sign, text = -1, t
	}
	text = strings.TrimPrefix(text, "+")
	parts := strings.Split(text, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, false
	}
	total := 0.0
	for i, unit := range []float64{3600, 60, 1}[:len(parts)] {
		f, err := strconv.ParseFloat(parts[i], 64)
		if err != nil || f < 0 {
			return 0, false
		}
		total += f * unit
	}
	return seconds(sign * total)
}

// minutesOfDay is a moment so many minutes after midnight.
func minutesOfDay(n int) string { return fmt.Sprintf("%02d:%02d", n/60, n%60) }
