package hub

import (
	"context"
	"fmt"
	"slices"

	"hearth/broker"
	"hearth/broker/access"
	"hearth/config"
	"hearth/web"
)

// The users, tokens and roles as the page shows and changes them: those of the users file,
// through the same functions as hearth user and hearth token.

// users reads the users file anew, beside what the configuration says. h.reload is held.
func (h *Hub) users() (cfg *Config, users broker.Config, file string, err error) {
	cfg = h.cfg // only a reload changes it
	users, file = cfg.ownBroker(), cfg.UsersFile()
	if err = users.LoadUsers(file, config.Place{}).Err(); err == nil {
		err = users.Unread()
	}
	return cfg, users, file, err
}

func (p people) Accounts(context.Context) (list web.AccountList, err error) {
	p.reload.Lock()
	defer p.reload.Unlock()
	cfg, users, file, err := p.users()
	if err != nil {
		return list, err
	}
	list.PageOnly = cfg.Broker.Connect != nil
	levels := make(map[string]access.Page)
	for _, r := range users.AllRoles(file) {
		levels[r.Name] = access.LevelOf(r.Value)
		list.Roles = append(list.Roles, web.Role{Name: r.Name, May: web.Level(levels[r.Name]), Own: r.Where != "built in"})
	}
	most := func(roles []string) (l web.Level) {
		for _, role := range roles {
			l = max(l, web.Level(levels[role]))
		}
		return l
	}
	for _, u := range users.AllUsers(file) {
		list.Users = append(list.Users, web.Account{Name: u.Name, Roles: u.Value.Roles, May: most(u.Value.Roles), Fixed: u.Where != file, NoPass: u.Value.Password == ""})
	}
	for _, t := range users.AllTokens() {
		list.Tokens = append(list.Tokens, web.Account{Name: t.Name, Roles: t.Value.Roles, May: most(t.Value.Roles)})
	}
	return list, nil
}

func (p people) AddUser(ctx context.Context, name, password, role string) error {
	hash := access.Hash([]byte(password)) // which takes its time
	return p.change(func(users broker.Config, file string) error {
		if err := fits(users, role); err != nil {
			return err
		}
		if _, ok := users.User[name]; ok {
			return fmt.Errorf("user %q: %w, in the configuration", name, access.ErrExists)
		}
		return access.AddUser(file, name, hash, []string{role})
	})
}

func (p people) SetRole(ctx context.Context, name, role string) error {
	return p.change(func(users broker.Config, file string) error {
		if err := fits(users, role); err != nil {
			return err
		}
		if err := changeable(users, name); err != nil {
			return err
		}
		if !changesHouse(users, file, role) {
			if err := notTheLast(users, file, name); err != nil {
				return err
			}
		}
		return access.SetRoles(file, name, []string{role})
	})
}

func (p people) SetPassword(ctx context.Context, name, password string) error {
	hash := access.Hash([]byte(password))
	return p.change(func(users broker.Config, file string) error {
		if err := changeable(users, name); err != nil {
			return err
		}
		return access.SetPassword(file, name, hash)
	})
}

func (p people) RemoveUser(ctx context.Context, name string) error {
	return p.change(func(users broker.Config, file string) error {
		if err := changeable(users, name); err != nil {
			return err
		}
		if err := notTheLast(users, file, name); err != nil {
			return err
		}
		return access.RemoveUser(file, name)
	})
}

func (p people) AddToken(ctx context.Context, name, role string) (secret string, err error) {
	secret, hash := access.NewToken()
	err = p.change(func(users broker.Config, file string) error {
		if err := fits(users, role); err != nil {
			return err
		}
		return access.AddToken(file, name, hash, []string{role})
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

func (p people) RemoveToken(ctx context.Context, name string) error {
	return p.change(func(_ broker.Config, file string) error { return access.RemoveToken(file, name) })
}

// change changes the users file and takes that up at once: a reload would also take up what
// else has changed in the configuration.
func (p people) change(f func(users broker.Config, file string) error) error {
	p.reload.Lock()
	defer p.reload.Unlock()
	_, users, file, err := p.users()
	if err != nil {
		return err
	}
	if err := f(users, file); err != nil {
		return err
	}
	if _, users, _, err = p.users(); err != nil {
		return err
	}
	t, err := p.door.Prepare(users.Config)
	if err != nil {
		return err
	}
	p.broker.UseUsers(t)
	return p.do(context.Background(), p.rejudge)
}

func fits(users broker.Config, role string) error {
	if fault := users.RoleFault(role); fault != "" {
		return fmt.Errorf("role %q: %s", role, fault)
	}
	return nil
}

// changeable says why the users file can't change a user; nil if it can.
func changeable(users broker.Config, name string) error {
	if _, ok := users.User[name]; ok {
		return fmt.Errorf("user %q is declared in the configuration, as [broker.user.%s]: change it there", name, name)
	}
	return nil
}

// changesHouse says whether who has a role may change the whole house on the page.
func changesHouse(users broker.Config, file, role string) bool {
	return slices.ContainsFunc(users.AllRoles(file), func(r access.Declared[access.Role]) bool {
		return r.Name == role && access.LevelOf(r.Value) == access.Change && len(r.Value.Except) == 0
	})
}

// notTheLast refuses to take from the house who alone may change it by logging in: after
// that nobody could give it back on the page.
func notTheLast(users broker.Config, file, name string) error {
	others, is := 0, false
	for _, u := range users.AllUsers(file) {
		if u.Value.Password == "" || !slices.ContainsFunc(u.Value.Roles, func(role string) bool { return changesHouse(users, file, role) }) {
			continue
		}
		if u.Name == name {
			is = true
		} else {
			others++
		}
	}
	if is && others == 0 {
		return fmt.Errorf("%s is the last who may change the house: give somebody else the role change or admin before", name)
	}
	return nil
}
