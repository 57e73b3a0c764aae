// Package sensor measures: what the kernel knows of (IIO, hwmon, 1-wire, thermal
// zones) and chips on an I²C bus through the drivers of periph.
//
// What is promised of a sensor: what it is said to measure has been measured, not
// longer ago than expire. One that fails for so long is unavailable, with its
// reason in the log once, and its values are forgotten. It is asked again each
// interval, and when it answers it is back by itself, also as another device of
// the kernel.
//
// Each sensor has a goroutine of its own, and each measurement another one that is
// given up after [Limit]. So a bus or a chip that hangs delays nobody else, and
// costs one goroutine until it is back.
//
// Where to read first: this file is what the owner writes; track.go decides what
// is told of what was measured, and knows only the times that it is given;
// sensors.go are the goroutines; kernel.go and chips.go read.
package sensor

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio/bus"
)

// Config is what the owner wrote about sensors.
type Config struct {
	Sensor config.Table[Sensor] `toml:"sensor"` // [sensor.cellar]
}

// A Sensor measures one or more properties: temperature, humidity... Exactly one
// of IIO, Hwmon, W1, Thermal and Type is given, but for a ds18b20, which has W1 too.
type Sensor struct {
	// What the kernel has a driver for, by the name that the device says it has:
	// "bmp280". Where several have that name a part of its path is added, such as
	// the bus and address of its chip: "bmp280@1-0076". W1 is the device's number
	// in /sys/bus/w1/devices, Thermal the type of a zone.
	IIO     string `toml:"iio" eg:"\"bmp280\""`
	Hwmon   string `toml:"hwmon" eg:"\"lm75\""`
	W1      string `toml:"w1" eg:"\"28-00000a1b2c3d\""`
	Thermal string `toml:"thermal" eg:"\"cpu-thermal\""`

	// Type is a chip that the hub talks to itself, on Bus at Address; of a ds18b20
	// that is the address of the DS2482 that it is wired to.
	Type    string      `toml:"type" enum:"bme280,bmp280,bmp180,aht20,bh1750,ads1115,ina219,ds18b20"`
	Bus     string      `toml:"bus" eg:"\"I2C1\""`     // or a port of a multiplexer: "attic:3"
	Address bus.Address `toml:"address" eg:"\"0x76\""` // default: the usual one of its type

	// Properties are what is read of it, such as "temperature", or "voltage0" where
	// there are several. By default all that such a sensor has.
	Properties []string `toml:"properties,some" eg:"[\"temperature\"]"`

	Interval config.Duration `toml:"interval" min:"100ms" max:"1d" eg:"\"30s\""` // between measurements; default 30s
	Expire   config.Duration `toml:"expire" max:"7d" eg:"\"2m\""`                // how long without one it is still available; default two intervals, at least 2s

	Unit   config.List[string] `toml:"unit" eg:"\"kPa\""` // in place of the usual ones
	Scale  Numbers             `toml:"scale"`             // what a value is multiplied with
	Offset Numbers             `toml:"offset"`            // what is then added to it
	Filter Filter              `toml:"filter" eg:"\"median 5\""`
	Round  Numbers             `toml:"round"` // decimals
	Delta  Numbers             `toml:"delta"` // what changes less is told with every tenth measurement only

	Range float64 `toml:"range" min:"0.256" max:"6.144"` // of an ads1115, in volts; default 6.144
	Shunt float64 `toml:"shunt" min:"0.0001" max:"100"`  // of an ina219, in ohms; default 0.1

	devices.Shown
}

// interval and expire are what the owner wrote or the default.
func (s Sensor) interval() time.Duration {
	if s.Interval == 0 {
		return 30 * time.Second
	}
	return time.Duration(s.Interval)
}

func (s Sensor) expire() time.Duration {
	if s.Expire == 0 {
		return max(2*s.interval(), 2*time.Second)
	}
	return time.Duration(s.Expire)
}

func (s Sensor) address() bus.Address {
	if s.Address == 0 {
		return chips[s.Type].addresses[0]
	}
	return s.Address
}

// String is what the sensor is, for messages: "iio bmp280", "bme280 at 0x76 on I2C1".
func (s Sensor) String() string {
	switch {
	case s.Type == "ds18b20":
		return fmt.Sprintf("ds18b20 %s through %v on %s", s.W1, s.address(), s.Bus)
	case s.IIO != "":
		return "iio " + s.IIO
	case s.Hwmon != "":
		return "hwmon " + s.Hwmon
	case s.W1 != "":
		return "1-wire " + s.W1
	case s.Thermal != "":
		return "thermal " + s.Thermal
	}
	return fmt.Sprintf("%s at %v on %s", s.Type, s.address(), s.Bus)
}

// Measures is the properties of the sensor, in order.
func (s Sensor) Measures() []string {
	if len(s.Properties) > 0 {
		return s.Properties
	}
	return s.all()
}

// all is what a sensor has as far as that is known.
func (s Sensor) all() []string {
	name, _, _ := strings.Cut(s.IIO+s.Hwmon, "@")
	switch {
	case s.Type != "":
		return chips[s.Type].properties
	case s.W1 != "" || s.Thermal != "":
		return []string{"temperature"}
	}
	return known[name]
}

// known is what devices of the kernel measure, by the name that their drivers give
// them. One that is not here needs properties.
var known = map[string][]string{
	"bme280":      {"temperature", "pressure", "humidity"},
	"bmp280":      {"temperature", "pressure"},
	"bmp180":      {"temperature", "pressure"},
	"bmp085":      {"temperature", "pressure"},
	"bmp380":      {"temperature", "pressure"},
	"dht11":       {"temperature", "humidity"}, // and a dht22
	"sht3x":       {"temperature", "humidity"},
	"sht4x":       {"temperature", "humidity"},
	"si7020":      {"temperature", "humidity"},
	"htu21":       {"temperature", "humidity"},
	"hdc100x":     {"temperature", "humidity"},
	"aht10":       {"temperature", "humidity"},
	"aht20":       {"temperature", "humidity"},
	"am2315":      {"temperature", "humidity"},
	"scd30":       {"temperature", "humidity", "co2"},
	"scd4x":       {"temperature", "humidity", "co2"},
	"bh1750":      {"illuminance"},
	"tsl2561":     {"illuminance"},
	"veml7700":    {"illuminance"},
	"lm75":        {"temperature"},
	"tmp102":      {"temperature"},
	"jc42":        {"temperature"},
	"cpu_thermal": {"temperature"},
	"rp1_adc":     {"temperature"},
	"nvme":        {"temperature"},
	"max6675":     {"temperature"},
	"max31855":    {"temperature"},
	"ina219":      {"voltage", "current", "power"},
	"ina226":      {"voltage", "current", "power"},
	"ads1115":     {"voltage0", "voltage1", "voltage2", "voltage3"},
}

// A kind is one physical quantity. A property is a kind, maybe with a number or a
// word after it: "voltage0", "temperature_object".
type kind struct {
	name      string
	low, high float64 // what can be true at all, in the first unit
	units     []unit  // the first is the usual one
}

// A unit is worth mul of the usual one, from add on: °F is °C * 1.8 + 32.
type unit struct {
	name     string
	mul, add float64
	decimals int // what is told if the owner says nothing
}

var kinds = []kind{
	{"temperature", -200, 2000, []unit{{"C", 1, 0, 2}, {"F", 1.8, 32, 2}, {"K", 1, 273.15, 2}}},
	{"pressure", 0, 100_000, []unit{{"hPa", 1, 0, 2}, {"mbar", 1, 0, 2}, {"kPa", 0.1, 0, 3}, {"Pa", 100, 0, 0}, {"bar", 0.001, 0, 5}, {"mmHg", 1 / 1.33322387415, 0, 2}, {"inHg", 1 / 33.8638866667, 0, 3}}},
	{"humidity", 0, 100, []unit{{"%", 1, 0, 2}}},
	{"illuminance", 0, 1_000_000, []unit{{"lx", 1, 0, 1}}},
	{"voltage", -100_000, 100_000, []unit{{"V", 1, 0, 4}, {"mV", 1000, 0, 1}}},
	{"current", -10_000, 10_000, []unit{{"A", 1, 0, 4}, {"mA", 1000, 0, 1}}},
	{"power", -10_000_000, 10_000_000, []unit{{"W", 1, 0, 3}, {"mW", 1000, 0, 0}, {"kW", 0.001, 0, 6}}},
	{"co2", 0, 1_000_000, []unit{{"ppm", 1, 0, 0}}},
	{"pm25", 0, 100_000, []unit{{"µg/m³", 1, 0, 1}}},
	{"pm10", 0, 100_000, []unit{{"µg/m³", 1, 0, 1}}},
	{"speed", 0, 1_000_000, []unit{{"rpm", 1, 0, 0}}}, // of a fan
}

var suffix = regexp.MustCompile(`^[0-9]*(_[a-z0-9]+)*$`)

// kindOf is the kind of a property and what stands after it: "voltage0" is a
// voltage and "0".
func kindOf(property string) (kind, string, bool) {
	for _, k := range kinds {
		if rest, ok := strings.CutPrefix(property, k.name); ok && suffix.MatchString(rest) {
			return k, rest, true
		}
	}
	return kind{}, "", false
}

// unitOf is the unit in which a property is told.
func (s Sensor) unitOf(k kind) unit {
	for _, u := range k.units {
		if slices.Contains(s.Unit, u.name) {
			return u
		}
	}
	return k.units[0]
}

// Quantity is what a property of the sensor is, "temperature", and the unit in which it is
// told. A voltage that is scaled is none any more that anybody could name: behind it may
// be a level or a weight, so both are "" then.
func (s Sensor) Quantity(property string) (name, unit string) {
	k, _, ok := kindOf(property)
	if !ok || k.name == "voltage" && s.Scale.of(property, 1) != 1 {
		return "", ""
	}
	return k.name, s.unitOf(k).name
}

// Numbers is one number for all properties of a sensor, or one for each that is
// named: 1, or { temperature = -0.5 }.
type Numbers struct {
	All   *float64
	Named map[string]float64
}

// DecodeTOML reads either form.
func (n *Numbers) DecodeTOML(v any, at config.Place) {
	if _, ok := v.(map[string]any); ok {
		config.Decode(v, &n.Named, at)
		return
	}
	switch v.(type) {
	case int64, float64:
		n.All = new(float64)
		config.Decode(v, n.All, at)
	default:
		at.Mistake("want a number, or one for each property, such as { temperature = 0.5 }")
	}
}

// of is the number for a property, or other where there is none.
func (n Numbers) of(property string, other float64) float64 {
	if v, ok := n.Named[property]; ok {
		return v
	}
	if n.All != nil {
		return *n.All
	}
	return other
}

// each calls f for each number that the owner wrote.
func (n Numbers) each(at config.Place, f func(v float64, at config.Place)) {
	if n.All != nil {
		f(*n.All, at)
	}
	for _, name := range slices.Sorted(maps.Keys(n.Named)) {
		f(n.Named[name], at.Key(name))
	}
}

// A Filter makes one value of the newest N: their median, or their mean. Until
// there are N it takes those that there are.
type Filter struct {
	Kind string // "" is none
	N    int
}

var filterText = regexp.MustCompile(`^(median|mean) +([0-9]{1,3})$`)

// UnmarshalText reads "median 5" and "mean 3".
func (f *Filter) UnmarshalText(text []byte) error {
	parts := filterText.FindStringSubmatch(string(text))
	if parts == nil {
		return errors.New(`want "median 5" or "mean 5": of so many values`)
	}
	n, err := strconv.Atoi(parts[2])
	if err != nil || n < 2 || n > 100 {
		return errors.New("want 2 to 100 values")
	}
	*f = Filter{parts[1], n}
	return nil
}

var (
	w1Name     = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{12}$`)
	deviceName = regexp.MustCompile(`^[^\s/@*?\[]+(@[^\s/@]+)?$`)
)

// Check reports sensors that can't be meant.
func (c Config) Check(at config.Place) {
	for _, s := range c.Sensor {
		s.Value.check(at.Key("sensor").Key(s.Name))
	}
}

func (s Sensor) check(at config.Place) {
	var given []string
	for _, key := range []string{"iio", "hwmon", "w1", "thermal", "type"} {
		if at.Key(key).Given() {
			given = append(given, key)
		}
	}
	switch {
	case s.Type == "ds18b20" && !at.Key("w1").Given():
		at.Key("w1").Mistake(`missing, want the number of the thermometer, such as "28-00000a1b2c3d"`)
	case s.Type == "ds18b20" && len(given) == 2 && !w1Name.MatchString(s.W1):
		at.Key("w1").Mistake(`want family and number of the thermometer, such as "28-00000a1b2c3d"`)
	case s.Type == "ds18b20" && len(given) == 2:
		given = given[1:] // it has both
	case len(given) == 0:
		at.Mistake(`want what measures: type = "bme280" for a chip on a bus; iio, hwmon, w1 or thermal for what the kernel has a driver for`)
		return
	case len(given) > 1:
		at.Key(given[1]).Mistake("want either %s or %s, not both", given[0], given[1])
		return
	}
	switch key := given[0]; key {
	case "type":
		s.checkChip(at)
	case "w1":
		if !w1Name.MatchString(s.W1) {
			at.Key(key).Mistake(`want the name of a folder in /sys/bus/w1/devices, such as "28-00000a1b2c3d"`)
		}
	default:
		if name := s.IIO + s.Hwmon + s.Thermal; !deviceName.MatchString(name) {
			at.Key(key).Mistake(`want the name that the device itself tells, such as "bmp280", or with a part of its path "bmp280@1-0076"`)
		}
	}
	for _, key := range []string{"bus", "address"} {
		if given[0] != "type" && at.Key(key).Given() {
			at.Key(key).Mistake("only a sensor with a type has it; the kernel knows where its own are")
		}
	}
	if at.Key("range").Given() && s.Type == "ads1115" && !slices.Contains(adsRanges, s.Range) {
		at.Key("range").Mistake("want one that it has, in volts: 6.144, 4.096, 2.048, 1.024, 0.512 or 0.256")
	}
	for key, of := range map[string]string{"range": "ads1115", "shunt": "ina219"} {
		if at.Key(key).Given() && s.Type != of {
			at.Key(key).Mistake("only an %s has it", of)
		}
	}
	_, isChip := chips[s.Type]
	if isChip || s.Type == "" && deviceName.MatchString(s.IIO+s.Hwmon+s.Thermal+s.W1) { // else what it is has been told to be wrong
		s.checkProperties(at)
	}
	if s.Expire != 0 && s.expire() < s.interval() {
		at.Key("expire").Mistake("want at least the interval, %v", config.Duration(s.interval()))
	}
}

func (s Sensor) checkChip(at config.Place) {
	c, ok := chips[s.Type]
	if !ok {
		return // has been told
	}
	if !at.Key("bus").Given() {
		at.Key("bus").Mistake(`missing, want for example bus = "I2C1"`)
	}
	if s.Address != 0 && !slices.Contains(c.addresses, s.Address) {
		at.Key("address").Mistake("want one that %s can have: %s", s.Type, texts(c.addresses))
	}
}

func (s Sensor) checkProperties(at config.Place) {
	all, sound := s.all(), true
	for i, p := range s.Properties {
		_, _, ok := kindOf(p)
		near, isNear := config.Nearest(p, kindNames())
		sound = sound && ok
		switch at := at.Key("properties").Index(i); {
		case slices.Contains(s.Properties[:i], p):
			at.Mistake("this property is in the list twice")
		case s.Type == "ads1115" && slices.Contains(adsNames, p):
		case s.Type != "" && !slices.Contains(all, p):
			if s.Type == "ads1115" {
				all = adsNames
			}
			at.Mistake("%s measures no such thing: want of %s", s.Type, strings.Join(all, ", "))
		case !ok && isNear:
			at.Mistake("no such property, did you mean %q?", near)
		case !ok:
			at.Mistake("no such property: want one of %s, maybe with a number, as in voltage0", strings.Join(kindNames(), ", "))
		case (s.W1 != "" || s.Thermal != "") && p != "temperature":
			at.Mistake("want temperature, which is all that it measures")
		}
	}
	measures := s.Measures()
	if !sound {
		return
	}
	if len(measures) == 0 && !at.Key("properties").Given() {
		at.Key("properties").Mistake(`missing, for %q is not known here: want what it measures, such as properties = ["temperature"]`, s.IIO+s.Hwmon)
		return
	}
	given := map[string]string{} // by kind
	for i, name := range s.Unit {
		var fit []string
		found := false
		for _, p := range measures {
			k, _, _ := kindOf(p)
			for _, u := range k.units {
				if u.name == name && given[k.name] != "" && given[k.name] != name {
					at.Key("unit").Index(i).Mistake("want one unit of %s, and %s is there already", k.name, given[k.name])
				}
				if u.name == name {
					found, given[k.name] = true, name
				}
				if !slices.Contains(fit, u.name) {
					fit = append(fit, u.name)
				}
			}
		}
		if !found {
			at.Key("unit").Index(i).Mistake("want a unit of what it measures: %s", strings.Join(fit, ", "))
		}
	}
	for key, n := range map[string]Numbers{"scale": s.Scale, "offset": s.Offset, "round": s.Round, "delta": s.Delta} {
		at := at.Key(key)
		for _, p := range slices.Sorted(maps.Keys(n.Named)) {
			if !slices.Contains(measures, p) {
				at.Key(p).Mistake("it measures no such thing: want of %s", strings.Join(measures, ", "))
			}
		}
		if n.All != nil && len(measures) > 1 && (key == "scale" || key == "offset") {
			at.Mistake("want to know of which: %s = { %s = %v }", key, measures[0], *n.All)
		}
	}
	s.Scale.each(at.Key("scale"), func(v float64, at config.Place) {
		if v == 0 {
			at.Mistake("want another number than 0, which would leave nothing")
		}
	})
	s.Round.each(at.Key("round"), func(v float64, at config.Place) {
		if v != float64(int(v)) || v < 0 || v > 9 {
			at.Mistake("want how many decimals: 0 to 9")
		}
	})
	s.Delta.each(at.Key("delta"), func(v float64, at config.Place) {
		if v < 0 {
			at.Mistake("want 0 or more")
		}
	})
}

// CheckBuses reports sensors on buses that there are not, and two on one address.
func (c Config) CheckBuses(buses bus.Config, at config.Place) {
	first := map[string]string{}
	for _, s := range c.Sensor {
		at := at.Key("sensor").Key(s.Name)
		if s.Value.Type == "" || !at.Key("bus").Given() { // which is reported as missing
			continue
		}
		if wrong := buses.Mistake(s.Value.Bus); wrong != "" {
			at.Key("bus").Mistake("%s", wrong)
			continue
		}
		place := fmt.Sprintf("%s %v", buses.Path(s.Value.Bus), s.Value.address())
		if s.Value.Type == "ds18b20" { // many on one master
			place += s.Value.W1
		}
		if other := first[place]; other != "" {
			at.Key("address").Mistake("sensor.%s has the address %v on this bus too: want another", other, s.Value.address())
		}
		first[place] = s.Name
	}
}

func kindNames() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

func texts[T fmt.Stringer](values []T) string {
	var all []string
	for _, v := range values {
		all = append(all, v.String())
	}
	if len(all) > 6 {
		return all[0] + " to " + all[len(all)-1]
	}
	return strings.Join(all, ", ")
}
