package hub

import (
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/broker/access"
)

// What is changed on the page of users stands in the users file, with all else that is there,
// counts at once, and is what hearth user would have made of it. The configuration is left alone,
// and so is the last who may change the house.
func TestUsersAreChangedOnThePage(t *testing.T) {
	dir := t.TempDir()
	file, users := filepath.Join(dir, "config.toml"), filepath.Join(dir, "data", "users.toml")
	text := openHouse + "[broker.user.tablet]\npassword = \"" + access.Hash([]byte("on the wall")) + "\"\nroles = [\"see\"]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := access.AddUser(users, "anna", access.Hash([]byte("correct horse")), []string{"change"}); err != nil {
		t.Fatal(err)
	}
	kept, _ := os.ReadFile(users)
	os.WriteFile(users, append(kept, "\n# Anna's own remark\n"...), 0o600)
	cfg, doc := Load(file)
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	h, stop := listening(t, cfg, Options{})
	defer stop()
	anna := logIn(t, h, "anna", "correct horse")
	do := func(want int, says string, pairs ...string) *httptest.ResponseRecorder {
		t.Helper()
		fields := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			fields.Set(pairs[i], pairs[i+1])
		}
		w := visit(h, "POST", "/users", fields.Encode(), slices.Concat(anna, []string{"Content-Type", "application/x-www-form-urlencoded"})...)
		if w.Code != want || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%q: %d %s", pairs, w.Code, w.Body)
		}
		return w
	}
	has := func() (c access.Config) {
		if err := c.LoadUsers(users, doc.Root().Key("broker")).Err(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	do(303, "", "do", "add", "name", "emil", "role", "guest", "password", "over the fence", "again", "over the fence")
	emil := logIn(t, h, "emil", "over the fence")
	if w := visit(h, "GET", "/api/v1/house", "", emil...); w.Code != 200 || strings.Contains(w.Body.String(), `"heater"`) {
		t.Errorf("he is no guest: %d %s", w.Code, w.Body)
	}
	if w := visit(h, "GET", "/users", "", anna...); w.Code != 200 || !strings.Contains(w.Body.String(), "<b>tablet</b>") || !strings.Contains(w.Body.String(), "Stands in the configuration") || strings.Contains(w.Body.String(), "$argon2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	do(303, "", "do", "role", "name", "emil", "role", "see")
	if w := visit(h, "POST", "/api/v1/output/lamp", `{"on":true}`, emil...); w.Code != 403 {
		t.Errorf("with the role see he switches: %d", w.Code)
	}
	do(303, "", "do", "password", "name", "emil", "password", "battery staple", "again", "battery staple")
	if w := visit(h, "GET", "/api/v1/house", "", emil...); w.Code != 401 {
		t.Errorf("with a password of before: %d", w.Code)
	}
	logIn(t, h, "emil", "battery staple")
	for _, pairs := range [][]string{
		{"is the last who may change the house", "do", "remove", "name", "anna"}, {"is the last who may change the house", "do", "role", "name", "anna", "role", "use"},
		{"is declared in the configuration", "do", "remove", "name", "tablet"}, {"is declared in the configuration", "do", "password", "name", "tablet", "password", "battery staple", "again", "battery staple"},
		{"there is no user of this name", "do", "remove", "name", "nobody"}, {"a name is part of topics", "do", "add", "name", "a/b", "role", "see", "password", "battery staple", "again", "battery staple"},
		{"no role has this name", "do", "add", "name", "eva", "role", "sea", "password", "battery staple", "again", "battery staple"}, {"there is a user of this name already, in the configuration", "do", "add", "name", "tablet", "role", "see", "password", "battery staple", "again", "battery staple"},
	} {
		do(400, pairs[0], pairs[1:]...)
	}
	body := do(200, "hearth_", "do", "token", "name", "clock", "role", "see").Body.String()
	secret := body[strings.Index(body, "hearth_"):]
	secret = secret[:strings.Index(secret, "<")]
	if w := visit(h, "GET", "/api/v1/house", "", "Authorization", "Bearer "+secret); w.Code != 200 {
		t.Errorf("the token: %d", w.Code)
	}
	is, _ := os.ReadFile(users)
	if c := has(); len(c.AllTokens()) != 1 || !strings.Contains(string(is), "# Anna's own remark") || strings.Contains(string(is), secret) {
		t.Errorf("the users file is now\n%s", is)
	}
	do(303, "", "do", "forget", "name", "clock")
	do(303, "", "do", "role", "name", "emil", "role", "admin")
	do(303, "", "do", "role", "name", "anna", "role", "use") // he may change it now
	if w := visit(h, "GET", "/users", "", anna...); w.Code != 403 {
		t.Errorf("she may still: %d", w.Code)
	}
	if c := has(); len(c.AllTokens()) != 0 || len(c.AllUsers("")) != 2 {
		t.Errorf("%v, %v", c.AllUsers(""), c.AllTokens())
	}
}
