package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"golang.org/x/sys/unix"

	"hearth/backup"
	"hearth/gpio"
	"hearth/store"
)

// wholeHouse has something of all that is kept.
const wholeHouse = `include = ["rules/*.toml"]
[hub]
name = "mill"
[device]
plug = { id = "zigbee2mqtt/0x00158d00018255df" }
[output.lamp]
pin = "GPIO8"
initial = "last"
safe = "hold"
[counter.power]
pin = "GPIO5"
pulses = 1000
unit = "kWh"
[broker.tls]
certificate = "tls/house.crt"
key = "tls/house.key"
`

const wholeRules = `
[rule.garage]
trigger = { state = "garage/door", is = "open", for = "15m" }
action = { publish = "garage/alarm", payload = "still open" }
[rule.stairs]
trigger = { event = "stairs/motion" }
action = { pulse = "stairs/light", for = "10m", on = "ON", off = "OFF" }
[machine.mode]
initial = "home"
moves = [{ from = "home", on = { event = "mode/away" }, to = "away" }]
`

// site makes the folder of a house with all that its configuration names.
func site(t *testing.T) (dir string, cfg *Config) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"config.toml": wholeHouse, "rules/all.toml": wholeRules,
		"tls/house.crt": "-----BEGIN CERTIFICATE-----", "tls/house.key": "-----BEGIN PRIVATE KEY-----",
		"hearth-data/users.toml": "[user.anna]\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$Pm1VEOsIbhX5/OWYsRkDxsKvzBbrHWXkM0Ov4tbEyK4\"\nroles = [\"admin\"]\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, _ = Load(filepath.Join(dir, "config.toml")) // its certificate is none
	return dir, cfg
}

// saveTo makes a backup of the hub in a file.
func saveTo(t *testing.T, h *Hub) (name string, done *backup.Manifest) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "house.tar.gz")
	err := backup.WriteFile(name, func(w io.Writer) (err error) {
		done, err = h.Backup(t.Context(), w)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return name, done
}

// restoreTo brings it to a machine of its own.
func restoreTo(t *testing.T, name string) (cfg *Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "etc", "hearth", "config.toml")
	if _, err := Restore(Restoring{Archive: name, Config: path}); err != nil {
		t.Fatal(err)
	}
	cfg, _ = Load(path)
	return cfg
}

// later is a client with a session; it hangs up when it has subscribed.
func later(t *testing.T, h *Hub, id, filter string) {
	t.Helper()
	client, end := session(t, h, id, func(*paho.Publish) {})
	if _, err := client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	end()
}

// session connects a client that takes its session up again.
func session(t *testing.T, h *Hub, id string, got func(*paho.Publish)) (client *paho.Client, end func()) {
	t.Helper()
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() { defer close(served); h.Attach(theirs) }()
	client = paho.NewClient(paho.ClientConfig{ClientID: id, Conn: packets.NewThreadSafeConn(ours),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) { got(p.Packet); return true, nil }}})
	week := uint32(7 * 24 * 3600)
	if _, err := client.Connect(t.Context(), &paho.Connect{ClientID: id, KeepAlive: 3600, Properties: &paho.ConnectProperties{SessionExpiryInterval: &week}}); err != nil {
		t.Fatal(err)
	}
	return client, func() {
		client.Disconnect(&paho.Disconnect{})
		ours.Close()
		<-served
		<-client.Done()
	}
}

// known is what can be told of a house from outside.
func known(t *testing.T, h *Hub) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, c := range (desk{h}).Clients() {
		all["client "+c.ID] = fmt.Sprintf("%v, %d subscriptions, %d queued", c.Connected, c.Subscriptions, c.Queued)
	}
	values, err := desk{h}.Retained("#")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if name, _, _ := strings.Cut(v.Topic, "/"); name != "hearth" || strings.HasPrefix(v.Topic, "hearth/power/state") || strings.HasPrefix(v.Topic, "hearth/machine/") || v.Topic == "hearth/lamp/state" {
			all["retained "+v.Topic] = string(v.Payload)
		}
	}
	for _, d := range listed(t, h) {
		for _, p := range d.Properties {
			all["device "+d.Name+"."+p.Name] = fmt.Sprint(p.Value, " ", p.At.UnixMilli())
		}
	}
	return all
}

// remembered is what the history has.
func remembered(t *testing.T, h *Hub) (all []string) {
	t.Helper()
	for e, err := range h.past.Entries(time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}

// A house in use is saved, and restored on another machine: sessions and what waits for
// them, retained values, devices with their values, what a meter has counted, the state of a
// machine and of a lamp are there, and timers go on as after a long power cut.
func TestARestoredHouseIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := site(t)
		h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), Simulated: true, Version: "v1"})
		later(t, h, "tablet", "news/#")
		client, end := connect(t, h, "client", func(*paho.Publish) {})
		time.Sleep(time.Second)
		for _, m := range []struct {
			topic, payload string
			retain         bool
		}{
			{"zigbee2mqtt/bridge/devices", plugExposes, true}, {"zigbee2mqtt/Desk plug", `{"power":7,"state":"ON"}`, false},
			{"hearth/power/set", "4711.5", false}, {"hearth/lamp/set", "ON", false}, {"mode/away", "x", false},
			{"note/a", "first", true}, {"note/a", "second", true}, {"garage/door", "open", false}, {"news/1", "one", false}, {"news/2", "two", false},
		} {
			if _, err := client.Publish(t.Context(), &paho.Publish{Topic: m.topic, Payload: []byte(m.payload), Retain: m.retain, QoS: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		publish(t, client, 1, "stairs/motion", "x")
		time.Sleep(4 * time.Minute)
		is := known(t, h)
		before := remembered(t, h)
		name, done := saveTo(t, h)
		if len(done.LeftOut) > 0 || done.Head.House != "mill" || done.Head.Hearth != "v1" || done.Head.Unsure {
			t.Errorf("%+v", done)
		}
		var names []string
		for _, m := range done.Members {
			names = append(names, m.Name)
		}
		if want := []string{"backup.json", "config/config.toml", "config/rules/all.toml", "config/tls/house.crt", "config/tls/house.key", "data/users.toml", "data/hearth.log", "data/history/000001"}; !slices.Equal(names, want) {
			t.Errorf("%q", names)
		}
		end()
		stop()

		// Three minutes later, on a machine that has been up for a day.
		time.Sleep(3 * time.Minute)
		cfg = restoreTo(t, name)
		clock := testClock()
		clock.Boot, clock.Mono = "another machine", func() time.Duration { return time.Since(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)) }
		h, run := open(t, cfg, Options{Bank: gpio.NewSim(), Simulated: true, Clock: clock, Version: "v1"})
		var mu sync.Mutex
		told := make(map[string]time.Time)
		stop = run()
		defer stop()
		time.Sleep(2 * time.Second)
		got := known(t, h)
		delete(is, "client client")
		for what, was := range is {
			if got[what] != was {
				t.Errorf("%s: %q, was %q", what, got[what], was)
			}
			delete(got, what)
		}
		if len(got) > 0 {
			t.Errorf("more than there was: %v", got)
		}
		if !strings.Contains(fmt.Sprint(cfg.Broker.AllUsers(cfg.UsersFile())), "anna") {
			t.Error("there are no users")
		}
		if all := remembered(t, h); len(before) < 10 || len(all) < len(before) || !slices.Equal(all[:len(before)], before) {
			t.Errorf("it remembers %d things, and has to remember these %d first", len(all), len(before))
		}
		began := time.Now()
		listen, endListener := connect(t, h, "other listener", func(p *paho.Publish) {
			mu.Lock()
			defer mu.Unlock()
			told[p.Topic+" "+string(p.Payload)] = time.Now()
		})
		defer endListener()
		if _, err := listen.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "garage/#"}, {Topic: "stairs/#"}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		// The door was open for 4:03 when the house was saved, and that was 3:02 ago; the light was on
		// for 4:00.
		for what, after := range map[string]time.Duration{"garage/alarm still open": 15*time.Minute - 4*time.Minute - 3*time.Minute - 5*time.Second, "stairs/light OFF": 10*time.Minute - 4*time.Minute - 3*time.Minute - 2*time.Second} {
			if d := told[what].Sub(began) - after; d.Abs() > 2*time.Second {
				t.Errorf("%s after %v, want %v: %v", what, told[what].Sub(began), after, told)
			}
		}
	})
}

// While messages of QoS 1 come for a session, rules run and values change, a house is saved
// twenty times. In each backup is what had been acknowledged when it was begun, in order,
// without a gap.
func TestABackupUnderLoadHasWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cfg := site(t)
		h, stop := start(t, cfg, Options{Bank: gpio.NewSim(), Simulated: true})
		later(t, h, "tablet", "news/#")
		client, end := connect(t, h, "client", func(*paho.Publish) {})
		var mu sync.Mutex
		acknowledged := 0
		over, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for i := 1; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				publish(t, client, 1, "news/x", fmt.Sprint(i))
				publish(t, client, 0, "stairs/motion", fmt.Sprint(i))
				client.Publish(t.Context(), &paho.Publish{Topic: fmt.Sprint("note/", i%7), Payload: fmt.Append(nil, i), Retain: true, QoS: 1})
				mu.Lock()
				acknowledged = i
				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		}()
		type one struct {
			name string
			had  int
		}
		var all []one
		for range 20 {
			time.Sleep(17 * time.Millisecond)
			mu.Lock()
			had := acknowledged
			mu.Unlock()
			name, _ := saveTo(t, h)
			all = append(all, one{name, had})
		}
		close(over)
		<-ended
		end()
		stop()
		for _, b := range all {
			h, stop := start(t, restoreTo(t, b.name), Options{Bank: gpio.NewSim(), Simulated: true})
			var got []string
			_, leave := session(t, h, "tablet", func(p *paho.Publish) {
				mu.Lock()
				got = append(got, string(p.Payload))
				mu.Unlock()
			})
			time.Sleep(time.Minute)
			leave()
			stop()
			for i, payload := range got {
				if payload != fmt.Sprint(i+1) {
					t.Fatalf("message %d is %s", i+1, payload)
				}
			}
			if len(got) < b.had {
				t.Errorf("%d messages are there, and %d had been acknowledged", len(got), b.had)
			}
		}
		t.Logf("the last backup had been begun after %d messages", all[len(all)-1].had)
	})
}

// files is what lies below a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var text []byte
			text, err = os.ReadFile(path)
			all[path] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// offline is a backup of a house that does not run.
func offline(t *testing.T) (name, dir string) {
	t.Helper()
	dir, cfg := site(t)
	s, err := store.Open(cfg.DataDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		s.Put(store.Record{Kind: store.Retained, Key: fmt.Sprint("a/", i), Value: bytes.Repeat([]byte("x"), i)}, 0, nil)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	name = filepath.Join(t.TempDir(), "house.tar.gz")
	if err := backup.WriteFile(name, func(w io.Writer) error {
		_, err := cfg.Save(context.Background(), w, "v1", func(doubt string) { t.Error(doubt) })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(files(t, dir), before) {
		t.Error("a backup changed the house")
	}
	return name, dir
}

// inside is what an archive holds; nil if it is none.
func inside(r io.Reader) map[string]string {
	all := make(map[string]string)
	if _, err := backup.Read(r, func(_ backup.Head, m backup.Member, r io.Reader) error {
		text, err := io.ReadAll(r)
		all[m.Name] = string(text)
		return err
	}); err != nil {
		return nil
	}
	return all
}

// A backup that is cut at any of 200 places, or of which any bit is another, is refused with a
// reason, and nothing is changed: neither on an empty machine nor where a house is.
func TestABadBackupIsRefused(t *testing.T) {
	name, dir := offline(t)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	before := files(t, dir)
	r := rand.New(rand.NewPCG(5, 6))
	bad := filepath.Join(t.TempDir(), "bad.tar.gz")
	flipped := 0
	for i := range 400 {
		b, want := bytes.Clone(whole[:r.IntN(len(whole))]), backup.ErrCut
		if i%2 == 1 {
			b, want = bytes.Clone(whole), backup.ErrDamaged
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			if maps.Equal(inside(bytes.NewReader(b)), inside(bytes.NewReader(whole))) {
				continue // a bit that says nothing, such as the time in the head of gzip
			}
			flipped++
		}
		if err := os.WriteFile(bad, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, to := range []Restoring{{Archive: bad, Config: filepath.Join(empty, "etc", "config.toml")}, {Archive: bad, Config: filepath.Join(dir, "config.toml"), Force: true}} {
			_, err := Restore(to)
			if err == nil || !errors.Is(err, want) && !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrForeign) && !errors.Is(err, backup.ErrCut) || !strings.Contains(err.Error(), bad) {
				t.Errorf("%v: %v", want, err)
			}
		}
	}
	if flipped < 180 {
		t.Errorf("only %d flips say something", flipped)
	}
	if !maps.Equal(files(t, dir), before) {
		t.Error("the house is not as it was")
	}
	if left, _ := os.ReadDir(empty); len(left) > 0 {
		t.Error(left)
	}
}

// A house that is there already stays there, unless its owner says otherwise; then it is moved
// aside. While a hub runs on it nothing helps.
func TestAHouseIsNotOverwritten(t *testing.T) {
	name, dir := offline(t)
	before := files(t, dir)
	config := filepath.Join(dir, "config.toml")
	refused := func(what string, r Restoring) {
		t.Helper()
		if _, err := Restore(r); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q: %v", what, err)
		}
		if !maps.Equal(files(t, dir), before) {
			t.Error("the house is not as it was")
		}
	}
	refused("there is a house in "+filepath.Join(dir, "hearth-data")+" already: --force", Restoring{Archive: name, Config: config})
	refused("there is a configuration already, "+config, Restoring{Archive: name, Config: config, Data: filepath.Join(t.TempDir(), "data")})
	s, err := store.Open(filepath.Join(dir, "hearth-data"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before = files(t, dir)
	refused("stop it first", Restoring{Archive: name, Config: config, Force: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before = files(t, dir)

	// A folder of somebody's is no data folder, whatever is said.
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "diary.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("is no data folder of a hub, for it has diary.txt", Restoring{Archive: name, Config: config, Data: home, Force: true})
	// Nor is a file that the configuration includes here overwritten.
	other := t.TempDir()
	if err := os.MkdirAll(filepath.Join(other, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "rules", "all.toml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("all.toml is there already", Restoring{Archive: name, Config: filepath.Join(other, "config.toml")})

	if err := os.WriteFile(config, []byte("include = [\"rules/*.toml\"]\n[hub]\nname = \"another\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules", "more.toml"), []byte("[rule.x]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := Restore(Restoring{Archive: name, Config: config, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(config); string(text) != wholeHouse {
		t.Errorf("%s", text)
	}
	if len(done.Aside) != 2 || len(done.Doubts) > 0 {
		t.Errorf("%+v", done)
	}
	for _, moved := range []string{filepath.Join(done.Aside[0], "hearth.log"), filepath.Join(done.Aside[1], "config.toml"), filepath.Join(done.Aside[1], "rules", "more.toml")} {
		if _, err := os.Stat(moved); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "rules", "more.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a rule of the other house is left", err)
	}
}

// What a configuration names elsewhere comes along, and is put where a person sees it: an
// archive does not say where on a machine its files go.
func TestWhatLiesElsewhereIsNotPutThere(t *testing.T) {
	keys := t.TempDir()
	if err := os.WriteFile(filepath.Join(keys, "house.crt"), []byte("PEM"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "[broker.tls]\ncertificate = %q\nkey = %q\n", filepath.Join(keys, "house.crt"), filepath.Join(keys, "house.key")), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, _ := Load(path)
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	var doubts []string
	var done *backup.Manifest
	if err := backup.WriteFile(name, func(w io.Writer) (err error) {
		done, err = cfg.Save(t.Context(), w, "", func(doubt string) { doubts = append(doubts, doubt) })
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(doubts) != 1 || !strings.Contains(doubts[0], "only the configuration") || len(done.LeftOut) != 1 || !strings.Contains(done.LeftOut[0], "house.key: no such file") {
		t.Errorf("%q, %q", doubts, done.LeftOut)
	}
	at, err := Restore(Restoring{Archive: name, Config: filepath.Join(t.TempDir(), "config.toml")})
	if err != nil {
		t.Fatal(err)
	}
	if len(at.Outside) != 1 || at.Outside[0].There != filepath.Join(keys, "house.crt") {
		t.Fatalf("%+v", at.Outside)
	}
	if text, err := os.ReadFile(at.Outside[0].Here); string(text) != "PEM" {
		t.Error(err)
	}
}

// By the clock a house is saved at its time, what was missed when it is noticed, and as many
// backups stay as are to. A stick that is not in is told, and nothing is made in its place.
func TestBackupsByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, stick := t.TempDir(), filepath.Join(t.TempDir(), "usb")
		house := func(keys string) string {
			return fmt.Sprintf("[hub]\ntimezone = \"Europe/Berlin\"\n[backup]\nto = %q\n%s\n", stick, keys)
		}
		h, stop := start(t, load(t, dir, house(`at = "03:30"`+"\nkeep = 2\nkeep_weekly = 2\n")), Options{})
		problem := func() (is, newest string) {
			h.do(t.Context(), func() { is, newest = h.problem(), h.published[backedUp] })
			return is, newest
		}
		made := func() (names []string) {
			all, err := os.ReadDir(stick)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range all {
				names = append(names, strings.TrimSuffix(e.Name()[len("home-12345678-"):], ".tar.gz"))
			}
			return names
		}
		time.Sleep(10 * time.Minute) // it is 01:10 in Berlin, on the first of January 2000, and none was ever made
		if is, _ := problem(); !strings.Contains(is, "no backup was made: there is no folder "+stick) {
			t.Error(is)
		}
		if _, err := os.Stat(stick); !errors.Is(err, os.ErrNotExist) {
			t.Error("the folder was made")
		}
		if err := os.Mkdir(stick, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, foreign := range []string{"home-12345678-notes.tar.gz", "other-00000000-19990101T000000Z.tar.gz"} {
			if err := os.WriteFile(filepath.Join(stick, foreign), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		is, newest := problem()
		if is != "none" || newest == "" {
			t.Error(is, newest)
		}
		// At 02:30 UTC from then on. It is a Saturday; weeks begin on Monday.
		time.Sleep(5 * 24 * time.Hour)
		names := made()
		want := []string{"20000102T023000Z", "20000104T023000Z", "20000105T023000Z"}
		if len(names) != 5 {
			t.Fatal(names)
		}
		var ours []string
		for _, name := range names {
			if strings.HasPrefix(name, "2000") {
				ours = append(ours, name)
			}
		}
		if !slices.Equal(ours, want) {
			t.Errorf("%q, want %q", ours, want)
		}
		if _, newest = problem(); !strings.HasPrefix(newest, "2000-01-05T02:30") {
			t.Error(newest)
		}
		// What was made can be restored.
		last := ""
		all, _ := backupsIn(stick, "home-"+h.houseID(), time.Now())
		if len(all) > 0 {
			last = all[0].name
		}
		restoreTo(t, last)

		// A reload counts at once, and the stick is full or gone.
		if err := os.RemoveAll(stick); err != nil {
			t.Fatal(err)
		}
		if err := h.Reload(load(t, dir, house(`every = "1h"`))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(90 * time.Minute)
		if is, newest = problem(); !strings.Contains(is, "no backup was made") || !strings.HasPrefix(newest, "2000-01-05") {
			t.Error(is, newest)
		}
		if err := h.Reload(load(t, dir, "[hub]\ntimezone = \"Europe/Berlin\"\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if is, newest = problem(); is != "none" || newest != "" {
			t.Error(is, newest)
		}
		stop()

		// While the clock is not known nobody could say what is due.
		if err := os.Mkdir(stick, 0o700); err != nil {
			t.Fatal(err)
		}
		clock := testClock()
		var right bool
		var mu sync.Mutex
		clock.Known = func() bool { mu.Lock(); defer mu.Unlock(); return right }
		h, stop = start(t, load(t, dir, house(`every = "1h"`)), Options{Clock: clock})
		defer stop()
		time.Sleep(3 * time.Hour)
		if n := made(); len(n) > 0 {
			t.Error(n)
		}
		mu.Lock()
		right = true
		mu.Unlock()
		time.Sleep(5 * time.Minute)
		if n := made(); len(n) != 1 {
			t.Error(n)
		}
	})
}

// A restore that was interrupted in its last moments is told when the hub starts, and not
// lived in.
func TestAnInterruptedRestoreIsNotLivedIn(t *testing.T) {
	dir := t.TempDir()
	cfg := load(t, dir, "")
	stage := filepath.Join(cfg.DataDir(), ".hearth-restore")
	if err := os.MkdirAll(stage, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stage, "plan.json"), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg, Options{Bank: gpio.NewSim(), Clock: testClock(), Offline: true}); !errors.Is(err, backup.ErrInterrupted) || !strings.Contains(err.Error(), "hearth restore --undo") {
		t.Error(err)
	}
	if err := Undo(cfg.DataDir(), dir); err != nil {
		t.Fatal(err)
	}
	_, stop := start(t, cfg, Options{})
	stop()
}

// As root files go to those whose they were, and what the house keeps to its hub's user.
func TestRootGivesFilesToTheirOwners(t *testing.T) {
	const nobody = 65534
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir, cfg := site(t)
	s, err := store.Open(cfg.DataDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cfg.DataDir(), filepath.Join(dir, "tls", "house.key")} {
		if err := os.Chown(path, nobody, -1); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "config.toml"), 0o646); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := backup.WriteFile(name, func(w io.Writer) error {
		_, err := cfg.Save(t.Context(), w, "", func(string) {})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done, err := Restore(Restoring{Archive: name, Config: filepath.Join(t.TempDir(), "etc", "config.toml")})
	if err != nil {
		t.Fatal(err)
	}
	etc := filepath.Dir(done.Config)
	for path, want := range map[string]string{
		done.Data: "65534 -rwx------", filepath.Join(done.Data, "hearth.log"): "65534 -rw-------", filepath.Join(done.Data, "users.toml"): "65534 -rw-------",
		etc: "0 -rwxr-xr-x", done.Config: "0 -rw-r--r--", filepath.Join(etc, "tls", "house.key"): "65534 -rw-------", filepath.Join(etc, "tls", "house.crt"): "0 -rw-------",
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if is := fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid, " ", info.Mode().Perm()); is != want {
			t.Errorf("%s: %s, want %s", path, is, want)
		}
	}
}

// On a full disk there is no half of a backup, and no house is begun.
func TestAFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("no file system could be mounted: ", err)
	}
	t.Cleanup(func() { unix.Unmount(disk, 0) })
	name, _ := offline(t)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 60<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	if err := os.WriteFile(filepath.Join(disk, "photo.jpg"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	err = backup.WriteFile(filepath.Join(disk, "b.tar.gz"), func(w io.Writer) error {
		_, err := w.Write(whole)
		if err == nil {
			_, err = w.Write(noise)
		}
		return err
	})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	_, err = Restore(Restoring{Archive: name, Config: filepath.Join(disk, "etc", "config.toml")})
	if err == nil || !strings.Contains(err.Error(), "MB left") {
		t.Error(err)
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) != 1 {
		t.Error(left, err)
	}
}

// A folder of the configuration is as the one that it comes into, so that the hub may write to
// both or to none; what lies outside is nobody's to write to.
func TestWhoseFoldersOfTheConfigurationAre(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []os.FileMode{0o770 | os.ModeSetgid, 0o770, 0o755} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		o := owners{folder: dir}
		if uid, gid, got := o.ofConfig(backup.Member{Name: ofConfig + "rules/"}); got != mode || uid != os.Getuid() || gid != os.Getgid() {
			t.Errorf("%d:%d %v, want %v", uid, gid, got, mode)
		}
		if _, _, got := o.ofConfig(backup.Member{Name: ofOutside + "etc/"}); got != 0o755 {
			t.Errorf("outside: %v", got)
		}
	}
}
