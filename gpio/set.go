package gpio

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
)

// ParseSet reads what hearth/<name>/set takes:
//
//	ON, OFF, TOGGLE                      and true, false, 1, 0 ...
//	OPEN, CLOSE, STOP                    of a cover
//	40, 40%                              a level or position, 0 to 100; where there are levels
//	ACKNOWLEDGE                          takes a fault back
//	{"state": "ON", "for": "5s"}         one of the words above, and for how long
//	{"on_ms": 5000}                      on for so many milliseconds
//	{"level": 40, "ramp": "2s"}          "position" is the same
//
// takes is what it is told: "switch" for on and off, for which 1 and 0 are these,
// "level" or "cover". In the Command that comes back only Value, For and Ramp are
// set. The error says what would be right.
func ParseSet(payload []byte, takes string) (devices.Command, error) {
	text := strings.TrimSpace(string(payload))
	if strings.HasPrefix(text, "{") {
		return parseSetObject([]byte(text), takes)
	}
	v, err := setWord(text, takes)
	return devices.Command{Value: v}, err
}

// wantSet is what would be right, by what is taken.
var wantSet = map[string]string{
	"switch": `want ON, OFF or TOGGLE, or {"state": "ON", "for": "5s"}`,
	"level":  `want ON, OFF, TOGGLE or a number from 0 to 100, or {"level": 40, "ramp": "2s"}`,
	"cover":  `want OPEN, CLOSE, STOP or a number from 0, closed, to 100, or {"position": 40}`,
}

// setWord is what a word stands for.
func setWord(text, takes string) (any, error) {
	if n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(text, "%")), 64); err == nil && takes != "switch" {
		if math.IsNaN(n) || n < 0 || n > 100 || text[0] == '+' || text[0] == '-' { // which others take for a step
			return nil, errors.New("want a number from 0 to 100")
		}
		return n, nil
	}
	switch word := strings.ToLower(text); word {
	case "toggle":
		return devices.Toggle{}, nil
	case "stop", Acknowledge:
		return word, nil
	case "open", "close":
		return word == "open", nil
	case "up", "down":
		if takes == "cover" {
			return word == "up", nil
		}
	}
	if on, ok := devices.OnOff(text); ok {
		return on, nil
	}
	return nil, errors.New(wantSet[takes])
}

// A setObject is the JSON form.
type setObject struct {
	State    any      `json:"state"`
	For      any      `json:"for"`
	OnMS     *float64 `json:"on_ms"`
	Level    *float64 `json:"level"`
	Position *float64 `json:"position"`
	Ramp     any      `json:"ramp"`
}

func parseSetObject(text []byte, takes string) (c devices.Command, err error) {
	levels, errSet := takes != "switch", errors.New(wantSet[takes])
	var o setObject
	in := json.NewDecoder(strings.NewReader(string(text)))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil || in.More() {
		return c, fmt.Errorf("this JSON is not understood (%s): %s", jsonTrouble(err), wantSet[takes])
	}
	level := o.Level
	if level == nil {
		level = o.Position
	}
	switch {
	case o.Level != nil && o.Position != nil || level != nil && o.OnMS != nil || o.OnMS != nil && o.For != nil:
		return c, errors.New("want one of level, position and on_ms, and one of on_ms and for")
	case level != nil && (!levels && *level != 0 && *level != 100):
		return c, errors.New("this is on or off and has no levels")
	case level != nil && (*level < 0 || *level > 100):
		return c, errors.New("want a level from 0 to 100")
	case level != nil && !levels:
		c.Value = *level > 0
	case level != nil:
		c.Value = *level
	case o.State == nil && o.OnMS != nil:
		c.Value = true
	case o.State == nil:
		return c, errSet
	default:
		if c.Value, err = setWord(devices.Text(o.State), takes); err != nil {
			return c, err
		}
	}
	if level != nil && o.State != nil { // as lights say it: {"state": "ON", "level": 40}
		if on, ok := devices.OnOff(devices.Text(o.State)); !ok {
			return c, errSet
		} else if !on {
			c.Value = false
		}
	}
	if o.OnMS != nil {
		if c.For, err = milliseconds(*o.OnMS); err != nil {
			return c, fmt.Errorf("on_ms: %w", err)
		}
		if c.Value != true {
			return c, errors.New("on_ms is for how long it is on: want it alone, or with the state ON")
		}
	}
	if o.For != nil {
		if c.For, err = setTime(o.For); err != nil {
			return c, fmt.Errorf("for: %w", err)
		}
	}
	if o.Ramp != nil {
		if c.Ramp, err = setTime(o.Ramp); err != nil {
			return c, fmt.Errorf("ramp: %w", err)
		}
	}
	return c, nil
}

func jsonTrouble(err error) string {
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return "there is more than one value"
	case errors.As(err, &kind):
		return fmt.Sprintf("%s can't be a %s", kind.Field, kind.Value)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

// setTime is a time as text, or as a number of seconds.
func setTime(v any) (time.Duration, error) {
	switch v := v.(type) {
	case string:
		d, err := config.ParseDuration(v)
		if err == nil && d <= 0 {
			err = errors.New("want more than 0")
		}
		if err == nil && time.Duration(d) > maxFor {
			err = errTooLong
		}
		return time.Duration(d), err
	case float64:
		return milliseconds(v * 1000)
	}
	return 0, errors.New(`want a time such as "5s"`)
}

// ParseTotal reads what hearth/<counter>/set takes: what the meter shows.
func ParseTotal(text string) (float64, error) {
	total, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(total) || total < 0 || total > maxTotal {
		return 0, fmt.Errorf("want what the meter shows, a number such as 12345.6, from 0 to %.0f", maxTotal)
	}
	return total, nil
}

var errTooLong = errors.New("want at most 366 days")

func milliseconds(n float64) (time.Duration, error) {
	switch {
	case math.IsNaN(n) || math.IsInf(n, 0) || n <= 0:
		return 0, errors.New("want more than 0")
	case n > float64(maxFor/time.Millisecond):
		return 0, errTooLong
	}
	return max(1, time.Duration(n*float64(time.Millisecond))), nil
}
