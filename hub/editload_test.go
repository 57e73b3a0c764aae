package hub

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/web"
)

// A large house and texts that somebody wrote to keep the hub busy.
func hostileTexts() map[string]string {
	var house strings.Builder
	house.WriteString("[hub]\nlatitude = 52.5\nlongitude = 13.4\n")
	for i := range 50 {
		fmt.Fprintf(&house, "[output.o%d]\ntopic = \"a/o%d/set\"\n", i, i)
	}
	for i := range 500 {
		fmt.Fprintf(&house, "\n[rule.r%d]\ntrigger = { state = \"zigbee2mqtt/d%d:temperature\", below = 19, until = 20.2, min_on = \"8m\" }\ncondition = { sun = \"down\", days = \"mon-fri\", state = { \"presence/house\" = \"home\" } }\naction = [{ set = \"o%d\", on = true, off = false }, { publish = \"x/%d\", value = \"round(clamp((128 - value) / 59 * 100, 0, 100))\" }]\n", i, i, i%50, i)
	}
	fill := func(head, unit string) string {
		return head + strings.Repeat(unit, (web.MaxDraft-len(head)-200)/len(unit))
	}
	numbered := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < web.MaxDraft-400; i++ {
			fmt.Fprintf(&b, format, i, i, i)
		}
		return b.String()
	}
	return map[string]string{
		"500 rules":        house.String(),
		"arrays":           "a = " + fill("", "[") + "\n",
		"braces":           fill("a = ", "{a="),
		"dots":             fill("a", ".a") + " = 1\n",
		"keys":             numbered("a%d = 1 # %[1]d\n"),
		"unknown keys":     "[rule.r]\n" + numbered("trigge%dr = 1 # %[1]d\n"),
		"one line":         "x = [" + fill("", "\"ü\", ") + "]\n",
		"links":            numbered("[link.l%d]\nfrom = \"a/%d\"\nto = \"b/%d\"\n"),
		"one switch":       "[input.b]\npin = \"GPIO27\"\n[output.l]\npin = \"GPIO17\"\n" + numbered("[link.l%d]\nfrom = \"b\"\nto = \"l\"\n# %d %d\n"),
		"one event":        "[output.l]\npin = \"GPIO17\"\n" + numbered("[rule.l%d]\ntrigger = { event = \"a/+\" }\naction = { set = \"l\", to = true }\n# %d %d\n"),
		"circles":          numbered("[link.l%d]\nfrom = \"a/+/b\"\nto = \"a/x/b\"\n# %d %d\n"),
		"captures":         numbered("[rule.l%d]\ntrigger = { state = \"a/{x}/{y}/{z}\" }\naction = { publish = \"b/{x}/{y}/{z}%d\", payload = \"%d\" }\n"),
		"each":             "[rule.r]\neach = { a = [" + fill("", "\"x\", ") + "] }\ntrigger = { event = \"{a}\" }\naction = { publish = \"b\", payload = \"{a}\" }\n",
		"formula":          "[calc.c]\nof = \"a/b\"\nvalue = \"" + fill("", "1+") + "1\"\n",
		"brackets":         "[calc.c]\nof = \"a/b\"\nvalue = \"" + fill("", "(") + "1\"\n",
		"nested not":       "[rule.r]\ntrigger = { event = \"a\" }\naction = { publish = \"b\", payload = \"x\" }\ncondition = { not = " + strings.Repeat("{ not = ", 40) + "{}" + strings.Repeat("}", 40) + "}\n",
		"comments":         fill("", "# x\n"),
		"secrets":          "[secret]\n" + numbered("s%d = \"***%d\" # %d\n"),
		"machines":         numbered("[machine.m%d]\ninitial = \"a\"\nmoves = [{ from = \"a\", after = \"%ds\", to = \"b\" }] # %d\n"),
		"tests":            numbered("[[test]]\nname = \"%d\"\nsend = [{ at = \"0s\", topic = \"a/%d\", payload = \"x\" }]\nexpect = [{ at = \"1s\", topic = \"a/%d\", payload = \"1\" }]\n"),
		"names alike":      numbered("[output.lamp%04d]\ntopic = \"a/%d\"\n[rule.x%04d]\ntrigger = { event = \"a\" }\naction = { set = \"lmap%[1]04d\", to = true }\n"),
		"includes":         "include = [" + fill("", "\"x/*.toml\", ") + "]\n",
		"inline templates": "[rule.r]\ntrigger = { event = \"a\" }\naction = { publish = \"b\", payload = \"" + fill("", "{value}") + "\" }\n",
	}
}

// Whatever somebody writes, the hub has told what is wrong with it soon and without much
// memory: a check is of one text at a time. A second on this machine is some four on a Pi 3.
func TestNoTextKeepsTheHubBusy(t *testing.T) {
	if testing.Short() {
		t.Skip()
	}
	dir := t.TempDir()
	writeFile(t, dir, "[secret]\nx = \"y\"\n")
	e := &editing{path: dir + "/config.toml"}
	for name, text := range hostileTexts() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		stop, most := make(chan bool), make(chan uint64)
		go func() { // how much there is at most
			high := uint64(0)
			for {
				select {
				case <-stop:
					most <- high
					return
				case <-time.After(5 * time.Millisecond):
					high = max(high, heapBytes())
				}
			}
		}()
		began := processorTime(t)
		d := e.onDisk()
		_, texts, wrong, err := e.draftTexts(d, web.Draft{File: "config.toml", Text: text})
		if err != nil {
			t.Fatal(err)
		}
		_, checked, err := e.check(d, texts, wrong)
		took := processorTime(t) - began
		close(stop)
		heap := int64(<-most-before.HeapAlloc) >> 20
		runtime.ReadMemStats(&after)
		if err != nil || len(checked.Mistakes) > maxMistakes {
			t.Errorf("%s: %v, %d mistakes", name, err, len(checked.Mistakes))
		}
		first := ""
		if len(checked.Mistakes) > 0 {
			first = checked.Mistakes[0].Message
		}
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		t.Logf("%-16s %4d kB %6d ms %4d MB allocated, %3d MB at most, %3d and %d more mistakes: %.90s", name, len(text)>>10, took.Milliseconds(), allocated, heap, len(checked.Mistakes), checked.More, first)
		if heap > 100 {
			t.Errorf("%s: the check takes %d MB", name, heap)
		}
		if took > 20*time.Second { // with the race detector
			t.Errorf("%s: the check takes %v", name, took)
		}
	}
}

// processorTime is what the process has had of processors, which other processes do not change.
func processorTime(t *testing.T) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// While somebody has one large text after the other checked the loop answers as it does else.
func TestTheLoopTurnsWhileTextsAreChecked(t *testing.T) {
	p, _, stop := edited(t, t.TempDir(), stairs)
	defer stop()
	d := draft(t, p, "config.toml")
	d.Text = hostileTexts()["500 rules"]
	asked := func(until func() bool) (slowest time.Duration, n int) {
		for !until() {
			began := time.Now()
			if _, err := ask(t.Context(), p.Hub, func() int { return 1 }); err != nil {
				t.Fatal(err)
			}
			slowest, n = max(slowest, time.Since(began)), n+1
			time.Sleep(time.Millisecond)
		}
		return slowest, n
	}
	begin := time.Now()
	alone, _ := asked(func() bool { return time.Since(begin) > 300*time.Millisecond })
	done := make(chan bool)
	go func() {
		defer close(done)
		for range 5 {
			if c, err := p.CheckDraft(t.Context(), d); err != nil || !c.OK {
				t.Errorf("%v %v", err, c.Mistakes)
			}
		}
	}()
	beside, n := asked(func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	t.Logf("the slowest of %d answers took %v, without checks %v", n, beside, alone)
	if beside > time.Second {
		t.Errorf("the loop took %v to answer while texts were checked", beside)
	}
}
