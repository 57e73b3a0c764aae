package hub

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/gpio"
)

const oneMeter = `
[counter.power]
pin = "GPIO5"
pulses = 1000
unit = "kWh"
[encoder.volume]
a = "GPIO6"
b = "GPIO7"
[output.lamp]
pin = "GPIO8"
[rule.much]
trigger = { state = "power.rate", above = 3, until = 2 }
action = { set = "lamp", on = true, off = false }
`

// A meter with a pulse a second draws 3.6 kW: rules see it, its topics say it, and
// the page shows it. What it has counted is there after a restart.
func TestACounterIsAReadingLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		sim := gpio.NewSim()
		h, stop := start(t, load(t, dir, oneMeter), Options{Bank: sim, Simulated: true})
		client, end := connect(t, h, "x", func(*paho.Publish) {})
		synctest.Wait()
		total, endTotal := listener(t, h, "hearth/power/state")
		rate, endRate := listener(t, h, "hearth/power/rate")
		time.Sleep(time.Second)
		publish(t, client, 1, "hearth/power/set", "4711.5")
		publish(t, client, 1, "hearth/power/set", "much")
		publish(t, client, 1, "hearth/power/set", "NaN")
		synctest.Wait() // a pulse before that would count for what the meter showed before
		for range 20 {
			for _, on := range []bool{true, false} {
				if err := h.pins.Drive("power", on); err != nil {
					t.Fatal(err)
				}
				time.Sleep(500 * time.Millisecond)
			}
		}
		if got := total(); !strings.HasPrefix(got, "0 4711.5 4711.51") {
			t.Errorf("the total is %q", got)
		}
		if got := rate(); got != "3.6" {
			t.Errorf("the rate is %q", got)
		}
		if got := levels(sim, "GPIO8"); got != "01" {
			t.Errorf("the lamp was %q", got)
		}
		v, err := page{h}.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p := v.Inputs[0]; p.Name != "power" || !strings.HasSuffix(p.Shows, " kWh, 3.6 kW") {
			t.Errorf("the page shows %+v", p)
		}
		var refused []string
		for _, d := range v.Decisions {
			if d.Rule == "hearth/power/set" && d.Outcome == "blocked" {
				refused = append(refused, d.Text)
			}
		}
		if len(refused) != 2 || !slices.ContainsFunc(refused, func(s string) bool { return strings.Contains(s, "want what the meter shows") }) {
			t.Errorf("refused: %q", refused)
		}
		endTotal()
		endRate()
		end()
		stop()

		h, stop = start(t, load(t, dir, oneMeter), Options{Bank: gpio.NewSim(), Simulated: true})
		synctest.Wait()
		time.Sleep(time.Second)
		total, endTotal = listener(t, h, "hearth/power/+")
		if got := total(); !strings.Contains(got, "4711.52") {
			t.Errorf("after a restart it says %q", got)
		}
		endTotal()
		stop()
	})
}
