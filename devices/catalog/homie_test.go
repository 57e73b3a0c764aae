package catalog

import (
	"strings"
	"testing"

	"hearth/devices"
)

// The empty text is a byte 0, and an empty payload deletes: neither can be told in a story.
func TestHomieEmptyText(t *testing.T) {
	c := New()
	for _, line := range []string{
		`homie/5/x/$state ready`,
		`homie/5/x/$description {"homie":"5.0","version":1,"nodes":{"n":{"properties":{"s":{"datatype":"string","settable":true},"b":{"datatype":"boolean","settable":true},"e":{"datatype":"enum","format":"a,b","retained":false,"settable":true}}}}}`,
		`homie/5/x/$alert/door The door is open`,
	} {
		topic, payload, _ := strings.Cut(line, " ")
		c.Take(devices.Message{Topic: topic, Payload: []byte(payload)})
	}
	all := c.Devices()
	if len(all) != 1 {
		t.Fatalf("%d devices", len(all))
	}
	m, err := all[0].Command("n_s", "")
	if err != nil || m.Payload != "\x00" || m.QoS != 2 || m.Retain {
		t.Errorf("told the empty text: %+v, %v", m, err)
	}
	if m, err := all[0].Command("n_e", "a"); err != nil || m.QoS != 0 {
		t.Errorf("an event is told so that it may come late: %v, %v", m, err)
	}
	x := NewIndex(all)
	read := func(topic, payload string) []Value {
		return x.Read(devices.Message{Topic: topic, Payload: []byte(payload)})
	}
	if v := read("homie/5/x/n/s", "\x00"); len(v) != 1 || v[0].Value != "" {
		t.Errorf("the empty text: %+v", v)
	}
	if v := read("homie/5/x/n/s", ""); len(v) != 0 {
		t.Errorf("a deleted value: %+v", v)
	}
	if v := read("homie/5/x/n/b", ""); len(v) != 0 {
		t.Errorf("a deleted boolean: %+v", v)
	}
	if v := read("homie/5/x/$alert/door", ""); len(v) != 1 || v[0].Value != "" {
		t.Errorf("an alert that is over: %+v", v)
	}
}

func TestHomieColours(t *testing.T) {
	for _, text := range []string{"#ff0000", "#00ff00", "#0000ff", "#ffffff", "#000000", "#ff8000", "#808080", "#80ff00"} {
		sent, err := homieColourOf(text, []string{"hsv"}, true)
		if err != nil {
			t.Fatal(err)
		}
		back, err := homieColour(sent, "", true)
		if err != nil || back != text {
			t.Errorf("%s is %s is %v: %v", text, sent, back, err)
		}
	}
}
