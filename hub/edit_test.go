package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/eclipse/paho.golang/paho"

	"hearth/broker/access"
	"hearth/config"
	"hearth/control"
	"hearth/gpio"
	"hearth/web"
)

// edited is a house whose configuration can be edited: reload is what hearth serve does.
func edited(t *testing.T, dir, text string) (p page, sim *gpio.Sim, stop func()) {
	t.Helper()
	var h *Hub
	sim = gpio.NewSim()
	cfg := load(t, dir, text)
	h, stop = start(t, cfg, Options{Bank: sim, dial: new(cable).dial, Reload: func(context.Context) (done control.Reloaded, err error) {
		cfg, doc := Load(filepath.Join(dir, "config.toml"))
		if err = doc.Err(); err == nil {
			err = h.Reload(cfg)
		}
		if err != nil {
			h.ReloadFailed(err)
			done.Error = err.Error()
		}
		return done, nil
	}})
	return page{h}, sim, stop
}

// draft is a file of the house as somebody begins to edit it.
func draft(t *testing.T, p page, name string) web.Draft {
	t.Helper()
	c, err := p.Configuration(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Files {
		if f.Name == name {
			if f.Hidden != "" {
				t.Fatal(f.Hidden)
			}
			return web.Draft{File: name, Version: f.Version, Text: f.Text}
		}
	}
	t.Fatalf("no file %s in %v", name, c.Files)
	return web.Draft{}
}

func mustRead(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const stairs = `[output.lamp]
pin = "GPIO5"
[rule.stairs]  # as my father wanted it
trigger = { state = "a/motion", is = "on" }
action = { pulse = "lamp", for = "10s" }
`

// A rule is broken and the message says where; it is mended, tried on what happened, saved and
// acts; then it is undone. Each is kept with what it was before.
func TestARuleIsEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.toml")
		p, _, stop := edited(t, dir, stairs)
		defer stop()
		client, hangUp := connect(t, p.Hub, "sensor", func(*paho.Publish) {})
		defer hangUp()
		move := func() {
			publish(t, client, 1, "a/motion", "on")
			time.Sleep(time.Minute)
			publish(t, client, 1, "a/motion", "off")
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		move()
		move()

		d := draft(t, p, "config.toml")
		d.Text = strings.Replace(stairs, `pulse = "lamp"`, `pulse = "lmap"`, 1)
		c, err := p.CheckDraft(t.Context(), d)
		if err != nil || c.OK || len(c.Mistakes) != 1 {
			t.Fatalf("%v %+v", err, c)
		}
		_, doc := Load(writeFile(t, t.TempDir(), d.Text))
		m := c.Mistakes[0]
		if want := strings.TrimPrefix(doc.Err().Error(), filepath.Dir(doc.Files()[0])); strings.TrimPrefix(m.Message, dir) != want || m.Line != 5 || m.Column != 20 || m.File != "config.toml" || m.Key != "rule.stairs.action.pulse" {
			t.Errorf("the page says %+v, hearth check %s", m, want)
		}
		if s, err := p.SaveDraft(t.Context(), d); err != nil || s.Saved || s.Why == "" || len(s.Mistakes) != 1 || mustRead(t, file) != stairs {
			t.Errorf("what has a mistake is written: %v %+v", err, s)
		}
		if _, err := p.TryDraft(t.Context(), d, 7, func(float64) {}); web.StatusOf(err) != http.StatusUnprocessableEntity {
			t.Errorf("what has a mistake is tried: %v", err)
		}

		d.Text = strings.Replace(stairs, `"10s"`, `"30s"`, 1)
		tried, err := p.TryDraft(t.Context(), d, 7, func(float64) {})
		if err != nil || tried.Same || len(tried.Differences) == 0 || len(tried.Outputs) != 1 || !tried.Outputs[0].Differs {
			t.Fatalf("%v %+v", err, tried)
		}
		o := tried.Outputs[0]
		if o.Was != 20 || o.Would != 60 || len(o.On) != 2 || len(o.WouldOn) != 2 || o.WouldOn[0][1]-o.WouldOn[0][0] != 30_000 {
			t.Errorf("%+v", o)
		}
		if on, _ := p.registry.Level("lamp"); on || mustRead(t, file) != stairs {
			t.Error("a trial did something")
		}

		d.Note = "dark at night"
		s, err := p.SaveDraft(t.Context(), d)
		if err != nil || !s.Saved || mustRead(t, file) != d.Text {
			t.Fatalf("%v %+v", err, s)
		}
		publish(t, client, 1, "a/motion", "on")
		time.Sleep(20 * time.Second)
		if on := lampIs(t, p); !on {
			t.Error("the new rule does not act")
		}
		time.Sleep(time.Minute)

		all, err := p.ConfigVersions(t.Context())
		if err != nil || len(all) != 2 || !all[0].Now || all[0].How != "page" || all[0].Note != "dark at night" || all[1].How != "start" || fmt.Sprint(all[0].Changed) != "[config.toml]" {
			t.Fatalf("%v %+v", err, all)
		}
		one, err := p.ConfigVersion(t.Context(), all[1].ID)
		if err != nil || len(one.Restores) != 1 || !strings.Contains(fmt.Sprint(one.Restores[0].Lines), `{- 5 0 action = { pulse = "lamp", for = "30s" }} {+ 0 5 action = { pulse = "lamp", for = "10s" }}`) {
			t.Errorf("%v %+v", err, one)
		}
		if s, err := p.RestoreVersion(t.Context(), all[1].ID, one.Sum, ""); err != nil || !s.Saved || mustRead(t, file) != stairs {
			t.Fatalf("%v %+v", err, s)
		}
		all, _ = p.ConfigVersions(t.Context())
		if len(all) != 3 || all[0].How != "restore" || all[0].Note != "as in version 1" || !all[0].Now || all[2].Now {
			t.Errorf("%+v", all)
		}
		if _, err := p.RestoreVersion(t.Context(), all[2].ID, one.Sum, ""); web.StatusOf(err) != http.StatusConflict {
			t.Errorf("by what was looked at before: %v", err)
		}
	})
}

func lampIs(t *testing.T, p page) bool {
	t.Helper()
	v, err := p.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.Outputs[0].On
}

func writeFile(t *testing.T, dir, text string) string {
	t.Helper()
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Two edit at once; one of them by hand on the machine. Nothing of either is lost.
func TestTwoEditAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.toml")
		p, _, stop := edited(t, dir, stairs)
		defer stop()
		anna, oma := draft(t, p, "config.toml"), draft(t, p, "config.toml")
		anna.Text += "# anna\n"
		oma.Text += "# oma\n"
		if s, err := p.SaveDraft(t.Context(), anna); err != nil || !s.Saved || s.Version != draft(t, p, "config.toml").Version {
			t.Fatalf("%v %+v", err, s)
		}
		if _, err := p.SaveDraft(t.Context(), oma); web.StatusOf(err) != http.StatusConflict || mustRead(t, file) != stairs+"# anna\n" {
			t.Errorf("%v", err)
		}
		// By hand, and not read yet: what is on disk is kept when it is written over.
		clock := p.editing.now
		p.editing.now = func() time.Time { // while it is saved
			writeFile(t, dir, stairs+"# anna\n# by hand\n")
			return clock()
		}
		again := draft(t, p, "config.toml")
		again.Text += "# again\n"
		if _, err := p.SaveDraft(t.Context(), again); web.StatusOf(err) != http.StatusConflict || err.Error() != "nothing was saved: config.toml: somebody else has changed it meanwhile" {
			t.Errorf("%v", err)
		}
		p.editing.now = clock
		writeFile(t, dir, stairs+"# by hand\n")
		if c, _ := p.Configuration(t.Context(), ""); c.InForce {
			t.Error("what is on disk is not in force")
		}
		later := draft(t, p, "config.toml")
		later.Text += "# and on\n"
		if s, err := p.SaveDraft(t.Context(), later); err != nil || !s.Saved {
			t.Fatalf("%v %+v", err, s)
		}
		all, _ := p.ConfigVersions(t.Context())
		var texts []string
		for _, v := range all {
			one, _, err := p.editing.versions.version(v.ID)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, strings.TrimPrefix(one.Files[0].Text, stairs))
		}
		if got := fmt.Sprintf("%q", texts); got != `["# by hand\n# and on\n" "# by hand\n" "# anna\n" ""]` {
			t.Error(got)
		}
	})
}

// Who edits by hand and has the hub read it is noted, too, and one who gives up a try ends it.
func TestAReloadByHandIsAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, _, stop := edited(t, dir, stairs)
		defer stop()
		writeFile(t, dir, stairs+"# by hand\n")
		if done, err := p.opt.Reload(t.Context()); err != nil || done.Error != "" {
			t.Fatal(err, done)
		}
		p.opt.Reload(t.Context()) // once more, with nothing new
		all, err := p.ConfigVersions(t.Context())
		if err != nil || len(all) != 2 || all[0].How != "reload" || !all[0].Now {
			t.Errorf("%v %+v", err, all)
		}

		d := draft(t, p, "config.toml")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.TryDraft(ctx, d, 7, func(float64) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		p.editing.trying <- struct{}{}
		if _, err := p.TryDraft(t.Context(), d, 7, func(float64) {}); web.StatusOf(err) != http.StatusServiceUnavailable || !strings.Contains(err.Error(), "one at a time") {
			t.Errorf("a second one: %v", err)
		}
		<-p.editing.trying
		if tried, err := p.TryDraft(t.Context(), d, 7, func(float64) {}); err != nil || !tried.Same {
			t.Errorf("%v %+v", err, tried)
		}
		p.editing.checking <- struct{}{}
		if _, err := p.CheckDraft(t.Context(), d); web.StatusOf(err) != http.StatusServiceUnavailable {
			t.Errorf("a second check: %v", err)
		}
		<-p.editing.checking
	})
}

// What the hub can't obey is not left in the file for the next start, and the page has no
// trouble to tell of.
func TestWhatIsNotTakenOverIsNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.toml")
		p, sim, stop := edited(t, dir, stairs)
		defer stop()
		sim.Fail("GPIO6", errors.New("held by another program"))
		d := draft(t, p, "config.toml")
		d.Text += "[output.other]\npin = \"GPIO6\"\n"
		s, err := p.SaveDraft(t.Context(), d)
		if err != nil || s.Saved || !strings.Contains(s.Why, "could not take it over") || !strings.Contains(s.Why, "held by another") || mustRead(t, file) != stairs {
			t.Errorf("%v %+v", err, s)
		}
		if v, _ := p.View(t.Context()); len(v.Trouble) > 0 || len(v.Outputs) != 1 {
			t.Errorf("%v", v.Trouble)
		}
		d = draft(t, p, "config.toml")
		d.Text = "[hub]\ndata = \"elsewhere\"\n" + d.Text
		if s, err := p.SaveDraft(t.Context(), d); err != nil || s.Saved || !strings.Contains(s.Why, "only a restart") || mustRead(t, file) != stairs {
			t.Errorf("%v %+v", err, s)
		}
		if all, _ := p.ConfigVersions(t.Context()); len(all) != 1 {
			t.Errorf("%+v", all)
		}
	})
}

// A file with secrets is edited and they are seen by nobody; one of Windows stays one.
func TestSecretsAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.toml")
		text := strings.ReplaceAll("\ufeff"+`# my house
[secret]
alarm = "4711"
[notify.phone]
url = "https://push.example/hunter2?token=hunter3"
[bridge.garage]
address = "mqtt://garage.lan"
user = "house"
password = "hunter4"
topics = [{ filter = "garage/#", direction = "in" }]
[broker.user.washer]
password = "HASH"
[rule.x]
trigger = { event = "a/x" }
action = { http = "https://api.example/x", headers = { Authorization = "Bearer hunter5", X-Ok = "{secret('alarm')}" } }
`, "\n", "\r\n")
		text = strings.Replace(text, "HASH", access.Hash([]byte("hunter6")), 1)
		p, _, stop := edited(t, dir, text)
		defer stop()
		c, err := p.Configuration(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"hunter", "4711", "argon2", "\ufeff"} {
			if strings.Contains(fmt.Sprint(c), word) {
				t.Errorf("%q is shown:\n%s", word, c.Files[0].Text)
			}
		}
		d := draft(t, p, "config.toml")
		d.Text = strings.ReplaceAll(strings.Replace(d.Text, "# my house", "# our house", 1), "\r", "")
		if s, err := p.SaveDraft(t.Context(), d); err != nil || !s.Saved {
			t.Fatalf("%v %+v", err, s)
		}
		if got := mustRead(t, file); got != strings.Replace(text, "# my house", "# our house", 1) {
			t.Errorf("%q", got)
		}
		d = draft(t, p, "config.toml")
		d.Text = strings.Replace(d.Text, `alarm = "***1"`, `alarm = "***2"`, 1)
		if c, err := p.CheckDraft(t.Context(), d); err != nil || c.OK || !strings.Contains(c.Mistakes[0].Text, "notify.phone.url") {
			t.Errorf("%v %+v", err, c)
		}
		all, _ := p.ConfigVersions(t.Context())
		one, err := p.ConfigVersion(t.Context(), all[0].ID)
		if err != nil || len(one.Since) != 1 || strings.Contains(fmt.Sprint(one), "hunter") || strings.Contains(fmt.Sprint(one), "4711") {
			t.Errorf("%v %+v", err, one)
		}
		// A value may be wrong because of what stands elsewhere.
		writeFile(t, dir, "[variable.mode]\ninitial = \"day\"\n[rule.x]\ntrigger = { event = \"a/x\" }\naction = { http = \"https://me:hunter7@api.example/{state('mode')}\" }\n")
		d = draft(t, p, "config.toml")
		d.Text = strings.Replace(d.Text, "variable.mode", "variable.other", 1)
		if c, err := p.CheckDraft(t.Context(), d); err != nil || c.OK || strings.Contains(fmt.Sprint(c), "hunter") {
			t.Errorf("%v %+v", err, c)
		}
		// A text that is no TOML and may hold secrets is not shown at all.
		writeFile(t, dir, "[rule.x]\naction = { http = \"https://me:hunter7@api.example/x }\n")
		if c, _ := p.Configuration(t.Context(), ""); c.Files[0].Text != "" || !strings.Contains(c.Files[0].Hidden, "seems to hold secrets") {
			t.Errorf("%+v", c)
		}
		writeFile(t, dir, "[secret]\nalarm = \"4711\n")
		if c, _ := p.Configuration(t.Context(), ""); c.Files[0].Text != "" || !strings.Contains(c.Files[0].Hidden, "seems to hold secrets") {
			t.Errorf("%+v", c)
		}
	})
}

// The page writes the configuration's own files and nothing else, and reads no others.
func TestOnlyTheConfigurationsOwnFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, out := t.TempDir(), t.TempDir()
		os.Mkdir(filepath.Join(dir, "rules"), 0o755)
		os.WriteFile(filepath.Join(dir, "rules", "a.toml"), []byte(stairs), 0o644)
		os.WriteFile(filepath.Join(dir, "garage.password"), []byte("hunter2\n"), 0o600)
		os.WriteFile(filepath.Join(out, "other.toml"), []byte("[link.a]\nfrom = \"a/b\"\nto = \"c/d\"\n"), 0o644)
		os.WriteFile(filepath.Join(out, "linked.toml"), []byte("# linked\n"), 0o644)
		os.Symlink(filepath.Join(out, "linked.toml"), filepath.Join(dir, "rules", "b.toml"))
		main := fmt.Sprintf("include = [\"rules/*.toml\", %q]\n", filepath.Join(out, "other.toml"))
		p, _, stop := edited(t, dir, main)
		defer stop()
		c, err := p.Configuration(t.Context(), "rule.stairs")
		if err != nil || len(c.Files) != 4 || *c.At != (web.ConfigPlace{File: "rules/a.toml", Line: 3}) {
			t.Fatalf("%v %+v", err, c)
		}
		if f := c.Files[2]; f.Name != "rules/b.toml" || !strings.Contains(f.Locked, "it is a link to "+filepath.Join(out, "linked.toml")) {
			t.Errorf("%+v", f)
		}
		d := draft(t, p, "rules/a.toml")
		d.Text += "# on\n"
		if s, err := p.SaveDraft(t.Context(), d); err != nil || !s.Saved || mustRead(t, filepath.Join(dir, "rules", "a.toml")) != stairs+"# on\n" {
			t.Errorf("%v %+v", err, s)
		}
		for _, name := range []string{"../config.toml", "/etc/passwd", "garage.password", "rules/../config.toml", "", "nothing", "rules/c.toml"} {
			d.File = name
			if _, err := p.SaveDraft(t.Context(), d); web.StatusOf(err) != http.StatusNotFound {
				t.Errorf("%q: %v", name, err)
			}
		}
		d = draft(t, p, "rules/b.toml")
		if _, err := p.SaveDraft(t.Context(), d); web.StatusOf(err) != http.StatusConflict || mustRead(t, filepath.Join(out, "linked.toml")) != "# linked\n" {
			t.Errorf("through a link: %v", err)
		}
		d = draft(t, p, "config.toml")
		for _, include := range []string{"/etc/passwd", "/etc/*", "../*.toml", "garage.password", "*", filepath.Join(out, "linked.toml"), "rules/../../x.toml"} {
			d.Text = main[:len(main)-2] + fmt.Sprintf(", %q]\n", include)
			c, err := p.CheckDraft(t.Context(), d)
			if err != nil || c.OK || len(c.Mistakes) != 1 || !strings.Contains(c.Mistakes[0].Text, "the page takes only files") {
				t.Errorf("%s: %v %+v", include, err, c.Mistakes)
			}
		}
	})
}

// A folder that is not the hub's, a disk that is full: nothing is written, and it is said why.
func TestWhereNothingCanBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root may write everywhere, so only the full disk is looked at")
	}
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "config.toml")
		p, _, stop := edited(t, dir, "[hub]\ndata = \"data\"\n"+stairs)
		defer stop()
		text := mustRead(t, file)
		d := draft(t, p, "config.toml")
		d.Text += "# more\n"
		if os.Geteuid() != 0 {
			os.Chmod(dir, 0o555)
			if _, err := p.SaveDraft(t.Context(), d); web.StatusOf(err) != http.StatusConflict || !strings.Contains(err.Error(), "sudo chgrp hearth "+dir) {
				t.Errorf("%v", err)
			}
			os.Chmod(dir, 0o755)
		}
		// The versions can't be kept: a file lies where their folder is to be.
		os.RemoveAll(filepath.Join(dir, "data", "versions"))
		os.WriteFile(filepath.Join(dir, "data", "versions"), nil, 0o600)
		p.editing.versions.all = nil
		if _, err := p.SaveDraft(t.Context(), d); web.StatusOf(err) != http.StatusServiceUnavailable || mustRead(t, file) != text {
			t.Errorf("%v", err)
		}
		os.Remove(filepath.Join(dir, "data", "versions"))
		if s, err := p.SaveDraft(t.Context(), d); err != nil || !s.Saved || mustRead(t, file) != text+"# more\n" {
			t.Errorf("%v %+v", err, s)
		}
		left, _ := filepath.Glob(filepath.Join(dir, ".new-*"))
		if len(left) > 0 {
			t.Errorf("%v is left", left)
		}
	})
	for err, want := range map[error]string{os.ErrPermission: "chgrp hearth /etc/hearth && sudo chmod g+rwxs /etc/hearth", syscall.EROFS: "ReadWritePaths=/etc/hearth", syscall.EIO: "input/output error"} {
		if why := mayNotWrite("/etc/hearth", err); !strings.Contains(why, want) {
			t.Error(why)
		}
	}
}

// Versions are bounded, and one that the card spoiled is none.
func TestVersionsAreBounded(t *testing.T) {
	v := &versions{dir: filepath.Join(t.TempDir(), "versions")}
	for i := range maxVersions + 30 {
		if err := v.keep(keptVersion{Sum: fmt.Sprint(i), How: "page", Files: []configText{{"config.toml", strings.Repeat("x", i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	entries, _ := os.ReadDir(v.dir)
	if len(entries) != maxVersions || v.all[0].ID != 31 {
		t.Errorf("%d files, from %d on", len(entries), v.all[0].ID)
	}
	os.WriteFile(v.file(100), []byte("spoiled"), 0o600)
	os.Symlink("/etc/passwd", v.file(999))
	again := &versions{dir: v.dir}
	all, err := again.list()
	if err != nil || len(all) != maxVersions-1 || all[len(all)-1].ID != maxVersions+30 {
		t.Errorf("%v %d", err, len(all))
	}
	if err := again.keep(keptVersion{Sum: fmt.Sprint(maxVersions + 29), Files: []configText{{"config.toml", ""}}}); err != nil || len(again.all) != maxVersions-1 {
		t.Error("the newest is kept twice")
	}
}

// Files are made, filled, emptied and removed on the page, and the versions know them: what was
// removed comes back, and what came since goes.
func TestFilesAreMadeAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, _, stop := edited(t, dir, "include = [\"rules/*.toml\"]\n[output.lamp]\npin = \"GPIO5\"\n")
		defer stop()
		garden := filepath.Join(dir, "rules", "garden.toml")
		c, err := p.Configuration(t.Context(), "")
		if err != nil || c.NewIn != "rules/" {
			t.Fatalf("%v %+v", err, c)
		}
		f, err := p.NewConfigFile(t.Context(), "rules/garden.toml")
		if err != nil || f.Name != "rules/garden.toml" || !f.New || f.Locked != "" {
			t.Fatalf("%v %+v", err, f)
		}
		d := web.Draft{File: f.Name, Text: "[link.a]\nfrom = \"a/b\"\nto = \"lmap\"\n"}
		if c, err := p.CheckDraft(t.Context(), d); err != nil || c.OK || c.Mistakes[0].File != "rules/garden.toml" || c.Mistakes[0].Line != 3 {
			t.Errorf("%v %+v", err, c)
		}
		if s, err := p.SaveDraft(t.Context(), d); err != nil || s.Saved || exists(garden) {
			t.Errorf("with a mistake: %v %+v", err, s)
		}
		d.Text = strings.Replace(d.Text, "lmap", "lamp", 1)
		s, err := p.SaveDraft(t.Context(), d)
		if err != nil || !s.Saved || mustRead(t, garden) != d.Text {
			t.Fatalf("%v %+v", err, s)
		}
		if _, err := p.SaveDraft(t.Context(), d); web.StatusOf(err) != http.StatusConflict {
			t.Errorf("made by two: %v", err)
		}
		if r, _ := p.Rules(t.Context()); len(r) != 1 {
			t.Errorf("its rule does not run: %+v", r)
		}
		d.Version = s.Version
		if _, err := p.RemoveFile(t.Context(), d); web.StatusOf(err) != http.StatusConflict || !strings.Contains(err.Error(), "save rules/garden.toml empty first") {
			t.Errorf("not empty: %v", err)
		}
		d.Text = "\n"
		if s, err = p.SaveDraft(t.Context(), d); err != nil || !s.Saved {
			t.Fatalf("%v %+v", err, s)
		}
		if _, err := p.RemoveFile(t.Context(), d); web.StatusOf(err) != http.StatusConflict {
			t.Errorf("as it was before: %v", err)
		}
		d.Version = s.Version
		if s, err := p.RemoveFile(t.Context(), d); err != nil || !s.Saved || exists(garden) {
			t.Fatalf("%v %+v", err, s)
		}
		if _, err := p.RemoveFile(t.Context(), draft(t, p, "config.toml")); web.StatusOf(err) != http.StatusConflict {
			t.Errorf("the main one: %v", err)
		}

		all, err := p.ConfigVersions(t.Context())
		if err != nil || len(all) != 4 || fmt.Sprint(all[0].Changed) != "[rules/garden.toml]" || all[0].Note != "rules/garden.toml removed" {
			t.Fatalf("%v %+v", err, all)
		}
		restore := func(id int) {
			t.Helper()
			one, err := p.ConfigVersion(t.Context(), id)
			if err != nil || len(one.Restores) != 1 {
				t.Fatalf("%v %+v", err, one)
			}
			if s, err := p.RestoreVersion(t.Context(), id, one.Sum, ""); err != nil || !s.Saved {
				t.Fatalf("version %d: %v %+v", id, err, s)
			}
		}
		restore(all[2].ID) // with the link
		if got := mustRead(t, garden); !strings.Contains(got, "[link.a]") {
			t.Error(got)
		}
		restore(all[3].ID) // before it
		if exists(garden) {
			t.Error("it is not removed")
		}

		// With one from before the include that names it a file goes, and so it can come back.
		write := func(d web.Draft) {
			t.Helper()
			if s, err := p.SaveDraft(t.Context(), d); err != nil || !s.Saved {
				t.Fatalf("%v %+v", err, s)
			}
		}
		d = draft(t, p, "config.toml")
		d.Text = "include = [\"more/*.toml\"]\n" + strings.SplitAfterN(d.Text, "\n", 2)[1]
		write(d)
		write(web.Draft{File: "more/a.toml", Text: "[link.b]\nfrom = \"a/b\"\nto = \"lamp\"\n"})
		more := filepath.Join(dir, "more", "a.toml")
		all, err = p.ConfigVersions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			one, err := p.ConfigVersion(t.Context(), all[2].ID)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := p.RestoreVersion(t.Context(), all[2].ID, one.Sum, ""); err != nil || !s.Saved || exists(more) {
				t.Fatalf("before the include: %v %+v", err, s)
			}
			if one, err = p.ConfigVersion(t.Context(), all[0].ID); err != nil {
				t.Fatal(err)
			}
			if s, err := p.RestoreVersion(t.Context(), all[0].ID, one.Sum, ""); err != nil || !s.Saved || !strings.Contains(mustRead(t, more), "link.b") {
				t.Fatalf("with the file: %v %+v", err, s)
			}
		}
	})
}

// What a new file can be called, and where it can lie.
func TestWhatNewFilesAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, out := t.TempDir(), t.TempDir()
		os.Mkdir(filepath.Join(dir, "rules"), 0o755)
		os.Symlink(out, filepath.Join(dir, "rules", "out"))
		os.WriteFile(filepath.Join(dir, "plain"), nil, 0o644)
		p, _, stop := edited(t, dir, stairs)
		stop()
		writeFile(t, dir, "include = [\"rules/*.toml\", \"*/*/*.toml\", \"../*.toml\", \"one.toml\", \".hidden/*.toml\"]\n"+stairs)
		e := p.editing
		d := e.onDisk()
		for name, want := range map[string]string{
			"rules/garden.toml": "", "rules/Küche 2.toml": "", "rules/deep/er.toml": "", "one.toml": "",
			"two.toml": `no include names two.toml`, "other/x.toml": "no include names other/x.toml, so the hub would not read it: first write at the top of config.toml a line such as include = [\"other/*.toml\"]",
			"rules/out/x.toml": "rules/out is no folder", "plain/x/y.toml": "plain is no folder", "config.toml": "there is something called config.toml already",
			"": "can't be called", "../x.toml": "can't be called", "rules/../../x.toml": "can't be called", "/etc/x.toml": "can't be called", "rules/x": "can't be called", "rules/x.toml/": "can't be called",
			"rules/.x.toml": "can't be called", ".hidden/x.toml": "can't be called", "rules/*.toml": "can't be called", "rules/a\nb.toml": "can't be called", "rules//x.toml": "can't be called", "rules/[a].toml": "can't be called",
			"rules/" + strings.Repeat("x", 200) + ".toml": "can't be called", `rules\x.toml`: "can't be called", "rules/x\x00.toml": "can't be called", "-rf/x.toml": "can't be called",
		} {
			file, err := e.fresh(d, name)
			if want == "" && (err != nil || file != filepath.Join(dir, name)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%q: %q %v", name, file, err)
			}
		}
	})
}

// Whatever somebody asks for, a file is made below the folder of the main one, through no link,
// and is one that no program takes for something else.
func FuzzWhatNewFilesAreCalled(f *testing.F) {
	for _, name := range []string{"a/garden.toml", "x.toml", "../x.toml", "l/x.toml", "a/.x.toml", "/x.toml", "a//b.toml", "a/./x.toml", "ä/ö ü.toml", "x.toml/..", "a\\x.toml", "*.toml", "-x.toml"} {
		f.Add(name)
	}
	dir := f.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o755), os.Symlink("/tmp", filepath.Join(dir, "l")), os.WriteFile(filepath.Join(dir, "config.toml"), []byte("include = [\"*.toml\", \"*/*.toml\", \"*/*/*.toml\"]\n"), 0o644)); err != nil {
		f.Fatal(err)
	}
	f.Chdir(dir)
	e := &editing{path: "config.toml"}
	d := e.onDisk()
	f.Fuzz(func(t *testing.T, name string) {
		file, err := e.fresh(d, name)
		if err != nil {
			return
		}
		if file != name || !filepath.IsLocal(file) || filepath.Clean(file) != file || filepath.Ext(file) != ".toml" || strings.HasPrefix(file, "l/") || strings.ContainsAny(file, "\\*?[]\n\"'$`") {
			t.Errorf("%q", file)
		}
		for part := range strings.SplitSeq(file, "/") {
			if strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-") || strings.ContainsFunc(part, unicode.IsControl) {
				t.Errorf("%q", file)
			}
		}
	})
}

// As long as the hub has not taken over what is saved, the power may go: the next start has what
// was before, of all files. Of a file that it takes over nothing is undone.
func TestAPowerCutBeforeItIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		main, second := filepath.Join(dir, "config.toml"), filepath.Join(dir, "second.toml")
		before := "include = [\"second.toml\"]\n# one\n"
		os.WriteFile(second, []byte("# two\n"), 0o644)
		p, _, stop := edited(t, dir, before)
		defer stop()
		os.WriteFile(main, []byte(before+"[output.lamp]\npin = \"GPIO5\"\n"), 0o644)
		os.WriteFile(second, []byte("[link.a]\nfrom = \"a/b\"\nto = \"lamp\"\n"), 0o644)
		if done, err := p.opt.Reload(t.Context()); err != nil || done.Error != "" {
			t.Fatal(err, done)
		}
		obey := p.opt.Reload
		cut := map[string]string{}
		p.opt.Reload = func(ctx context.Context) (control.Reloaded, error) { // at this moment
			for _, file := range []string{main, second} {
				if is := mustRead(t, file); strings.Contains(is, "lamp") {
					t.Errorf("%s is not written: %s", file, is)
				}
			}
			entries, _ := os.ReadDir(dir)
			for _, e := range entries {
				if !e.IsDir() {
					cut[e.Name()] = mustRead(t, filepath.Join(dir, e.Name()))
				}
			}
			return obey(ctx)
		}
		all, _ := p.ConfigVersions(t.Context())
		one, _ := p.ConfigVersion(t.Context(), all[1].ID)
		if s, err := p.RestoreVersion(t.Context(), all[1].ID, one.Sum, ""); err != nil || !s.Saved {
			t.Fatalf("%v %+v", err, s)
		}
		if undone, err := config.Recover(main); err != nil || undone != nil || mustRead(t, main) != before || mustRead(t, second) != "# two\n" {
			t.Errorf("what is in force is undone: %v %v", undone, err)
		}
		for name, text := range cut {
			os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
		if undone, err := config.Recover(main); err != nil || len(undone) != 2 || !strings.Contains(mustRead(t, main), "output.lamp") || !strings.Contains(mustRead(t, second), "link.a") {
			t.Errorf("%v %v", undone, err)
		}
	})
}

// The note of a change that is in force can't be removed: the next save does not undo it, waits
// until that is done, and nothing is undone at a start.
func TestWhatIsInForceIsNotUndoneByTheNextSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		main, note := filepath.Join(dir, "config.toml"), filepath.Join(dir, ".config.toml.change")
		p, _, stop := edited(t, dir, stairs)
		defer stop()
		obey := p.opt.Reload
		noted := ""
		p.opt.Reload = func(ctx context.Context) (control.Reloaded, error) {
			noted = mustRead(t, note)
			if err := errors.Join(os.Remove(note), os.MkdirAll(filepath.Join(note, "in the way"), 0o755)); err != nil {
				t.Fatal(err)
			}
			return obey(ctx)
		}
		d := draft(t, p, "config.toml")
		d.Text += "# one\n"
		s, err := p.SaveDraft(t.Context(), d)
		if err != nil || !s.Saved {
			t.Fatalf("%v %+v", err, s)
		}
		p.opt.Reload = obey
		d.Version, d.Text = s.Version, d.Text+"# two\n"
		if _, err := p.SaveDraft(t.Context(), d); web.StatusOf(err) != http.StatusServiceUnavailable || !strings.Contains(err.Error(), "nothing was saved") {
			t.Errorf("%v", err)
		}
		if err := errors.Join(os.RemoveAll(note), os.WriteFile(note, []byte(noted), 0o600)); err != nil {
			t.Fatal(err)
		}
		if s, err := p.SaveDraft(t.Context(), d); err != nil || !s.Saved || mustRead(t, main) != d.Text {
			t.Errorf("%v %+v", err, s)
		}
		if undone, err := config.Recover(main); err != nil || undone != nil || mustRead(t, main) != d.Text {
			t.Errorf("%v %v", undone, err)
		}
	})
}

// A cover is drawn as it stood and as it would have stood, also where no rule looks at it.
func TestACoverIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const house = `[output.up]
pin = "GPIO5"
[output.down]
pin = "GPIO6"
[interlock.motor]
outputs = ["up", "down"]
gap = "500ms"
[cover.blind]
up = "up"
down = "down"
open_time = "20s"
close_time = "20s"
[rule.sun]
trigger = { state = "a/sun", is = "hot", until = { is = "mild" } }
action = { set = "blind", to = 30 }
done = { set = "blind", to = 100 }
`
		p, _, stop := edited(t, t.TempDir(), house)
		defer stop()
		client, hangUp := connect(t, p.Hub, "sensor", func(*paho.Publish) {})
		defer hangUp()
		time.Sleep(time.Minute)
		publish(t, client, 1, "hearth/blind/set", "OPEN")
		time.Sleep(2 * time.Minute)
		for range 3 {
			publish(t, client, 1, "a/sun", "hot")
			time.Sleep(10 * time.Minute)
			publish(t, client, 1, "a/sun", "mild")
			time.Sleep(10 * time.Minute)
		}
		d := draft(t, p, "config.toml")
		d.Text = strings.Replace(house, "to = 30", "to = 70", 1)
		tried, err := p.TryDraft(t.Context(), d, 1, func(float64) {})
		if err != nil || len(tried.Covers) != 1 {
			t.Fatalf("%v %+v", err, tried)
		}
		c := tried.Covers[0]
		if !c.Differs || c.Runs != 6 || c.WouldRuns != 6 || c.Apart < 29*60 || c.Apart > 31*60 || c.Would <= c.Was {
			t.Errorf("%+v", c)
		}
		var was, would []int64
		for _, s := range c.Stood {
			was = append(was, s[2])
		}
		for _, s := range c.WouldStand {
			would = append(would, s[2])
		}
		if got := fmt.Sprint(was, would); got != "[100 30 100 30 100 30 100] [100 70 100 70 100 70 100]" {
			t.Error(got)
		}
		d.Text = house + "# the same\n"
		tried, err = p.TryDraft(t.Context(), d, 1, func(float64) {})
		if c := tried.Covers[0]; err != nil || c.Differs || c.Apart != 0 || c.Runs != 6 || !tried.Same {
			t.Errorf("the same: %v %+v", err, tried)
		}
	})
}
