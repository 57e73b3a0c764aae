package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/config"
	"hearth/control"
	"hearth/devices"
)

type devicesCommand struct {
	Name    string `arg:"" optional:"" help:"One of them: then all of its properties."`
	To      string `arg:"" optional:"" help:"With --suggest: what NAME is to switch, a device or an output. Both may be a property, wall.button."`
	Forget  bool   `help:"Forget NAME, which is no more. Devices that stay silent for 30 days are forgotten by themselves."`
	Suggest bool   `help:"Print the TOML that names them, or that links NAME to TO, to be put into the configuration."`
	Wide    bool   `short:"w" help:"Nothing cut, however wide that is."`
	JSON    bool   `name:"json" help:"For scripts."`
	hubFlags
}

func (c *devicesCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	if c.Forget {
		if c.Name == "" {
			return errors.New("--forget: which one? hearth devices lists them")
		}
		if err := h.ForgetDevice(ctx, c.Name); err != nil {
			return h.because(err)
		}
		_, err := fmt.Fprintf(std.out, "%s is forgotten; should it announce itself again it is here again\n", c.Name)
		return err
	}
	all, err := h.Devices(ctx)
	if err != nil {
		return h.because(err)
	}
	if c.To != "" {
		if !c.Suggest {
			return fmt.Errorf("%s and %s: hearth devices shows one of them; --suggest links the first to the second", c.Name, c.To)
		}
		return suggestLink(std.out, c.Name, c.To, all.Devices)
	}
	if c.Name != "" {
		i := deviceCalled(c.Name, all.Devices)
		if i < 0 {
			return unknownDevice(c.Name, all.Devices)
		}
		all.Devices = all.Devices[i : i+1]
	}
	switch {
	case c.JSON && c.Name != "":
		return printJSON(std.out, all.Devices[0])
	case c.JSON:
		if all.Devices == nil {
			all.Devices = []control.Device{}
		}
		return printJSON(std.out, all)
	case c.Suggest:
		return suggest(std.out, all.Devices)
	}
	width := screen
	if c.Wide {
		width = 0
	}
	if all.Unlinked != "" {
		fmt.Fprintln(std.out, harmless([]byte(all.Unlinked)))
		fmt.Fprintln(std.out, "What stands here is from before, and whether a device is there nobody knows.")
	}
	if c.Name != "" {
		return printDevice(std.out, all.Devices[0], time.Now(), width)
	}
	if len(all.Devices) > 0 {
		if err := deviceTable(all.Devices, time.Now()).print(std.out, width); err != nil {
			return err
		}
	}
	text := count(len(all.Devices), "device")
	if len(all.Devices) == 0 {
		text = "no device has announced itself"
	}
	fmt.Fprintln(std.out, text)
	for _, f := range all.Faults {
		fmt.Fprintf(std.out, "not understood: %s: %s", harmless([]byte(f.Topic)), harmless([]byte(f.Why)))
		if f.Times > 1 {
			fmt.Fprintf(std.out, " (%d times)", f.Times)
		}
		fmt.Fprintln(std.out)
	}
	if all.OtherFaults > 0 {
		fmt.Fprintf(std.out, "and %s on other topics\n", count(all.OtherFaults, "message"))
	}
	return nil
}

// deviceCalled is where a device stands that is called so: by its name, its id, one of its
// aliases, or what it is shown as, if that is so of no other; -1 if there is none.
func deviceCalled(name string, all []control.Device) int {
	is := func(other string) bool { return strings.EqualFold(other, strings.TrimSpace(name)) }
	labelled := func(d control.Device) bool { return is(d.Label) }
	for _, so := range []func(control.Device) bool{
		func(d control.Device) bool { return d.Name == name },
		func(d control.Device) bool { return d.ID == name },
		func(d control.Device) bool { return slices.ContainsFunc(d.Aliases, is) },
	} {
		if i := slices.IndexFunc(all, so); i >= 0 {
			return i
		}
	}
	i := slices.IndexFunc(all, labelled)
	if i >= 0 && slices.ContainsFunc(all[i+1:], labelled) {
		return -1
	}
	return i
}

func unknownDevice(name string, all []control.Device) error {
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	if near, ok := config.Nearest(name, names); ok {
		return fmt.Errorf("no device is named %q, did you mean %q?", name, near)
	}
	return fmt.Errorf("no device is named %q: hearth devices lists them", name)
}

// deviceTable has a line for each: what it is, whether it is there, and what it says
// of the house.
func deviceTable(all []control.Device, now time.Time) *table {
	t := &table{columns: []column{
		{head: "DEVICE"}, {head: "ROOM", spare: true}, {head: "VIA", spare: true}, {head: "STATE"},
		{head: "SEEN", right: true}, {head: "VALUES", least: 16},
	}}
	for _, d := range all {
		text := values(d)
		if d.ReplacedBy != "" {
			text = strings.TrimSuffix("replaced by "+d.ReplacedBy+", "+text, ", ")
		}
		t.add(d.Name, d.Room, d.Via, presence(d), ago(d.Seen, now, about), text)
	}
	return t
}

func presence(d control.Device) string {
	switch {
	case d.Silent:
		return "silent"
	case d.Online == nil:
		return ""
	case *d.Online:
		return "online"
	}
	return "offline"
}

func ago(t, now time.Time, say func(time.Duration) string) string {
	if t.IsZero() {
		return ""
	}
	return say(now.Sub(t))
}

// values are those of a device that are about the house, and a battery that is low.
func values(d control.Device) string {
	var parts []string
	for _, p := range d.Properties {
		low, isNumber := p.Value.(float64)
		if p.Value == nil || p.Diagnostic && !(p.Class == "battery" && isNumber && low <= 20) || p.Kind == "event" {
			continue
		}
		parts = append(parts, p.Name+" "+shown(p))
	}
	return strings.Join(parts, ", ")
}

// shown is a property's value with its unit, and what it was told and does not show.
func shown(p control.Property) string {
	text := valueText(p.Value)
	if p.Unit != "" && p.Value != nil {
		text += " " + p.Unit
	}
	if p.Away {
		text = strings.TrimSpace(text + " (unavailable)")
	}
	if p.Asked != nil {
		told := "told " + valueText(p.Asked)
		switch {
		case p.GaveUp:
			told += ", not confirmed"
		case p.Again:
			told += ", again when it wakes"
		}
		text = strings.TrimPrefix(text+" ("+told+")", " ")
	}
	return text
}

func valueText(v any) string {
	if on, ok := v.(bool); ok {
		if on {
			return "on"
		}
		return "off"
	}
	return devices.Text(v)
}

// printDevice has all of one.
func printDevice(w io.Writer, d control.Device, now time.Time, width int) error {
	fmt.Fprintf(w, "%s  %s\n", d.Name, harmless([]byte(d.ID)))
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-8s %s\n", what, harmless([]byte(text)))
		}
	}
	line("called", strings.TrimPrefix(strings.Join(append([]string{d.Label}, d.Aliases...), ", "), ", "))
	line("room", d.Room)
	line("made by", strings.TrimSpace(d.Maker+" "+d.Model))
	line("version", d.Version)
	line("also", strings.Join(d.Also, ", "))
	if d.StandsFor != "" {
		line("in place", "of "+d.StandsFor)
	}
	if d.ReplacedBy != "" {
		line("replaced", "by "+d.ReplacedBy)
	}
	line("not told", strings.TrimSuffix("who announced it may not publish to "+strings.Join(d.Denied, ", "), "who announced it may not publish to "))
	if d.Sleepy {
		line("power", "battery: it hears a command when it wakes")
	}
	state := presence(d)
	if d.Silent {
		state = "it has not announced itself since the hub started"
	}
	line("state", state)
	line("seen", ago(d.Seen, now, span))
	t := &table{columns: []column{
		{head: "PROPERTY"}, {head: "KIND"}, {head: "VALUE", least: 32}, {head: "AGE", right: true}, {head: "TAKES", least: 10}, {head: "TOPIC", spare: true},
	}}
	for _, p := range d.Properties {
		value := shown(p)
		if p.Bad != "" {
			value = strings.TrimPrefix(value+" (not valid: "+p.Bad+")", " ")
		}
		topic := ""
		if len(p.Topics) > 0 {
			topic = p.Topics[0]
		} else if p.SetTopic != "" {
			topic = p.SetTopic
		}
		kind := p.Kind
		if kind == "text" && p.Class == "color" {
			kind = p.Class
		}
		t.add(p.Name, kind, value, ago(p.At, now, about), takes(p), topic)
	}
	if err := t.print(w, width); err != nil {
		return err
	}
	for _, p := range d.Properties {
		if p.Raw != "" {
			fmt.Fprintf(w, "%s comes as the device sends it: %s\n", p.Name, harmless([]byte(p.Raw)))
		}
	}
	return nil
}

// takes is what a property can be told.
func takes(p control.Property) string {
	switch {
	case !p.Settable:
		return ""
	case p.Kind == "number":
		text := strings.TrimSpace("a number " + p.Unit)
		if p.Min != nil && p.Max != nil {
			text = strings.TrimSpace(number(*p.Min) + " to " + number(*p.Max) + " " + p.Unit)
		}
		if len(p.Options) > 0 { // values that have names
			text += " or " + strings.Join(p.Options, " ")
		}
		return text
	case len(p.Options) > 0:
		return strings.Join(p.Options, " ")
	}
	switch p.Kind {
	case "switch", "light", "fan":
		return "on off toggle"
	case "valve":
		return "open close"
	case "button":
		return "press"
	}
	if p.Class == "color" {
		return "#rrggbb"
	}
	return "text"
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// suggest prints the TOML that names devices.
func suggest(w io.Writer, all []control.Device) error {
	for _, d := range all {
		if d.StandsFor != "" && d.Named {
			if _, err := fmt.Fprintf(w, "# in place of %s\n%s\n", harmless([]byte(d.StandsFor)), standInLine(d.Name, d.ID)); err != nil {
				return err
			}
		}
		if d.Named || d.ReplacedBy != "" {
			continue
		}
		what := strings.TrimSpace(d.Maker + " " + d.Model)
		if d.Label != "" {
			what = strings.TrimPrefix(what+", "+d.Label, ", ")
		}
		if _, err := fmt.Fprintf(w, "[device.%s] # %s\nid = %q\n\n", d.Name, harmless([]byte(what)), d.ID); err != nil {
			return err
		}
	}
	return nil
}

// suggestLink prints the TOML by which from switches to: a link, or a rule if what is
// reported are events. Each is a device or a property of one; what is no device is
// taken for an output.
func suggestLink(w io.Writer, from, to string, all []control.Device) error {
	d, p, err := deviceProperty(from, all, func(p control.Property) bool {
		return slices.Contains([]string{"binary_sensor", "event", "switch", "light", "fan", "valve"}, p.Kind)
	})
	if err != nil {
		return err
	}
	suggested := []control.Device{d}
	target := to
	t, set, err := deviceProperty(to, all, func(p control.Property) bool { return p.Settable })
	switch {
	case err == nil && t.Name == d.Name && set.Name == p.Name:
		return fmt.Errorf("%s.%s would switch itself", d.Name, p.Name)
	case err == nil:
		target = t.Name + "." + set.Name
		if t.Name != d.Name {
			suggested = append(suggested, t)
		}
	case deviceCalled(partOf(to), all) >= 0:
		return err
	}
	if err := suggest(w, suggested); err != nil {
		return err
	}
	name := d.Name + "_" + strings.ReplaceAll(partOf(target), ".", "_")
	if p.Kind == "event" {
		is := ""
		if len(p.Options) > 0 {
			is = fmt.Sprintf(", is = %q", p.Options[0])
		}
		_, err = fmt.Fprintf(w, "[rule.%s]\ntrigger = { event = %q%s }\naction = { set = %q, to = \"toggle\" }\n", name, d.Name+"."+p.Name, is, target)
		return err
	}
	_, err = fmt.Fprintf(w, "[link.%s]\nfrom = %q\nto = %q\n", name, d.Name+"."+p.Name, target)
	return err
}

func partOf(name string) string {
	device, _, _ := strings.Cut(name, ".")
	return device
}

// deviceProperty finds a device, and the property that is named after a dot or else the first
// that fits.
func deviceProperty(name string, all []control.Device, fits func(control.Property) bool) (d control.Device, p control.Property, err error) {
	device, property, named := strings.Cut(name, ".")
	i := deviceCalled(device, all)
	if i < 0 {
		return d, p, unknownDevice(device, all)
	}
	d = all[i]
	i = slices.IndexFunc(d.Properties, func(p control.Property) bool {
		return named && p.Name == property || !named && !p.Diagnostic && fits(p)
	})
	switch {
	case i < 0 && named:
		return d, p, fmt.Errorf("%s has no property %q: hearth devices %s shows what it has", d.Name, property, d.Name)
	case i < 0:
		return d, p, fmt.Errorf("%s has nothing that fits: name a property, %s.x, of those that hearth devices %s shows", d.Name, d.Name, d.Name)
	case !fits(d.Properties[i]):
		return d, p, fmt.Errorf("%s.%s is a %s, which does not fit", d.Name, property, d.Properties[i].Kind)
	}
	return d, d.Properties[i], nil
}

type setCommand struct {
	Name  string `arg:"" help:"An output, a device, or a device's property: hall_lamp.brightness."`
	Value string `arg:"" help:"on, off, toggle, a number, or what hearth devices NAME says that it takes (after -- if it begins with a -)."`
	hubFlags
}

// Run ends without an error when the device has confirmed it, or is not expected to.
func (c *setCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	done, err := h.Set(ctx, c.Name, c.Value)
	if err != nil {
		return h.because(err)
	}
	sent := harmless([]byte(strings.TrimSpace(done.Topic + " " + done.Payload)))
	switch {
	case done.Waits != "":
		return fmt.Errorf("%s waits: %s", done.Name, done.Waits)
	case done.Late && done.Again:
		return fmt.Errorf("%s has not answered: it is asleep or away, and is told again when it shows that it lives; it was sent %s", done.Name, sent)
	case done.Late:
		return fmt.Errorf("%s has not answered yet; it was sent %s", done.Name, sent)
	case done.Reported != nil:
		_, err = fmt.Fprintf(std.out, "%s is %s now; it was sent %s\n", done.Name, valueText(done.Reported), sent)
	case done.Was:
		_, err = fmt.Fprintf(std.out, "%s was so already; it was sent %s\n", done.Name, sent)
	default:
		_, err = fmt.Fprintf(std.out, "%s was sent %s\n", done.Name, sent)
	}
	return err
}
