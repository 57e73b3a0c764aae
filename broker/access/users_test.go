package access

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"hearth/config"
	"syscall"
)

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// kept is the configuration with nothing but a users file.
func kept(t testing.TB, file string) Config {
	t.Helper()
	var c Config
	if err := c.LoadUsers(file, config.Place{}).Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// The first user is made once, can log in, and may do everything.
func TestTheFirstUser(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "users.toml")
	name, password, made, err := EnsureUser(file)
	if err != nil || !made || name != "admin" || len(password) != 20 {
		t.Fatal(name, password, made, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	text := read(t, file)
	if strings.Contains(text, password) {
		t.Error("the password is in the file")
	}
	if _, _, made, err := EnsureUser(file); made || err != nil {
		t.Error("another first user", err)
	}
	if read(t, file) != text {
		t.Error("the file changed")
	}
	d, err := New(kept(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Login(t.Context(), Attempt{User: "admin", Password: []byte(password)}); err != nil {
		t.Error(err)
	}
	if !d.Rights("admin", "x").Publish("a") {
		t.Error("the admin may not publish")
	}

	// A file with mistakes is not taken for one without users.
	write(t, file, "[user.anna]\npasword = \"x\"\n")
	if _, _, made, err := EnsureUser(file); made || err == nil || !strings.Contains(err.Error(), "users.toml:2:1: user.anna.pasword") {
		t.Error(made, err)
	}
}

// Who could read the file can read it after a change, as the group of a hub that does not
// own it.
func TestWhoMayReadTheFileStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	write(t, file, "")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := AddUser(file, "anna", Hash([]byte("secret")), nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Of what a person wrote nothing is lost when users come, change and go.
func TestAPersonsWordsStay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	one, two := cheap("one"), cheap("two")
	write(t, file, `# My users. Ask Anna.

[role.sensor]   # garden
publish = ["tele/%c/#"]

# the phone
[user.anna]
roles = ["admin"] # for now
password = '`+one+`' # of march

# the tap in the garden
[user.tap]
roles = ["sensor"]
`)
	if err := AddUser(file, "ünal's phone", two, []string{"sensor", "admin"}); err != nil {
		t.Fatal(err)
	}
	if err := SetPassword(file, "anna", two); err != nil {
		t.Fatal(err)
	}
	if err := SetPassword(file, "tap", one); err != nil {
		t.Fatal(err)
	}
	want := `# My users. Ask Anna.

[role.sensor]   # garden
publish = ["tele/%c/#"]

# the phone
[user.anna]
roles = ["admin"] # for now
password = "` + two + `" # of march

# the tap in the garden
[user.tap]
password = "` + one + `"
roles = ["sensor"]

[user."ünal's phone"]
password = "` + two + `"
roles = ["sensor", "admin"]
`
	if got := read(t, file); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := RemoveUser(file, "anna"); err != nil {
		t.Fatal(err)
	}
	if err := RemoveUser(file, "ünal's phone"); err != nil {
		t.Fatal(err)
	}
	want = `# My users. Ask Anna.

[role.sensor]   # garden
publish = ["tele/%c/#"]

# the phone
# the tap in the garden
[user.tap]
password = "` + one + `"
roles = ["sensor"]

`
	if got := read(t, file); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for err, want := range map[error]error{
		AddUser(file, "tap", one, nil):    ErrExists,
		SetPassword(file, "anna", one):    ErrMissing,
		RemoveUser(file, "anna"):          ErrMissing,
		RemoveUser(file+".new", "nobody"): ErrMissing,
	} {
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if err := AddUser(file, "a/b", one, nil); err == nil || !strings.Contains(err.Error(), "part of topics") {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Lstat(file + ".new"); err == nil {
		t.Error("removing nobody made a file")
	}
}

// A users file that is a link to another place stays one.
func TestALinkStaysOne(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "elsewhere.toml"), filepath.Join(dir, "users.toml")
	write(t, real, "# here\n")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := AddUser(link, "anna", cheap("x"), nil); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != real {
		t.Error(to, err)
	}
	if text := read(t, real); !strings.HasPrefix(text, "# here\n\n[user.anna]\n") {
		t.Error(text)
	}
}

// What this program can't change without harm it leaves as it is and says so.
func TestWhatIsWrittenOtherwiseStays(t *testing.T) {
	hash := cheap("one")
	for _, text := range []string{
		"user.anna.password = \"" + hash + "\"\n",
		"user = { anna = { password = \"" + hash + "\" } }\n",
		"[user]\nanna = { password = \"" + hash + "\" }\nbert = {}\n",
	} {
		file := filepath.Join(t.TempDir(), "users.toml")
		write(t, file, text)
		if err := RemoveUser(file, "anna"); !errors.Is(err, errHandmade) {
			t.Errorf("%s: %v", text, err)
		}
		if got := read(t, file); got != text {
			t.Errorf("%s\nbecame\n%s", text, got)
		}
		// But a password can be replaced wherever it stands in one piece.
		if err := SetPassword(file, "anna", cheap("two")); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got, want := read(t, file), strings.Replace(text, hash, cheap("two"), 1); got != want {
			t.Errorf("%s\nbecame\n%s", text, got)
		}
	}
	file := filepath.Join(t.TempDir(), "users.toml")
	write(t, file, "[user.anna]\nroles = [\n")
	if err := AddUser(file, "bert", hash, nil); err == nil || !strings.Contains(err.Error(), "users.toml:") {
		t.Error(err)
	}
}

// Whatever is done to the file, it reads as it ought to.
func TestTheFileAsAModel(t *testing.T) {
	names := []string{"anna", "b-2", "C_3", "ü", `q"u\o'te`, "a.b", "user", "with space"}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		file := filepath.Join(dir, "users.toml")
		model := make(map[string]User)
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			hash := cheap(rapid.SampledFrom([]string{"one", "two"}).Draw(rt, "password"))
			_, has := model[name]
			var err error
			var want error
			switch rapid.SampledFrom([]string{"add", "set", "remove"}).Draw(rt, "action") {
			case "add":
				roles := rapid.SliceOfN(rapid.SampledFrom([]string{"admin", `we"ird`}), 0, 2).Draw(rt, "roles")
				if has {
					want = ErrExists
				} else {
					model[name] = User{Password(hash), roles}
				}
				err = AddUser(file, name, hash, roles)
			case "set":
				if !has {
					want = ErrMissing
				} else {
					model[name] = User{Password(hash), model[name].Roles}
				}
				err = SetPassword(file, name, hash)
			case "remove":
				if !has {
					want = ErrMissing
				}
				delete(model, name)
				err = RemoveUser(file, name)
			}
			if !errors.Is(err, want) {
				rt.Fatalf("%v, want %v", err, want)
			}
			var got Kept
			text, _ := os.ReadFile(file)
			if err := config.Parse(file, text, &got).Err(); err != nil {
				rt.Fatal(err)
			}
			if !same(got, Kept{Accounts: Accounts{User: model}}) {
				rt.Fatalf("%v, want %v", got.User, model)
			}
		}
	})
}

// Two that change the file at once wait for each other.
func TestTwoAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := AddUser(file, fmt.Sprint("user", i), cheap("x"), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c := kept(t, file)
	if n := len(c.AllUsers(file)); n != 20 {
		t.Errorf("%d users, want 20", n)
	}
}

// The configuration and the users file are one: roles of either serve users of both,
// and what does not fit is named where it stands.
func TestConfigurationAndFileTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	load := func(text string) (Config, string) {
		var cfg struct {
			Broker Config `toml:"broker"`
		}
		doc := config.Parse("config.toml", []byte(text), &cfg)
		doc.Join(cfg.Broker.LoadUsers(file, doc.Root().Key("broker")))
		var all []string
		for _, m := range append(doc.Mistakes(), doc.Warnings()...) {
			all = append(all, strings.ReplaceAll(m.String(), file, "users.toml"))
		}
		return cfg.Broker, strings.Join(all, "\n")
	}
	write(t, file, "[user.anna]\nroles = [\"reader\", \"writer\"]\n[role.writer]\npublish = [\"a/#\"]\n")
	c, said := load("[broker.role.reader]\nsubscribe = [\"#\"]\n[broker.user.bert]\nroles = [\"writer\"]\n")
	if said != "" {
		t.Fatal(said)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if !d.Rights("anna", "x").Subscribe("#") || !d.Rights("anna", "x").Publish("a/b") || !d.Rights("bert", "x").Publish("a/b") {
		t.Error("roles of the one do not serve users of the other")
	}

	_, said = load("[broker.user.anna]\nroles = [\"writter\"]\n[broker.role.writer]\npublish = []\n")
	if want := `config.toml:2:10: broker.user.anna.roles[1] = "writter": no role has this name, did you mean "writer"?
users.toml:1:7: user.anna = {…}: broker.user.anna has this user too, at config.toml:1:1: want it only once
users.toml:2:10: user.anna.roles[1] = "reader": no role has this name, there are: admin, change, see, use, writer
users.toml:3:7: role.writer = {…}: broker.role.writer has this role too, at config.toml:3:1: want it only once`; said != want {
		t.Errorf("it says\n%s\nwant\n%s", said, want)
	}

	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, said = load("broker.role.reader = {}\n"); !strings.Contains(said, "users.toml has mode 0640") {
		t.Error(said)
	}

	// What may not be read is a doubt of a check, and an error of the hub.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, file); err != nil { // in a circle, which even root can't read
		t.Fatal(err)
	}
	c, said = load("broker.user.bert = { roles = [\"writer\"] }\n")
	if !strings.Contains(said, "warning: broker.users: nobody of the users in it is known here") || strings.Contains(said, "\n") {
		t.Error(said)
	}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "users.toml") {
		t.Error(err)
	}
}

// A password that somebody wrote where its hash belongs is not told on.
func TestMistakesDoNotTellPasswords(t *testing.T) {
	var c struct {
		Broker Config `toml:"broker"`
	}
	for _, value := range []string{`"hunter2"`, `"$argon2id$hunter2"`, `"$hunter2$x"`, `["hunter2"]`} {
		doc := config.Parse("config.toml", []byte("[broker.user.anna]\npassword = "+value+"\n"), &c)
		err := doc.Err()
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.HasPrefix(err.Error(), "config.toml:2:12: broker.user.anna.password: ") {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestRolesAreListed(t *testing.T) {
	c := house(t, "[broker.role.b]\n[broker.role.a]\n")
	var names []string
	for _, r := range c.AllRoles("f") {
		names = append(names, r.Name+" "+r.Where)
	}
	if want := []string{"admin built in", "see built in", "use built in", "change built in", "a [broker]", "b [broker]"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// Roles are changed in place, and nothing else of the file is.
func TestSetRoles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	hash := Hash([]byte("open sesame"))
	before := "# mine\n[user.anna] # the boss\nroles = [\"admin\"]\npassword = '" + hash + "'\n\n[user.bert]\npassword = '" + hash + "'\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		roles []string
	}{{"anna", nil}, {"bert", []string{"a", "b\"c"}}, {"anna", []string{"admin"}}, {"bert", nil}} {
		if err := SetRoles(file, step.name, step.roles); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != before {
		t.Errorf("there and back it is\n%s\n%v", got, err)
	}
	if err := SetRoles(file, "carl", nil); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte("user.anna = { roles = [\n\"admin\" ] }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SetRoles(file, "anna", []string{"x"}); !errors.Is(err, errHandmade) {
		t.Error(err)
	}
}

// Root adds a user to a file in a folder of the hub's, which may have put a link there: root
// must not give away what it leads to.
func TestNothingIsGivenAwayByALink(t *testing.T) {
	theirs, ours := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(ours, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(theirs, 54321, 54321); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(theirs, "users.toml")
	if err := os.Symlink(ours, file+".lock"); err != nil {
		t.Fatal(err)
	}
	if err := AddUser(file, "anna", Hash([]byte("secret")), nil); err == nil || !strings.Contains(err.Error(), "is a link: remove it") {
		t.Errorf("%v", err)
	}
	info, err := os.Stat(ours)
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
		t.Error("the file that a link leads to was given away")
	}
	os.Remove(file + ".lock")
	if err := AddUser(file, "anna", Hash([]byte("secret")), nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, file + ".lock"} {
		if info, err := os.Lstat(name); err != nil || root && info.Sys().(*syscall.Stat_t).Uid != 54321 {
			t.Errorf("%s is not of who owns the folder: %v", name, err)
		}
	}
}
