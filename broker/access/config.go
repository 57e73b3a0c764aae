package access

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"hearth/broker/topic"
	"hearth/config"
)

// Admin is the role that may do everything. It is built in.
const Admin = "admin"

// anonymousRole is, if it is declared, what clients without a login may do.
const anonymousRole = "anonymous"

// Config is the part of [broker] that says who may do what.
type Config struct {
	// Anonymous lets clients of this machine in that give no user name. They may do
	// what the role "anonymous" allows, and if there is none, everything.
	Anonymous *bool `toml:"anonymous"`

	// Users is the file that `hearth user` keeps, relative to the configuration;
	// default users.toml in the data folder.
	Users string `toml:"users" eg:"\"users.toml\""`

	Accounts

	file   Kept  // what is in the users file
	unread error // why that could not be read
}

// Accounts are users and roles, as [broker.user.NAME] and [broker.role.NAME] in the
// configuration or [user.NAME] and [role.NAME] in the users file.
type Accounts struct {
	User map[string]User `toml:"user"`
	Role map[string]Role `toml:"role"`
}

// Kept is what a users file holds. Tokens stand nowhere else: what `hearth token` makes
// it can take back.
type Kept struct {
	Accounts
	Token map[string]Token `toml:"token"`
}

// A User may log in.
type User struct {
	Password Password `toml:"password"` // its hash; without one only a certificate of this name lets it in
	Roles    []string `toml:"roles" eg:"[\"sensor\"]"`
}

// A Role is what those who have it may do: MQTT filters, in which %u is the user's
// name, %c the client's id and %% a percent sign. Except takes topics out of both
// lists and off the page, but nothing from what another role allows.
type Role struct {
	Publish   []string `toml:"publish" eg:"[\"tele/%c/#\"]"`
	Subscribe []string `toml:"subscribe" eg:"[\"cmnd/%c/#\"]"`
	Except    []string `toml:"except" eg:"[\"cmnd/%c/secret\"]"`

	// Page is what they may do on the page: see it, use what is on it, or change the
	// house, too. Default nothing.
	Page string `toml:"page" enum:"see,use,change"`
}

// A Password is kept as its hash. What is wrong with it is told without it, for
// somebody may have written the password itself.
type Password string

// DecodeTOML reads a hash.
func (p *Password) DecodeTOML(v any, at config.Place) {
	at = at.Hidden()
	s, ok := v.(string)
	if !ok {
		at.Mistake("%v", errHash)
		return
	}
	if _, err := parsePHC(s); err != nil {
		at.Mistake("%v", err)
	}
	*p = Password(s)
}

// Check reports what is wrong with names and rules. Whether a role exists is for
// LoadUsers to say.
func (a *Accounts) Check(at config.Place) {
	for name := range a.User {
		if fault := nameFault(name); fault != "" {
			at.Key("user").Key(name).OfKey().Mistake("%s", fault)
		}
	}
	for name, role := range a.Role {
		where := at.Key("role").Key(name)
		if fault := nameFault(name); fault != "" {
			where.OfKey().Mistake("%s", fault)
		}
		if name == Admin {
			where.OfKey().Mistake("the role admin is built in and may do everything: want another name")
		}
		sound := true
		for _, list := range role.lists() {
			for i, rule := range list.filters {
				if fault := ruleFault(rule); fault != "" {
					where.Key(list.key).Index(i).Mistake("%s", fault)
					sound = false
				}
			}
		}
		if sound {
			role.checkExcept(where)
		}
		for i, rule := range role.Except {
			if name == anonymousRole && names(rule, "%u") {
				where.Key("except").Index(i).Warn("clients without a login have no user name, so the role allows them nothing")
			}
		}
	}
}

// meetsSome says whether an exception takes something from what is allowed.
func meetsSome(allowed []string, except string) bool {
	return slices.ContainsFunc(allowed, func(rule string) bool { return topic.Meet(anyName(rule), anyName(except)) })
}

// A filterList is one of a role's lists, by its key.
type filterList struct {
	key     string
	filters []string
}

func (r Role) lists() []filterList {
	return []filterList{{"publish", r.Publish}, {"subscribe", r.Subscribe}, {"except", r.Except}}
}

// checkExcept says which rules have nothing left.
func (r Role) checkExcept(where config.Place) {
	if len(r.Except) == 0 {
		return
	}
	all := slices.Concat(r.Publish, r.Subscribe)
	gone := func(rule string) bool { return some(r.Except, rule, topic.Covers) }
	switch {
	case len(all) == 0 && r.Page != "":
		return
	case len(all) == 0:
		where.Key("except").Warn("the role allows nothing that could be excepted")
		return
	case r.Page == "" && !slices.ContainsFunc(all, func(rule string) bool { return !gone(rule) }):
		where.Key("except").Mistake("it covers all that the role allows: want a filter that leaves something")
		return
	}
	for i, except := range r.Except {
		if r.Page == "" && !strings.HasPrefix(except, "$") && !meetsSome(all, except) {
			where.Key("except").Index(i).Warn("the role allows nothing of this, so it excepts nothing")
		}
	}
	for _, list := range r.lists()[:2] {
		for i, rule := range list.filters {
			if gone(rule) {
				where.Key(list.key).Index(i).Warn("an exception of the role covers all of it, so it allows nothing")
			}
		}
	}
}

// anyName is a rule with + for each level that has a name in it.
func anyName(rule string) string {
	levels := strings.Split(rule, "/")
	for i, level := range levels {
		if strings.Contains(level, "%") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// longestName is in bytes.
const longestName = 128

// nameFault says what is wrong with the name of a user or a role; "" is nothing.
func nameFault(name string) string {
	switch {
	case name == "":
		return "a name has at least one character"
	case len(name) > longestName:
		return fmt.Sprintf("a name has at most %d bytes", longestName)
	case strings.ContainsAny(name, "/+#") || name[0] == '$':
		return "a name is part of topics: want one without / + # and not beginning with $"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "want a name of printable characters"
	}
	return ""
}

// AnonymousAllowed says whether clients of this machine need no login.
func (c *Config) AnonymousAllowed() bool { return c.Anonymous != nil && *c.Anonymous }

// Unread says why the users file could not be read; nil if it could, or is not there.
func (c *Config) Unread() error { return c.unread }

// AnyUser says whether somebody can log in, by what LoadUsers found.
func (c *Config) AnyUser() bool { return len(c.User)+len(c.file.User) > 0 }

// Declared is a user or a role as it counts, with where it stands.
type Declared[T any] struct {
	Name  string
	Value T
	Where string // "users.toml", "[broker]", "built in"
}

// AllUsers are the users of both places, by name.
func (c *Config) AllUsers(file string) []Declared[User] { return declared(c.User, c.file.User, file) }

// AllTokens are those of the users file, by name.
func (c *Config) AllTokens() []Declared[Token] { return declared(nil, c.file.Token, "") }

// AllRoles are the roles of both places by name, after those that are built in.
func (c *Config) AllRoles(file string) []Declared[Role] {
	all := []Declared[Role]{{Admin, Role{Publish: []string{"#"}, Subscribe: []string{"#"}, Page: Change.String()}, "built in"}}
	own := declared(c.Role, c.file.Role, file)
	for p := See; p <= Change; p++ {
		if !slices.ContainsFunc(own, func(d Declared[Role]) bool { return d.Name == p.String() }) {
			all = append(all, Declared[Role]{p.String(), Role{Page: p.String()}, "built in"})
		}
	}
	return append(all, own...)
}

func declared[T any](config, kept map[string]T, file string) (all []Declared[T]) {
	for name, v := range config {
		all = append(all, Declared[T]{name, v, "[broker]"})
	}
	for name, v := range kept {
		if _, twice := config[name]; !twice {
			all = append(all, Declared[T]{name, v, file})
		}
	}
	slices.SortFunc(all, func(a, b Declared[T]) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// LoadUsers reads the users file, which need not exist, and reports at at, the
// [broker] of the configuration, and in the document that it returns what is wrong
// with both together. A file that may not be read is only a warning, as whoever
// checks a configuration need not be the one who runs it; [New] and
// [Door.Prepare] then refuse. With "" there is no file.
func (c *Config) LoadUsers(file string, at config.Place) *config.Doc {
	c.file, c.unread = Kept{}, nil
	doc := new(config.Doc)
	if file != "" {
		switch f, err := os.Open(file); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			c.unread = fmt.Errorf("users: %w", err)
			at.Key("users").Warn("nobody of the users in it is known here: %v", err)
		default:
			if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
				at.Key("users").Warn("%s has mode %04o, so that others can read it: want 0600", file, info.Mode().Perm())
			}
			f.Close()
			doc = config.Load(file, &c.file)
		}
	}
	theirs := doc.Root()
	for name := range c.file.User {
		if _, ok := c.User[name]; ok {
			theirs.Key("user").Key(name).OfKey().Mistake("%s has this user too, at %v: want it only once", at.Key("user").Key(name), at.Key("user").Key(name).Position())
		}
	}
	for name := range c.file.Role {
		if _, ok := c.Role[name]; ok {
			theirs.Key("role").Key(name).OfKey().Mistake("%s has this role too, at %v: want it only once", at.Key("role").Key(name), at.Key("role").Key(name).Position())
		}
	}
	if c.unread != nil || !doc.Whole() {
		return doc // a role that is missing may be there
	}
	if at.Whole() { // else a role that is missing may be one that could not be understood
		c.checkRoles(c.User, at.Key("user"))
		c.checkRoles(c.file.User, theirs.Key("user"))
		for name, t := range c.file.Token {
			c.checkRolesOf(t.Roles, theirs.Key("token").Key(name))
		}
	}
	return doc
}

// checkRoles says which roles of users there are none of.
func (c *Config) checkRoles(users map[string]User, at config.Place) {
	for name, u := range users {
		c.checkRolesOf(u.Roles, at.Key(name))
	}
}

func (c *Config) checkRolesOf(roles []string, at config.Place) {
	for i, role := range roles {
		if text := c.RoleFault(role); text != "" {
			at.Key("roles").Index(i).Mistake("%s", text)
		}
	}
}

// RoleFault says why a role can't be given; "" if it can.
func (c *Config) RoleFault(role string) string {
	names := append([]string{Admin}, pages[See:]...)
	names = append(names, slices.Collect(maps.Keys(c.Role))...)
	names = append(names, slices.Collect(maps.Keys(c.file.Role))...)
	if slices.Contains(names, role) {
		return ""
	}
	if near, ok := config.Nearest(role, names); ok {
		return fmt.Sprintf("no role has this name, did you mean %q?", near)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return "no role has this name, there are: " + strings.Join(names, ", ")
}

// UsersFile is where the users file is, for a configuration in the folder base with
// that data folder.
func (c *Config) UsersFile(base, data string) string {
	switch {
	case c.Users == "":
		return filepath.Join(data, "users.toml")
	case filepath.IsAbs(c.Users):
		return c.Users
	}
	return filepath.Join(base, c.Users)
}

// A Table is a Config as the Door uses it.
type Table struct {
	users     map[string]*account
	tokens    map[[sha256.Size]byte]*account // by the hash of the secret
	anonymous *account                       // nil: everybody needs a login
	dummy     *phc                           // what is hashed for a name that nobody has
}

// An account is what is known of a user.
type account struct {
	name  string
	hash  string // as written; "" if no password lets it in
	phc   *phc
	all   bool
	roles []Role
	fixed *Rights // of every client; nil if they depend on its id
}

// Prepare makes the table of a config, or says what is wrong with it. The table has
// no effect before Use.
func (d *Door) Prepare(c Config) (*Table, error) {
	if c.unread != nil {
		return nil, c.unread
	}
	t := &Table{users: make(map[string]*account), tokens: make(map[[sha256.Size]byte]*account)}
	var wrong []error
	roles := maps.Clone(c.file.Role)
	if roles == nil {
		roles = make(map[string]Role)
	}
	maps.Copy(roles, c.Role)
	costs := make(map[phcCosts]int)
	for _, from := range []map[string]User{c.file.User, c.User} {
		for name, u := range from {
			a := &account{name: name, hash: string(u.Password)}
			if fault := nameFault(name); fault != "" {
				wrong = append(wrong, fmt.Errorf("user %q: %s", name, fault))
			}
			if a.hash != "" {
				p, err := parsePHC(a.hash)
				if err != nil {
					wrong = append(wrong, fmt.Errorf("user %q: password: %w", name, err))
					continue
				}
				a.phc = p
				costs[p.costs()]++
			}
			for _, role := range u.Roles {
				if err := a.add(role, roles); err != nil {
					wrong = append(wrong, fmt.Errorf("user %q: %w", name, err))
				}
			}
			a.settle(name)
			t.users[name] = a
		}
	}
	for name, k := range c.file.Token {
		a := &account{name: name}
		sum, err := k.Hash.sum()
		if err != nil {
			wrong = append(wrong, fmt.Errorf("token %q: hash: %w", name, err))
			continue
		}
		for _, role := range k.Roles {
			if err := a.add(role, roles); err != nil {
				wrong = append(wrong, fmt.Errorf("token %q: %w", name, err))
			}
		}
		a.settle(name)
		t.tokens[sum] = a
	}
	if c.AnonymousAllowed() {
		t.anonymous = &account{all: true}
		if _, declared := roles[anonymousRole]; declared {
			t.anonymous = new(account)
			if err := t.anonymous.add(anonymousRole, roles); err != nil {
				wrong = append(wrong, err)
			}
		}
		t.anonymous.settle("")
	}
	// A name that nobody has takes as long as most that somebody has.
	usual, most := phcCosts{argon, 0, memory, passes, lanes}, 0
	for c, n := range costs {
		if n > most {
			usual, most = c, n
		}
	}
	t.dummy = &phc{kind: usual.kind, rounds: usual.rounds, memory: usual.memory, passes: usual.passes, lanes: usual.lanes, salt: make([]byte, 16), sum: make([]byte, 32)}
	if err := errors.Join(wrong...); err != nil {
		return nil, err
	}
	return t, nil
}

type phcCosts struct {
	kind           kind
	rounds         uint32
	memory, passes uint32
	lanes          uint8
}

func (p *phc) costs() phcCosts { return phcCosts{p.kind, p.rounds, p.memory, p.passes, p.lanes} }

// add gives the account what a role may do.
func (a *account) add(name string, roles map[string]Role) error {
	if name == Admin {
		a.all = true
		return nil
	}
	role, ok := roles[name]
	if !ok {
		role, ok = pageRole(name)
	}
	if !ok {
		return fmt.Errorf("there is no role %q", name)
	}
	for _, rule := range slices.Concat(role.Publish, role.Subscribe, role.Except) {
		if fault := ruleFault(rule); fault != "" {
			return fmt.Errorf("role %q: %q: %s", name, rule, fault)
		}
	}
	a.roles = append(a.roles, role)
	return nil
}

// settle makes the rights once that are the same for every client.
func (a *account) settle(user string) {
	ofClients := func(r Role) bool {
		return slices.ContainsFunc(slices.Concat(r.Publish, r.Subscribe, r.Except), ofClient)
	}
	if a.all || !slices.ContainsFunc(a.roles, ofClients) {
		a.fixed = a.make(user, "")
	}
}

func (a *account) rights(user, client string) *Rights {
	switch {
	case a == nil:
		return nil
	case a.fixed != nil:
		return a.fixed
	}
	return a.make(user, client)
}

func (a *account) make(user, client string) *Rights {
	r := &Rights{all: a.all}
	if r.all {
		return r
	}
	add := func(to []string, rules []string) (_ []string, whole bool) {
		whole = true
		for _, rule := range rules {
			rule, ok := fill(rule, user, client)
			whole = whole && ok
			if ok && !slices.Contains(to, rule) {
				to = append(to, rule)
			}
		}
		return to, whole
	}
	plain := new(grant) // what all roles allow that except nothing
	for _, role := range a.roles {
		g := plain
		if len(role.Except) > 0 {
			g = new(grant)
			var whole bool
			if g.except, whole = add(nil, role.Except); !whole {
				continue // what is to be excepted can't be said, so nothing is allowed
			}
		}
		g.publish, _ = add(g.publish, role.Publish)
		g.subscribe, _ = add(g.subscribe, role.Subscribe)
		g.page = max(g.page, role.page())
		if g != plain {
			r.grants = append(r.grants, *g)
		}
	}
	if len(plain.publish)+len(plain.subscribe) > 0 || plain.page > Nothing {
		r.grants = append(r.grants, *plain)
	}
	return r
}
