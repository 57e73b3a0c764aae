package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Accounts is what People may be, too: those whose users and tokens can be changed. What is
// changed counts at once, for the page and for MQTT, and errors say in words for people
// why something was not.
type Accounts interface {
	Accounts(ctx context.Context) (AccountList, error)

	AddUser(ctx context.Context, name, password, role string) error
	SetRole(ctx context.Context, name, role string) error // in place of all that the user has
	SetPassword(ctx context.Context, name, password string) error
	RemoveUser(ctx context.Context, name string) error

	// AddToken makes a token for a program and gives what the program is to show; it is
	// kept nowhere.
	AddToken(ctx context.Context, name, role string) (secret string, err error)
	RemoveToken(ctx context.Context, name string) error
}

// An AccountList has the users, the tokens and the roles that there are, by name.
type AccountList struct {
	Users, Tokens []Account
	Roles         []Role
	PageOnly      bool // MQTT clients come to another broker, which has users of its own
}

// An Account is a user or a token.
type Account struct {
	Name   string
	Roles  []string
	May    Level
	Fixed  bool // it stands in the configuration, and is changed there
	NoPass bool // nobody gets in with a password
}

// A Role is one that can be given.
type Role struct {
	Name string
	May  Level
	Own  bool // it is the house's, not built in
}

// --- The users of the house ---

// A usersSheet is what users.html shows.
type usersSheet struct {
	Users, Tokens []accountRow
	Roles         []Role
	PageOnly      bool
	Fresh         bool // who looks has just logged in, or needs no login: changes are taken
	Why           string
	Done          string // the name that was changed
	Token, Secret string // of a token that was just made
}

type accountRow struct {
	Account
	Sessions int
	Used     time.Time // give or take a day; zero: nobody knows
	Self     bool
}

// Role is the one that the user has, "" where it is not exactly one.
func (a accountRow) Role() string {
	if len(a.Roles) == 1 {
		return a.Roles[0]
	}
	return ""
}

func (a accountRow) AllRoles() string { return strings.Join(a.Roles, ", ") }

// confirmedFor is how long after a password somebody may change users without it. A phone
// that lies about unlocked shall not make users.
const confirmedFor = 15 * time.Minute

// accounts gives what can change users, or the refusal that says why the visitor may not.
func (s *Server) accounts(v visitor) (Accounts, error) {
	all, ok := s.people.(Accounts)
	switch {
	case v.rights == nil || !v.rights.Whole(Change):
		return nil, refusal{http.StatusForbidden, "users are for those who may change the whole house"}
	case v.name != "" && v.session == nil:
		return nil, refusal{http.StatusForbidden, "users are for people: a token can't change them"}
	case !ok:
		return nil, refusal{http.StatusNotFound, "there are no users here"}
	}
	return all, nil
}

// fresh says whether a visitor needs no password to change users.
func (s *Server) fresh(v visitor) bool {
	return v.session == nil || s.sessions.confirmed(v.session, time.Now())
}

func (s *Server) usersPage(r *http.Request) (*usersSheet, error) {
	v := visitorOf(r)
	all, err := s.accounts(v)
	if err != nil {
		return nil, err
	}
	list, err := all.Accounts(r.Context())
	if err != nil {
		return nil, err
	}
	page := &usersSheet{Roles: list.Roles, PageOnly: list.PageOnly, Fresh: s.fresh(v)}
	for _, a := range list.Users {
		row := accountRow{Account: a, Self: a.Name == v.name}
		for _, one := range s.sessions.of(a.Name) {
			row.Sessions++
			if one.Used.After(row.Used) {
				row.Used = one.Used
			}
		}
		page.Users = append(page.Users, row)
	}
	for _, a := range list.Tokens {
		page.Tokens = append(page.Tokens, accountRow{Account: a})
	}
	return page, nil
}

func (s *Server) serveUsers(w http.ResponseWriter, r *http.Request) {
	page, err := s.usersPage(r)
	if err != nil {
		s.failFor(w, r, err)
		return
	}
	page.Done = mended(r.URL.Query().Get("done"), mostName)
	s.showPage(w, r, http.StatusOK, "users", page)
}

// takeUsers changes users and tokens, as one of the forms of the page says.
func (s *Server) takeUsers(w http.ResponseWriter, r *http.Request) {
	if status, err := readForm(w, r); err != nil {
		s.fail(w, r, status, err.Error())
		return
	}
	v, words := visitorOf(r), s.wordsFor(r)
	all, err := s.accounts(v)
	if err != nil {
		s.failFor(w, r, err)
		return
	}
	ctx, done := context.WithTimeout(r.Context(), loginPatience)
	defer done()
	name, role, password := r.PostFormValue("name"), r.PostFormValue("role"), r.PostFormValue("password")
	what := r.PostFormValue("do")
	token, secret := "", ""
	switch {
	case what == "confirm" && v.session != nil:
		if err = s.confirm(ctx, r, v, password); err == nil {
			name = ""
		}
	case !s.fresh(v):
		err = errors.New(words.text("users.confirm_first"))
	case what == "add" || what == "password":
		if err = fitPassword(words, password, r.PostFormValue("again")); err != nil {
			break
		}
		if what == "add" {
			err = all.AddUser(ctx, name, password, role)
		} else if err = all.SetPassword(ctx, name, password); err == nil {
			s.sessions.endAllBut(name, nil)
		}
	case what == "role":
		err = all.SetRole(ctx, name, role)
	case what == "remove":
		err = all.RemoveUser(ctx, name)
	case what == "logout":
		s.sessions.endAllBut(name, v.session)
	case what == "token":
		token = name
		secret, err = all.AddToken(ctx, name, role)
	case what == "forget":
		err = all.RemoveToken(ctx, name)
	default:
		s.fail(w, r, http.StatusBadRequest, "want do=add, role, password, remove, logout, token, forget or confirm")
		return
	}
	if err == nil && what != "confirm" {
		s.Judge()
		s.log.Info("somebody changed users on the page", "by", v.name, "what", what, "name", name)
	}
	if err == nil && secret == "" {
		http.Redirect(w, r, "/users?done="+url.QueryEscape(name), http.StatusSeeOther)
		return
	}
	page, wrong := s.usersPage(r)
	if wrong != nil { // who changed themselves may not look any more
		s.failFor(w, r, wrong)
		return
	}
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadRequest
		page.Why = words.say(mended(err.Error(), mostText))
	}
	page.Token, page.Secret = mended(token, mostName), secret
	s.showPage(w, r, status, "users", page)
}

// confirm looks at the password of who is logged in; it is one of the ten tries a minute.
func (s *Server) confirm(ctx context.Context, r *http.Request, v visitor, password string) error {
	words := s.wordsFor(r)
	_, err := s.tryLogin(ctx, sender(r), v.name, password, draw())
	switch {
	case errors.As(err, new(tooSoon)), errors.Is(err, ErrLater):
		return errors.New(words.text("login.minute"))
	case err != nil:
		return errors.New(words.text("account.wrong"))
	}
	s.sessions.confirm(v.session, time.Now())
	return nil
}

// fitPassword says what is wrong with one that is to be.
func fitPassword(words *words, password, again string) error {
	switch {
	case utf8.RuneCountInString(password) < shortestPassword:
		return errors.New(words.text("setup.short", "n", shortestPassword))
	case len(password) > 1024:
		return errors.New(words.text("setup.long"))
	case password != again:
		return errors.New(words.text("setup.differ"))
	}
	return nil
}

// --- One's own login ---

// An accountSheet is what account.html shows.
type accountSheet struct {
	User     string // "" without a login
	Sessions []sessionRow
	Why      string
	Done     string
}

// A sessionRow is a browser in which somebody is logged in.
type sessionRow struct {
	ID          string // which tells nothing of what the cookie holds
	Device      string
	From        string
	Began, Used time.Time
	Here        bool
}

func (s *Server) accountPage(r *http.Request) *accountSheet {
	v := visitorOf(r)
	if v.session == nil {
		return &accountSheet{}
	}
	page := &accountSheet{User: mended(v.name, mostName), Sessions: s.sessions.of(v.name)}
	for i := range page.Sessions {
		page.Sessions[i].Here = page.Sessions[i].ID == v.session.id()
	}
	return page
}

func (s *Server) serveAccount(w http.ResponseWriter, r *http.Request) {
	page := s.accountPage(r)
	if done := r.URL.Query().Get("done"); done == "password" || done == "ended" {
		page.Done = done
	}
	s.showPage(w, r, http.StatusOK, "account", page)
}

// takeAccount changes the password of who is logged in, or logs out other browsers.
func (s *Server) takeAccount(w http.ResponseWriter, r *http.Request) {
	if status, err := readForm(w, r); err != nil {
		s.fail(w, r, status, err.Error())
		return
	}
	v, words := visitorOf(r), s.wordsFor(r)
	if v.session == nil {
		s.fail(w, r, http.StatusForbidden, "this is for who is logged in")
		return
	}
	var err error
	done := "ended"
	switch r.PostFormValue("do") {
	case "password":
		done = "password"
		err = s.changePassword(w, r, v)
	case "end":
		s.sessions.endOne(v.name, r.PostFormValue("id"))
	case "others":
		s.sessions.endAllBut(v.name, v.session)
	default:
		err = errors.New(words.text("error.other"))
	}
	if err != nil {
		page := s.accountPage(r)
		page.Why = words.say(mended(err.Error(), mostText))
		s.showPage(w, r, http.StatusBadRequest, "account", page)
		return
	}
	http.Redirect(w, r, "/account?done="+done, http.StatusSeeOther)
}

// changePassword ends all sessions of the user and begins one for this browser.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, v visitor) error {
	words := s.wordsFor(r)
	all, ok := s.people.(Accounts)
	if !ok {
		return errors.New(words.text("error.other"))
	}
	password := r.PostFormValue("new")
	ctx, done := context.WithTimeout(r.Context(), loginPatience)
	defer done()
	if err := s.confirm(ctx, r, v, r.PostFormValue("password")); err != nil {
		return err
	}
	if err := fitPassword(words, password, r.PostFormValue("again")); err != nil {
		return err
	}
	if err := all.SetPassword(ctx, v.name, password); err != nil {
		return err
	}
	s.sessions.endAllBut(v.name, nil)
	secret := draw()
	if mark := s.people.Mark(v.name, secret); mark != nil {
		s.welcome(w, r, v.name, secret, mark)
	}
	s.log.Info("somebody changed their password on the page", "user", v.name)
	return nil
}

// --- Sessions as people see them ---

// of are the sessions of a user, that used last first.
func (ss *sessions) of(user string) (rows []sessionRow) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, one := range ss.all {
		if k := one.kept; k.User == user {
			rows = append(rows, sessionRow{ID: one.id(), Device: k.Device, From: k.From, Began: sane(k.Began), Used: sane(k.Used)})
		}
	}
	slices.SortFunc(rows, func(a, b sessionRow) int { return cmp.Or(b.Used.Compare(a.Used), strings.Compare(a.ID, b.ID)) })
	return rows
}

// id names a session without telling its key.
func (one *session) id() string {
	sum := sha256.Sum256([]byte("session " + one.key))
	return hex.EncodeToString(sum[:8])
}

func (ss *sessions) endOne(user, id string) {
	ss.endWhich(func(one *session) bool { return one.kept.User == user && one.id() == id })
}

func (ss *sessions) endAllBut(user string, but *session) {
	ss.endWhich(func(one *session) bool { return one.kept.User == user && one != but })
}

func (ss *sessions) endWhich(which func(*session) bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, one := range ss.all {
		if which(one) {
			ss.drop(one)
		}
	}
}

// confirm notes that the password of a session's user was just shown in it.
func (ss *sessions) confirm(one *session, now time.Time) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	one.shown = now
}

func (ss *sessions) confirmed(one *session, now time.Time) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return !one.shown.IsZero() && now.Sub(one.shown) < confirmedFor
}

// deviceOf is in few words what a browser says that it is, "" if that is nothing we know.
func deviceOf(agent string) string {
	find := func(names ...string) string {
		for i := 0; i+1 < len(names); i += 2 {
			if strings.Contains(agent, names[i]) {
				return names[i+1]
			}
		}
		return ""
	}
	browser := find("Edg", "Edge", "OPR/", "Opera", "SamsungBrowser", "Samsung Internet", "FxiOS", "Firefox", "Firefox/", "Firefox", "CriOS", "Chrome", "Chrome/", "Chrome", "Safari/", "Safari")
	system := find("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows", "CrOS", "ChromeOS", "Mac OS X", "Mac", "Linux", "Linux")
	return strings.Trim(browser+", "+system, ", ")
}
