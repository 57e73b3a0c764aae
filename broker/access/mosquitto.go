package access

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"hearth/broker/topic"
)

// Mosquitto names the files in which a Mosquitto has its users and their rights, in the
// formats of mosquitto_passwd(1) and mosquitto.conf(5). "" is none.
type Mosquitto struct {
	Conf   string // which may name the other two
	Passwd string
	ACL    string
}

// Moved is what a Mosquitto's users are here, and what is to be known of it.
//
// In Mosquitto a user may do what its own topic lines allow, else what the patterns
// allow; a topic that its own lines deny is denied in both, one that a pattern denies
// only in the patterns. Here what a role excepts it takes out of that role alone. So
// a user gets a role of its own lines, and one of the patterns from which both are
// excepted; without deny lines of its own that is the same for all.
type Moved struct {
	User  map[string]User
	Role  map[string]Role
	Notes []Note
}

// A Note is about a line that means something else here, or nothing.
type Note struct {
	File string
	Line int // 0: about the whole
	Text string
	Lost bool // what it says is not moved
}

func (n Note) String() string {
	switch {
	case n.Line > 0:
		return fmt.Sprintf("%s:%d: %s", n.File, n.Line, n.Text)
	case n.File != "":
		return n.File + ": " + n.Text
	}
	return n.Text
}

// The names of roles that come from a Mosquitto. Its users have no colon in their names.
const (
	movedRole    = "mosquitto"
	ownMoved     = movedRole + ":"
	patternMoved = ":patterns"
)

// mosquittoLimit is how large the files may be.
const mosquittoLimit = 1 << 20

// Read reads the files. An error is one that is to be mended first: a file that can't
// be read, or that Mosquitto itself would not take.
func (m Mosquitto) Read() (*Moved, error) {
	r := newMoving()
	anonymous := ""
	if m.Conf != "" {
		c := conf{r: r, values: map[string]string{}}
		if err := c.read(m.Conf, 0); err != nil {
			return nil, err
		}
		for _, f := range []struct {
			into *string
			key  string
		}{{&m.Passwd, "password_file"}, {&m.ACL, "acl_file"}} {
			if *f.into == "" {
				*f.into = c.values[f.key]
			}
		}
		anonymous = c.values["allow_anonymous"]
		if m.Passwd == "" && m.ACL == "" {
			return nil, fmt.Errorf("%s names neither a password_file nor an acl_file, so there are no users in it", m.Conf)
		}
	}
	for _, f := range []struct {
		file string
		read func(file, text string) error
	}{{m.Passwd, r.passwd}, {m.ACL, r.acl}} {
		if f.file == "" {
			continue
		}
		text, err := readText(f.file)
		if err == nil {
			err = f.read(f.file, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return r.moved(m.ACL, anonymous), nil
}

func newMoving() *moving {
	return &moving{Moved: Moved{User: map[string]User{}, Role: map[string]Role{}}, own: map[string]*acl{}, firstName: map[string]int{}}
}

// moved is all that was read of users and of an ACL file, if there is one.
func (r *moving) moved(file, anonymous string) *Moved {
	r.roles(file, anonymous)
	slices.SortStableFunc(r.Notes, func(a, b Note) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Line - b.Line
	})
	return &r.Moved
}

// moving is a Moved while it is read.
type moving struct {
	Moved
	own       map[string]*acl // by user; "" is who gives no name
	patterns  acl
	firstName map[string]int // the line on which the ACL file first names a user
}

// An acl is lines of one user, or the patterns.
type acl struct {
	publish, subscribe, deny []string
	line                     int
}

func (a *acl) empty() bool { return a == nil || len(a.publish)+len(a.subscribe)+len(a.deny) == 0 }

func (r *moving) note(file string, line int, lost bool, format string, args ...any) {
	r.Notes = append(r.Notes, Note{file, line, fmt.Sprintf(format, args...), lost})
}

// readText reads a file of theirs.
func readText(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > mosquittoLimit {
		return "", fmt.Errorf("%s: want a file of at most %d MiB", file, mosquittoLimit>>20)
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

// eachLine calls f with the lines of a file that are neither empty nor comments.
func eachLine(file, text string, f func(n int, line string) error) error {
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return fmt.Errorf("%s: want text in UTF-8", file)
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimRight(line, "\r\n"); line == "" || line[0] == '#' || strings.TrimSpace(line) == "" {
			continue
		}
		if err := f(n, line); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	return nil
}

// passwd reads a file of mosquitto_passwd. Its errors never show a password.
func (r *moving) passwd(file, text string) error {
	return eachLine(file, text, func(n int, line string) error {
		name, hash, ok := strings.Cut(line, ":")
		if !ok {
			return errors.New("want NAME:HASH, as mosquitto_passwd writes it")
		}
		if fault := nameFault(name); fault != "" {
			r.note(file, n, true, "user %q is not moved: %s", name, fault)
			return nil
		}
		if role := ownMoved + name + patternMoved; len(role) > longestName {
			r.note(file, n, true, "user %q is not moved: its name is too long, want at most %d bytes", name, longestName-len(role)+len(name))
			return nil
		}
		if _, twice := r.User[name]; twice {
			r.note(file, n, true, "user %q is here twice; the first line counts, as in Mosquitto", name)
			return nil
		}
		hash = strings.TrimSpace(hash)
		if hash == "" || hash[0] != '$' {
			return fmt.Errorf("the password of user %q is no hash: `mosquitto_passwd -U` makes one of each", name)
		}
		if _, err := parsePHC(hash); err != nil {
			return fmt.Errorf("the password of user %q: %w", name, err)
		}
		r.User[name] = User{Password: Password(hash)}
		return nil
	})
}

// acl reads an ACL file.
func (r *moving) acl(file, text string) error {
	user := ""
	return eachLine(file, text, func(n int, line string) error {
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		switch word {
		case "user":
			if rest == "" {
				return errors.New("want a name after user")
			}
			user = rest
			if r.firstName[user] == 0 {
				r.firstName[user] = n
			}
			if r.own[user] == nil {
				r.own[user] = new(acl)
			}
			return nil
		case "topic", "pattern":
			return r.aclLine(file, n, user, word, rest)
		}
		return fmt.Errorf("%q is unknown, want user, topic or pattern", word)
	})
}

func (r *moving) aclLine(file string, n int, user, word, rest string) error {
	kind, filter, more := strings.Cut(rest, " ")
	filter = strings.TrimSpace(filter)
	if !more || filter == "" {
		kind, filter = "readwrite", rest
	}
	if filter == "" {
		return fmt.Errorf("want a topic after %s", word)
	}
	if !slices.Contains([]string{"read", "write", "readwrite", "deny"}, kind) {
		return fmt.Errorf("%q is unknown, want read, write, readwrite or deny", kind)
	}
	if why := topic.Fault(filter, true, 65535, 65535); why != "" {
		return fmt.Errorf("%q: %s", filter, why)
	}
	rule := strings.ReplaceAll(filter, "%", "%%")
	if word == "pattern" {
		rule = strings.NewReplacer("%%u", "%u", "%%c", "%c").Replace(rule)
		if rule == strings.ReplaceAll(filter, "%", "%%") {
			r.note(file, n, false, "a pattern without %%u and %%c; it counts for every user")
		}
		for level := range strings.SplitSeq(filter, "/") {
			if level != "%u" && level != "%c" && (strings.Contains(level, "%u") || strings.Contains(level, "%c")) {
				r.note(file, n, false, "%%u and %%c are replaced within a level here, which newer Mosquittos do not do")
				break
			}
		}
	}
	if fault := ruleFault(rule); fault != "" {
		if kind == "deny" {
			return fmt.Errorf("deny %s can't be said here, and would be allowed if it were left out: %s", filter, fault)
		}
		r.note(file, n, true, "%s is not moved: %s", filter, fault)
		return nil
	}
	to := &r.patterns
	if word == "topic" {
		if r.own[user] == nil {
			r.own[user] = new(acl)
		}
		to = r.own[user]
	}
	if to.line == 0 {
		to.line = n
	}
	add := func(list *[]string) {
		if !slices.Contains(*list, rule) {
			*list = append(*list, rule)
		}
	}
	if strings.HasPrefix(filter, "$") && (kind == "write" || kind == "readwrite") {
		r.note(file, n, true, "nobody publishes to %s here: topics that begin with $ are the broker's own", filter)
		if kind == "write" {
			return nil
		}
		kind = "read"
	}
	switch kind {
	case "deny":
		add(&to.deny)
	case "read":
		add(&to.subscribe)
	case "write":
		add(&to.publish)
	default:
		add(&to.publish)
		add(&to.subscribe)
	}
	return nil
}

// roles gives the users their roles, by what was read.
func (r *moving) roles(file, anonymous string) {
	if file == "" { // Mosquitto checks nothing then
		for name, u := range r.User {
			u.Roles = []string{Admin}
			r.User[name] = u
		}
		r.note("", 0, false, "there is no ACL file, so in Mosquitto everybody may do everything: all get the role admin")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(r.own)) {
		if _, ok := r.User[name]; ok || name == "" {
			continue
		}
		line := r.firstName[name]
		if fault := nameFault(name); fault != "" {
			r.note(file, line, true, "user %q is not moved: %s", name, fault)
		} else {
			r.note(file, line, true, "user %q has no password, so nobody can log in by it: it is not moved", name)
		}
	}
	patterns := func(deny []string) Role { return movedTo(r.patterns.publish, r.patterns.subscribe, deny) }
	shared := patterns(r.patterns.deny)
	sharedUsed := false
	for _, name := range slices.Sorted(maps.Keys(r.User)) {
		u, own := r.User[name], r.own[name]
		if own.empty() {
			own = new(acl)
		}
		if len(own.publish)+len(own.subscribe) > 0 {
			r.Role[ownMoved+name] = movedTo(own.publish, own.subscribe, own.deny)
			u.Roles = append(u.Roles, ownMoved+name)
		}
		if len(shared.Publish)+len(shared.Subscribe) > 0 {
			role := movedRole
			if without := patterns(union(r.patterns.deny, own.deny)); !slices.Equal(without.Except, shared.Except) {
				role = ownMoved + name + patternMoved
				r.Role[role] = without
			} else {
				sharedUsed = true
			}
			u.Roles = append(u.Roles, role)
		}
		if len(u.Roles) == 0 {
			r.note(file, 0, false, "nothing is allowed to user %q", name)
		}
		r.User[name] = u
	}
	if sharedUsed {
		r.Role[movedRole] = shared
	}
	for name, role := range r.Role { // what excepts all that it allows is a mistake here, and says nothing
		if role.nothing() {
			delete(r.Role, name)
			for user, u := range r.User {
				u.Roles = slices.DeleteFunc(u.Roles, func(is string) bool { return is == name })
				r.User[user] = u
			}
		}
	}
	r.anonymous(file, anonymous)
}

// nothing says whether a role allows nothing, since it excepts all.
func (r Role) nothing() bool {
	return !slices.ContainsFunc(slices.Concat(r.Publish, r.Subscribe), func(rule string) bool { return !some(r.Except, rule, topic.Covers) })
}

// movedTo is a role that allows what lines allow, but what others deny. What these deny of
// nothing that is allowed stays out: it would be a doubt at every start.
func movedTo(publish, subscribe, deny []string) Role {
	allowed := slices.Concat(publish, subscribe)
	except := slices.DeleteFunc(slices.Clone(deny), func(rule string) bool { return !meetsSome(allowed, rule) })
	return Role{Publish: publish, Subscribe: subscribe, Except: except}
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// anonymous makes the role of clients without a login, which is one alone.
func (r *moving) anonymous(file, allowed string) {
	own := r.own[""]
	switch {
	case own.empty() && allowed != "true":
		return
	case own.empty():
		own = new(acl)
	}
	if allowed == "false" {
		r.note(file, own.line, true, "topics for clients without a login, which are not let in there (allow_anonymous false): they are not moved")
		return
	}
	named := func(rule string) bool { return names(rule, "%u") } // counts for those who have a name
	without := func(rules []string) []string { return slices.DeleteFunc(slices.Clone(rules), named) }
	role := movedTo(union(own.publish, without(r.patterns.publish)), union(own.subscribe, without(r.patterns.subscribe)), union(own.deny, without(r.patterns.deny)))
	if role.nothing() {
		role = Role{} // which has to be there: without it they might do everything
	}
	r.Role[anonymousRole] = role
	r.note(file, own.line, true, "clients without a login are let in here only if they are on this machine, and with anonymous = true under [broker]; then they have the role anonymous, with what is allowed to them there")
	if len(without(r.patterns.deny)) > 0 {
		r.note(file, own.line, false, "a pattern denies more to clients without a login than in Mosquitto, where their own topics go before it")
	}
}

// conf reads a mosquitto.conf for what is about users.
type conf struct {
	r      *moving
	values map[string]string // of keys that are read
}

// What else decides who may do what, and what becomes of it.
var otherKeys = map[string]string{
	"plugin":                         "what a plugin decides can't be read from files: users and rights that it has are not moved",
	"auth_plugin":                    "what a plugin decides can't be read from files: users and rights that it has are not moved",
	"global_plugin":                  "what a plugin decides can't be read from files: users and rights that it has are not moved",
	"psk_file":                       "TLS with pre-shared keys does not exist here: give these clients passwords or certificates",
	"use_identity_as_username":       "a certificate's name is a login here for a user of that name, which has to be there: hearth user add",
	"use_subject_as_username":        "a certificate's subject is no login here; its common name is",
	"use_username_as_clientid":       "a client's id stays its own here: write %u where rules say %c",
	"clientid_prefixes":              "clients are not chosen by their id here",
	"auth_plugin_deny_special_chars": "",
}

// What a Mosquitto's other settings are here. They are no users, so they are for the reader to write.
var toWrite = map[string]string{
	"listener":            `where clients come in is listen under [broker] here, as listen = ["0.0.0.0:1883"]; "tls://0.0.0.0:8883" with TLS, "ws://0.0.0.0:8083" for WebSocket`,
	"cafile":              "the CAs of clients' certificates are client_ca under [broker.tls] here",
	"certfile":            "the broker's certificate is certificate under [broker.tls] here",
	"keyfile":             "the key of the broker's certificate is key under [broker.tls] here",
	"require_certificate": `clients that have to show a certificate are client = "required" under [broker.tls] here, for all its listeners`,
	"persistence":         "what is retained or queued is always kept here, in data under [hub]",
}

func (c *conf) read(file string, depth int) error {
	text, err := readText(file)
	if err != nil {
		return err
	}
	return eachLine(file, text, func(n int, line string) error {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "include_dir":
			if depth > 10 {
				return errors.New("include_dir goes round in circles")
			}
			files, err := filepath.Glob(filepath.Join(c.path(file, value), "*.conf"))
			if err != nil {
				return err
			}
			for _, f := range files {
				if err := c.read(f, depth+1); err != nil {
					return err
				}
			}
		case "password_file", "acl_file":
			value = c.path(file, value)
			if was, twice := c.values[key]; twice && was != value {
				return fmt.Errorf("there are several of %s, for several listeners: say which with --passwd and --acl, one import for each", key)
			}
			c.values[key] = value
		case "allow_anonymous":
			if was, twice := c.values[key]; twice && was != value {
				value = "" // by listener
			}
			c.values[key] = value
		default:
			if text := toWrite[key]; text != "" && value != "false" {
				c.r.note(file, n, false, "%s: %s", strings.TrimSpace(key+" "+value), text)
			}
			if text := otherKeys[key]; text != "" && value != "false" {
				c.r.note(file, n, true, "%s: %s", key, text)
			}
		}
		return nil
	})
}

// path is that of a file that a configuration names: from where Mosquitto was started,
// which nobody knows, or from beside the configuration.
func (c *conf) path(of, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	beside := filepath.Join(filepath.Dir(of), name)
	if _, err := os.Stat(beside); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return beside
}
