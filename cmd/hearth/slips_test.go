package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// A slip is one thing that somebody got wrong while writing a file of the
// cookbook, and what hearth check must say of it: at that very place, with the
// name of the table it is in and with what would be right.
type slip struct {
	file string // "P03"
	what string // "a letter twice in min_on"
	text string // of the whole file
	at   int    // byte of text at which the mistake is
	name string // "rule.heater"
	says string // regular expression: what would be right
}

// Every slip is found. Most are made by a recipe, in every place of the 33 files
// where it can be; the odd ones stand in a list.
func TestSlipsOfThePen(t *testing.T) {
	files, err := filepath.Glob("../../cookbook/P??.toml")
	if err != nil || len(files) != 33 {
		t.Fatalf("%d files in the cookbook, want 33: %v", len(files), err)
	}
	var slips []slip
	sound := map[string]string{}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".toml")
		sound[name] = string(b) + "\n[hub]\nlatitude = 52.5\nlongitude = 13.4\n" // the sun sets somewhere
		slips = append(slips, slipsOf(name, sound[name])...)
	}
	for _, odd := range oddSlips {
		slips = append(slips, odd.in(t, sound[odd.file]))
	}
	for name, text := range sound {
		if said, err := check(t, name, text); err != nil || said != "" {
			t.Errorf("%s is sound, and of it is said %s %v", name, said, err)
		}
	}
	kinds := map[string]int{}
	for i, s := range slips {
		if i%25 == 0 { // of some the program itself, for its status
			path := filepath.Join(t.TempDir(), "config.toml")
			if err := os.WriteFile(path, []byte(s.text), 0o644); err != nil {
				t.Fatal(err)
			}
			var status *exec.ExitError
			if err := exec.Command("hearth", "check", path).Run(); !errors.As(err, &status) || status.ExitCode() != 1 {
				t.Errorf("%s: the program ends with %v, want status 1", s.what, err)
			}
		}
		kind, _, _ := strings.Cut(s.what, ":")
		kinds[kind]++
		before := s.text[:s.at]
		line := strings.Count(before, "\n") + 1
		column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
		said, err := check(t, s.file, s.text)
		place := fmt.Sprintf("%s.toml:%d:%d: ", s.file, line, column)
		show := strings.Split(s.text, "\n")[line-1]
		if err == nil {
			t.Errorf("%s: %s is taken in silence: %s", place, s.what, show)
			continue
		}
		ok := false
		lines := strings.Split(strings.TrimSpace(said), "\n")
		for _, l := range lines {
			ok = ok || strings.HasPrefix(l, place) && strings.Contains(l, s.name) && regexp.MustCompile(s.says).MatchString(l)
		}
		if !ok {
			t.Errorf("%s, in\n\t%s\n%swants %s and %q; it says\n%s", s.what, show, place, s.name, s.says, said)
		}
		if len(lines) > 4 {
			t.Errorf("%s: of one slip %d things are said:\n%s", s.what, len(lines), said)
		}
	}
	if len(slips) < 100 {
		t.Errorf("%d slips, want at least 100", len(slips))
	}
	t.Logf("%d slips: %v", len(slips), kinds)
}

// check is hearth check of a file with that text: what it prints, and the error
// with which the program ends with status 1. The folder's name is left out.
func check(t *testing.T, name, text string) (said string, err error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, name+".toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var out, complaints bytes.Buffer
	err = (&checkCommand{File: path}).Run(streams{out: &out, err: &complaints})
	return strings.ReplaceAll(complaints.String(), dir+string(filepath.Separator), ""), err
}

var (
	header   = regexp.MustCompile(`(?m)^\[([a-z0-9_.]+)\]`)
	lineKey  = regexp.MustCompile(`(?m)^([a-z_]+) = `)
	innerKey = regexp.MustCompile(`[{,] ([a-z_]+) = `)
	closing  = regexp.MustCompile(`(?m)^[a-z_]+ = [{\[].*([}\]])$`)
	duration = regexp.MustCompile(`\b(?:for|until|min_on|max_on|min_off|cooldown|delay|gap|after|debounce|double|hold|silent|repeat|max_age|random) = ("(\d+)(?:ms|s|m|h)")`)
	enum     = regexp.MustCompile(`\b(?:mode|type|catch_up|pull|sun) = ("[a-z]+")`)
	textual  = regexp.MustCompile(`\b(?:pin|topic|publish|pulse|notify|webhook|from|state|event|initial) = ("[^"]*")`)
	declared = regexp.MustCompile(`(?m)^\[(?:output|input|calc|variable|machine)\.([a-z0-9_]+)\]`)
)

// slipsOf makes each slip that recipes know in one file.
func slipsOf(file, source string) []slip {
	var slips []slip
	within := func(at int) (name string) {
		for _, m := range header.FindAllStringSubmatchIndex(source, -1) {
			if m[0] <= at {
				name = source[m[2]:m[3]]
			}
		}
		return name
	}
	add := func(what string, from, to int, instead string, at int, name, says string) {
		if strings.HasPrefix(within(from), "hub") {
			return
		}
		slips = append(slips, slip{file, what, source[:from] + instead + source[to:], at, name, says})
	}
	n := 0
	typo := func(word string) string {
		n++
		switch i := len(word) / 2; {
		case n%3 == 0 && len(word) > 4:
			return word[:i] + word[i+1:] // a letter less
		case n%3 == 1 && len(word) > 4 && word[i] != word[i-1]:
			return word[:i-1] + word[i:i+1] + word[i-1:i] + word[i+1:] // two swapped
		default:
			return word[:i] + word[i-1:i] + word[i:] // one twice
		}
	}
	didYouMean := func(word string) string { return `did you mean "?` + regexp.QuoteMeta(word) + `"?\?` }

	for _, m := range header.FindAllStringSubmatchIndex(source, -1) {
		table, _, _ := strings.Cut(source[m[2]:m[3]], ".")
		wrong := typo(table)
		add("a table's kind: "+wrong, m[2], m[2]+len(table), wrong, m[2], wrong, didYouMean(table))
		add("no closing bracket: "+source[m[0]:m[1]], m[1]-1, m[1], "", m[1]-1, source[m[2]:m[3]], "want ]")
		add("a table twice: "+source[m[2]:m[3]], m[0], m[0], source[m[0]:m[1]]+"\n", m[1]+2, source[m[2]:m[3]], "given twice, first at .*: want")
	}
	for _, pattern := range []*regexp.Regexp{lineKey, innerKey} {
		for _, m := range pattern.FindAllStringSubmatchIndex(source, -1) {
			key := source[m[2]:m[3]]
			if strings.Contains(source[:m[0]][strings.LastIndexByte(source[:m[0]], '\n')+1:], "payload = ") || strings.Contains(source[:m[0]][strings.LastIndexByte(source[:m[0]], '\n')+1:], "each = ") {
				continue // there keys are the owner's
			}
			wrong := typo(key)
			add("a key: "+wrong, m[2], m[3], wrong, m[2], within(m[0]), didYouMean(key))
			if pattern == lineKey {
				line := source[m[0]:]
				line = line[:strings.IndexByte(line, '\n')+1]
				if !strings.HasSuffix(line, "[\n") && !strings.HasSuffix(line, "{\n") {
					add("a key twice: "+key, m[0], m[0], line, m[0]+len(line), within(m[0]), "given twice, first at .*: want")
				}
			}
		}
	}
	for _, m := range closing.FindAllStringSubmatchIndex(source, -1) {
		add("no closing bracket: "+source[m[0]:m[1]], m[2], m[3], "", len(strings.TrimRight(source[:m[2]], " ")), within(m[0]), "want .*"+regexp.QuoteMeta(source[m[2]:m[3]]))
	}
	for _, m := range duration.FindAllStringSubmatchIndex(source, -1) {
		count := source[m[4]:m[5]]
		add("no unit: "+source[m[0]:m[1]], m[2], m[3], `"`+count+`"`, m[2], within(m[0]), "want a .*"+count+`s"`)
		add("a number for a time: "+source[m[0]:m[1]], m[2], m[3], count, m[2], within(m[0]), "want a ")
	}
	for _, m := range enum.FindAllStringSubmatchIndex(source, -1) {
		word := source[m[2]+1 : m[3]-1]
		add("one of some words: "+word, m[2]+1, m[3]-1, typo(word), m[2], within(m[0]), "(?i)did you mean "+fmt.Sprintf("%q", word)+"|want ")
	}
	for _, m := range textual.FindAllStringSubmatchIndex(source, -1) {
		if strings.HasSuffix(source[:m[0]], "payload = { ") {
			continue
		}
		add("a number for a text: "+source[m[0]:m[1]], m[2], m[3], "17", m[2], within(m[0]), "want ")
		if end := source[m[1]:]; strings.HasPrefix(end, "\n") {
			add("no closing quote: "+source[m[0]:m[1]], m[3]-1, m[3], "", m[3]-1, within(m[0]), `want "`)
		}
		add("no quotes: "+source[m[0]:m[1]], m[2], m[3], strings.Trim(source[m[2]:m[3]], `"`), m[2], within(m[0]), `text stands in quotes.*: (write|want) "`)
	}
	for _, d := range declared.FindAllStringSubmatch(source, -1) {
		for _, m := range regexp.MustCompile(`= (?:\[?)"(`+d[1]+`)[".]`).FindAllStringSubmatchIndex(source, -1) {
			wrong := typo(d[1])
			at := m[2] - 1
			if strings.HasSuffix(source[:m[2]], `value = "`) {
				at++ // in an expression, at its character
			}
			add("a name: "+wrong, m[2], m[3], wrong, at, within(m[0]), didYouMean(d[1]))
		}
	}
	return slips
}

// An oddSlip is written by hand: what is put in place of what, and where in the
// new text the mistake is.
type oddSlip struct{ file, old, new, at, name, says string }

func (o oddSlip) in(t *testing.T, text string) slip {
	t.Helper()
	if strings.Count(text, o.old) != 1 {
		t.Errorf("%s has %q %d times, want once", o.file, o.old, strings.Count(text, o.old))
	}
	before, after, _ := strings.Cut(text, o.old)
	at := strings.Index(o.new, o.at)
	if at < 0 {
		t.Errorf("%s: no %q in %q", o.file, o.at, o.new)
	}
	return slip{o.file, "odd: " + o.new, before + o.new + after, len(before) + at, o.name, o.says}
}

var oddSlips = []oddSlip{
	// Names and functions in expressions, at their character.
	{"P10", `'home' in readings`, `'home' in reading`, `reading`, "calc.occupied.value", "did you mean readings"},
	{"P14", `join(sort(`, `join(srt(`, `srt`, "calc.low.value", "did you mean sort"},
	{"P14", `low != ''`, `lwo != ''`, `lwo`, "rule.batteries.condition", "did you mean low"},
	{"P14", `battery: {low}`, `battery: {lov}`, `lov`, "rule.batteries.action.notify", "did you mean low"},
	{"P21", `last(readings) - first(readings)`, `last(readings) - frist(readings)`, `frist`, "calc.rise.value", "did you mean first"},
	{"P21", `{rise:.1}`, `{rice:.1}`, `rice`, "rule.server_room.action.notify", "did you mean rise"},
	{"P22", `mean(readings)`, `avarage(readings)`, `avarage`, "calc.mean_of_five.value", "did you mean|want "},
	{"P22", `mean(readings)"`, `mean(readings"`, `"`, "calc.mean_of_five.value", "want|expected|missing"},
	{"P23", `round(clamp((128 - value)`, `round(clmap((128 - value)`, `clmap`, "rule.pellets.action.value", "did you mean clamp"},
	{"P23", `(128 - value)`, `(128 - valeu)`, `valeu`, "rule.pellets.action.value", "did you mean value"},
	{"P23", `(128 - value)`, `('128' - value)`, `'128'`, "rule.pellets.action.value", "number"},
	{"P25", `value = "today + 1"`, `value = "todya + 1"`, `todya`, "rule.pulse.action[1].value", "did you mean today"},
	{"P28", `msg.code == '1234'`, `mgs.code == '1234'`, `mgs`, "machine.alarm.moves[6].if", "did you mean msg"},
	{"P28", `"msg.code == '1234'"`, `"'1234'"`, `'1234'`, "machine.alarm.moves[6].if", "true or false"},
	{"P28", `"msg.code == '1234'"`, `"msg.code = '1234'"`, `= '1234'`, "machine.alarm.moves[6].if", "=="},
	{"P32", `mean(readings)`, `mean(reedings)`, `reedings`, "calc.floor_mean.value", "did you mean readings"},
	{"P33", `lamp ? 'ON' : 'OFF'`, `lampe ? 'ON' : 'OFF'`, `lampe`, "rule.button.action[2].value", "did you mean lamp"},

	// Paths and topics.
	{"P24", `"tele/boiler/SENSOR:ENERGY.Power[1]"`, `"tele/boiler/SENSOR:ENERGY.Power(1)"`, `"`, "link.phase2_power.from", `want \[|want .*\[0\]|quotes`},
	{"P24", `"tele/boiler/SENSOR:ENERGY.Power[1]"`, `"tele/boiler/SENSOR:ENERGY.Power[1"`, `"`, "link.phase2_power.from", `never closed|want `},
	{"P24", `"tele/boiler/SENSOR:ENERGY.Power[1]"`, `"tele/boiler/SENSOR:ENERGY.Power[one]"`, `"`, "link.phase2_power.from", `want an index such as \[0\]`},
	{"P24", `"tele/boiler/SENSOR:DS18B20.Temperature"`, `"tele/boiler/SENSOR:DS18B20..Temperature"`, `"`, "link.boiler_temperature.from", "want |quotes"},
	{"P19", `"stairs/motion/+"`, `"stairs/motion+"`, `"`, "machine.stairs.moves[3].on.event", `one whole level, as in a/\+/c`},
	{"P15", `"tele/{device}/LWT"`, `"tele/{Device}/LWT"`, `"`, "rule.offline.trigger.state", `such as \{name\}`},
	{"P15", `"tele/{device}/LWT"`, `"tele/{device/LWT"`, `"`, "rule.offline.trigger.state", `\{name\}`},
	{"P18", `"zigbee2mqtt/lamp/set", payload = { state = "ON", brightness = 25`, `"zigbee2mqtt/+/set", payload = { state = "ON", brightness = 25`, `"zigbee2mqtt`, "rule.movie.action[3].publish", "name one topic"},

	// Captures that there are not.
	{"P15", `{device} offline`, `{devcie} offline`, `devcie`, "rule.offline.action.notify", "did you mean device"},
	{"P08", `Water leak: {room}`, `Water leak: {rom}`, `rom}`, "machine.water.moves[1].do[2].notify", "did you mean room"},
	{"P27", `cmnd/{item}/POWER`, `cmnd/{itme}/POWER`, `itme`, "rule.vacation.action.publish", "did you mean item"},
	{"P17", `"brightness_move_{way}"`, `"brightness_move_{wya}"`, `"brightness_move_{wya}`, "rule.dim.trigger.is", "did you mean {way}"},

	// What does not belong together.
	{"P05", `{ event = "button.press", is = "single" }
action = { set = "relay", to = "toggle" }`, `{ event = "button.press", is = "single" }
action = { set = "relay", on = true, off = false }`, `{ event`, "rule.single.trigger", "give it an until"},
	{"P01", `to = "cmnd/hall_light/POWER"`, `to = "cmnd/hall_light/#"`, `"cmnd`, "link.hall_light.to", "name one topic"},
	{"P11", `action = { pulse = "drive_light", for = "60s" }`, `action = { pulse = "drive_light", for = "60s", publish = "a/b" }`, `{`, "rule.drive.action", "want one of"},
	{"P11", `action = { pulse = "drive_light", for = "60s" }`, `action = { pulse = "drive_light" }`, `{`, "rule.drive.action", `for = "60s"`},
	{"P11", `action = { pulse = "drive_light", for = "60s" }`, `action = { set = "drive_light" }`, `{`, "rule.drive.action", `needs one of`},
	{"P11", `action = { pulse = "drive_light", for = "60s" }`, `action = { set = "drive_light", to = "bright" }`, `"bright"`, "rule.drive.action.to", `want true, false or "toggle"`},
	{"P11", `action = { pulse = "drive_light", for = "60s" }`, `action = { set = "pir", to = true }`, `"pir"`, "rule.drive.action.set", `want the name of an output`},
	{"P11", `trigger = { state = "pir", is = true }`, `trigger = { event = "pir", is = true, for = "5m" }`, `"5m"`, "rule.drive.trigger.for", "belongs to state"},
	{"P11", `trigger = { state = "pir", is = true }`, `trigger = { state = "pir", event = "a/b" }`, `{`, "rule.drive.trigger", "exactly one of"},
	{"P11", `trigger = { state = "pir", is = true }`, `trigger = { is = true }`, `{`, "rule.drive.trigger", "want for example"},
	{"P11", `trigger = { state = "pir", is = true }`, `trigger = { state = "pir", is = 5 }`, `5`, "rule.drive.trigger.is", "want true or false"},
	{"P11", `trigger = { state = "pir", is = true }`, `trigger = "pir"`, `"pir"`, "rule.drive.trigger", "want a table"},
	{"P11", `mode = "restart"`, `max = 5`, `5`, "rule.drive.max", `mode = "queued"`},
	{"P11", `action = { pulse`, `acton = { pulse`, `acton`, "rule.drive.acton", `did you mean "action"`},
	{"P03", `until = [22, { silent = "15m" }]`, `until = [18, { silent = "15m" }]`, `18`, "rule.heater.trigger.until[1]", "want 20 or more"},
	{"P03", `until = [22, { silent = "15m" }]`, `until = ["22", { silent = "15m" }]`, `"22"`, "rule.heater.trigger.until[1]", "want a number"},
	{"P03", `below = 20`, `below = "20"`, `"20"`, "rule.heater.trigger.below", "write 20 without quotes"},
	{"P03", `below = 20`, `below = 20, above = 25`, `20`, "rule.heater.trigger.below", "no number is"},
	{"P03", `below = 20`, `below = 20,5`, `20`, "rule.heater", `want 20\.5`},
	{"P02", `until = { is = "OFF", for = "120s" }`, `until = { for = "120s" }`, `{ for`, "rule.hall_lamp.trigger.until", "needs a test"},
	{"P02", `is = "ON"`, `is = []`, `[]`, "rule.hall_lamp.trigger.is", "want at least one"},
	{"P02", `on = "ON", off = "OFF"`, `on = "ON", of = "OFF"`, `of`, "rule.hall_lamp.action.of", `did you mean "off"`},
	{"P06", `min_on = "10m"`, `min_on = "10 minuts"`, `"10`, "rule.bath_fan.trigger.min_on", "want a duration"},
	{"P06", `min_on = "10m"`, `min_on = "-10m"`, `"-10m"`, "rule.bath_fan.trigger.min_on", "want a duration"},
	{"P12", `time = "16:00-23:00"`, `time = "16:00-25:00"`, `"16`, "rule.arrived.condition.time", `want a span of time of day`},
	{"P12", `time = "16:00-23:00"`, `time = "16:00"`, `"16`, "rule.arrived.condition.time", `want a span of time of day`},
	{"P12", `sun = "sunset-1h"`, `sun = "sonset-1h"`, `"sonset`, "rule.dusk.trigger.sun", `want`},
	{"P13", `time = "06:00"`, `time = "6 o'clock"`, `"6`, "rule.watering.trigger.time", `want`},
	{"P26", `days = "sat,sun"`, `days = "sat,son"`, `"sat`, "rule.mode.trigger[2].days", `want weekdays`},
	{"P26", `{ time = "09:00", id = "day" }`, `{ time = "09:00", id = "day", for = "5m" }`, `"5m"`, "rule.mode.trigger[3].for", `belongs to state`},
	{"P25", `initial = 0`, `initial = 2026-01-01`, `2026`, "variable.today.initial", `want text`},
	{"P25", `set = "today", to = 0`, `set = "todya", to = 0`, `"todya"`, "rule.midnight.action[2].set", `did you mean "today"`},
	{"P25", `set = "today", to = 0`, `set = "s0_pulse", to = 0`, `"s0_pulse"`, "rule.midnight.action[2].set", `want the name of an output`},
	{"P28", `is = "triggered"`, `is = "trigered"`, `"trigered"`, "rule.siren.trigger.is", `did you mean "triggered"`},
	{"P28", `{ from = "pending", after = "20s", to = "triggered" }`, `{ from = "pending", to = "triggered" }`, `{`, "machine.alarm.moves[4]", `after = "30s"`},
	{"P28", `{ from = "pending", after = "20s", to = "triggered" }`, `{ from = "pending", after = "20s" }`, `{`, "machine.alarm.moves[4].to", `want for example`},
	{"P28", `initial = "disarmed"`, `initial = 0`, `0`, "machine.alarm.initial", `want text`},
	{"P07", `outputs = ["up", "down"]`, `outputs = ["up", "donw"]`, `"donw"`, "interlock.shutter.outputs[2]", `did you mean "down"`},
	{"P07", `outputs = ["up", "down"]`, `outputs = ["up"]`, `[`, "interlock.shutter.outputs", `at least two`},
	{"P07", `outputs = ["up", "down"]`, `outputs = "up", "down"`, `,`, "interlock.shutter.outputs", `want `},
	{"P07", `pin = "GPIO24"`, `pin = "GPIO23"`, `"GPIO23"`, "output.down.pin", `want another`},
	{"P07", `pin = "GPIO24"`, `pin = "24"`, `"24"`, "output.down.pin", `want "GPIO24"`},
	{"P04", `debounce = "50ms"`, `debounce = "50"`, `"50"`, "input.button.debounce", `want`},
	{"P05", `double = "500ms"
`, `presses = 3
`, `3`, "input.button.presses", `double`},
	{"P05", `is = "double"`, `is = "dubble"`, `"dubble"`, "rule.double.trigger.is", `did you mean "double"`},
	{"P05", `is = "double"`, `is = "triple"`, `"triple"`, "rule.double.trigger.is", `want one of single, double, hold`},
	{"P09", `notify = "Garage is open"`, `notify = "Garage is open", via = "phon"`, `"phon"`, "rule.garage_open.action.via", `did you mean "phone"`},
	{"P09", `repeat = ["30m", "60m"]`, `repeat = ["30m", "60"]`, `"60"`, "rule.garage_open.repeat[2]", `want a duration: write "60s"`},
	{"P16", `above = 10`, `above = ten`, `ten`, "rule.washer.trigger.above", `write "ten"`},
	{"P20", `at_most = -1400`, `at_most = - 1400`, `- 1400`, "rule.boiler.trigger", `want for example -5`},
	{"P21", `window = "300s"`, `window = 0`, `0`, "calc.rise.window", `at least 1`},
	{"P21", `window = "300s"`, `window = "300s"
batch = 5`, `5`, "calc.rise.batch", `not both`},
	{"P22", `of = "greenhouse/temperature"`, `of = "mean_of_five"`, `"mean`, "calc.mean_of_five.of", `want`},
	{"P29", `condition = { any = [`, `condition = { some = [`, `some`, "rule.opener.condition.some", `known here: .*any`},
	{"P29", `reed_closed = true }`, `reed_closde = true }`, `reed_closde`, "rule.opener.condition.any[1].state.reed_closde", `did you mean "reed_closed"`},
	{"P30", `webhook = "/hook/doorbell"`, `webhook = "/doorbell"`, `"/doorbell"`, "rule.doorbell.trigger.webhook", `"/hook/doorbell"`},
	{"P30", `cooldown = "30s"`, `cooldown = "dya"`, `"dya"`, "rule.doorbell.cooldown", `want`},
}
