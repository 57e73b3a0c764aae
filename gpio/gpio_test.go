package gpio

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/config"

	"pgregory.net/rapid"
)

func TestMistakesInTheConfig(t *testing.T) {
	tests := []struct{ toml, want string }{
		{"[output.lamp]\npin = \"17\"", `config.toml:2:7: output.lamp.pin = "17": want "GPIO17" for line 17 of the Raspberry Pi (which is not pin 17 of its header)`},
		{"[output.lamp]\npin = \"gpio_07\"", `config.toml:2:7: output.lamp.pin = "gpio_07": want "GPIO7"`},
		{"[output.lamp]\npin = \"GPIO07\"", `config.toml:2:7: output.lamp.pin = "GPIO07": want "GPIO7"`},
		{"[output.lamp]\npin = \"\"", `config.toml:2:7: output.lamp.pin = "": want the name of a pin, such as "GPIO17"`},
		{"[input.pir]\npin = \"GPIO17 \"", `config.toml:2:7: input.pir.pin = "GPIO17 ": want the name of a pin without spaces round it, such as "GPIO17"`},
		{"[input.pir]\npin = \"/dev/gpiochip1\"", `config.toml:2:7: input.pir.pin = "/dev/gpiochip1": want the chip without its folder and a line, such as "gpiochip1:5"`},
		{"[output.lamp]\npin = \"GPIO17\"\n[input.pir]\npin = \"GPIO17\"", `config.toml:4:7: input.pir.pin = "GPIO17": this pin is used twice, want another: output.lamp.pin has it too, at config.toml:2:7`},
		{"[output.lamp]\npin = \"PIN11\"\n[input.lamp]\npin = \"gpiochip1:5\"", `config.toml:3:1: input.lamp = {…}: an output has this name, at config.toml:1:1: want another`},
	}
	const lamp, shutter = "[output.lamp]\npin = \"GPIO1\"\n", "[output.up]\npin = \"GPIO1\"\n[output.down]\npin = \"GPIO2\"\n"
	const boiler = "[output.boiler]\ntopic = \"cmnd/boiler/POWER\"\n"
	tests = append(tests, []struct{ toml, want string }{
		{"[output.lamp]\nactive_low = true", `config.toml:1:1: output.lamp.pin: missing, want for example pin = "GPIO17"`},
		{lamp + "topic = \"a/b\"", `config.toml:3:9: output.lamp.topic = "a/b": want either pin or topic, not both`},
		{lamp + "on = \"AN\"", `config.toml:3:6: output.lamp.on = "AN": only an output on a topic has words for on and off; want active_low where a pin is the other way round`},
		{lamp + "max_on = \"5m\"\nmin_on = \"10m\"", `config.toml:3:10: output.lamp.max_on = "5m": want at least 10m, as long as min_on`},
		{boiler + "off = \"ON\"", `config.toml:3:7: output.boiler.off = "ON": on and off are the same, "ON": want two texts`},
		{boiler + "off = \"\"", `config.toml:3:7: output.boiler.off = "": want the text that the device takes`},
		{boiler + "active_low = true", `config.toml:3:14: output.boiler.active_low = true: only a pin is active low; want other texts for on and off`},
		{"[output.boiler]\ntopic = \"cmnd/+/POWER\"", `config.toml:2:9: output.boiler.topic = "cmnd/+/POWER": a topic to publish on can't have the wildcards + or #: name one topic`},
		{"[output.boiler]\ntopic = \"hearth/lamp/set\"", `config.toml:2:9: output.boiler.topic = "hearth/lamp/set": want a topic of the device: hearth/ is the hub's own`},
		{shutter + "[interlock.x]\noutputs = [\"up\", \"dwon\"]", `config.toml:6:18: interlock.x.outputs[2] = "dwon": no such output, did you mean "down"?`},
		{shutter + "[interlock.x]\noutputs = [\"up\", \"heater\"]", `config.toml:6:18: interlock.x.outputs[2] = "heater": no such output: want one that has a table [output.heater]`},
		{shutter + "[interlock.x]\noutputs = [\"up\", \"up\"]", `config.toml:6:18: interlock.x.outputs[2] = "up": this output is in the list twice`},
		{shutter + "[interlock.x]\noutputs = [\"up\"]", `config.toml:6:11: interlock.x.outputs = […]: want at least two outputs that must not be on together`},
		{shutter + "initial = \"on\"\n[output.both]\npin = \"GPIO3\"\ninitial = \"on\"\n[interlock.x]\noutputs = [\"down\", \"both\"]", `config.toml:8:11: output.both.initial = "on": interlock.x lets only one of its outputs be on, and down starts on too`},
		{shutter + "safe = \"on\"\n[interlock.x]\noutputs = [\"up\", \"down\"]", `config.toml:5:8: output.down.safe = "on": want "off" or "hold": it is in interlock.x, so it can't be switched on just when another may be on`},
		{"[input.pir]\npin = \"GPIO1\"\npresses = 3", `config.toml:3:11: input.pir.presses = 3: want double as well, such as double = "500ms": how long to wait for the next press`},
	}...)
	for _, tt := range tests {
		var cfg Config
		err := config.Parse("config.toml", []byte(tt.toml), &cfg).Err()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s\n\tgives %v\n\twant  %s", tt.toml, err, tt.want)
		}
	}
	// These are refused by the tags of the fields; the words are config's own.
	for _, toml := range []string{
		"[output.lamp]\npin = \"GPIO1\"\nsafe = \"of\"",
		"[output.lamp]\npin = \"GPIO1\"\ninitial = \"hold\"",
		"[input.pir]\npin = \"GPIO1\"\npull = \"high\"",
		"[input.pir]\npin = \"GPIO1\"\ndebounce = \"11s\"",
		"[input.pir]\npin = \"GPIO1\"\ndebounce = \"-1s\"",
		"[input.pir]\nhold = \"1s\"",
		"[input.pir]\npin = \"GPIO1\"\ndouble = \"1s\"\npresses = 6",
		"[output.lamp]\npin = \"GPIO1\"\nmax_on = \"0s\"",
		"[output.lamp]\npin = \"GPIO1\"\n[output.fan]\npin = \"GPIO2\"\n[interlock.x]\noutputs = [\"lamp\", \"fan\"]\ngap = \"-1s\"",
		"[interlock.x]\ngap = \"1s\"",
	} {
		var cfg Config
		mistakes := config.Parse("config.toml", []byte(toml), &cfg).Mistakes()
		if len(mistakes) != 1 {
			t.Errorf("%s\n\tgives %v, want one mistake", toml, mistakes)
		}
	}
}

// A name that is proposed is one that is taken.
func FuzzPinMistake(f *testing.F) {
	for _, pin := range []string{"GPIO17", "17", "007", "gpio_07", "BCM 0", "gpiochip1:5", "/dev/gpiochip0", " x", ""} {
		f.Add(pin)
	}
	proposal := regexp.MustCompile(`^want "(GPIO[^"]*)"`)
	f.Fuzz(func(t *testing.T, pin string) {
		want := pinMistake(pin)
		if m := proposal.FindStringSubmatch(want); m != nil && pinMistake(m[1]) != "" {
			t.Errorf("%q: %s, but %s", pin, want, pinMistake(m[1]))
		}
	})
}

func TestFirstState(t *testing.T) {
	on := &kept{Pin: "GPIO1", On: true}
	for _, tt := range []struct {
		initial, safe string
		last          *kept
		held, want    bool
	}{
		{"", "", nil, false, false},
		{"", "", on, false, false},                           // a crash while it was on
		{"", "", on, true, true},                             // and a rule that holds it on
		{"", "", &kept{Pin: "GPIO1"}, true, false},           // made safe since
		{"", "", &kept{Pin: "GPIO2", On: true}, true, false}, // another wire
		{"", "", nil, true, false},
		{"", "on", nil, false, true},
		{"on", "", nil, false, true},
		{"off", "on", nil, false, false},
		{"", "hold", nil, false, false},
		{"on", "hold", nil, false, true},
		{"off", "hold", on, false, true},
		{"on", "hold", &kept{Pin: "GPIO1"}, false, false},
		{"on", "hold", &kept{Pin: "GPIO2"}, false, true}, // that was another wire
	} {
		if got := first(Output{Pin: "GPIO1", Initial: tt.initial, Safe: tt.safe}, tt.last, tt.held, -1); got != tt.want {
			t.Errorf("initial %q, safe %q, last %+v, held %v: starts %v", tt.initial, tt.safe, tt.last, tt.held, got)
		}
	}
}

// The filter is compared with the sentence that describes it, on a raw level
// sampled each millisecond: a level counts once it has been stable so long.
func TestDebounceIsWhatItSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stable := rapid.IntRange(0, 8).Draw(t, "stable")
		raw := rapid.SliceOfN(rapid.Bool(), 1, 100).Draw(t, "raw")
		asked := rapid.SliceOfN(rapid.Bool(), len(raw), len(raw)).Draw(t, "asked") // pass is called at these times only

		at := func(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }
		var want, got []string
		counts, level, since := false, false, 0
		for ms, r := range raw {
			if level != counts && ms-since >= stable { // it was stable up to here
				counts = level
				want = append(want, fmt.Sprint(since+stable, counts))
			}
			if r != level {
				level, since = r, ms
				if stable == 0 {
					counts = level
					want = append(want, fmt.Sprint(ms, counts))
				}
			}
		}

		d := Debounce{Stable: at(stable)}
		note := func(settled bool, when time.Duration) {
			if settled {
				got = append(got, fmt.Sprint(when.Milliseconds(), d.On))
			}
		}
		level = false
		for ms, r := range raw {
			if asked[ms] {
				note(d.Advance(at(ms)))
			}
			if r != level {
				level = r
				note(d.Level(r, at(ms)))
			}
		}
		note(d.Advance(at(len(raw) - 1)))
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestDebounceSaysWhenToAsk(t *testing.T) {
	d := Debounce{Stable: 50 * time.Millisecond}
	if at, ok := d.Next(); ok {
		t.Errorf("nothing happened, next is %v", at)
	}
	d.Level(true, 10*time.Millisecond)
	if at, ok := d.Next(); !ok || at != 60*time.Millisecond {
		t.Errorf("next is %v, %v", at, ok)
	}
}

// A contact that bounces, a release that bounces, a glitch of 20 ms, and a clean
// press: two presses, each once it was stable for 50 ms.
func TestDebounceOfAPushButton(t *testing.T) {
	d := Debounce{Stable: 50 * time.Millisecond}
	var got []string
	note := func(settled bool, when time.Duration) {
		if settled {
			got = append(got, fmt.Sprint(when.Milliseconds(), " ", d.On))
		}
	}
	for i, ms := range []int{0, 10, 15, 500, 505, 510, 2000, 2020, 3000, 3200} {
		note(d.Level(i%2 == 0, time.Duration(ms)*time.Millisecond))
	}
	note(d.Advance(time.Minute))
	if want := []string{"65 true", "560 false", "3050 true", "3250 false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Chips as they are found on real boards.
func TestNamesOfKernelLines(t *testing.T) {
	names := func(n int, set map[int]string) []string {
		lines := make([]string, n)
		for i, name := range set {
			lines[i] = name
		}
		return lines
	}
	tests := []struct {
		board string
		chips []*kernelChip
		want  map[string]string
	}{
		{"Raspberry Pi 4, where the kernel names some lines after their second use",
			[]*kernelChip{
				{name: "gpiochip0", label: "pinctrl-bcm2711", lines: names(58, map[int]string{14: "TXD1", 17: "GPIO17"})},
				{name: "gpiochip1", label: "raspberrypi-exp-gpio", lines: names(8, map[int]string{0: "BT_ON", 3: "GPIO17"})},
			},
			map[string]string{"GPIO17": "gpiochip0:17", "TXD1": "gpiochip0:14", "GPIO14": "gpiochip0:14", "BT_ON": "gpiochip1:0", "gpiochip1:3": "gpiochip1:3"}},
		{"Raspberry Pi 5, where the header is on a later chip that has two names",
			[]*kernelChip{
				{name: "gpiochip10", label: "gpio-brcmstb@107d508500", lines: names(32, map[int]string{4: "PWR_GPIO"})},
				{name: "gpiochip0", aliases: []string{"gpiochip4"}, label: "pinctrl-rp1", lines: names(54, map[int]string{17: "GPIO17"})},
			},
			map[string]string{"GPIO17": "gpiochip0:17", "gpiochip4:17": "gpiochip0:17", "gpiochip10:4": "gpiochip10:4", "PWR_GPIO": "gpiochip10:4"}},
		{"a board that names nothing",
			[]*kernelChip{
				{name: "gpiochip0", label: "i2c-expander", lines: names(8, map[int]string{0: "LED"})},
				{name: "gpiochip1", label: "soc", lines: names(32, nil)},
			},
			map[string]string{"GPIO5": "gpiochip1:5", "LED": "gpiochip0:0"}},
	}
	for _, tt := range tests {
		b := newKernelBank("/dev", tt.chips)
		for name, want := range tt.want {
			if p, err := b.ByName(name); err != nil || p.String() != want {
				t.Errorf("%s: %s is %v (%v), want %s", tt.board, name, p, err, want)
			}
		}
	}
	b := newKernelBank("/dev", tests[2].chips)
	_, err := b.ByName("GPIO17")
	if err != nil {
		t.Error(err)
	}
	_, err = b.ByName("GPIO40")
	wantError(t, err, `pins of the kernel: no pin "GPIO40", did you mean "GPIO`)
	if slices.ContainsFunc(b.Names(), func(n string) bool { return strings.HasPrefix(n, "gpiochip1:") }) {
		t.Errorf("names are %v: a line is listed by its best name only", b.Names())
	}
}

func TestTheSameLineByTwoNames(t *testing.T) {
	bank := newKernelBank("/dev", []*kernelChip{{name: "gpiochip0", label: "pinctrl-rp1", lines: []string{"LED", ""}}})
	_, err := Open(configured(t, "[output.a]\npin = \"LED\"\n[output.b]\npin = \"gpiochip0:0\""), Options{Bank: bank})
	wantError(t, err, "b on gpiochip0:0: that is the same line as a on LED")
}

func TestNoChip(t *testing.T) {
	_, err := openKernel(t.TempDir(), "")
	wantError(t, err, "no GPIO chip in ")
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/gpiochip0", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = openKernel(dir, "")
	wantError(t, err, "no GPIO chip can be opened", "gpiochip0: not a GPIO chip")
}

// What is not held is not touched, not even to read it.
func TestAKernelPinThatIsNotHeld(t *testing.T) {
	p := &kernelPin{chip: &kernelChip{name: "gpiochip0"}, offset: 3}
	if l, err := p.Level(); l || err == nil {
		t.Errorf("level %v, error %v", l, err)
	}
	if p.WaitForEdge(-1) || p.Function() != "" || p.Halt() != nil || p.PWM(0, 0) == nil {
		t.Error("it acts as if it were held")
	}
}
