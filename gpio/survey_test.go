package gpio

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/warthog618/go-gpiocdev/uapi"
)

// Each line of the Raspberry Pi is on the header once, and the pins that carry
// power are where they can do harm to nobody who trusts the drawing.
func TestHeader(t *testing.T) {
	lines, power := map[string]int{}, map[string][]int{}
	for i, p := range Header() {
		if p.Number != i+1 {
			t.Errorf("pin %d is called %d", i+1, p.Number)
		}
		if _, ok := headerLine(p.Name); ok {
			lines[p.Name]++
		} else {
			power[p.Name] = append(power[p.Name], p.Number)
		}
	}
	for _, name := range NewSim().Names() {
		if _, ok := headerLine(name); ok && lines[name] != 1 {
			t.Errorf("%s is on the header %d times", name, lines[name])
		}
	}
	want := map[string][]int{"3V3": {1, 17}, "5V": {2, 4}, "GND": {6, 9, 14, 20, 25, 30, 34, 39}}
	if len(lines) != 28 || !reflect.DeepEqual(power, want) {
		t.Errorf("%d lines and power on %v, want 28 and %v", len(lines), power, want)
	}
}

func TestChipLine(t *testing.T) {
	info := uapi.LineInfoV2{Offset: 17, Flags: uapi.LineFlagV2Used | uapi.LineFlagV2Output | uapi.LineFlagV2BiasPullUp}
	copy(info.Name[:], "GPIO17")
	copy(info.Consumer[:], "hearth")
	want := ChipLine{ID: "gpiochip0:17", Name: "GPIO17", Direction: "output", Pull: "up", Used: true, Consumer: Consumer}
	if got := chipLine("gpiochip0", info); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want = ChipLine{ID: "gpiochip1:2", Direction: "input"}
	if got := chipLine("gpiochip1", uapi.LineInfoV2{Offset: 2, Flags: uapi.LineFlagV2Input}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What a kernel does with a line that its holder has left is a parameter of the
// driver; a Raspberry Pi 5 has both drivers, and only its own counts.
func TestKeptByKernel(t *testing.T) {
	cfg := configured(t, `
		[output.boiler]
		pin = "GPIO17"
		[output.plug]
		topic = "cmnd/plug/POWER"
		[output.elsewhere]
		pin = "gpiochip9:0"
		[input.door]
		pin = "GPIO4"
	`)
	const bcm, rp1 = "pinctrl_bcm2835/parameters/", "pinctrl_rp1/parameters/"
	for _, c := range []struct {
		name, label string
		parameters  map[string]string
		want        []string
	}{
		{"Raspberry Pi OS", "pinctrl-bcm2711", map[string]string{bcm + "persist_gpio_outputs": "Y\n"}, []string{"boiler"}},
		{"Raspberry Pi OS with dtparam=strict_gpiod", "pinctrl-bcm2835", map[string]string{bcm + "persist_gpio_outputs": "N\n"}, nil},
		{"mainline", "pinctrl-bcm2835", nil, nil},
		{"Raspberry Pi 5", "pinctrl-rp1", map[string]string{bcm + "persist_gpio_outputs": "Y\n", rp1 + "persist_gpio_outputs": "Y\n"}, []string{"boiler"}},
		{"Raspberry Pi 5 with dtparam=strict_gpiod", "pinctrl-rp1", map[string]string{bcm + "persist_gpio_outputs": "Y\n", rp1 + "persist_gpio_outputs": "N\n"}, nil},
		{"Raspberry Pi OS in May 2024", "pinctrl-bcm2835", map[string]string{bcm + "strict_gpiod": "N\n"}, []string{"boiler"}},
		{"another board", "pinctrl-sim", map[string]string{bcm + "persist_gpio_outputs": "Y\n"}, nil},
	} {
		sysfs := t.TempDir()
		for name, value := range c.parameters {
			path := filepath.Join(sysfs, "module", name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		bank := newKernelBank("/dev", []*kernelChip{{name: "gpiochip0", label: c.label, lines: make([]string, 28)}})
		if got := KeptByKernel(cfg, bank, sysfs); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := KeptByKernel(cfg, NewSim(), "/sys"); got != nil {
		t.Errorf("simulated pins: %q", got)
	}
}

func TestUses(t *testing.T) {
	cfg := configured(t, `
		[output.heater]
		pin = "GPIO22"
		active_low = true
		[output.plug]
		topic = "cmnd/plug/POWER"
		[input.door]
		pin = "GPIO4"
		pull = "up"
		[input.pir]
		pin = "GPIO5"
		pull = "none"
	`)
	var got []string
	for _, u := range cfg.Uses() {
		got = append(got, u.Pin+": "+u.String())
	}
	want := []string{"GPIO22: output heater, active low", "GPIO4: input door, pull up", "GPIO5: input pir"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
