package web

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/chromedp"
)

// The household as Accounts: users have one role, and the last who may change stays.

func (h *household) Accounts(context.Context) (list AccountList, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(h.passwords)) {
		role := "none"
		if r := h.rights[name]; r != nil {
			role = r.Most().String()
		}
		list.Users = append(list.Users, Account{Name: name, Roles: []string{role}, Fixed: name == "washer"})
	}
	for _, name := range slices.Sorted(maps.Values(h.tokens)) {
		list.Tokens = append(list.Tokens, Account{Name: name, Roles: []string{"see"}, May: See})
	}
	list.Roles = []Role{{"admin", Change, false}, {"see", See, false}, {"use", Use, false}, {"change", Change, false}, {`guest"><b>`, Use, true}}
	return list, nil
}

func (h *household) level(role string) (Rights, error) {
	l, ok := map[string]Level{"see": See, "use": Use, "change": Change, "admin": Change}[role]
	if !ok {
		return nil, errors.New("no role has this name, there are: admin, change, see, use")
	}
	return part{l, nil}, nil
}

func (h *household) last(name string) error {
	for other := range h.passwords {
		if r := h.rights[other]; other != name && r != nil && r.Whole(Change) {
			return nil
		}
	}
	return errors.New(name + " is the last who may change the house")
}

func (h *household) AddUser(_ context.Context, name, password, role string) error {
	rights, err := h.level(role)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err != nil:
		return err
	case h.passwords[name] != "":
		return errors.New("there is a user of this name already")
	}
	h.passwords[name], h.rights[name] = password, rights
	h.changes++
	return nil
}

func (h *household) SetRole(_ context.Context, name, role string) error {
	rights, err := h.level(role)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && !rights.Whole(Change) {
		err = h.last(name)
	}
	if err == nil {
		h.rights[name] = rights
		h.changes++
	}
	return err
}

func (h *household) SetPassword(_ context.Context, name, password string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.passwords[name] == "" {
		return errors.New("there is no user of this name")
	}
	h.passwords[name] = password
	h.changes++
	return nil
}

func (h *household) RemoveUser(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.last(name); err != nil {
		return err
	}
	delete(h.passwords, name)
	h.changes++
	return nil
}

func (h *household) AddToken(_ context.Context, name, role string) (string, error) {
	rights, err := h.level(role)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		return "", err
	}
	h.tokens["hearth_new_"+name], h.rights["token "+name] = name, rights
	return "hearth_new_" + name, nil
}

func (h *household) RemoveToken(_ context.Context, name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.tokens, func(_, of string) bool { return of == name })
	return nil
}

// Anna makes a user for the neighbour, gives him less, another password, and takes him out
// again; her own role she can't lose, for nobody else could give it back.
func TestUsersOnThePage(t *testing.T) {
	people := family()
	s := lan(newHouse(), people)
	anna := cookie(t, s, "anna")
	do := func(want int, says string, pairs ...string) *httptest.ResponseRecorder {
		t.Helper()
		fields := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			fields.Set(pairs[i], pairs[i+1])
		}
		w := post(s, "/users", fields, anna...)
		if w.Code != want || !strings.Contains(w.Body.String()+w.Header().Get("Location"), says) {
			t.Errorf("%q: %d %s", pairs, w.Code, w.Body)
		}
		return w
	}
	page := get(s, "/users", anna...).Body.String()
	for _, has := range []string{"<b>oma</b>", "<b>display</b>", "logged in 1 times", `<option value="guest&#34;&gt;&lt;b&gt;"`, "may log in to MQTT, too"} {
		if !strings.Contains(page, has) {
			t.Errorf("the page lacks %s", has)
		}
	}
	do(303, "done=emil", "do", "add", "name", "emil", "role", "use", "password", "over the fence", "again", "over the fence")
	do(400, "already", "do", "add", "name", "emil", "role", "use", "password", "over the fence", "again", "over the fence")
	do(400, "at least 8", "do", "add", "name", "eva", "role", "use", "password", "short", "again", "short")
	do(400, "not the same", "do", "add", "name", "eva", "role", "use", "password", "over the fence", "again", "over the hedge")
	do(400, "no role has this name", "do", "add", "name", "eva", "role", "king", "password", "over the fence", "again", "over the fence")
	emil := cookie(t, s, "emil")
	do(303, "", "do", "role", "name", "emil", "role", "see")
	if w := ask(s, "POST", "/api/v1/output/porch_light", `{"on":true}`, slices.Concat(from, emil)...); w.Code != 403 {
		t.Errorf("he switches with the role see: %d", w.Code)
	}
	do(303, "", "do", "password", "name", "emil", "password", "battery staple", "again", "battery staple")
	if w := get(s, "/api/v1/house", emil...); w.Code != 401 {
		t.Errorf("he is logged in with a password that is none any more: %d", w.Code)
	}
	emil = cookie(t, s, "emil")
	do(303, "", "do", "logout", "name", "emil")
	if w := get(s, "/api/v1/house", emil...); w.Code != 401 {
		t.Errorf("logged out by her: %d", w.Code)
	}
	do(303, "", "do", "remove", "name", "emil")
	if login(s, "emil", "battery staple").Code != 401 {
		t.Error("who was removed logs in")
	}
	do(400, "anna is the last who may change the house", "do", "remove", "name", "anna")
	do(400, "anna is the last who may change the house", "do", "role", "name", "anna", "role", "see")
	do(400, "want do=", "do", "everything")

	w := do(200, "hearth_new_clock", "do", "token", "name", "clock", "role", "see")
	if w.Header().Get("Content-Encoding") != "" || strings.Contains(get(s, "/users", anna...).Body.String(), "hearth_new_clock") {
		t.Error("a token is packed, or shown twice")
	}
	if get(s, "/api/v1/house", "Authorization", "Bearer hearth_new_clock").Code != 200 {
		t.Error("the token is none")
	}
	do(303, "", "do", "forget", "name", "clock")
	if get(s, "/api/v1/house", "Authorization", "Bearer hearth_new_clock").Code != 401 {
		t.Error("the token stays one")
	}
}

// Users are nothing for who may only use the house, or change most of it, nor for programs.
func TestWhoMayChangeUsers(t *testing.T) {
	people := family()
	people.rights["guest"] = part{Change, []string{"hearth/heater/"}}
	people.tokens["hearth_all"], people.rights["token all"] = "all", part{Change, nil}
	s := lan(newHouse(), people)
	add := url.Values{"do": {"add"}, "name": {"eve"}, "role": {"admin"}, "password": {"let me in!"}, "again": {"let me in!"}}
	for name, who := range map[string][]string{"oma": cookie(t, s, "oma"), "guest": cookie(t, s, "guest"), "a token": {"Authorization", "Bearer hearth_all"}} {
		if a, b := get(s, "/users", who...), post(s, "/users", add, who...); a.Code != 403 || b.Code != 403 || strings.Contains(a.Body.String(), "display") {
			t.Errorf("%s: %d, %d", name, a.Code, b.Code)
		}
	}
	if people.passwords["eve"] != "" {
		t.Error("she is in")
	}
}

// A phone that lies about makes no users: after a quarter of an hour the password is asked
// for, and guessing it is bounded as any login.
func TestUsersNeedAPasswordOfLately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		people := family()
		s := lan(newHouse(), people)
		anna := cookie(t, s, "anna")
		add := url.Values{"do": {"add"}, "name": {"eva"}, "role": {"use"}, "password": {"over the fence"}, "again": {"over the fence"}}
		time.Sleep(confirmedFor)
		if w := post(s, "/users", add, anna...); w.Code != 400 || !strings.Contains(w.Body.String(), "Your password first") || strings.Contains(w.Body.String(), `value="add"`) {
			t.Errorf("a quarter of an hour later: %d %s", w.Code, w.Body)
		}
		for i := range 11 {
			w := post(s, "/users", url.Values{"do": {"confirm"}, "password": {"a guess"}}, anna...)
			if says := map[bool]string{false: "That is not your password.", true: "Try again in a minute"}[i == 10]; w.Code != 400 || !strings.Contains(w.Body.String(), says) {
				t.Errorf("guess %d: %d", i, w.Code)
			}
		}
		time.Sleep(time.Minute)
		if w := post(s, "/users", url.Values{"do": {"confirm"}, "password": {"correct horse"}}, anna...); w.Code != 303 {
			t.Errorf("the right one: %d", w.Code)
		}
		if w := post(s, "/users", add, anna...); w.Code != 303 || people.passwords["eva"] == "" {
			t.Errorf("after that: %d %s", w.Code, w.Body)
		}
	})
}

// Oma sees where she is logged in, logs the tablet out, and changes her password.
func TestOnesOwnLogin(t *testing.T) {
	people, shelf := family(), &cupboard{}
	var log bytes.Buffer
	s := lan(newHouse(), people, func(o *Options) { o.Shelf, o.Log = shelf, slog.New(slog.NewTextHandler(&log, nil)) })
	phone := cookie(t, s, "oma", "User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Mobile/15E148 Safari/604.1")
	tablet := cookie(t, s, "oma", "User-Agent", "Mozilla/5.0 (Linux; Android 6.0) Chrome/61.0 Safari/537.36", "From", "192.168.1.40:1")
	evil := cookie(t, s, "oma", "User-Agent", `<script>alert(1)</script>`)
	page := get(s, "/account", phone...).Body.String()
	for _, has := range []string{"Safari, iPhone", "Chrome, Android", "from 192.168.1.40", "A browser"} {
		if !strings.Contains(page, has) {
			t.Errorf("the page lacks %q: %s", has, page)
		}
	}
	if strings.Contains(page, "<script>alert") || strings.Contains(page, strings.TrimPrefix(phone[1], "hearth=")) {
		t.Error("the page has what it must not")
	}
	other := ""
	for _, row := range s.sessions.of("oma") {
		if row.From == "192.168.1.40" {
			other = row.ID
		}
	}
	anna := cookie(t, s, "anna")
	post(s, "/account", url.Values{"do": {"end"}, "id": {other}}, anna...) // which is none of hers
	if get(s, "/account", tablet...).Code != 200 {
		t.Error("somebody else logged her out")
	}
	if w := post(s, "/account", url.Values{"do": {"end"}, "id": {other}}, phone...); w.Code != 303 || get(s, "/account", tablet...).Code != 303 {
		t.Errorf("the tablet: %d", w.Code)
	}
	change := func(old, new, again string) *httptest.ResponseRecorder {
		return post(s, "/account", url.Values{"do": {"password"}, "password": {old}, "new": {new}, "again": {again}}, phone...)
	}
	for _, c := range []struct{ old, new, again, says string }{
		{"wrong", "neun Uhr abends", "neun Uhr abends", "That is not your password."},
		{"abends um acht", "kurz", "kurz", "at least 8"},
		{"abends um acht", "neun Uhr abends", "zehn Uhr abends", "not the same"},
	} {
		if w := change(c.old, c.new, c.again); w.Code != 400 || !strings.Contains(w.Body.String(), c.says) || strings.Contains(w.Body.String(), "abends") {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
	if n := strings.Count(log.String(), "a password was refused on the page"); n != 1 || strings.Contains(log.String(), "abends") {
		t.Errorf("the log tells %d times of a wrong password: %s", n, &log)
	}
	w := change("abends um acht", "neun Uhr abends", "neun Uhr abends")
	if w.Code != 303 || len(w.Result().Cookies()) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	mine := []string{"Cookie", "hearth=" + w.Result().Cookies()[0].Value}
	if get(s, "/account", evil...).Code != 303 || get(s, "/account", phone...).Code != 303 || get(s, "/account", mine...).Code != 200 {
		t.Error("who is logged in after that is not this browser alone")
	}
	if people.passwords["oma"] != "neun Uhr abends" || len(shelf.all) != 2 { // hers and Anna's
		t.Errorf("%d sessions are kept", len(shelf.all))
	}
}

func TestUsersInABrowser(t *testing.T) {
	ctx := browser(t)
	people := family()
	s := New(newHouse(), Options{People: people, Log: quietLog})
	listen, no := "127.0.0.1:0", false
	c, err := s.Prepare(Config{Listen: &listen, Anonymous: &no, Language: "de"})
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	defer s.Close()
	source := axeOf(t)
	look := func(name string) {
		t.Helper()
		for _, size := range [][2]int64{{320, 640}, {1280, 900}} {
			for _, scheme := range []string{"light", "dark"} {
				do(t, ctx, "a size", chromedp.EmulateViewport(size[0], size[1]), colours(scheme))
				for _, wrong := range audit(t, ctx, source) {
					t.Errorf("%s %s: %s", name, scheme, wrong)
				}
				shoot(t, ctx, name+"-"+scheme+"-"+map[int64]string{320: "phone", 1280: "desktop"}[size[0]])
			}
			fits(t, ctx, name, size[0])
			var missed []string
			if do(t, ctx, "fingers", chromedp.Evaluate(missable, &missed)); len(missed) > 0 {
				t.Errorf("%s: %q", name, missed)
			}
		}
	}
	do(t, ctx, "she logs in", chromedp.Navigate("http://"+s.Addr()+"/login?again=1&next=/users"), chromedp.WaitVisible("form.login"), chromedp.SendKeys(`[name=user]`, "anna"), chromedp.SendKeys(`[name=password]`, "correct horse\r"),
		chromedp.WaitVisible("body.live"), chromedp.Click(".accounts summary"), chromedp.WaitVisible(`.accounts select`))
	look("users")
	do(t, ctx, "makes a token", chromedp.Click(`section:last-of-type .add summary`), chromedp.SendKeys(`section:last-of-type .add [name=name]`, "clock\r"), chromedp.WaitVisible(".secret"), until(shows(".secret", "hearth_new_clock")))
	look("token")
	do(t, ctx, "her own login", chromedp.Click(`footer a[href="/account"]`), chromedp.WaitVisible("body.live"), until(shows("main", "Chrome, Linux")))
	look("account")
	do(t, ctx, "it goes", chromedp.Navigate("about:blank"))
}
