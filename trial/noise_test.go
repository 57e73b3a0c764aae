package trial_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hearth/config"
	"hearth/devices"
	"hearth/hub"
	"hearth/rules"
	"hearth/trial"
)

const noisyRuns = 20

// Devices send what is no value, and go offline for a moment: in every house of the
// cookbook, above all in those with a threshold or something that has to last, it
// changes nothing.
//
// What a topic gets depends on what is said there, for "abc" is no temperature but
// may well be the state of a door; nor does it get text where the house says
// nowhere that it wants a number (P17 calculates with whatever the lamp reports).
// Left alone is a topic whose every message counts (an event without a test), and
// of the last wills those that a house is about.
func TestNoiseChangesNothing(t *testing.T) {
	houses, enduring, topics, sent := 0, 0, 0, 0
	for n, file := range cookbook(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".test.toml")
		cfg := loaded(t, file)
		t.Run(name, func(t *testing.T) {
			for i, test := range cfg.Test {
				noise := noiseFor(cfg, test, name != "P17")
				if len(noise) == 0 {
					continue
				}
				houses++
				if endures(cfg.Logic) {
					enduring++
				}
				topics += len(noise)
				want := deeds(trial.Play(cfg.Trial(), test))
				for seed := range uint64(noisyRuns) {
					noisy := test
					noisy.Send = slices.Clone(test.Send)
					r := rand.New(rand.NewPCG(uint64(n*100+i), seed))
					for _, topic := range noise {
						for range 10 + r.IntN(30) {
							m := topic[r.IntN(len(topic))]
							m.At = trial.Offset(r.Int64N(int64(*test.End)))
							noisy.Send = append(noisy.Send, m)
							sent++
						}
					}
					if got := deeds(trial.Play(cfg.Trial(), noisy)); got != want {
						t.Fatalf("with noise (seed %d) the house does\n%sand without\n%sall of it:\n%s", seed, got, want, trial.Play(cfg.Trial(), noisy).Timeline())
					}
				}
			}
		})
	}
	t.Logf("%d houses, %d of them with thresholds or what has to last, %d topics and availabilities, %d messages of noise in %d runs of each",
		houses, enduring, topics, sent, noisyRuns)
	if enduring < 12 {
		t.Errorf("only %d houses with something that lasts were tried", enduring)
	}
}

// Two houses in which it did: a word took the place of the newest temperature, so
// min_on found nothing that would end the fan; and it counted as a sign of life.
func TestAWordIsNoTemperature(t *testing.T) {
	cfg, doc := hub.Parse("config.toml", []byte(`
		[rule.fan]
		trigger = { state = "bath/humidity", above = 65, until = 60, min_on = "10m" }
		action = { publish = "fan", on = "ON", off = "OFF" }
		[rule.heater]
		trigger = { state = "room/temperature", below = 20, until = { silent = "15m" } }
		condition = { state = { "outside/temperature" = { below = 5 } } }
		action = { publish = "heater", on = "ON", off = "OFF" }
		[[test]]
		name = "words"
		send = [
		  { at = "0s", topic = "bath/humidity", payload = 70 },
		  { at = "3m", topic = "bath/humidity", payload = 50 },
		  { at = "4m", topic = "bath/humidity", payload = "not ready" },
		  { at = "0s", topic = "outside/temperature", payload = 1 },
		  { at = "1s", topic = "outside/temperature", payload = "frost" },
		  { at = "2s", topic = "room/temperature", payload = 18 },
		  { at = "10m", topic = "room/temperature", payload = "not ready" },
		]
		expect = [
		  { at = "0s", topic = "fan", payload = "ON" },
		  { at = "10m", topic = "fan", payload = "OFF" },
		  { at = "2s", topic = "heater", payload = "ON" },
		  { at = "15m2s", topic = "heater", payload = "OFF" },
		]
	`))
	if doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	if v := trial.Run(cfg.Trial(), cfg.Test[0]); !v.OK() {
		t.Error(v.Diff())
	}
}

func cookbook(t *testing.T) []string {
	files, err := filepath.Glob("../cookbook/*.test.toml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cookbook", err)
	}
	return files
}

func loaded(t *testing.T, file string) *hub.Config {
	cfg, doc := hub.Load(file)
	if doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	return cfg
}

// endures says whether rules have a threshold or something that has to last. It
// reads them as plain values, so that it need not know where each may stand.
func endures(logic rules.Config) bool {
	found := false
	var look func(v any)
	look = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, e := range v {
				switch key {
				case "Above", "Below", "AtLeast", "AtMost", "Mirror", "Until":
					found = found || e != nil
				case "For", "Silent", "MinOn":
					n, ok := e.(float64)
					found = found || ok && n > 0
				}
				look(e)
			}
		case []any:
			for _, e := range v {
				look(e)
			}
		}
	}
	b, err := json.Marshal(logic)
	var plain any
	if err != nil || json.Unmarshal(b, &plain) != nil {
		panic("a configuration is plain values")
	}
	look(plain)
	return found
}

// deeds is what a house did that anybody can see.
func deeds(s trial.Story) string {
	var b strings.Builder
	b.WriteString(s.Trouble)
	for _, e := range s.Events {
		if !e.Free {
			fmt.Fprintf(&b, "%v %v\n", e.At, e)
		}
	}
	return b.String()
}

// noiseFor is what may be sent to a house without meaning anything: a list for each
// topic that its story uses, and for the availability of its device.
func noiseFor(cfg *hub.Config, test trial.Test, texts bool) (lists [][]trial.Send) {
	var topics []string
	for _, s := range test.Send {
		if s.Topic != "" && !slices.Contains(topics, s.Topic) {
			topics = append(topics, s.Topic)
		}
	}
	engine := rules.New(cfg.Logic, cfg.Trial().Rules, new(devices.Registry), config.Place{})
	for _, topic := range topics {
		var paths []string // of what is read there; "" for the whole payload
		for _, s := range engine.Sources() {
			if devices.MatchTopic(filter(s), topic) {
				paths = append(paths, s.Path.String())
			}
		}
		if len(paths) == 0 || everyMessage(cfg.Logic, topic) {
			continue
		}
		var list []trial.Send
		for _, payload := range noise(paths, said(test, topic), texts) {
			list = append(list, message(topic, payload))
		}
		lists = append(lists, list)
		if strings.HasSuffix(topic, "/LWT") {
			continue // the house is about that
		}
		var blips []trial.Send
		device := topic[:strings.LastIndex(topic, "/")]
		for _, b := range [][2]string{
			{topic + "/availability", "offline"}, {topic + "/availability", "online"},
			{topic + "/availability", `{"state":"offline"}`}, {topic + "/availability", `{"state":"online"}`},
			{device + "/LWT", "Offline"}, {device + "/LWT", "Online"}, {device + "/status", "offline"},
		} {
			takes := func(s devices.Source) bool { return devices.MatchTopic(filter(s), b[0]) }
			if !slices.ContainsFunc(engine.Sources(), takes) {
				m := message(b[0], b[1])
				m.Retain = true
				blips = append(blips, m)
			}
		}
		lists = append(lists, blips)
	}
	return lists
}

// filter is the topics that a source takes, as a subscription.
func filter(s devices.Source) string {
	levels := strings.Split(s.Filter, "/")
	for i, l := range levels {
		if strings.Contains(l, "{") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

func message(topic, payload string) trial.Send {
	p := trial.Payload(payload)
	return trial.Send{Topic: topic, Payload: &p}
}

func said(test trial.Test, topic string) (payloads []string) {
	for _, s := range test.Send {
		if s.Topic == topic {
			payloads = append(payloads, string(*s.Payload))
		}
	}
	return payloads
}

// everyMessage says that there is an event without a test on a topic, for which an
// invalid message is one too.
func everyMessage(logic rules.Config, topic string) bool {
	for _, r := range logic.Rule {
		for _, e := range r.Value.Entries {
			for _, t := range e.Body.Trigger {
				if t.Event == topic && len(t.Is) == 0 {
					return true
				}
			}
		}
	}
	return false
}

// noise is payloads that are no value where those that are usually said are.
func noise(paths, usually []string, texts bool) []string {
	list := []string{"", "null", "NaN", "nan", "unavailable", "unknown"}
	if !slices.Contains(paths, "") {
		list = append(list, "{", "{}", "[]", "[1,", "abc", "7", "true", `"text"`, `{"linkquality":3}`, `{"battery_low":false,"x":{}}`, "\x00\xff")
		for _, path := range paths {
			if !strings.ContainsAny(path, `["`) {
				for _, v := range []string{"null", `"unavailable"`, `"unknown"`, `""`} {
					list = append(list, nested(strings.Split(path, "."), v))
				}
				if texts && numeric(path, usually) {
					list = append(list, nested(strings.Split(path, "."), `"abc"`), nested(strings.Split(path, "."), "{}"), nested(strings.Split(path, "."), "[3]"))
				}
			}
		}
	} else if numeric("", usually) {
		list = append(list, "abc", "21,5", "inf", "-Infinity", "Infinity", "{", `{"value":3}`, "[3]", "ON", "12 °C", "--")
	}
	return list
}

func nested(path []string, value string) string {
	for _, key := range slices.Backward(path) {
		value = fmt.Sprintf("{%q:%s}", key, value)
	}
	return value
}

// numeric says that all that is usually said under a path is numbers.
func numeric(path string, usually []string) bool {
	for _, payload := range usually {
		var v any = payload
		if path != "" {
			json.Unmarshal([]byte(payload), &v)
			for _, key := range strings.Split(path, ".") {
				m, _ := v.(map[string]any)
				v = m[key]
			}
			if v == nil {
				continue
			}
		}
		if _, err := strconv.ParseFloat(fmt.Sprint(v), 64); err != nil {
			return false
		}
	}
	return true
}

// The whole cookbook, read anew each time, gives the same bytes, decision by
// decision, on one processor and on several, in whatever order maps are walked.
func TestCookbookGivesTheSameBytes(t *testing.T) {
	files := cookbook(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first string
	for n := range 20 {
		runtime.GOMAXPROCS(1 + n%4)
		told := make([]string, len(files))
		done := make(chan bool)
		for i, file := range files {
			go func() {
				defer func() { done <- true }()
				cfg, _ := hub.Load(file)
				for _, test := range cfg.Test {
					v := trial.Run(cfg.Trial(), test)
					told[i] += fmt.Sprintf("%s: %v %s\n%s", test.Name, v.OK(), v.Reason(), v.Story.Timeline())
				}
			}()
		}
		for range files {
			<-done
		}
		switch all := strings.Join(told, ""); {
		case n == 0:
			first = all
		case all != first:
			t.Fatalf("time %d is another story", n+1)
		}
	}
	t.Logf("%d houses, %d bytes, 20 times", len(files), len(first))
}
