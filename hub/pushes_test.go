package hub

import (
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/gpio"
)

// A database takes lines, in place of the network.
type database struct {
	mu    sync.Mutex
	lines []string
	hang  bool
}

func (d *database) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	hang := d.hang
	d.mu.Unlock()
	if hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	zip, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(zip)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")...)
	return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody, Request: r}, nil
}

// took is what it took since the last time, sorted and without the times.
func (d *database) took() (lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, line := range d.lines {
		lines = append(lines, line[:strings.LastIndexByte(line, ' ')])
	}
	d.lines = nil
	slices.Sort(lines)
	return lines
}

// What the house reports goes to the database once, under its labels; what was found at
// the start, what makes no sense and what is secret does not. A database that hangs keeps
// neither the house nor its end waiting.
func TestReadingsAreSentOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const house = `
[device]
plug = { id = "zigbee2mqtt/0x01", room = "Study" }
[output.porch_light]
pin = "GPIO17"
[cover.blind]
up = "blind_up"
down = "blind_down"
open_time = "10s"
close_time = "10s"
[output.blind_up]
pin = "GPIO22"
[output.blind_down]
pin = "GPIO23"
[link.hall_light]
from = "zigbee2mqtt/hall_motion:occupancy"
to = "porch_light"
[rule.warm]
trigger = { state = "plug.power", above = 2000 }
action = { publish = "x", payload = "x" }
[rule.pin]
trigger = { event = "alarm/pin" }
condition = "string(value) == secret('alarm')"
action = { publish = "x", payload = "x" }
[secret]
alarm = "4711"
[push.home]
url = "http://influx.lan:8086"
bucket = "home"
exclude = "blind_*"
`
		db := new(database)
		h, stop := start(t, load(t, t.TempDir(), house), Options{Bank: gpio.NewSim(), transport: db})
		w := newWorld(t, h, "x")
		defer w.leave()
		w.announce("zigbee2mqtt/bridge/state", `online`)
		w.announce("zigbee2mqtt/bridge/devices", `[{"ieee_address":"0x01","type":"Router","friendly_name":"plug","definition":{"vendor":"x","model":"y","exposes":[
{"type":"numeric","property":"power","unit":"W","access":1},{"type":"binary","property":"state","access":1,"value_on":"ON","value_off":"OFF"}]}}]`)
		time.Sleep(11 * time.Second)
		db.took()
		w.say("zigbee2mqtt/plug", `{"power":2100.5,"state":"ON"}`)
		w.say("zigbee2mqtt/hall_motion", `{"occupancy":true}`)
		w.say("zigbee2mqtt/hall_motion", `{"occupancy":null}`)
		w.say("alarm/pin", `4711`)
		if len(h.pushers.Status()) != 1 {
			t.Fatal("there is nowhere to send to")
		}
		time.Sleep(11 * time.Second)
		want := []string{
			`hearth,device=plug,property=power,room=Study,unit=W value=2100.5`,
			`hearth,device=plug,property=state,room=Study value=1`,
			`hearth,device=porch_light value=1`,
			`hearth,device=zigbee2mqtt/hall_motion,property=occupancy value=1`,
		}
		if got := db.took(); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}

		db.mu.Lock()
		db.hang = true
		db.mu.Unlock()
		w.say("zigbee2mqtt/hall_motion", `{"occupancy":false}`)
		time.Sleep(time.Minute)
		w.say("zigbee2mqtt/hall_motion", `{"occupancy":true}`)
		sameLines(t, "the hub", measured(t, h, "hearth_push_.*|hearth_output_on"), `
hearth_push_waiting{push="home"} 4
hearth_push_trouble{push="home"} 1
hearth_push_sent_total{push="home"} 4
hearth_push_dropped_total{push="home"} 0
hearth_push_refused_total{push="home"} 0
hearth_output_on{output="porch_light"} 1
hearth_output_on{output="blind_up"} 0
hearth_output_on{output="blind_down"} 0
`)
		before := time.Now()
		stop()
		if took := time.Since(before); took > 3*time.Second {
			t.Errorf("the end took %v", took)
		}
	})
}
