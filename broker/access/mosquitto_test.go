package access

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/broker/topic"
	"hearth/config"
)

// Hashes of "secret".
const (
	hash7 = "$7$101$O5O1UXZK0A+QKBd5$q07n+vlX+gkKO/6a59KNjecgM15hBsXbegYKP3gy6LJ4awAWi37k2lwhSbzmR65GBd/2jKfzLzNikQFqFBdF5w=="
	hash6 = "$6$o8B2gmMEanQpNkuD$iJ++aRFhSr0XntdSE4xSrEjhDXjLOXa2qrI0zgwZZhBFAB5K9rAQnggLfCtT9W9chGPHpgBT7SieuhU7pXGfng=="
)

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// notes is what is said of the files of a folder.
func notes(m *Moved, dir string) (all []string) {
	for _, n := range m.Notes {
		all = append(all, strings.ReplaceAll(n.String(), dir+"/", ""))
	}
	return all
}

// A Mosquitto with a bit of everything moves in: who logs in there logs in here, and
// what can't be moved is told with its line.
func TestAMosquittoMovesIn(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"mosquitto.conf":   "listener 1883\npassword_file passwd\nallow_anonymous true\ninclude_dir conf.d\npsk_file keys\n",
		"conf.d/a.conf":    "acl_file ../acl\nplugin /usr/lib/mosquitto_dynamic_security.so\n",
		"conf.d/README.md": "plugin none\n",
		"passwd":           "# people\nanna:" + hash7 + "\nwasher:" + hash6 + "\na/b:" + hash7 + "\nanna:" + hash6 + "\nnobody:" + hash7 + "\n",
		"acl": `# who may what
topic read weather/#
topic deny weather/secret

user anna
topic #
topic read $SYS/#
topic write $CONTROL/dynamic-security/v1
topic deny door/#
topic readwrite 100%/a b

user ghost
topic #
user washer
topic write washer/log

pattern readwrite tele/%u/#
pattern read shared
pattern deny tele/%u/key
pattern write log/x%c/#
`})
	m, err := Mosquitto{Conf: filepath.Join(dir, "mosquitto.conf")}.Read()
	if err != nil {
		t.Fatal(err)
	}
	want := `[role.anonymous]
publish = ["log/x%c/#"]
subscribe = ["weather/#", "shared"]
except = ["weather/secret"]

[role.mosquitto]
publish = ["tele/%u/#", "log/x%c/#"]
subscribe = ["tele/%u/#", "shared"]
except = ["tele/%u/key"]

[role."mosquitto:anna"]
publish = ["#", "100%%/a b"]
subscribe = ["#", "$SYS/#", "100%%/a b"]
except = ["door/#"]

[role."mosquitto:washer"]
publish = ["washer/log"]

[user.anna]
password = "` + hash7 + `"
roles = ["mosquitto:anna", "mosquitto"]

[user.nobody]
password = "` + hash7 + `"
roles = ["mosquitto"]

[user.washer]
password = "` + hash6 + `"
roles = ["mosquitto:washer", "mosquitto"]
`
	if got := m.Text(); got != want {
		t.Errorf("it becomes\n%s\nwant\n%s", got, want)
	}
	wantNotes := []string{
		"acl:2: clients without a login are let in here only if they are on this machine, and with anonymous = true under [broker]; then they have the role anonymous, with what is allowed to them there",
		"acl:8: nobody publishes to $CONTROL/dynamic-security/v1 here: topics that begin with $ are the broker's own",
		`acl:12: user "ghost" has no password, so nobody can log in by it: it is not moved`,
		"acl:18: a pattern without %u and %c; it counts for every user",
		"acl:20: %u and %c are replaced within a level here, which newer Mosquittos do not do",
		"conf.d/a.conf:2: plugin: what a plugin decides can't be read from files: users and rights that it has are not moved",
		`mosquitto.conf:1: listener 1883: where clients come in is listen under [broker] here, as listen = ["0.0.0.0:1883"]; "tls://0.0.0.0:8883" with TLS, "ws://0.0.0.0:8083" for WebSocket`,
		"mosquitto.conf:5: psk_file: TLS with pre-shared keys does not exist here: give these clients passwords or certificates",
		`passwd:4: user "a/b" is not moved: a name is part of topics: want one without / + # and not beginning with $`,
		`passwd:5: user "anna" is here twice; the first line counts, as in Mosquitto`,
	}
	if got := notes(m, dir); !slices.Equal(got, wantNotes) {
		t.Errorf("it says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantNotes, "\n"))
	}

	// In a users file that has something already: what is there stays.
	file := filepath.Join(dir, "users.toml")
	if err := AddUser(file, "anna", Hash([]byte("hers")), []string{Admin}); err != nil {
		t.Fatal(err)
	}
	kept, err := m.Save(file, false)
	if err != nil || !slices.Equal(kept, []string{"anna"}) {
		t.Errorf("kept %q, %v", kept, err)
	}
	if text, _ := os.ReadFile(file); strings.Contains(string(text), "mosquitto:anna") || !strings.Contains(string(text), "[user.washer]") {
		t.Errorf("the users file is\n%s", text)
	}
	changed := *m
	changed.Role = map[string]Role{movedRole: {Publish: []string{"other"}}}
	changed.User = map[string]User{"newcomer": {Password: hash7, Roles: []string{movedRole}}}
	if _, err := changed.Save(file, false); err == nil || !strings.Contains(err.Error(), "says something else: mosquitto") {
		t.Errorf("a role was changed for all: %v", err)
	}
	for range 2 { // the second changes nothing
		if kept, err := m.Save(file, true); err != nil || len(kept) > 0 {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
	text, _ := os.ReadFile(file)
	if n := strings.Count(string(text), "[user.anna]"); n != 1 || !strings.Contains(string(text), hash7) {
		t.Errorf("the users file is\n%s", text)
	}
	var c Config
	if doc := c.LoadUsers(file, config.Place{}); doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anna", "washer", "nobody"} {
		if user, err := d.Login(t.Context(), Attempt{User: name, Password: []byte("secret")}); err != nil || user != name {
			t.Errorf("%s logs in as %q, %v", name, user, err)
		}
	}
	if r := d.Rights("anna", "x"); r.Publish("door/lock") || !r.Publish("100%/a b") || !r.Receive("$SYS/broker/version") || r.Receive("tele/anna/key") != true {
		t.Error("anna may do what she may not, or not what she may")
	}
}

// What Mosquitto itself would not take is no import, and no error shows a password.
func TestMosquittosThatAreBroken(t *testing.T) {
	for want, files := range map[string]map[string]string{
		`passwd:1: want NAME:HASH`: {"passwd": "hunter2\n"},
		`passwd:1: the password of user "anna" is no hash: ` + "`mosquitto_passwd -U` makes one of each": {"passwd": "anna:hunter2\n"},
		`passwd:2: the password of user "bert": 9999999 rounds would take too long`:                      {"passwd": "anna:" + hash7 + "\nbert:$7$9999999$c29tZXNhbHQ=$hunter2\n"},
		`acl:1: "topics" is unknown, want user, topic or pattern`:                                        {"acl": "topics read a\n"},
		`acl:2: "reed" is unknown, want read, write, readwrite or deny`:                                  {"acl": "user anna\ntopic reed a/b\n"},
		`acl:1: want a topic after topic`:                                                                {"acl": "topic\n"},
		`acl:1: "a/#/b": `:                                                                               {"acl": "topic a/#/b\n"},
		`deny ` + strings.Repeat("a", 600) + ` can't be said here`:                                       {"acl": "topic deny " + strings.Repeat("a", 600) + "\n"},
		`conf:3: there are several of password_file`:                                                     {"conf": "password_file a\nlistener 1884\npassword_file b\n"},
		`names neither a password_file nor an acl_file`:                                                  {"conf": "listener 1883\n"},
		`include_dir goes round in circles`:                                                              {"conf": "include_dir .\n", "x.conf": "include_dir .\n"},
		`want text in UTF-8`:                                                                             {"acl": "topic \xff\n"},
	} {
		dir := writeFiles(t, files)
		m := Mosquitto{Passwd: filepath.Join(dir, "passwd"), ACL: filepath.Join(dir, "acl")}
		for file, path := range map[string]*string{"passwd": &m.Passwd, "acl": &m.ACL} {
			if _, ok := files[file]; !ok {
				*path = ""
			}
		}
		if _, ok := files["conf"]; ok {
			m.Conf = filepath.Join(dir, "conf")
		}
		_, err := m.Read()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v: %v, want %q", files, err, want)
		}
	}
}

// A line of an ACL file, for the model below.
type aclLine struct {
	user         string // "" before the first user
	pattern      bool
	kind, filter string
}

// mosquittoAllows is what Mosquitto does with its lines (mosquitto.conf(5), acl_file):
// of the client's own lines denials come first, then what allows; then the same with the
// patterns.
func mosquittoAllows(lines []aclLine, user, client, to string, write bool) bool {
	for _, patterns := range []bool{false, true} {
		for _, deny := range []bool{true, false} {
			for _, l := range lines {
				filter := l.filter
				if l.pattern != patterns || !patterns && l.user != user || deny != (l.kind == "deny") {
					continue
				}
				if patterns {
					if strings.Contains(filter, "%u") && user == "" {
						continue
					}
					filter = strings.NewReplacer("%u", user, "%c", client).Replace(filter)
				}
				switch {
				case !topic.Match(filter, to):
				case deny:
					return false
				case write && l.kind != "read" || !write && l.kind != "write":
					return true
				}
			}
		}
	}
	return false
}

// Whatever stands in an ACL file, here every user may do with every topic just what
// Mosquitto allows.
func TestRightsAreMosquittos(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	users := []string{"anna", "bert", "carl"}
	var topics []string
	for _, a := range []string{"a", "b", "anna", "bert", "c1", "%u"} {
		topics = append(topics, a)
		for _, b := range []string{"a", "anna", "c1"} {
			topics = append(topics, a+"/"+b, a+"/"+b+"/a")
		}
	}
	allowed, all := 0, 0
	for n := range 1000 {
		var lines []aclLine
		var text strings.Builder
		user := ""
		for range 1 + rng.IntN(9) {
			if rng.IntN(3) == 0 {
				user = pick(users...)
				fmt.Fprintf(&text, "user %s\n", user)
			}
			levels := []string{"a", "b", "anna", "bert", "+", "+", "c1", "%u"}
			l := aclLine{user: user, pattern: rng.IntN(3) == 0, kind: pick("read", "write", "readwrite", "deny")}
			if l.pattern {
				levels = append(levels, "%u", "%c", "%c")
			}
			l.filter = pick(append(levels, "#")...)
			for l.filter != "#" && !strings.HasSuffix(l.filter, "/#") && rng.IntN(2) == 0 {
				l.filter += "/" + pick(append(levels, "#")...)
			}
			word := "topic"
			if l.pattern {
				word = "pattern"
			}
			fmt.Fprintf(&text, "%s %s %s\n", word, l.kind, l.filter)
			lines = append(lines, l)
		}
		// Denying patterns are the one thing that is not moved exactly for who has no name,
		// and it is told.
		anonymous := !slices.ContainsFunc(lines, func(l aclLine) bool { return l.pattern && l.kind == "deny" })
		passwd := ""
		for _, u := range users {
			passwd += u + ":" + hash7 + "\n"
		}
		moving := newMoving()
		if err := errors.Join(moving.passwd("passwd", passwd), moving.acl("acl", text.String())); err != nil {
			t.Fatalf("%v\n%s", err, &text)
		}
		m := moving.moved("acl", "true")
		yes := true
		c := Config{Anonymous: &yes}
		if err := config.Parse("users.toml", []byte(m.Text()), &c.file).Err(); err != nil {
			t.Fatalf("%v\n%s", err, &text)
		}
		d, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, user := range append(users, "") {
			if user == "" && !anonymous {
				continue
			}
			r := d.Rights(user, "c1")
			for _, to := range topics {
				for _, write := range []bool{true, false} {
					is := r.Receive(to)
					if write {
						is = r.Publish(to)
					}
					all++
					want := mosquittoAllows(lines, user, "c1", to, write)
					if want {
						allowed++
					}
					if is != want {
						t.Fatalf("file %d: user %q, topic %s, write %v: %v here, %v in Mosquitto\n%s\n%s", n, user, to, write, is, want, &text, m.Text())
					}
				}
			}
		}
	}
	t.Logf("%d of %d are allowed", allowed, all)
}

// No file takes the import down, and what it makes can be read.
func FuzzMosquitto(f *testing.F) {
	f.Add("anna:"+hash7+"\n", "topic a\nuser anna\ntopic deny b\npattern read %u/#\n")
	f.Fuzz(func(t *testing.T, passwd, acl string) {
		r := newMoving()
		if r.passwd("passwd", passwd) != nil || r.acl("acl", acl) != nil {
			return
		}
		var c Config
		text := r.moved("acl", "true").Text()
		if err := config.Parse("users.toml", []byte(text), &c.file).Err(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		c.checkRoles(c.file.User, config.Place{})
		if _, err := New(c); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	})
}
