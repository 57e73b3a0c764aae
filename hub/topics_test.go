package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/broker"
	"hearth/devices"
	"hearth/gpio"
	"hearth/web"
)

const secretHouse = `
[secret]
code = "4711"
[output.lamp]
pin = "GPIO17"
[rule.disarm]
trigger = { event = "keypad/code" }
condition = "string(value) == secret('code')"
action = { publish = "siren/off", payload = "{secret('code')}" }
[link.lamp]
from = "hall/motion"
to = "lamp"
`

// Who listens hears everything, in what is secret no more than that it was said. What somebody
// publishes by hand does what a client's message would, and is told as theirs.
func TestTopicsOnThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, stop := start(t, load(t, t.TempDir(), secretHouse), Options{Bank: gpio.NewSim()})
		defer stop()
		p := page{h}
		var mu sync.Mutex
		var heard []string
		leave, err := p.Listen("#", func(m web.Message) {
			mu.Lock()
			defer mu.Unlock()
			payload := string(m.Payload)
			if m.Hidden {
				payload = "***"
			}
			if m.Whole {
				payload = "of the whole house"
			}
			heard = append(heard, m.Topic+"="+payload)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []web.Message{{Topic: "keypad/code", Payload: []byte("4711")}, {Topic: "hall/motion", Payload: []byte("ON"), Retain: true}, {Topic: "hearth/lamp/set", Payload: []byte("OFF")}, {Topic: "hearth/why", Payload: []byte("lamp")}} {
			if err := p.Publish(t.Context(), m); err != nil {
				t.Error(m.Topic, err)
			}
			time.Sleep(time.Second)
		}
		mu.Lock()
		for _, want := range []string{"keypad/code=***", "siren/off=***", "hall/motion=ON", "hearth/lamp/state=ON", "hearth/lamp/set=OFF", "hearth/lamp/state=OFF", "hearth/why=of the whole house", "hearth/why/lamp=of the whole house"} {
			if !slices.Contains(heard, want) {
				t.Errorf("nobody heard %s: %s", want, heard)
			}
		}
		if strings.Contains(strings.Join(heard, " "), "4711") {
			t.Errorf("the secret is told: %s", heard)
		}
		n := len(heard)
		mu.Unlock()
		all, err := p.Retained("hall/#")
		if err != nil || len(all) != 1 || string(all[0].Payload) != "ON" {
			t.Error(all, err)
		}
		for _, topic := range []string{"hearth/status", "hearth/lamp/state", "$SYS/x", "a/#", ""} {
			if err := p.Publish(t.Context(), web.Message{Topic: topic, Payload: []byte("x")}); err == nil {
				t.Errorf("somebody said %q", topic)
			}
		}
		if err := p.Publish(t.Context(), web.Message{Topic: "camera", Payload: make([]byte, 300<<10)}); err == nil {
			t.Error("a message of 300 kB was taken")
		}
		v, _ := p.View(t.Context())
		var told []string
		for _, d := range v.Decisions {
			told = append(told, d.Text)
			if strings.Contains(d.Text, "4711") {
				t.Errorf("the secret is told: %s", d.Text)
			}
		}
		for _, want := range []string{`somebody published *** to keypad/code`, `somebody published "ON" to hall/motion`, `page blocked; it was not published: publish to "camera": 307200 bytes`} {
			if !strings.Contains(strings.Join(told, "\n"), want) {
				t.Errorf("nothing tells %q:\n%s", want, strings.Join(told, "\n"))
			}
		}
		leave()
		p.Publish(t.Context(), web.Message{Topic: "hall/motion", Payload: []byte("OFF")})
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if len(heard) != n {
			t.Error("who left hears on:", heard[n:])
		}
	})
}

// Rules may compute the topics on which they send a secret. Those of which there is no
// remembering are not shown either.
func TestSecretsOnTooManyTopics(t *testing.T) {
	var e ears
	hidden := func(topic string) bool { return e.shown(broker.Message{Topic: topic}, time.Time{}).Hidden }
	for n := range mostVeils {
		e.hide(devices.Command{Topic: fmt.Sprint("door/", n), Secret: true})
	}
	if !hidden("door/1") || hidden("door/open") {
		t.Error("not the topics with secrets are hidden")
	}
	e.hide(devices.Command{Topic: "door/more", Secret: true})
	if !hidden("door/more") {
		t.Error("the secret is shown")
	}
}
