package config_test

import (
	"fmt"

	"hearth/config"
)

// A package describes its part of the file beside the code that obeys it.
type Output struct {
	Pin       string `toml:"pin,required" eg:"\"GPIO17\""`
	ActiveLow bool   `toml:"active_low"`
	Safe      string `toml:"safe" enum:"off,on,hold"`
}

// Check says what the types cannot.
func (o Output) Check(at config.Place) {
	if o.Safe == "on" && o.ActiveLow {
		at.Key("safe").Warn("the relay is on while the hub is off")
	}
}

func Example() {
	var house struct {
		Output config.Table[Output] `toml:"output"`
	}
	doc := config.Parse("config.toml", []byte(`
[output.porch_light]
pin = 17
actve_low = true

[output.heater]
pin = "GPIO22"
active_low = true
safe = "on"
`), &house)
	fmt.Println(doc.Err())
	for _, w := range doc.Warnings() {
		fmt.Println(w)
	}
	// Output:
	// config.toml:3:7: output.porch_light.pin = 17: want text such as "GPIO17"
	// config.toml:4:1: output.porch_light.actve_low = true: unknown key, did you mean "active_low"?
	// config.toml:9:8: warning: output.heater.safe = "on": the relay is on while the hub is off
}
