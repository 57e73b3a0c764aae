package hub

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"hearth/gpio"
)

const tracedHouse = `
[output.lamp]
pin = "GPIO5"
[rule.porch]
trigger = { state = "a/motion:on", is = true }
condition = { state = { "a/dark" = true } }
action = { set = "lamp", to = true }
[rule.unfinished]
enabled = false
trigger = { state = "a/motion:on", is = true }
action = { publish = "b/unfinished", payload = "on" }
[rule.alarm]
trigger = { event = "a/code" }
condition = "value == secret('alarm')"
action = { publish = "b/alarm", payload = "off" }
[secret]
alarm = "4711"
`

// Somebody asks why a light stayed off, and is told; then switches the rule off,
// and it stays so over a restart.
func TestARuleIsAskedAndSwitched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, sim := t.TempDir(), gpio.NewSim()
		cfg := load(t, dir, tracedHouse)
		h, stop := start(t, cfg, Options{Bank: sim})
		said := map[string]string{}
		client, end := connect(t, h, "owner", func(p *paho.Publish) { said[p.Topic] = string(p.Payload) })
		if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "hearth/rule/#"}, {Topic: "b/#"}}}); err != nil {
			t.Fatal(err)
		}
		ask := func(rule string) (answer struct {
			WhyNot []string `json:"why_not"`
			Last   []trace
		}) {
			publish(t, client, 1, "hearth/rule/"+rule+"/trace/get", "")
			synctest.Wait()
			if err := json.Unmarshal([]byte(said["hearth/rule/"+rule+"/trace"]), &answer); err != nil {
				t.Fatal(err)
			}
			return answer
		}
		publish(t, client, 1, "a/dark", "off")
		publish(t, client, 1, "a/motion", `{"on":true}`)
		a := ask("porch")
		if len(a.Last) != 1 || a.Last[0].Outcome != "blocked" || a.Last[0].Message.Topic != "a/motion" || len(a.Last[0].Checks) != 1 || a.Last[0].Checks[0].Saw != "off" {
			t.Errorf("its last decisions: %+v", a.Last)
		}
		if all := strings.Join(a.WhyNot, "\n"); !strings.Contains(all, "its condition does not hold: a/dark is true (off)") {
			t.Errorf("why not: %s", all)
		}
		if a = ask("porhc"); !strings.Contains(a.WhyNot[0], `did you mean "porch"?`) {
			t.Errorf("of a rule that there is not: %q", a.WhyNot)
		}

		publish(t, client, 1, "a/code", "1234")
		publish(t, client, 1, "a/code", "4711")
		if a = ask("alarm"); len(a.Last) != 2 || strings.Contains(said["hearth/rule/alarm/trace"], "4711") || said["b/alarm"] != "off" {
			t.Errorf("a secret is told, or was not known: %s, %q", said["hearth/rule/alarm/trace"], said["b/alarm"])
		}

		// What the configuration switches off nobody switches on, and nobody is told that it runs.
		publish(t, client, 1, "hearth/rule/unfinished/set", "ON")
		publish(t, client, 1, "a/motion", `{"on":false}`)
		publish(t, client, 1, "a/motion", `{"on":true}`)
		synctest.Wait()
		if enabled, is := said["hearth/rule/unfinished/enabled"]; is || said["b/unfinished"] != "" {
			t.Errorf("a rule with enabled = false says %q and did %q", enabled, said["b/unfinished"])
		}
		if list := h.traces["hearth/rule/unfinished/set"]; len(list) != 1 || !strings.Contains(list[0].Why, "enabled = false in the configuration") {
			t.Errorf("who switched it on was told %+v", list)
		}

		publish(t, client, 1, "hearth/rule/porch/set", "off")
		publish(t, client, 1, "hearth/rule/nobody/set", "off")
		publish(t, client, 1, "a/dark", "on")
		publish(t, client, 1, "a/motion", `{"on":false}`)
		publish(t, client, 1, "a/motion", `{"on":true}`)
		synctest.Wait()
		if said["hearth/rule/porch/enabled"] != "OFF" || strings.Contains(levels(sim, "GPIO5"), "1") {
			t.Errorf("switched off, it says %q and the lamp went %s", said["hearth/rule/porch/enabled"], levels(sim, "GPIO5"))
		}
		time.Sleep(2 * time.Second)
		end()
		stop()

		h, stop = start(t, cfg, Options{Bank: sim})
		client, end = connect(t, h, "owner", func(p *paho.Publish) { said[p.Topic] = string(p.Payload) })
		publish(t, client, 1, "a/motion", `{"on":false}`)
		publish(t, client, 1, "a/motion", `{"on":true}`)
		synctest.Wait()
		if strings.Contains(levels(sim, "GPIO5"), "1") {
			t.Error("after a restart the rule ran, although it was switched off")
		}
		publish(t, client, 1, "hearth/rule/porch/set", "on")
		publish(t, client, 1, "a/motion", `{"on":false}`)
		publish(t, client, 1, "a/motion", `{"on":true}`)
		synctest.Wait()
		if !strings.Contains(levels(sim, "GPIO5"), "1") {
			t.Error("switched on again, the rule did not run")
		}
		end()
		stop()
	})
}
