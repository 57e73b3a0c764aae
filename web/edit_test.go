package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"hearth/web/webtest"
)

// A bureau is the Editor of a smallHouse: one file in memory in which "wrong" is a mistake.
type bureau struct {
	desk     sync.Mutex
	text     string // "" is desktop
	locked   string
	versions []Version
	texts    []string
	by       string
	checks   int
	failing  error
	trial    *Trial
	others   []string          // names of more files, which are hidden
	made     map[string]string // those that were made, by name; at first emptyFile
	slow     bool              // a try goes on until nobody wants it any more
	ended    bool              // that one has
}

const emptyFile = "rules/empty.toml"

const desktop = `# The house
[output.porch_light]
pin = "GPIO17"

[rule.stairs]
trigger = { state = "pir", is = true }
action = { pulse = "porch_light", for = "60s" }
`

func (b *bureau) now() string {
	if b.text == "" {
		b.text = desktop
	}
	return b.text
}

func nameOfText(text string) string {
	return fmt.Sprintf("%x", len(text)*7919+strings.Count(text, "a"))
}

func (b *bureau) Configuration(_ context.Context, at string) (Configuration, error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	c := Configuration{Sum: nameOfText(b.now()), InForce: true, NewIn: "rules/", Files: []ConfigFile{{Name: "config.toml", Version: nameOfText(b.now()), Text: b.now(), Locked: b.locked}, {Name: "<b>.toml", Hidden: "it is </script> UTF-8"}}}
	for _, other := range b.others {
		c.Files = append(c.Files, ConfigFile{Name: other, Hidden: other})
	}
	for _, name := range slices.Sorted(maps.Keys(b.more())) {
		c.Files = append(c.Files, ConfigFile{Name: name, Version: nameOfText(b.made[name]), Text: b.made[name]})
	}
	if at == "rule.stairs" {
		c.At = &ConfigPlace{File: "config.toml", Line: 5}
	}
	return c, b.failing
}

func (b *bureau) more() map[string]string {
	if b.made == nil {
		b.made = map[string]string{emptyFile: ""}
	}
	return b.made
}

func (b *bureau) NewConfigFile(_ context.Context, name string) (ConfigFile, error) {
	if !strings.HasPrefix(name, "rules/") {
		return ConfigFile{}, Refusal(422, "no include names %s", name)
	}
	return ConfigFile{Name: name, New: true}, nil
}

func (b *bureau) RemoveFile(_ context.Context, d Draft) (s Saved, err error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	switch text, ok := b.more()[d.File]; {
	case !ok:
		return s, Refusal(404, "no file is named %q", d.File)
	case d.Version != nameOfText(text) || text != "":
		return s, Refusal(409, "there is something in %s", d.File)
	case strings.Contains(b.text, d.File):
		s.Why = "it was not saved, for there are mistakes in it"
		s.Mistakes = []ConfigMistake{{File: "config.toml", Line: 1, Column: 1, Key: "include", Text: "there is no file " + d.File, Message: "x"}}
		return s, nil
	}
	delete(b.made, d.File)
	s.OK, s.Whole, s.Saved = true, true, true
	return s, nil
}

func (b *bureau) check(d Draft) (c Checked) {
	b.checks++
	c.OK, c.Whole = true, true
	for i, line := range strings.Split(d.Text, "\n") {
		if at := strings.Index(line, "lmap"); at >= 0 {
			c.OK = false
			c.Mistakes = append(c.Mistakes, ConfigMistake{File: "config.toml", Line: i + 1, Column: at, Key: "rule.stairs.action.pulse", Found: `"lmap"`, Text: `no output is named "lmap", did you mean "lamp"?`, Message: "config.toml: <img src=x onerror=alert(1)>"})
		}
		if strings.Contains(line, "doubt") {
			c.Mistakes = append(c.Mistakes, ConfigMistake{File: "config.toml", Line: i + 1, Column: 1, Text: "seldom meant \u202e<script>", Message: "x", Warning: true})
		}
	}
	return c
}

func (b *bureau) CheckDraft(_ context.Context, d Draft) (Checked, error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	return b.check(d), b.failing
}

func (b *bureau) TryDraft(ctx context.Context, d Draft, days int, progress func(float64)) (Trial, error) {
	progress(0.25)
	b.desk.Lock()
	slow, trial := b.slow, b.trial
	b.desk.Unlock()
	if slow {
		<-ctx.Done()
		b.desk.Lock()
		b.ended = true
		b.desk.Unlock()
		return Trial{}, ctx.Err()
	}
	if trial != nil {
		return *trial, nil
	}
	return Trial{From: noon.AddDate(0, 0, -days), To: noon, Same: true}, nil
}

func (b *bureau) SaveDraft(ctx context.Context, d Draft) (s Saved, err error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	if b.failing != nil {
		return s, b.failing
	}
	if was, ok := b.more()[d.File]; d.File != "config.toml" && d.File != "" && ok == (d.Version == nameOfText(was)) {
		s.Checked, s.Saved, s.Version = b.check(d), true, nameOfText(d.Text)
		b.made[d.File] = d.Text
		return s, nil
	}
	if d.Version != nameOfText(b.now()) {
		return s, Refusal(409, "config.toml was changed meanwhile")
	}
	if s.Checked = b.check(d); !s.OK {
		s.Why = "it was not saved, for there are mistakes in it"
		return s, nil
	}
	b.put(By(ctx), "page", d.Note, d.Text)
	s.Saved, s.Version = true, nameOfText(d.Text)
	return s, nil
}

// put makes a text the newest version.
func (b *bureau) put(by, how, note, text string) {
	for i := range b.versions {
		b.versions[i].Now = false
	}
	b.by, b.text = by, text
	b.versions = append(b.versions, Version{ID: len(b.versions) + 1, At: noon, By: by, How: how, Note: note, Now: true, Changed: []string{"config.toml"}})
	b.texts = append(b.texts, text)
}

func (b *bureau) ConfigVersions(context.Context) (all []Version, err error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	for _, v := range slices.Backward(b.versions) {
		all = append(all, v)
	}
	return all, b.failing
}

func (b *bureau) ConfigVersion(_ context.Context, id int) (v VersionDetail, err error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	if id > len(b.versions) {
		return v, Refusal(404, "there is no such version")
	}
	before := desktop
	if id > 1 {
		before = b.texts[id-2]
	}
	v = VersionDetail{Version: b.versions[id-1], Sum: nameOfText(b.now()), Since: []FileDiff{{Name: "config.toml", Lines: Unified(before, b.texts[id-1])}}}
	if b.now() != b.texts[id-1] {
		v.Restores = []FileDiff{{Name: "config.toml", Lines: Unified(b.now(), b.texts[id-1])}}
	}
	return v, nil
}

func (b *bureau) RestoreVersion(ctx context.Context, id int, sum, note string) (Saved, error) {
	b.desk.Lock()
	defer b.desk.Unlock()
	if sum != nameOfText(b.now()) {
		return Saved{}, Refusal(409, "the configuration was changed meanwhile")
	}
	b.put(By(ctx), "restore", fmt.Sprint("as in version ", id), b.texts[id-1])
	return Saved{Saved: true}, nil
}

// writeEvil has a configuration that says what somebody who means ill would.
func (b *bureau) writeEvil(evil []string) {
	all := strings.Join(evil, "\n")
	text := strings.Map(func(c rune) rune { // a file with such is not shown
		if c == '\n' || c == mendedRune(c) {
			return c
		}
		return -1
	}, strings.ToValidUTF8(all, ""))
	b.put(evil[0], "page", evil[1], "# lmap doubt\n"+text)
	b.put(evil[2], evil[3], all, "# "+strings.ReplaceAll(text, "a", "e")+"\n")
	b.locked, b.others = evil[4], evil
	for i := range b.versions {
		b.versions[i].Changed = evil
	}
}

func mendedRune(c rune) rune { return []rune(mended(string(c), 1))[0] }

// The configuration is for those who may change the whole house, whatever they ask for.
func TestWhoMayEdit(t *testing.T) {
	house, people := newHouse(), family()
	people.rights["guest"] = part{Change, []string{"hearth/heater/"}}
	people.tokens["hearth_robot"] = "robot"
	people.rights["token robot"] = part{Change, nil}
	s := lan(house, people)
	paths := map[string]string{"/edit": "GET", "/edit/versions": "GET", "/api/v1/config": "GET", "/api/v1/config/check": "POST", "/api/v1/config/try": "POST", "/api/v1/config/save": "POST",
		"/api/v1/config/versions": "GET", "/api/v1/config/version/1": "GET", "/api/v1/config/version/2": "POST"}
	body, _ := json.Marshal(Draft{File: "config.toml", Version: nameOfText(desktop), Text: desktop + "# robot\n"})
	for path, method := range paths {
		for _, who := range [][]string{cookie(t, s, "oma"), cookie(t, s, "guest"), {"Authorization", "Bearer hearth_script"}} {
			w := ask(s, method, path, string(body), slices.Concat(from, who, []string{"Content-Type", "application/json"})...)
			if w.Code != 403 || strings.Contains(w.Body.String(), "GPIO17") || strings.Contains(w.Body.String(), "porch_light") {
				t.Errorf("%s of %q: %d %s", path, who, w.Code, w.Body)
			}
		}
	}
	if house.text != "" && house.text != desktop || len(house.versions) > 0 {
		t.Fatal("somebody who may not has saved")
	}
	robot := slices.Concat(from, []string{"Authorization", "Bearer hearth_robot", "Content-Type", "application/json"})
	if w := ask(s, "POST", "/api/v1/config/save", string(body), robot...); w.Code != 200 || house.by != "robot" || !strings.HasSuffix(house.text, "# robot\n") {
		t.Errorf("%d %s by %q", w.Code, w.Body, house.by)
	}
	// Once more: it began from what is not there any more.
	if w := ask(s, "POST", "/api/v1/config/save", string(body), robot...); w.Code != 409 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for bad, want := range map[string]int{`{`: 400, `[]`: 400, `{"text":"` + strings.Repeat("x", MaxDraft+1) + `"}`: 413, strings.Repeat(" ", maxConfigBody+1): 413} {
		for _, path := range []string{"/api/v1/config/check", "/api/v1/config/save", "/api/v1/config/try"} {
			if w := ask(s, "POST", path, bad, robot...); w.Code != want {
				t.Errorf("%s of %.20q: %d, want %d", path, bad, w.Code, want)
			}
		}
	}
	if w := ask(s, "POST", "/api/v1/config/save", string(body), slices.Concat(robot[:len(robot)-1], []string{"text/plain"})...); w.Code != 415 {
		t.Errorf("as text: %d", w.Code)
	}
	if w := ask(s, "POST", "/api/v1/config/save", string(body), slices.Concat(robot, []string{"Origin", "http://evil.example"})...); w.Code != 403 {
		t.Errorf("by another site: %d", w.Code)
	}
	// Who may not edit is not led there.
	if page := get(s, "/", cookie(t, s, "oma")...); strings.Contains(page.Body.String(), `href="/edit"`) {
		t.Error("oma is led to the editor")
	}
	if page := get(s, "/", cookie(t, s, "anna")...); !strings.Contains(page.Body.String(), `href="/edit"`) {
		t.Error("anna is not led to the editor")
	}
}

func TestThePageOfTheEditor(t *testing.T) {
	house := newHouse()
	house.text = "\n# </textarea><script>alert(1)</script>\n" + desktop
	s := New(house, Options{Log: quietLog})
	defer s.Close()
	w := ask(s, "GET", "/edit?at=rule.stairs", "")
	page := w.Body.String()
	for _, want := range []string{`data-line="5"`, "readonly>\n\n# &lt;/textarea&gt;&lt;script&gt;", "%3Cb%3E.toml", "&lt;b&gt;.toml", `data-text="[output.porch_light]`} {
		if w.Code != 200 || !strings.Contains(page, want) {
			t.Errorf("%d lacks %s:\n%s", w.Code, want, page)
		}
	}
	if w := ask(s, "GET", "/edit?file=%3Cb%3E.toml", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "it is &lt;/script&gt; UTF-8") || strings.Contains(w.Body.String(), "<textarea") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, file := range []string{"../x", "/etc/passwd", "other.toml"} {
		if w := ask(s, "GET", "/edit?file="+file, ""); w.Code != 404 {
			t.Errorf("%s: %d", file, w.Code)
		}
	}
	house.locked = "the folder is <root>'s"
	if w := ask(s, "GET", "/edit?at=rule.none", "", "Accept-Language", "de"); !strings.Contains(w.Body.String(), "the folder is &lt;root&gt;") || !strings.Contains(w.Body.String(), "In der Konfiguration fehlt") || !strings.Contains(w.Body.String(), `id="save" disabled`) {
		t.Errorf("%s", w.Body)
	}
	if w := ask(s, "GET", "/edit/versions", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "None is kept yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, of := range []string{"9", "0", "-1", "x", "99999999999999999999"} {
		if w := ask(s, "GET", "/edit/versions?of="+of, ""); w.Code != 404 {
			t.Errorf("%s: %d", of, w.Code)
		}
	}
	house.failing = errors.New("the disk is gone")
	for _, path := range []string{"/edit", "/edit/versions", "/api/v1/config"} {
		if w := ask(s, "GET", path, ""); w.Code != 503 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// tried is what came of a trial, with hostile text in it.
func tried(days int) *Trial {
	t := &Trial{From: noon.AddDate(0, 0, -days), To: noon, Asked: noon.AddDate(0, 0, -7), Events: 71262, Unheard: []string{"a/<b>:x"}, Veiled: 2}
	o := TrialOutput{Name: "porch_light", Was: 3600 * 9, Would: 3600 * 14, Switches: 20, Would2: 22, Differs: true}
	for day := range int64(days) {
		at := day*86400_000 + 6*3600_000
		o.On = append(o.On, [2]int64{at, at + 3600_000}, [2]int64{at + 10*3600_000, at + 11*3600_000})
		o.WouldOn = append(o.WouldOn, [2]int64{at, at + 2*3600_000}, [2]int64{at + 10*3600_000, at + 11*3600_000})
		t.Differences = append(t.Differences,
			TrialDifference{At: t.From.Add(time.Duration(at) * time.Millisecond), Rule: "rule.stairs", Would: true, Done: []string{"porch_light ON"}, Because: "pir is true (now true)", Instead: "blocked: not sun down (up)"},
			TrialDifference{At: t.From.Add(time.Duration(at+3600_000) * time.Millisecond), Rule: "rule.stairs{<i>}", Done: []string{"<img src=x onerror=alert(1)> OFF"}, Because: "it was over", Instead: "it waits", Follows: "hall_motion"})
	}
	t.Outputs = []TrialOutput{o, {Name: "heater", Was: 10, Would: 10}}
	blind := TrialCover{Name: "blind", Was: 60, Would: 80, Runs: 3, WouldRuns: 3, Apart: 7200, Differs: true,
		Stood:      []TrialStand{{0, 6 * 3600_000, 100}, {6 * 3600_000, 7 * 3600_000, 0}, {7 * 3600_000, 9 * 3600_000, 30}, {9 * 3600_000, 20 * 3600_000, 100}},
		WouldStand: []TrialStand{{0, 6 * 3600_000, 100}, {6 * 3600_000, 7 * 3600_000, 1}, {7 * 3600_000, 9 * 3600_000, 70}, {9 * 3600_000, 20 * 3600_000, 100}}}
	t.Covers = []TrialCover{blind, {Name: "curtain", Was: 50, Would: 50}}
	return t
}

// Anna breaks a rule and sees so at its line, mends it, tries it, saves it, and undoes that.
func TestTheEditorInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	house.put("", "start", "", desktop)
	house.trial = tried(7)
	s := serve(t, house)
	at := "http://" + s.Addr()
	value := func(v string) string { return fmt.Sprintf(`document.getElementById('text').value === %q`, v) }
	selected := `(() => { const t = document.getElementById('text'); return t.value.slice(t.selectionStart, t.selectionEnd); })()`

	do(t, ctx, "it opens at the rule", chromedp.Navigate(at+"/edit?at=rule.stairs"), chromedp.WaitVisible("body.live"), until(selected+` === '[rule.stairs]'`),
		until(shows("#state", "it is in order")), until(`document.querySelectorAll('#outline button').length === 2`), until(`document.getElementById('save').disabled`),
		until(`document.getElementById('numbers').textContent.endsWith('\n8')`))
	broken := strings.Replace(desktop, `pulse = "porch_light"`, `pulse = "lmap"`, 1)
	set := func(v string) chromedp.Action {
		return chromedp.Evaluate(fmt.Sprintf(`(() => { const t = document.getElementById('text'); t.value = %q; t.oninput(); })()`, v), nil)
	}
	do(t, ctx, "a slip is told at its line", set(broken), until(shows("#state", "1 mistake.")), until(shows("#mistakes", `7:20 rule.stairs.action.pulse = "lmap"`)),
		until(`document.querySelector('#marks .words').textContent.includes('did you mean')`), until(`document.querySelector('#marks .band').style.top === '136px'`),
		until(`document.getElementById('try').disabled`))
	keepScreenshot(t, ctx, "edit-mistake")
	do(t, ctx, "a click goes there", chromedp.Evaluate(`document.getElementById('text').setSelectionRange(0, 0)`, nil), chromedp.Click("#mistakes a"), until(selected+`.includes('lmap')`))
	do(t, ctx, "what has a mistake is not saved", chromedp.Click("#save"), until(shows("#told", "it was not saved, for there are mistakes in it")))
	if house.text != desktop {
		t.Fatal("it was written")
	}
	do(t, ctx, "nothing is lost when the page goes", chromedp.Reload(), chromedp.WaitVisible("body.live"), until(value(broken)), chromedp.WaitVisible("#again"), until(shows("#state", "1 mistake.")), until(`document.getElementById('text').getAttribute('aria-invalid') === 'true'`))
	undo := chromedp.Evaluate(`document.execCommand('undo')`, nil) // as Ctrl+Z does
	do(t, ctx, "discarded, which can be undone", chromedp.Click("#discard"), until(value(desktop)), until(shows("#state", "it is in order")), until(`document.getElementById('again').hidden`),
		undo, until(value(broken)), until(`!document.getElementById('save').disabled`))

	mended := strings.Replace(desktop, "60s", "90s", 1)
	do(t, ctx, "it is mended", set(mended), until(shows("#state", "it is in order")), until(`document.getElementById('mistakes').hidden && !document.querySelector('#marks .words')`))
	do(t, ctx, "and tried", chromedp.Click("#try"), chromedp.WaitVisible("#trial"), until(shows("#verdict", "2 rules would have done otherwise: 7 more and 7 less.")),
		until(`document.querySelectorAll('#outputs svg .other').length === 8 && document.querySelectorAll('#outputs > li').length === 2`),
		until(shows("#outputs > li:last-child", "open 60 % on average, would have been 80 %; ran 3 times, would have 3; elsewhere for 2 h 0 min")),
		until(`Array.from(document.querySelectorAll('#outputs > li:last-child .was')).map((b) => b.getAttribute('height')).join() === '20,2,6,20'`),
		until(`document.querySelectorAll('#differences li').length === 14 && !document.querySelector('#differences img')`), until(shows("#untold", "a/<b>:x")))
	keepScreenshot(t, ctx, "edit-trial")
	do(t, ctx, "a difference leads to its rule", chromedp.Click("#differences .rule"), until(selected+` === '[rule.stairs]'`))
	do(t, ctx, "and saved", chromedp.SendKeys("#note", "longer"), chromedp.Click("#save"), until(shows("#toast", "Saved and in force.")), until(`document.getElementById('save').disabled`))
	if house.text != mended || house.versions[1].Note != "longer" {
		t.Errorf("%q %+v", house.text, house.versions)
	}

	do(t, ctx, "a try can be cancelled", chromedp.Evaluate(`0`, nil), chromedp.ActionFunc(func(context.Context) error {
		house.desk.Lock()
		defer house.desk.Unlock()
		house.slow = true
		return nil
	}), chromedp.Click("#try"), until(`document.getElementById('far').value === 0.25 && document.activeElement.id === 'cancel'`), chromedp.KeyEvent("\r"),
		until(`document.getElementById('trying').hidden && document.getElementById('told').hidden && document.activeElement.id === 'try'`),
		chromedp.ActionFunc(func(ctx context.Context) error {
			for range 500 {
				house.desk.Lock()
				ended := house.ended
				house.desk.Unlock()
				if ended {
					return nil
				}
				if err := chromedp.Sleep(10 * time.Millisecond).Do(ctx); err != nil {
					return err
				}
			}
			return errors.New("it goes on")
		}))

	// Two at once.
	house.desk.Lock()
	house.slow = false
	house.put("oma", "page", "", mended+"# oma\n")
	house.desk.Unlock()
	mine := mended + "# anna, too\n"
	do(t, ctx, "somebody else was faster", set(mine), chromedp.Click("#save"), chromedp.WaitVisible("#conflict"), until(`document.getElementById('other').value.includes('# oma')`), until(value(mine)))
	keepScreenshot(t, ctx, "edit-conflict")
	do(t, ctx, "exchanged", chromedp.Click("#swap"), until(value(mended+"# oma\n")), until(fmt.Sprintf(`document.getElementById('other').value === %q`, mine)))
	do(t, ctx, "and exchanged again, and saved", chromedp.Click("#swap"), until(value(mine)), chromedp.Click("#save"), until(`document.getElementById('conflict').hidden`))
	if house.text != mine {
		t.Errorf("%q", house.text)
	}

	// By keyboard.
	do(t, ctx, "Tab indents", chromedp.Evaluate(`document.getElementById('text').setSelectionRange(0, 0)`, nil), chromedp.Focus("#text"), chromedp.KeyEvent("x"), chromedp.KeyEvent("\b"), chromedp.KeyEvent("\t"), until(value("  "+mine)))
	do(t, ctx, "Esc and Tab leads on", chromedp.KeyEvent("\x1b"), chromedp.KeyEvent("\t"), until(`document.activeElement.id !== 'text'`), until(value("  "+mine)))
	do(t, ctx, "who comes by Tab and types nothing is not held", chromedp.Focus("#text"), chromedp.KeyEvent("\t"), until(`document.activeElement.id !== 'text'`), until(value("  "+mine)))
	do(t, ctx, "an example", set(""), chromedp.Click(".ready summary"), chromedp.Click(".ready button"), until(`document.getElementById('text').value.startsWith('[output.porch_light]')`))

	// The hub is gone: what is typed stays.
	do(t, ctx, "versions", set(mine), chromedp.Navigate(at+"/edit/versions"), chromedp.WaitVisible("body.live"), until(shows(".versions", "longer")), until(shows(".versions .now", "in force")))
	do(t, ctx, "what one changed", chromedp.Navigate(at+"/edit/versions?of=1"), chromedp.WaitVisible(".diff"), until(shows(".diff .plus", "60s")), until(shows(".diff .minus", "90s")),
		until(`document.documentElement.scrollWidth <= innerWidth`))
	keepScreenshot(t, ctx, "edit-version")
	do(t, ctx, "is undone", chromedp.Click("#restore"), chromedp.WaitNotPresent("#restore"), chromedp.WaitVisible("body.live"), until(`location.search === '' && document.querySelectorAll('.versions li').length === 5`), until(shows(".versions", "as in version 1")))
	if house.text != desktop {
		t.Errorf("%q", house.text)
	}
	do(t, ctx, "it is there", chromedp.Navigate(at+"/edit"), chromedp.WaitVisible("body.live"), until(value(desktop)))
	typed := desktop + "# in the dark\n"
	do(t, ctx, "the hub is gone", chromedp.ActionFunc(func(context.Context) error { return s.Close() }), set(typed), until(shows("#state", "the hub does not answer")),
		until(`JSON.parse(sessionStorage.getItem('edit:config.toml')).text.endsWith('# in the dark\n')`))
	do(t, ctx, "it goes, so that nothing is open", chromedp.Navigate("about:blank"))
}

// What was typed is discarded, and comes back with Ctrl+Z: no character is halved by that, and a
// long text does not take longer than people wait.
func TestDiscardingCanBeUndone(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	house.text = "# 🏡 and 🏠\n"
	s := serve(t, house)
	discard := func(typed string) chromedp.Action {
		return chromedp.Tasks{chromedp.Evaluate(fmt.Sprintf(`(() => { const t = document.getElementById('text'); t.value = %q; t.oninput(); document.getElementById('discard').onclick(); })()`, typed), nil),
			until(fmt.Sprintf(`document.getElementById('text').value === %q && document.getElementById('save').disabled`, house.text))}
	}
	do(t, ctx, "as it was", chromedp.Navigate("http://"+s.Addr()+"/edit"), chromedp.WaitVisible("body.live"), discard("# 🏠 and 🏡\n"), discard(""), discard("# 🏡 and 🏠🏠\n"), discard("# 🏡🏡 and 🏠\nx"))
	do(t, ctx, "undone", discard("# 🏡 or 🏠\n"), chromedp.Evaluate(`document.execCommand('undo')`, nil), until(`document.getElementById('text').value === '# 🏡 or 🏠\n'`), discard(""))
	house.desk.Lock()
	house.text = strings.Repeat("# a line of some length that is there\n", 6500)
	house.desk.Unlock()
	do(t, ctx, "a long one", chromedp.Navigate("http://"+s.Addr()+"/edit?line=3"), chromedp.WaitVisible("body.live"), discard("x\n"), discard(house.text[:1000]+"y"+house.text[1000:]))
}

// A file is made, filled, emptied and removed.
func TestAFileIsMadeInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	s := serve(t, house)
	at := "http://" + s.Addr()
	made := func() (text string, ok bool) {
		house.desk.Lock()
		defer house.desk.Unlock()
		text, ok = house.made["rules/garden.toml"]
		return text, ok
	}
	set := func(v string) chromedp.Action {
		return chromedp.Evaluate(fmt.Sprintf(`(() => { const t = document.getElementById('text'); t.value = %q; t.oninput(); })()`, v), nil)
	}
	begin := func(name string) chromedp.Action {
		return chromedp.Tasks{chromedp.Click(".new summary"), chromedp.WaitVisible(".new input"), chromedp.SetValue(".new input", name), chromedp.Click(".new button")}
	}
	do(t, ctx, "a name that can't be", chromedp.Navigate(at+"/edit"), chromedp.WaitVisible("body.live"), until(`document.querySelector('.new input').value === 'rules/new.toml'`),
		begin("garden.toml"), until(shows(".new .notice", "no include names garden.toml")), chromedp.WaitVisible("body.live"))
	do(t, ctx, "one that can", chromedp.SetValue(".new input", "rules/garden.toml"), chromedp.Click(".new button"), until(`location.search.includes('garden')`), chromedp.WaitVisible("body.live"),
		until(shows(".files [aria-current]", "rules/garden.toml")), until(`document.getElementById('save').disabled && !document.getElementById('remove')`))
	keepScreenshot(t, ctx, "edit-new")
	do(t, ctx, "it is kept in the tab", set("# roses\n"), chromedp.Reload(), chromedp.WaitVisible("body.live"), until(`document.getElementById('text').value === '# roses\n'`))
	do(t, ctx, "and saved", chromedp.Click("#save"), until(shows("#toast", "Saved and in force.")), until(`location.search === '?file=rules%2Fgarden.toml'`))
	if text, _ := made(); text != "# roses\n" {
		t.Errorf("%q", text)
	}
	do(t, ctx, "it can't be removed as long as something is in it", chromedp.Reload(), chromedp.WaitVisible("body.live"), until(shows("#state", "in order")), until(`document.getElementById('remove').hidden`),
		set(""), until(`document.getElementById('remove').hidden`))
	include := func(text string) chromedp.Action {
		return chromedp.ActionFunc(func(context.Context) error {
			house.desk.Lock()
			defer house.desk.Unlock()
			house.text = text
			return nil
		})
	}
	do(t, ctx, "emptied, but named by an include", chromedp.Click("#save"), until(shows("#toast", "Saved and in force.")), include("include = [\"rules/garden.toml\"]\n"),
		chromedp.Click("#remove"), until(shows("#told", "there are mistakes in it")), until(shows("#mistakes", "there is no file rules/garden.toml")))
	do(t, ctx, "and removed", include(desktop), chromedp.Click("#remove"), until(`location.search === ''`), chromedp.WaitVisible("body.live"))
	if text, ok := made(); ok {
		t.Errorf("%q is left", text)
	}
	do(t, ctx, "the main one can't be", until(`!document.getElementById('remove')`), chromedp.Navigate("about:blank"))
}

// The editor at all sizes, dark and light, in German; for eyes with HEARTH_SCREENSHOTS.
func TestTheEditorFits(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	var b strings.Builder
	b.WriteString(desktop)
	for i := range 40 {
		fmt.Fprintf(&b, "\n[rule.of_a_long_name_that_says_much_%02d] # doubt\ntrigger = { state = \"zigbee2mqtt/a_rather_long_name_of_a_device_%02d:occupancy\", is = true, until = { is = false, for = \"2m\" } }\naction = { set = \"porch_light\", on = true, off = false }\n", i, i)
	}
	house.text = b.String()
	house.trial = tried(7)
	house.view.Outputs[2].Fault = "the line is held"
	s := serve(t, house)
	for _, size := range [][2]int64{{320, 640}, {390, 844}, {800, 1000}, {1280, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			do(t, ctx, "it fits", chromedp.EmulateViewport(size[0], size[1]), webtest.Scheme(scheme),
				chromedp.Navigate("http://"+s.Addr()+"/edit?at=rule.stairs"), chromedp.WaitVisible("body.live"), until(shows("#state", "to look at")),
				chromedp.Click("#try"), chromedp.WaitVisible("#trial"), until(`document.documentElement.scrollWidth <= innerWidth`))
			shoot(t, ctx, fmt.Sprintf("edit-%d-%s", size[0], scheme))
		}
	}
}
