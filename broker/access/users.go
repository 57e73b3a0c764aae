package access

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"

	"hearth/config"
)

// head is what a new users file begins with.
const head = `# Who may log in to this hub: docs/access.md tells how it works.
# ` + "`hearth user add|passwd|remove`" + ` changes this file and leaves the rest of it as it is.
# A running hub takes it up with: systemctl reload hearth

`

// A change of the users file fails with one of these, or because of the disk.
var (
	ErrExists  = errors.New("there is a user of this name already")
	ErrMissing = errors.New("there is no user of this name")
)

// AddUser writes a new user to the users file, which it makes if there is none.
func AddUser(file, name, hash string, roles []string) error {
	if fault := nameFault(name); fault != "" {
		return errors.New(fault)
	}
	return edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		if _, ok := has.User[name]; ok {
			return "", ErrExists
		}
		if has.User == nil {
			has.User = make(map[string]User)
		}
		has.User[name] = User{Password: Password(hash), Roles: roles}
		if text == "" {
			text = head
		} else {
			text = strings.TrimRight(text, "\n") + "\n\n"
		}
		text += fmt.Sprintf("[user.%s]\npassword = %s\n", key(name), quote(hash))
		return text + rolesLine(roles), nil
	})
}

// rolesLine is how roles stand in a users file; "" for none.
func rolesLine(roles []string) string {
	if len(roles) == 0 {
		return ""
	}
	return "roles = [" + quoted(roles) + "]\n"
}

// SetRoles gives a user of the users file other roles in place of those it has.
func SetRoles(file, name string, roles []string) error {
	return edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		u, ok := has.User[name]
		if !ok {
			return "", ErrMissing
		}
		u.Roles = roles
		has.User[name] = u
		at := doc.Root().Key("user").Key(name)
		lines := strings.SplitAfter(text, "\n")
		n, key := at.Position().Line, "["
		if at.Key("roles").Given() {
			n, key = at.Key("roles").Position().Line, "roles"
		}
		if n > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[n-1]), key) {
			return "", errHandmade
		}
		if key == "roles" {
			lines[n-1] = rolesLine(roles)
		} else {
			lines[n-1] = strings.TrimRight(lines[n-1], "\r\n") + "\n"
			lines = slices.Insert(lines, n, rolesLine(roles))
		}
		return strings.Join(lines, ""), nil
	})
}

// SetPassword gives a user of the users file another password.
func SetPassword(file, name, hash string) error {
	return setPassword(file, name, hash, func(string) bool { return true })
}

// ReplaceHash writes another hash of the same password in the place of was. It does
// nothing, with ErrMissing, if that is not in the users file any more, or never was.
func ReplaceHash(file, name, was, hash string) error {
	return setPassword(file, name, hash, func(is string) bool { return is == was })
}

func setPassword(file, name, hash string, fits func(was string) bool) error {
	return edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		u, ok := has.User[name]
		if !ok || !fits(string(u.Password)) {
			return "", ErrMissing
		}
		was := string(u.Password)
		u.Password = Password(hash)
		has.User[name] = u
		at := doc.Root().Key("user").Key(name)
		lines := strings.SplitAfter(text, "\n")
		if !at.Key("password").Given() {
			n := at.Position().Line
			if n > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[n-1]), "[") {
				return "", errHandmade
			}
			lines[n-1] = strings.TrimRight(lines[n-1], "\r\n") + "\n"
			return strings.Join(slices.Insert(lines, n, "password = "+quote(hash)+"\n"), ""), nil
		}
		pos := at.Key("password").Position()
		if pos.Line > len(lines) {
			return "", errHandmade
		}
		line := []rune(lines[pos.Line-1]) // columns count characters
		before := min(pos.Column-1, len(line))
		rest := string(line[before:])
		for _, q := range []string{`"`, `'`} {
			if after, ok := strings.CutPrefix(rest, q+was+q); ok {
				lines[pos.Line-1] = string(line[:before]) + quote(hash) + after
				return strings.Join(lines, ""), nil
			}
		}
		return "", errHandmade
	})
}

// RemoveUser takes a user out of the users file.
func RemoveUser(file, name string) error {
	return edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		if _, ok := has.User[name]; !ok {
			return "", ErrMissing
		}
		delete(has.User, name)
		return cut(text, doc.Root().Key("user").Key(name))
	})
}

// cut takes a table out of text.
func cut(text string, table config.Place) (string, error) {
	first := table.Position().Line
	lines := strings.SplitAfter(text, "\n")
	if first > len(lines) || !strings.HasPrefix(strings.TrimSpace(lines[first-1]), "[") {
		return "", errHandmade
	}
	// To the next table, but without what is said above that.
	end := first
	for end < len(lines) && !strings.HasPrefix(strings.TrimSpace(lines[end]), "[") {
		end++
	}
	if end < len(lines) {
		for end > first && strings.HasPrefix(strings.TrimSpace(lines[end-1]), "#") {
			end--
		}
	}
	return strings.Join(slices.Delete(lines, first-1, end), ""), nil
}

// Save writes users and roles to the users file. A user that is there already stays as it
// is and is in kept, unless replace says otherwise; with a role that is there and
// says something else nothing is written, unless replace.
func (m *Moved) Save(file string, replace bool) (kept []string, err error) {
	err = edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		kept = nil
		add := Accounts{User: map[string]User{}, Role: map[string]Role{}}
		needed := map[string]bool{anonymousRole: true}
		for name, u := range m.User {
			if _, there := has.User[name]; there && !replace {
				kept = append(kept, name)
				continue
			}
			add.User[name] = u
			for _, role := range u.Roles {
				needed[role] = true
			}
		}
		slices.Sort(kept)
		var other []string
		for name, role := range m.Role {
			was, there := has.Role[name]
			switch {
			case !needed[name], there && sameRole(was, role):
				continue
			case there && !replace:
				other = append(other, name)
			}
			add.Role[name] = role
		}
		if len(other) > 0 {
			slices.Sort(other)
			return "", fmt.Errorf("a role of this name is there already and says something else: %s; --replace would change it for all who have it", strings.Join(other, ", "))
		}
		if text == "" {
			text = head
		}
		take := func(kind, name string) (err error) {
			var now Kept
			if at := config.Parse(file, []byte(text), &now).Root().Key(kind).Key(name); at.Given() {
				text, err = cut(text, at)
			}
			return err
		}
		for name := range add.Role {
			if err := take("role", name); err != nil {
				return "", err
			}
		}
		for name := range add.User {
			if err := take("user", name); err != nil {
				return "", err
			}
		}
		if has.User == nil {
			has.User = map[string]User{}
		}
		if has.Role == nil {
			has.Role = map[string]Role{}
		}
		maps.Copy(has.User, add.User)
		maps.Copy(has.Role, add.Role)
		if more := add.text(); more != "" {
			text = strings.TrimRight(text, "\n") + "\n\n" + more
		}
		return text, nil
	})
	return kept, err
}

func sameRole(a, b Role) bool {
	return slices.Equal(a.Publish, b.Publish) && slices.Equal(a.Subscribe, b.Subscribe) && slices.Equal(a.Except, b.Except) && a.Page == b.Page
}

// Text is what Save writes, if nothing of it is there.
func (m *Moved) Text() string { return Accounts{m.User, m.Role}.text() }

// text is how accounts stand in a users file.
func (a Accounts) text() string {
	var tables []string
	for _, name := range slices.Sorted(maps.Keys(a.Role)) {
		t := fmt.Sprintf("[role.%s]\n", key(name))
		for _, list := range a.Role[name].lists() {
			if len(list.filters) > 0 {
				t += list.key + " = [" + quoted(list.filters) + "]\n"
			}
		}
		if page := a.Role[name].Page; page != "" {
			t += "page = " + quote(page) + "\n"
		}
		tables = append(tables, t)
	}
	for _, name := range slices.Sorted(maps.Keys(a.User)) {
		u := a.User[name]
		tables = append(tables, fmt.Sprintf("[user.%s]\npassword = %s\n", key(name), quote(string(u.Password)))+rolesLine(u.Roles))
	}
	return strings.Join(tables, "\n")
}

func quoted(all []string) string {
	q := make([]string, len(all))
	for i, s := range all {
		q[i] = quote(s)
	}
	return strings.Join(q, ", ")
}

// errHandmade is for what can be written in TOML and is not what this program writes.
var errHandmade = errors.New("it is written in a way that only a person can change: do it with an editor")

// edit changes the users file as change says and nothing else in it: what comes out
// must read as change left the accounts. The file is replaced as a whole, so that
// at no moment there is half of one, and two that change it at once wait for each
// other.
func edit(file string, change func(text string, has *Kept, doc *config.Doc) (string, error)) error {
	dir := filepath.Dir(file)
	if err := config.MakeDir(dir); err != nil {
		return err
	}
	// Not the folder itself, which a hub locks for as long as it runs, nor the file,
	// which is another one afterwards.
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return fmt.Errorf("%s.lock is a link: remove it", file)
	} else if err != nil {
		return err
	}
	defer lock.Close()
	if err := config.Own(lock.Chown, dir); err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("%s: lock: %w", file, err)
	}
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var has Kept
	doc := config.Parse(file, text, &has)
	if err := doc.Err(); err != nil {
		return err
	}
	changed, err := change(string(text), &has, doc)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var is Kept
	if err := config.Parse(file, []byte(changed), &is).Err(); err != nil || !same(has, is) {
		return fmt.Errorf("%s: %w", file, errHandmade)
	}
	return replace(file, []byte(changed))
}

func same(a, b Kept) bool {
	plain := func(x Kept) Kept { // an empty table is as none
		y := Kept{Accounts: Accounts{User: map[string]User{}, Role: map[string]Role{}}, Token: map[string]Token{}}
		for name, u := range x.User {
			u.Roles = append([]string{}, u.Roles...)
			y.User[name] = u
		}
		for name, r := range x.Role {
			y.Role[name] = Role{
				Publish: append([]string{}, r.Publish...), Subscribe: append([]string{}, r.Subscribe...), Except: append([]string{}, r.Except...), Page: r.Page,
			}
		}
		for name, t := range x.Token {
			t.Roles = append([]string{}, t.Roles...)
			y.Token[name] = t
		}
		return y
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

// replace writes the users file. It belongs to who owned the old one, or else the folder, and
// who could read the old one can read it: root may call this, and the hub has to read it.
func replace(file string, text []byte) error {
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real // a link stays one
	}
	return config.Replace(file, text, 0, file, filepath.Dir(file))
}

// EnsureUser makes the user admin with a random password, who may do everything, if
// there is no user in the users file. It gives the name and the password, which is
// kept nowhere, and made = true if it did.
func EnsureUser(file string) (name, password string, made bool, err error) {
	var c Config
	if err := c.LoadUsers(file, config.Place{}).Err(); err != nil {
		return "", "", false, err
	}
	if c.unread != nil {
		return "", "", false, c.unread
	}
	if c.AnyUser() {
		return "", "", false, nil
	}
	password = RandomPassword()
	if err := AddUser(file, Admin, Hash([]byte(password)), []string{Admin}); err != nil {
		return "", "", false, err
	}
	return Admin, password, true, nil
}

// key is a name as a TOML key.
func key(name string) string {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return quote(name)
		}
	}
	return name
}

// quote is a text of printable characters in TOML.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Line is what is to be written where a user is declared by hand.
func Line(hash string) string { return "password = " + quote(hash) }
