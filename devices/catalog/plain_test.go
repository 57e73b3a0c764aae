package catalog

import (
	"encoding/json"
	"fmt"
	"testing"

	"hearth/devices"
)

func TestSnakeName(t *testing.T) {
	for want, parts := range map[string][]any{
		"state_l1":               {"state_l1"},
		"internal_temperature":   {"internalTemperature"},
		"area1_occupancy":        {"area1Occupancy"},
		"ds18b20_1_temperature":  {"DS18B20-1", "Temperature"},
		"energy_total_tariff_2":  {"ENERGY", "TotalTariff", 2},
		"pms5003_pm2_5":          {"PMS5003", "PM2.5"},
		"ccs811_eco2":            {"CCS811", "eCO2"},
		"analog_ctenergy1_power": {"ANALOG", "CTEnergy1", "Power"},
		"level_config_on_level":  {"level_config", "on_level"},
		"k_che":                  {"Küche"},
		"value":                  {"…"},
	} {
		if got := snakeName(parts...); got != want {
			t.Errorf("%v is %q, want %q", parts, got, want)
		}
	}
}

func TestColors(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{hsColor(0, 100), "#ff0000"}, {hsColor(120, 100), "#00ff00"}, {hsColor(240, 100), "#0000ff"},
		{hsColor(360, 100), "#ff0000"}, {hsColor(-120, 100), "#0000ff"}, {hsColor(32, 100), "#ff8800"},
		{hsColor(0, 0), "#ffffff"}, {hsColor(60, 50), "#ffff80"}, {hsColor(10, 500), "#ff2a00"},
		{xyColor(0.7006, 0.2993), "#ff0000"}, {xyColor(0.3127, 0.3290), "#ffffff"}, {xyColor(0.15, 0.06), "#0000ff"},
		{xyColor(0, 0), "#ffffff"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if r, g, b, err := hexColor(" #FF8800"); r != 255 || g != 136 || b != 0 || err != nil {
		t.Error(r, g, b, err)
	}
	for _, v := range []any{"#ff88", "#ff88zz", "red", 5.0, nil, "#-f8800", "+f8800"} {
		if _, _, _, err := hexColor(v); err == nil {
			t.Errorf("%v is a color", v)
		}
	}
}

// What was told as a percentage comes back as the same.
func TestPercentThereAndBack(t *testing.T) {
	for _, most := range []float64{254, 255, 1000, 100} {
		for p := range 101 {
			text, err := ofPercent(float64(p), most)
			if err != nil {
				t.Fatal(err)
			}
			v, ok, err := percentOf(whole, most)(&Payload{Message: devices.Message{Payload: []byte(text)}})
			if v != float64(p) || !ok || err != nil {
				t.Errorf("%d %% of %v is %s and comes back as %v %v", p, most, text, v, err)
			}
		}
	}
}

func TestJSONElements(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                       `[] <nil>`,
		` [ ] `:                    `[] <nil>`,
		`[1]`:                      `[1] <nil>`,
		`[ {"a":[1,2,"],"]} , 2 ]`: `[{"a":[1,2,"],"]} 2] <nil>`,
		`["\"]",{"b":"\\"}]`:       `["\"]" {"b":"\\"}] <nil>`,
		`[1,]`:                     `[1 ] <nil>`,
		`[1,{"a":`:                 `[1] the JSON list has no end`,
		`["a`:                      `[] the JSON list has no end`,
		`["a\`:                     `[] the JSON list has no end`,
		`[1] 2`:                    `[1] it is no JSON list`,
		`[1}`:                      `[1] it is no JSON list`,
		`{"a":1}`:                  `[] it is no JSON list`,
		``:                         `[] it is no JSON list`,
		`[`:                        `[] it is no JSON list`,
	} {
		all, err := jsonElements([]byte(text), 100)
		if got := fmt.Sprintf("%s %v", all, err); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

// It finds the elements that encoding/json finds.
func FuzzJSONElements(f *testing.F) {
	for _, text := range []string{`[{"a":[1,2,"],"]} , 2 ]`, `["\"]",{"b":"\\"}]`, `[1,]`, `[[[`, `[]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := jsonElements(text, 1<<20)
		var want []json.RawMessage
		if json.Unmarshal(text, &want) != nil || want == nil {
			return
		}
		if err != nil || len(all) != len(want) {
			t.Fatalf("%q: got %q %v, want %q", text, all, err, want)
		}
		for i := range want {
			if string(all[i]) != string(want[i]) {
				t.Errorf("%q: got %q, want %q", text, all[i], want[i])
			}
		}
	})
}
