// Package trial tries a house out before anybody lives in it: the owner's own
// tests run against it on a clock that is a value, a day in milliseconds.
//
//	[[test]]
//	name = "the light goes out two minutes after the last motion"
//	start = "2026-03-10T22:00:00"
//	send = [
//	  { at = "0s", topic = "hall/motion", payload = "ON" },
//	  { at = "30s", topic = "hall/motion", payload = "OFF" },
//	]
//	expect = [
//	  { at = "0s", output = "hall_light", to = true },
//	  { at = "2m30s", output = "hall_light", to = false },
//	]
//
// The whole house is there: the registry of values, the rules, the limits and
// interlocks of its outputs, debouncing and presses of its inputs, a broker that
// keeps retained messages, restarts. What is left out is what could make two runs
// differ: goroutines, the disk, the network. Time moves from one event to
// the next; between them nothing can happen.
//
// A test is strict. All that the house sends and all that its outputs do has to be
// expected, and nothing else may come, but for what [Test.Ignore] names and for
// the hub's own topics below hearth/.
//
// Where to read first: this file is what the owner writes; house.go is the house
// on its clock; match.go compares what was expected with what came, report.go
// tells the difference and the reasons; recipe.go reads tests from JSON files;
// engine.go is where the house meets the rules' engine.
package trial

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
)

// Tolerance is how late something may be that is expected at a moment.
const Tolerance = 200 * time.Millisecond

// Config is the [[test]] tables of a configuration.
type Config struct {
	Test []Test `toml:"test"`
}

// A Test is a house, a timeline, and what is to come of it. Its house is that of
// the configuration it stands in, as it is when it starts for the first time.
type Test struct {
	Name string `toml:"name,required" eg:"\"the light goes out again\""`

	// Start is local time in the house's zone at offset 0, when the hub starts. By
	// default it is noon of Monday, 2026-01-05.
	Start Moment `toml:"start"`

	// End is when the test is over; by default a second after the last moment
	// that it names.
	End *Offset `toml:"end"`

	Ignore  config.List[string] `toml:"ignore"`  // topic filters: what is sent there doesn't matter
	Repeats bool                `toml:"repeats"` // a message equal to the one before on its topic is tolerated
	Seed    uint64              `toml:"seed"`    // of what is random in the house

	Send   config.List[Send]   `toml:"send"`
	Expect config.List[Expect] `toml:"expect"`
	Forbid config.List[Expect] `toml:"forbid"` // what must not come; a name for what strictness forbids anyway

	physical bool // a recipe: pins begin low, and keep their level while the hub is down
}

// A Send is what happens to the house: exactly one of Topic, Input, Turn, Sensor, Device,
// Webhook, Restart, HTTP and Clock. At a negative offset it is what the hub finds at its
// start.
type Send struct {
	At Offset `toml:"at,required"`

	Topic   string   `toml:"topic" eg:"\"hall/motion\""` // some client publishes
	Payload *Payload `toml:"payload"`
	Retain  bool     `toml:"retain"`

	Input string `toml:"input" eg:"\"pir\""` // its contact changes
	To    *Level `toml:"to"`

	Turn string `toml:"turn" eg:"\"volume\""` // a knob is turned so many detents, below 0 against the clock
	By   int    `toml:"by" min:"-1000" max:"1000"`

	// Sensor measures Value, as "cellar.temperature"; without a property, "cellar", it
	// is unavailable from then on.
	Sensor string `toml:"sensor" eg:"\"cellar.temperature\""`

	// Device, one that announces itself, reports Value, as "plug.power"; "plug" is its main
	// property, and "plug.availability" whether it is there.
	Device string `toml:"device" eg:"\"plug.power\""`
	Value  *Value `toml:"value"` // of sensor and device

	Webhook string `toml:"webhook" eg:"\"/hook/bell\""` // somebody posts to this path
	Body    string `toml:"body"`

	Restart config.Duration `toml:"restart" min:"1ms"` // the hub stops, and starts again so long after

	HTTP   string `toml:"http"`                     // the next request of the house to this URL ("*" for any)
	Status int    `toml:"status" min:"0" max:"599"` // is answered so; 0 for no connection. Without: 200

	Clock string `toml:"clock" enum:"known,unknown"` // whether a time service has set the clock
}

// An Expect is something that the house does: exactly one of Topic, Output, Device,
// Notify and HTTP, at a moment or within a window. What is not given is not
// compared.
type Expect struct {
	At      *Offset  `toml:"at"` // and up to Tolerance later
	Between []Offset `toml:"between" eg:"\"55s\", \"65s\""`

	Topic   string   `toml:"topic" eg:"\"cmnd/lamp/POWER\""` // a message
	Payload *Payload `toml:"payload"`
	Retain  *bool    `toml:"retain"`

	Output string `toml:"output" eg:"\"heater\""` // it goes on or off
	To     *Level `toml:"to"`

	Device string `toml:"device" eg:"\"lamp.brightness\""` // one that announces itself is told
	Value  *Value `toml:"value"`                           // this

	Notify string `toml:"notify" eg:"\"Garage is open\""` // this text to anybody

	HTTP   string `toml:"http" eg:"\"http://192.168.1.7/relay/0\""` // a request
	Method string `toml:"method"`
	Body   string `toml:"body"`
}

// An Offset is a time since the start, negative before it: "-1s", "1m30s".
type Offset time.Duration

// UnmarshalText reads a duration with or without a sign.
func (o *Offset) UnmarshalText(text []byte) error {
	s, negative := strings.CutPrefix(string(text), "-")
	d, err := config.ParseDuration(s)
	if err != nil {
		return errors.New(`want a time since the start such as "1m30s", or "-1s" for before it`)
	}
	if *o = Offset(d); negative {
		*o = -*o
	}
	return nil
}

func (o Offset) String() string { return config.Duration(o).String() }

// A Moment is local time, in whatever zone the house is.
type Moment struct{ time.Time }

var defaultStart = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// DecodeTOML takes "2026-03-10T12:00:00", as text or as TOML's own local time.
func (m *Moment) DecodeTOML(raw any, at config.Place) {
	switch raw := raw.(type) {
	case time.Time:
		if zone := raw.Location().String(); zone == "datetime-local" || zone == "date-local" {
			m.Time = raw
			return
		}
	case string:
		for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
			if t, err := time.Parse(layout, strings.Replace(raw, " ", "T", 1)); err == nil {
				m.Time = t
				return
			}
		}
	}
	at.Mistake(`want local time without a zone, such as "2026-03-10T12:00:00"`)
}

// in is the moment in a zone.
func (m Moment) in(zone *time.Location) time.Time {
	t := m.Time
	if t.IsZero() {
		t = defaultStart
	}
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}

func (v *Value) text() (string, bool) {
	if v == nil {
		return "", false
	}
	text, ok := v.any.(string)
	return text, ok
}

// number says that text is a number as TOML writes it.
func number(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil && strings.ContainsAny(text[:1], "+-.0123456789")
}

func (v Value) isNumber() bool { _, ok := v.any.(float64); return ok }

// A Level is on or off, written as true, false or an on/off word.
type Level bool

// DecodeTOML takes a boolean, "on", "OFF", 1, 0.
func (l *Level) DecodeTOML(raw any, at config.Place) {
	if n, ok := raw.(int64); ok {
		raw = float64(n)
	}
	on, ok := devices.Bool(raw)
	if !ok {
		at.Mistake("want true or false")
	}
	*l = Level(on)
}

// A Value is a number, text, or true or false, as devices report them and are told them.
type Value struct{ any }

// DecodeTOML takes all of these.
func (v *Value) DecodeTOML(raw any, at config.Place) {
	switch raw := raw.(type) {
	case int64:
		v.any = float64(raw)
	case float64, bool, string:
		v.any = raw
	default:
		at.Mistake("want a number, text, or true or false")
	}
}

// is says that a device that is told got is told v: on is true, and 40 is 40.0.
func (v Value) is(got any) bool {
	if on, ok := got.(bool); ok {
		want, ok := devices.Bool(v.any)
		return ok && want == on
	}
	if f, ok := got.(float64); ok {
		return same(v.any, f)
	}
	return strings.EqualFold(devices.Text(v.any), devices.Text(got))
}

func (v Value) String() string {
	if on, ok := v.any.(bool); ok {
		return onOff(on)
	}
	return devices.Text(v.any)
}

// A Payload is text as it is sent. In a test it may be written as a number, as
// true or false (ON and OFF), or as a table or list (JSON).
type Payload string

// DecodeTOML takes all of these.
func (p *Payload) DecodeTOML(raw any, at config.Place) {
	if _, isTime := raw.(time.Time); isTime {
		at.Mistake(`want text, a number, true or false, or a table`)
	}
	*p = Payload(devices.Text(raw))
}

// A House is what tests run against: the parts of a configuration that decide.
type House struct {
	Pins  gpio.Config
	Logic rules.Config
	Rules rules.House // the names that Logic may use
	Zone  *time.Location
}

func (h House) zone() *time.Location {
	if h.Zone == nil {
		return time.UTC
	}
	return h.Zone
}

// Check reports what makes no sense in the tests of a house. at is the place of
// the configuration.
func Check(tests []Test, house House, at config.Place) {
	hears := new(ears)
	for i := range tests {
		c := checker{&tests[i], house, hears}
		c.check(at.Key("test").Index(i))
	}
}

type checker struct {
	*Test
	house House
	hears *ears
}

// ears is what the rules of a house listen to, once a test makes that worth knowing.
type ears struct {
	sources []devices.Source
	index   *devices.Index
}

func (c checker) ears() *ears {
	if c.hears.index == nil {
		c.hears.sources = c.house.engine(0, new(devices.Registry)).Sources()
		c.hears.index = devices.NewIndex(c.hears.sources)
	}
	return c.hears
}

func (c checker) check(at config.Place) {
	for i, filter := range c.Ignore {
		if err := devices.CheckFilter(filter); err != nil {
			at.Key("ignore").Index(i).Mistake("%v", err)
		}
	}
	if c.End != nil && *c.End < 0 {
		at.Key("end").Mistake("want a time after the start")
	}
	for i, s := range c.Send {
		c.send(s, at.Key("send").Index(i))
	}
	if len(c.Expect) == 0 && len(c.Send) == 0 && len(c.Forbid) == 0 && c.End == nil {
		at.Mistake("an empty test: want send, what happens to the house, and expect, what comes of it; or an end, up to which nothing is to come")
	}
	for i, e := range c.Expect {
		place := at.Key("expect").Index(i)
		if e.At == nil && len(e.Between) == 0 && !place.Key("at").Given() && !place.Key("between").Given() {
			place.Mistake(`want when: at = "5s", or between = ["4s", "6s"]`)
		}
		c.expect(e, place)
	}
	for i, e := range c.Forbid {
		c.expect(e, at.Key("forbid").Index(i))
	}
	c.restarts(at.Key("send"))
}

// oneOf reports unless exactly one of keys is written at a place, and says which.
func oneOf(at config.Place, keys ...string) string {
	var given []string
	for _, k := range keys {
		if at.Key(k).Given() {
			given = append(given, k)
		}
	}
	if len(given) == 1 {
		return given[0]
	}
	list := strings.Join(keys[:len(keys)-1], ", ") + " or " + keys[len(keys)-1]
	if len(given) == 0 {
		at.Mistake("want exactly one of %s", list)
	} else {
		at.Key(given[1]).Mistake("want exactly one of %s, and %s is there already", list, given[0])
	}
	return ""
}

// belongs reports keys that say nothing here.
func belongs(at config.Place, kind string, owners map[string][]string, keys ...string) {
	for _, k := range keys {
		if at.Key(k).Given() && !slices.Contains(owners[k], kind) {
			at.Key(k).Mistake("%s belongs to %s", k, strings.Join(owners[k], " or "))
		}
	}
}

var sendOwners = map[string][]string{"payload": {"topic"}, "retain": {"topic"}, "to": {"input"}, "by": {"turn"}, "value": {"sensor", "device"}, "body": {"webhook"}, "status": {"http"}}

func (c checker) send(s Send, at config.Place) {
	kind := oneOf(at, "topic", "input", "turn", "sensor", "device", "webhook", "restart", "http", "clock")
	if kind == "" {
		return
	}
	belongs(at, kind, sendOwners, "payload", "retain", "to", "by", "value", "body", "status")
	if c.End != nil && s.At > *c.End {
		at.Key("at").Mistake("the test ends before, at %v", *c.End)
	}
	if s.At < 0 && (kind == "webhook" || kind == "restart") {
		at.Key("at").Mistake("the hub does not run yet: want 0s or later")
	}
	switch kind {
	case "topic":
		c.topic(s.Topic, at.Key("topic"))
		if strings.HasPrefix(s.Topic, "hearth/") && !isSet(s.Topic) {
			at.Key("topic").Mistake("only the hub itself says this; a client may send hearth/<output>/set")
		}
		if s.Payload == nil && !at.Key("payload").Given() {
			at.Mistake(`want the message: payload = "ON"`)
		}
		c.heard(s.Topic, at.Key("topic"))
	case "input":
		c.name("input", s.Input, slices.Concat(c.house.Pins.Input.Names(), c.house.Pins.Counter.Names()), at.Key("input"))
		if s.To == nil && !at.Key("to").Given() {
			at.Mistake("want what it becomes: to = true")
		}
	case "turn":
		c.name("encoder", s.Turn, c.house.Pins.Encoder.Names(), at.Key("turn"))
		if s.By == 0 {
			at.Mistake("want how many detents: by = 1")
		}
	case "sensor":
		c.sensor(s, at)
	case "device":
		name, property := c.device(s.Device, at.Key("device"))
		if s.Value == nil && !at.Key("value").Given() {
			at.Mistake("want what it reports: value = 21.5")
		}
		if text, _ := s.Value.text(); number(text) {
			at.Key("value").Warn("this is text, which no test of a number takes: want %s", text)
		}
		if property == "availability" && s.Value != nil {
			if _, ok := devices.Bool(s.Value.any); !ok {
				at.Key("value").Mistake("want true or false: whether it is there")
			}
		}
		c.looked(name, property, at.Key("device"))
	case "webhook":
		if !strings.HasPrefix(s.Webhook, "/") {
			at.Key("webhook").Mistake(`want a path such as "/hook/bell"`)
		}
	case "http":
		if s.HTTP == "" {
			at.Key("http").Mistake(`want the URL that is asked, or "*" for any`)
		}
		if !at.Key("status").Given() {
			at.Mistake("want the answer: status = 503, or 0 for no connection")
		}
	}
}

func (c checker) sensor(s Send, at config.Place) {
	name, property, measures := strings.Cut(s.Sensor, ".")
	var sensors []string
	for _, p := range c.house.Rules.Parts {
		if p.Table != "sensor" {
			continue
		}
		if sensors = append(sensors, p.Name); p.Name == name && measures {
			c.name("property", property, slices.Sorted(maps.Keys(p.Properties)), at.Key("sensor"))
		}
	}
	c.name("sensor", name, sensors, at.Key("sensor"))
	switch {
	case measures && s.Value != nil && !s.Value.isNumber():
		at.Key("value").Mistake("want a number")
	case measures && s.Value == nil && !at.Key("value").Given():
		at.Mistake("want what it measures: value = 21.5")
	case !measures && s.Value != nil:
		at.Key("sensor").Mistake("want which property has this value, such as %s.temperature; %s alone is unavailable", name, name)
	}
}

var expectOwners = map[string][]string{"payload": {"topic"}, "retain": {"topic"}, "to": {"output"}, "value": {"device"}, "method": {"http"}, "body": {"http"}}

func (c checker) expect(e Expect, at config.Place) {
	if e.At != nil && len(e.Between) > 0 {
		at.Key("between").Mistake("want either at or between, not both")
	}
	if between := at.Key("between"); between.Given() && len(e.Between) != 2 {
		between.Mistake(`want two times, such as ["55s", "65s"]`)
	} else if len(e.Between) == 2 && e.Between[0] > e.Between[1] {
		between.Mistake("want the earlier time first")
	}
	from, to := e.window()
	when := at.Key("at")
	if len(e.Between) > 0 {
		when = at.Key("between")
	}
	if (e.At != nil || len(e.Between) > 0) && to < 0 {
		when.Mistake("the house does nothing before the hub starts: want 0s or later")
	}
	if c.End != nil && from > time.Duration(*c.End) && from > 0 {
		when.Mistake("the test ends before, at %v", *c.End)
	}
	kind := oneOf(at, "topic", "output", "device", "notify", "http")
	belongs(at, kind, expectOwners, "payload", "retain", "to", "value", "method", "body")
	switch kind {
	case "topic":
		c.topic(e.Topic, at.Key("topic"))
	case "output":
		c.name("output", e.Output, c.house.Pins.Output.Names(), at.Key("output"))
	case "device":
		c.device(e.Device, at.Key("device"))
	case "notify", "http":
		if e.Notify+e.HTTP == "" {
			at.Key(kind).Mistake("want a text")
		}
	}
}

// announced is the names of the devices that announce themselves.
func announced(house House) (names []string) {
	for _, d := range house.Logic.Device {
		if d.Value.Announced() != "" {
			names = append(names, d.Name)
		}
	}
	return names
}

// device looks whether text names one that announces itself, or a property of it. Which
// properties it has only itself could say.
func (c checker) device(text string, at config.Place) (name, property string) {
	name, property, dotted := strings.Cut(text, ".")
	d, ok := c.house.Logic.Device.Get(name)
	switch {
	case ok && d.Announced() == "":
		at.Mistake("%s is known by its topics: want topic, and payload as it sends it", name)
	case dotted && property == "":
		at.Mistake("want a property after the dot, such as %s.power", name)
	default:
		c.name("device that announces itself", name, announced(c.house), at)
	}
	if ok && property == "" {
		property = cmp.Or(d.Main, only(c.ears().sources, name))
	}
	return name, property
}

// looked warns of what a device reports and no rule looks at, where one looks at something
// else of it: it was hardly meant.
func (c checker) looked(name, property string, at config.Place) {
	var others []string
	for _, s := range c.ears().sources {
		switch {
		case s.Name != name:
		case property == "availability": // which people say beside the rest
			return
		case s.Property == property:
			return
		default:
			others = append(others, s.String())
		}
	}
	if len(others) > 0 {
		at.Warn("no rule looks at this: they look at %s", strings.Join(others, ", "))
	}
}

// heard warns of a message that nothing in the house listens to, where that was hardly
// meant: it is nearly what something listens to, or there are devices of which only
// themselves could say where they report.
func (c checker) heard(topic string, at config.Place) {
	if topic == "" || isSet(topic) || c.ears().index.Takes(topic) {
		return
	}
	var topics []string
	for _, s := range c.ears().sources {
		if s.Filter != "" && !strings.ContainsAny(s.Filter, "+#{") {
			topics = append(topics, s.Filter)
		}
	}
	names := announced(c.house)
	switch near, ok := config.Nearest(topic, topics); {
	case ok:
		at.Warn("nothing listens to this topic, did you mean %q?", near)
	case len(names) > 0:
		at.Warn(`nothing listens to this topic; a device that announces itself reports by its name: device = "%s.state", value = true`, names[0])
	}
}

func (c checker) topic(topic string, at config.Place) {
	if err := devices.CheckTopic(topic); err != nil {
		at.Mistake("%v", err)
	}
}

func (c checker) name(kind, name string, known []string, at config.Place) {
	if slices.Contains(known, name) {
		return
	}
	near, ok := config.Nearest(name, known)
	switch {
	case ok:
		at.Mistake("no %s has this name, did you mean %q?", kind, near)
	case len(known) == 0:
		at.Mistake("no %s has this name, for none is declared", kind)
	default:
		at.Mistake("no %s has this name: want one of %s", kind, strings.Join(known, ", "))
	}
}

// restarts reports a restart or a webhook while the hub is down.
func (c checker) restarts(at config.Place) {
	order := make([]int, len(c.Send))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(c.Send[a].At, c.Send[b].At) })
	up := Offset(0)
	for _, i := range order {
		s := c.Send[i]
		if s.At < up && s.At > 0 && (s.Restart > 0 || s.Webhook != "") {
			at.Index(i).Key("at").Mistake("the hub is down until %v", up)
		}
		if s.Restart > 0 {
			up = max(up, s.At+Offset(s.Restart))
		}
	}
}

// window is when something expected may come, both ends included.
func (e Expect) window() (from, to time.Duration) {
	switch {
	case e.At != nil:
		return time.Duration(*e.At), time.Duration(*e.At) + Tolerance
	case len(e.Between) == 2:
		return time.Duration(e.Between[0]), time.Duration(e.Between[1])
	}
	return 0, 1<<63 - 1 // a forbid without a time: the whole test
}

// end is when the test is over.
func (t *Test) end() time.Duration {
	if t.End != nil {
		return time.Duration(*t.End)
	}
	var last time.Duration
	for _, s := range t.Send {
		last = max(last, time.Duration(s.At)+time.Duration(s.Restart))
	}
	for _, e := range slices.Concat(t.Expect, t.Forbid) {
		if _, to := e.window(); to < 1<<63-1 {
			last = max(last, to)
		}
	}
	return last + time.Second
}
