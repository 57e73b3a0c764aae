package calendar

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"hearth/config"
)

// The elevation of the sun's centre, in degrees, at sunrise and sunset: its
// upper rim is seen on the horizon, 16' of radius and 34' of refraction. That is
// NOAA's definition, and most newspapers'.
const horizon = -0.833

// A SunEvent is something the sun does once a day, and how much later (or with
// a negative Offset, earlier) is meant.
type SunEvent struct {
	Name   string // sunrise, sunset, dawn, dusk or noon
	Offset time.Duration
}

// Of each event the elevation of the sun, and whether it is after noon. Dawn and
// dusk are the civil ones, when one begins or ceases to see without a lamp.
var sunEvents = map[string]struct {
	elevation float64
	evening   bool
}{
	"sunrise": {horizon, false},
	"sunset":  {horizon, true},
	"dawn":    {-6, false},
	"dusk":    {-6, true},
	"noon":    {}, // the sun's highest point
}

// maxOffset keeps an event with its own day or the next.
const maxOffset = 12 * time.Hour

var errSun = errors.New(`want sunrise, sunset, dawn, dusk or noon, with an offset such as "sunset-15m"`)

// ParseSun reads "sunrise", "sunset-15m", "dusk + 1h30m". An offset is at most
// 12h.
func ParseSun(text string) (SunEvent, error) {
	text = strings.TrimSpace(text)
	i := strings.IndexAny(text, "+-")
	if i < 0 {
		i = len(text)
	}
	e := SunEvent{Name: strings.TrimSpace(text[:i])}
	if _, ok := sunEvents[e.Name]; !ok {
		return SunEvent{}, errSun
	}
	if i == len(text) {
		return e, nil
	}
	d, err := config.ParseDuration(strings.TrimSpace(text[i+1:]))
	if err != nil {
		return SunEvent{}, fmt.Errorf("the offset: %w", err)
	}
	e.Offset = time.Duration(d)
	if e.Offset > maxOffset {
		return SunEvent{}, errors.New(`want an offset of at most 12h, such as "` + e.Name + `-15m"`)
	}
	if text[i] == '-' {
		e.Offset = -e.Offset
	}
	return e, nil
}

// DecodeTOML takes what ParseSun takes.
func (e *SunEvent) DecodeTOML(raw any, at config.Place) {
	text, _ := raw.(string)
	var err error
	if *e, err = ParseSun(text); err != nil {
		at.Mistake("%v", err)
	}
}

func (e SunEvent) String() string {
	switch {
	case e.Offset < 0:
		return e.Name + "-" + config.Duration(-e.Offset).String()
	case e.Offset > 0:
		return e.Name + "+" + config.Duration(e.Offset).String()
	}
	return e.Name
}

// Sun is the moments of an event at a place, on these weekdays: the first whole
// second at which the sun has passed the elevation, in degrees, rising for
// sunrise and dawn, setting for sunset and dusk. Without an elevation it is the
// event's own; noon has none.
//
// An event belongs to the local day on which it is, before its offset is added;
// so does its weekday. In the polar day and night, and where the sun never is so
// high, a day has no moment. Where the midnight sun begins or ends a local day
// may see two sunsets, just after one midnight and just before the next: of two
// the first counts.
func Sun(e SunEvent, elevation *float64, p Place, days Days) Schedule {
	s := sun{event: e, place: p, days: days, elevation: sunEvents[e.Name].elevation, text: e.String()}
	if elevation != nil && e.Name != "noon" {
		s.elevation = *elevation
		s.text += fmt.Sprintf(" at %g degrees", *elevation)
	}
	s.text += days.on()
	return s
}

type sun struct {
	event     SunEvent
	elevation float64
	place     Place
	days      Days
	text      string
}

func (s sun) String() string { return s.text }

const sunSearch = 3 * 366 // days until a Schedule of the sun says never

func (s sun) Next(after time.Time) (time.Time, bool) {
	if !s.place.Known {
		return time.Time{}, false
	}
	d := dateOf(shown(after.Add(-s.event.Offset))) - 1
	for end := d + sunSearch; d < end; d++ {
		if t, ok := s.on(d, after.Location()); ok && t.After(after) {
			return t, true
		}
	}
	return time.Time{}, false
}

func (s sun) Latest(after, upTo time.Time) (time.Time, bool) {
	if !s.place.Known || !upTo.After(after) {
		return time.Time{}, false
	}
	upTo = upTo.In(after.Location())
	d := dateOf(shown(upTo.Add(-s.event.Offset))) + 1
	end := max(d-sunSearch, dateOf(shown(after.Add(-s.event.Offset)))-1)
	for ; d >= end; d-- {
		if t, ok := s.on(d, after.Location()); ok && !t.After(upTo) {
			return t, t.After(after)
		}
	}
	return time.Time{}, false
}

// on is the moment of that local day, if it has one.
func (s sun) on(d date, loc *time.Location) (time.Time, bool) {
	if !s.days.Holds(d.weekday()) {
		return time.Time{}, false
	}
	fromTime, toTime := d.bounds(loc)
	from, to := fromTime.Unix(), toTime.Unix()
	// The solar days about this local day; most often only the one in the
	// middle overlaps with it.
	middle := solarDay((from+to)/2, s.place)
	for day := middle - 1; day <= middle+1; day++ {
		if sec, ok := s.in(day, from, to); ok && sec >= from && sec < to {
			return time.Unix(sec, 0).In(loc).Add(s.event.Offset), true
		}
	}
	return time.Time{}, false
}

// in is the second of the event in a solar day, if it has one. It does not look
// where it can't lie in [from, to).
func (s sun) in(day, from, to int64) (int64, bool) {
	const half = 12 * 60 * 60
	noon := solarNoon(day, s.place)
	if s.event.Name == "noon" {
		return noon, true
	}
	evening := sunEvents[s.event.Name].evening
	lo, hi := noon-half, noon // between the deepest and the highest point
	if evening {
		lo, hi = noon, noon+half
	}
	if hi < from || lo >= to {
		return 0, false
	}
	passed := func(sec int64) bool {
		return (elevationAt(float64(sec), s.place) < s.elevation) == evening
	}
	if passed(lo) || !passed(hi) {
		return 0, false // all day above or all day below
	}
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; passed(mid) {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, true
}

// Down says whether the sun is below the elevation, in degrees; nil is that of
// sunrise and sunset. It turns at the very moments of [Sun]: at sunset the sun is
// down, at sunrise it is not. Where the place is not known it is not down.
func Down(t time.Time, p Place, elevation *float64) bool {
	limit := horizon
	if elevation != nil {
		limit = *elevation
	}
	return p.Known && elevationAt(float64(t.Unix())+float64(t.Nanosecond())/1e9, p) < limit
}

// The sun's place is computed as in NOAA's Solar Calculator
// (https://gml.noaa.gov/grad/solcalc/calcdetails.html), whose equations are from
// Jean Meeus, Astronomical Algorithms, chapters 22, 25 and 28. They are good to
// 0.01 degrees, a few seconds of sunset at temperate latitudes. Other than NOAA's
// spreadsheet, which takes the sun's place at one time of the day for all of it,
// the moment sought is used, which is worth up to a minute.

// ephemeris is the sun's declination in radians and the equation of time in
// seconds (true minus mean solar time), at Unix time sec.
func ephemeris(sec float64) (declination, equation float64) {
	// Julian centuries since 2000-01-01 12:00.
	t := (sec/86400 + 2440587.5 - 2451545) / 36525

	meanLongitude := radians(280.46646 + t*(36000.76983+t*0.0003032))
	anomaly := radians(357.52911 + t*(35999.05029-t*0.0001537))
	eccentricity := 0.016708634 - t*(0.000042037+t*0.0000001267)
	sinM, cosM := math.Sincos(anomaly)
	sin2M := 2 * sinM * cosM
	centre := sinM*(1.914602-t*(0.004817+t*0.000014)) +
		sin2M*(0.019993-t*0.000101) +
		sinM*(3-4*sinM*sinM)*0.000289 // the last factor with it is sin 3M
	node := radians(125.04 - 1934.136*t)
	sinNode, cosNode := math.Sincos(node)
	longitude := meanLongitude + radians(centre-0.00569-0.00478*sinNode)
	obliquity := radians(23 + (26+(21.448-t*(46.815+t*(0.00059-t*0.001813)))/60)/60 + 0.00256*cosNode)

	declination = math.Asin(math.Sin(obliquity) * math.Sin(longitude))

	y := math.Tan(obliquity / 2)
	y *= y
	sin2L, cos2L := math.Sincos(2 * meanLongitude)
	equation = y*sin2L - 2*eccentricity*sinM + 4*eccentricity*y*sinM*cos2L -
		y*y*sin2L*cos2L - 1.25*eccentricity*eccentricity*sin2M // sin 4L is 2 sin2L cos2L
	return declination, equation * (86400 / (2 * math.Pi))
}

// elevationAt is the angle of the sun's centre above the horizon, in degrees and
// without refraction, at Unix time sec.
func elevationAt(sec float64, p Place) float64 {
	declination, equation := ephemeris(sec)
	hour := radians((sec+equation)/240 + p.Longitude - 180) // since noon, 240 s a degree
	sinLat, cosLat := math.Sincos(radians(p.Latitude))
	sinDec, cosDec := math.Sincos(declination)
	sine := sinLat*sinDec + cosLat*cosDec*math.Cos(hour)
	return math.Asin(max(-1, min(1, sine))) * (180 / math.Pi)
}

// A solar day is the one about its solar noon at the place; solarDay is the
// number of the one about sec, solarNoon the second of its noon.
func solarDay(sec int64, p Place) int64 {
	return int64(math.Floor((float64(sec) + p.Longitude*240) / 86400))
}

func solarNoon(day int64, p Place) int64 {
	mean := float64(day)*86400 + 43200 - p.Longitude*240
	_, equation := ephemeris(mean)
	return int64(math.Round(mean - equation))
}

func radians(degrees float64) float64 { return degrees * (math.Pi / 180) }
