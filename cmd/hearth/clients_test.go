package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"hearth/control"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

var esp = control.Client{ID: "esp-garage", User: "garage", Connected: true, Address: "192.168.1.17:50211",
	Since: noon.Add(-75 * time.Hour), LastSeen: noon.Add(-9 * time.Second), Subscriptions: 3}

var tablet = control.Client{ID: "tablet", User: "anna", Address: "192.168.1.20:50211",
	Since: noon.Add(-3*time.Hour - 12*time.Minute), LastSeen: noon.Add(-3*time.Hour - 12*time.Minute),
	Expires: noon.Add(7*24*time.Hour - time.Minute), Subscriptions: 12, Queued: 17, QueuedBytes: 2048}

// The owner of a house sees at a glance who is away and who does not read.
func TestClientTable(t *testing.T) {
	long := control.Client{ID: "mqtt-explorer-9f86d081884c7d659a2feaa0c55ad015", User: "somebody with a long name", Connected: true,
		Address: "[fd00:1234:5678:9abc:def0:1234:5678:9abc]:40000", Since: noon.Add(-time.Minute), LastSeen: noon,
		Subscriptions: 1, Queued: 1000, Dropped: 123456}
	hostile := control.Client{ID: "\x1b[2J", User: "\u202eroot", Connected: true}
	for _, tt := range []struct {
		name string
		all  []control.Client
		want string
	}{
		{"connected", []control.Client{esp}, `
CLIENT      USER    ADDRESS       STATE  SEEN  SUBS  QUEUED  DROPPED
esp-garage  garage  192.168.1.17  on 3d    9s     3       0        0
`},
		{"away", []control.Client{esp, tablet}, `
CLIENT      USER    ADDRESS       STATE    SEEN  EXPIRES  SUBS  QUEUED  DROPPED
esp-garage  garage  192.168.1.17  on 3d      9s              3       0        0
tablet      anna    192.168.1.20  away 3h          in 6d    12      17        0
`},
		{"cut", []control.Client{esp, long}, `
CLIENT            USER         ADDRESS        STATE  SEEN  SUBS  QUEUED  DROPPED
esp-garage        garage       192.168.1.17   on 3d    9s     3       0        0
mqtt-explorer-9…  somebody w…  fd00:1234:56…  on 1m    0s     1    1000   123456
`},
		{"too wide for all of it", []control.Client{esp, long, tablet}, `
CLIENT            USER             STATE    SEEN  EXPIRES  SUBS  QUEUED  DROPPED
esp-garage        garage           on 3d      9s              3       0        0
mqtt-explorer-9…  somebody with …  on 1m      0s              1    1000   123456
tablet            anna             away 3h          in 6d    12      17        0
`},
		{"hostile", []control.Client{hostile}, `
CLIENT   USER        STATE  SUBS  QUEUED  DROPPED
\x1b[2J  \u202eroot  on        0       0        0
`},
	} {
		var b bytes.Buffer
		if err := clientTable(tt.all, noon).print(&b, screen); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + b.String(); got != tt.want {
			t.Errorf("%s:%s", tt.name, got)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > screen {
				t.Errorf("%s: %d columns: %s", tt.name, n, line)
			}
		}
	}
	var b bytes.Buffer
	if err := wideClientTable([]control.Client{long, tablet}, noon).print(&b, 0); err != nil {
		t.Fatal(err)
	}
	for _, whole := range []string{long.ID, long.User, long.Address, "away 3h 12m", "in 6d 23h", "2.0 kB"} {
		if !strings.Contains(b.String(), whole) {
			t.Errorf("%q is missing in\n%s", whole, &b)
		}
	}
}

func TestValueTable(t *testing.T) {
	var b bytes.Buffer
	err := valueTable([]control.Value{
		{Topic: "hearth/porch_light/state", Size: 2, QoS: 1, At: noon.Add(-time.Hour), Payload: control.Payload("ON")},
		{Topic: "old", Size: 300_000, Payload: control.Payload("begins")},
		{Topic: "tele/plug/LWT", Size: 6, Client: "plug", At: noon, Expires: noon.Add(time.Minute), Payload: control.Payload("On\nline")},
	}, noon).print(&b, screen)
	want := `TOPIC                     PAYLOAD       SIZE  QOS  FROM     AGE  EXPIRES
hearth/porch_light/state  ON             2 B    1  the hub   1h
old                       begins…   300.0 kB    0
tele/plug/LWT             On\nline       6 B    0  plug      0s    in 1m
`
	if err != nil || b.String() != want {
		t.Errorf("%v, got\n%swant\n%s", err, &b, want)
	}
}

// A person is shown what is at stake, and only a yes is one.
func TestClearingAsks(t *testing.T) {
	var all []control.Value
	for i := range 12 {
		all = append(all, control.Value{Topic: fmt.Sprintf("old/%d\x1b", i)})
	}
	all = append(all, control.Value{Topic: "hearth/lamp/state"})
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "n\n": false, "yesterday\n": false, "": false} {
		var out bytes.Buffer
		if got := confirm(context.Background(), streams{in: strings.NewReader(answer), out: &out}, all); got != want {
			t.Errorf("%q: %v", answer, got)
		}
		for _, text := range []string{"  old/9\\x1b\n  and 3 more\n", "the hub itself keeps 1.", "Delete 13 retained values? [y/N] "} {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%q is missing in\n%s", text, &out)
			}
		}
	}
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	r, w, err := os.Pipe() // nobody types
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	if confirm(interrupted, streams{in: r, out: new(bytes.Buffer)}, all) {
		t.Error("Ctrl-C is a yes")
	}
}

func TestNoPermission(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	why := errors.New("not you")
	if got := noPermission(why, path).Error(); got != "not you; try again with sudo" {
		t.Error(got)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Chown(path, 54321, -1) != nil {
		t.Skip("only root can give a file away")
	}
	if got := noPermission(why, path+"?", path).Error(); got != "not you; try again with sudo, or as the user 54321" {
		t.Error(got)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 59*time.Second + 999*time.Millisecond: "59s", time.Minute: "1m", 59 * time.Minute: "59m",
		time.Hour: "1h 0m", 47*time.Hour + 59*time.Minute: "47h 59m", 48 * time.Hour: "2d 0h", 1000 * time.Hour: "41d 16h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
