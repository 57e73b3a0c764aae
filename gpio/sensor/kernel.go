package sensor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A reader makes measurements, one at a time. What it returns is in the usual
// units, by property. It must not talk to anything any more after until. close is
// called when no measurement is under way, and none comes after it.
type reader interface {
	measure(until time.Time) (map[string]float64, error)
	close()
}

func (s *Sensors) reader(c Sensor, path string) reader {
	root := filepath.Join(s.opt.Root, "sys")
	properties := c.Measures()
	switch {
	case c.Type != "":
		return &chipReader{s: c, buses: s.opt.Buses, turns: &s.turns, path: path}
	case c.IIO != "":
		return kernel(func() (map[string]float64, error) { return readIIO(root, c.IIO, properties) })
	case c.Hwmon != "":
		return kernel(func() (map[string]float64, error) { return readHwmon(root, c.Hwmon, properties) })
	case c.Thermal != "":
		return kernel(func() (map[string]float64, error) { return readThermal(root, c.Thermal) })
	}
	return &w1{filepath.Join(root, "bus/w1/devices", c.W1), newThermometer(c.W1)}
}

// kernel is a reader that looks for its device each time: it may have gone, and be
// back under another number.
type kernel func() (map[string]float64, error)

func (k kernel) measure(time.Time) (map[string]float64, error) { return k() }
func (kernel) close()                                          {}

// find is the folder of the device that is called name, or "name@part of its path".
func find(pattern, file, name string) (string, error) {
	name, part, _ := strings.Cut(name, "@")
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	var found, others []string
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue // it goes just now
		}
		other := strings.TrimSpace(string(text))
		others = append(others, other)
		if other != name {
			continue
		}
		if part != "" {
			path, err := filepath.EvalSymlinks(dir)
			if err != nil || !slices.Contains(strings.Split(path, "/"), part) {
				continue
			}
		}
		found = append(found, dir)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var names []string
		for _, dir := range found {
			names = append(names, filepath.Base(dir))
		}
		return "", fmt.Errorf("several devices are called %s (%s): want a part of the path as well, such as \"%s@1-0076\"", name, strings.Join(names, ", "), name)
	case part != "" && slices.Contains(others, name):
		return "", fmt.Errorf("no device called %s has %s in its path", name, part)
	case len(others) == 0:
		return "", fmt.Errorf("there is no device called %s, nor any other", name)
	}
	slices.Sort(others)
	return "", fmt.Errorf("there is no device called %s, only %s", name, strings.Join(slices.Compact(others), ", "))
}

// iioTypes are what IIO calls a kind, and what its unit is worth in ours.
var iioTypes = map[string]struct {
	name string
	mul  float64
}{
	"temperature": {"temp", 1e-3},             // m°C
	"pressure":    {"pressure", 10},           // kPa
	"humidity":    {"humidityrelative", 1e-3}, // m%
	"illuminance": {"illuminance", 1},         // lx
	"voltage":     {"voltage", 1e-3},          // mV
	"current":     {"current", 1e-3},          // mA
	"power":       {"power", 1e-3},            // mW
	"co2":         {"concentration_co2", 1e4}, // %
	"pm25":        {"massconcentration_pm2p5", 1},
	"pm10":        {"massconcentration_pm10", 1},
}

// readIIO reads channels of an IIO device: in_<type><suffix>_input, or _raw with
// _offset and _scale, which several channels may share.
func readIIO(sys, name string, properties []string) (map[string]float64, error) {
	dir, err := find(filepath.Join(sys, "bus/iio/devices/iio:device*"), "name", name)
	if err != nil {
		return nil, err
	}
	return readAll(properties, func(k kind, suffix string) (float64, error) {
		t, ok := iioTypes[k.name]
		if !ok {
			return 0, fmt.Errorf("IIO has no %s", k.name)
		}
		v, err := iioChannel(dir, t.name, suffix)
		if errors.Is(err, fs.ErrNotExist) && suffix == "" {
			if first, err := iioChannel(dir, t.name, "0"); !errors.Is(err, fs.ErrNotExist) {
				return first * t.mul, err
			}
		}
		return v * t.mul, err
	})
}

func iioChannel(dir, name, suffix string) (float64, error) {
	channel := filepath.Join(dir, "in_"+name+suffix)
	v, err := readNumber(channel + "_input")
	if !errors.Is(err, fs.ErrNotExist) {
		return v, err
	}
	v, err = readNumber(channel + "_raw")
	if err != nil {
		return 0, err
	}
	of := func(what string, other float64) (float64, error) {
		for _, path := range []string{channel + what, filepath.Join(dir, "in_"+name+what)} {
			v, err := readNumber(path)
			if !errors.Is(err, fs.ErrNotExist) {
				return v, err
			}
		}
		return other, nil
	}
	offset, err := of("_offset", 0)
	if err != nil {
		return 0, err
	}
	scale, err := of("_scale", 1)
	return (v + offset) * scale, err
}

// hwmonTypes are the same for hwmon.
var hwmonTypes = map[string]struct {
	name string
	mul  float64
}{
	"temperature": {"temp", 1e-3},
	"humidity":    {"humidity", 1e-3},
	"voltage":     {"in", 1e-3},
	"current":     {"curr", 1e-3},
	"power":       {"power", 1e-6}, // µW
	"speed":       {"fan", 1},
}

// readHwmon reads <type><number>_input of a hwmon device. A property without a
// number is the channel 1, or 0 where there is no 1.
func readHwmon(sys, name string, properties []string) (map[string]float64, error) {
	dir, err := find(filepath.Join(sys, "class/hwmon/hwmon*"), "name", name)
	if err != nil {
		return nil, err
	}
	return readAll(properties, func(k kind, suffix string) (float64, error) {
		t, ok := hwmonTypes[k.name]
		if !ok {
			return 0, fmt.Errorf("hwmon has no %s", k.name)
		}
		numbers := []string{suffix}
		if suffix == "" {
			numbers = []string{"1", "0"}
		}
		var err error
		for _, number := range numbers {
			channel := filepath.Join(dir, t.name+number)
			var v float64
			if v, err = readNumber(channel + "_input"); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if fault, ferr := readNumber(channel + "_fault"); ferr == nil && fault != 0 {
				return 0, errors.New("the device reports a fault of its sensor")
			}
			return v * t.mul, err
		}
		return 0, err
	})
}

func readThermal(sys, name string) (map[string]float64, error) {
	dir, err := find(filepath.Join(sys, "class/thermal/thermal_zone*"), "type", name)
	if err != nil {
		return nil, err
	}
	v, err := readNumber(filepath.Join(dir, "temp"))
	return map[string]float64{"temperature": v * 1e-3}, err
}

func readAll(properties []string, read func(k kind, suffix string) (float64, error)) (map[string]float64, error) {
	values := make(map[string]float64, len(properties))
	for _, p := range properties {
		k, suffix, _ := kindOf(p)
		v, err := read(k, suffix)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		values[p] = v
	}
	return values, nil
}

func readNumber(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	v, err := parseNumber(string(text))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return v, nil
}

// parseNumber reads what the kernel writes into a file for one value.
func parseNumber(text string) (float64, error) {
	text, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || more {
		return 0, fmt.Errorf("%.40q is no number", text)
	}
	return v, nil
}

// A thermometer on a 1-wire bus knows what of its values can't be true.
type thermometer struct {
	family string
	last   float64
}

const noValue = -1000

func newThermometer(name string) *thermometer {
	family, _, _ := strings.Cut(name, "-")
	return &thermometer{family, noValue}
}

func (t *thermometer) says(celsius float64) (map[string]float64, error) {
	last := t.last
	t.last = noValue
	switch {
	case celsius == 85 && (last < 80 || last > 90):
		// What it says when it was powered just now and has not measured.
		return nil, errors.New("it says 85 °C, as it does when its power failed")
	case t.family != "3b" && (celsius < -55 || celsius > 125): // 3b is for thermocouples
		return nil, fmt.Errorf("it says %v °C, which it can't measure", celsius)
	}
	t.last = celsius
	return map[string]float64{"temperature": celsius}, nil
}

// w1 reads a thermometer on the kernel's 1-wire bus.
type w1 struct {
	dir string
	*thermometer
}

func (*w1) close() {}

func (w *w1) measure(time.Time) (map[string]float64, error) {
	// The older file first, for it has the check sum in it.
	text, err := os.ReadFile(filepath.Join(w.dir, "w1_slave"))
	var v float64
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if v, err = readNumber(filepath.Join(w.dir, "temperature")); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no thermometer %s on the 1-wire bus", filepath.Base(w.dir))
		}
		v *= 1e-3
	case err == nil:
		v, err = parseW1(string(text))
	}
	if err != nil {
		return nil, err
	}
	return w.says(v)
}

// parseW1 reads the two lines of a w1_slave, whose first says whether the check sum
// was right:
//
//	72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
//	72 01 4b 46 7f ff 0e 10 57 t=23125
func parseW1(text string) (celsius float64, err error) {
	first, second, _ := strings.Cut(strings.TrimSpace(text), "\n")
	data, crc, ok := strings.Cut(first, ":")
	switch {
	case !ok:
		return 0, fmt.Errorf("%.40q is not what a thermometer says", first)
	case !strings.HasSuffix(strings.TrimSpace(crc), "YES"):
		return 0, errors.New("the check sum is wrong")
	case strings.Trim(data, "0 ") == "": // which has the check sum 0
		return 0, errors.New("it says only zeros: the wire is short-circuited")
	}
	_, t, ok := strings.Cut(second, "t=")
	milli, err := strconv.Atoi(strings.TrimSpace(t))
	if !ok || err != nil {
		return 0, fmt.Errorf("%.40q has no temperature", second)
	}
	return float64(milli) / 1000, nil
}
