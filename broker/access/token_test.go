package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/config"
)

// A program gets a token, uses it, and loses it again. The file never holds it.
func TestATokenLetsAProgramIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	secret, hash := NewToken()
	if err := AddUser(file, "anna", Hash([]byte("open sesame")), []string{"see"}); err != nil {
		t.Fatal(err)
	}
	if err := AddToken(file, "display", hash, []string{"see"}); err != nil {
		t.Fatal(err)
	}
	if err := AddToken(file, "display", hash, nil); err == nil || !strings.Contains(err.Error(), "there is a token of this name already") {
		t.Errorf("twice: %v", err)
	}
	text, _ := os.ReadFile(file)
	if strings.Contains(string(text), secret) || !strings.Contains(string(text), "[token.display]\nhash = \""+string(hash)+"\"\nroles = [\"see\"]\n") {
		t.Errorf("the file is\n%s", text)
	}
	door := doorOf(t, file)
	if name, r := door.Token(secret); name != "display" || r.Page() != See {
		t.Errorf("%q may %q", name, r.Page())
	}
	for _, wrong := range []string{"", "hearth_", secret[:len(secret)-1], secret + "A", strings.ToUpper(secret), string(hash), "display"} {
		if name, r := door.Token(wrong); name != "" || r != nil {
			t.Errorf("%q is taken for %q", wrong, name)
		}
	}
	if door.Stamp("display") != "" || !door.Table().AnyOnPage() {
		t.Error("a token is taken for a user")
	}
	if err := RemoveUser(file, "anna"); err != nil {
		t.Fatal(err)
	}
	if doorOf(t, file).Table().AnyOnPage() {
		t.Error("a token counts as somebody who can log in")
	}
	if err := RemoveToken(file, "display"); err != nil {
		t.Fatal(err)
	}
	if _, r := doorOf(t, file).Token(secret); r != nil {
		t.Error("a token that was removed lets in")
	}
	if err := RemoveToken(file, "display"); err == nil || !strings.Contains(err.Error(), "there is no token of this name") {
		t.Errorf("gone: %v", err)
	}
}

func doorOf(t *testing.T, file string) *Door {
	t.Helper()
	var c Config
	if err := c.LoadUsers(file, config.Place{}).Err(); err != nil {
		t.Fatal(err)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMistakesInTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	secret, _ := NewToken()
	os.WriteFile(file, []byte("[token.\"a/b\"]\nhash = \""+secret+"\"\nroles = [\"sea\"]\n"), 0o600)
	var c Config
	doc := c.LoadUsers(file, config.Place{})
	said := doc.Err().Error()
	for _, want := range []string{"a name is part of topics", "64 hexadecimal digits", `did you mean "see"?`} {
		if strings.Count(said, want) != 1 {
			t.Errorf("%q is said %d times:\n%s", want, strings.Count(said, want), said)
		}
	}
	if strings.Contains(said, secret) {
		t.Errorf("the token is shown:\n%s", said)
	}
	if _, err := New(c); err == nil {
		t.Error("it makes a door all the same")
	}
}

// What is kept of a session ends it when the password changes, also while no hub runs;
// that a hash becomes a better one of the same password changes nothing.
func TestAMarkOutlivesTheHub(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users.toml")
	if err := AddUser(file, "anna", Hash([]byte("open sesame")), nil); err != nil {
		t.Fatal(err)
	}
	key := []byte("the session's own")
	first := string(doorOf(t, file).Mark("anna", key))
	if again := string(doorOf(t, file).Mark("anna", key)); again != first || first == "" {
		t.Error("a restart changes the mark")
	}
	if other := string(doorOf(t, file).Mark("anna", []byte("another"))); other == first {
		t.Error("every session has the same mark")
	}
	if err := SetPassword(file, "anna", Hash([]byte("open sesame"))); err != nil { // with other salt
		t.Fatal(err)
	}
	if string(doorOf(t, file).Mark("anna", key)) == first {
		t.Error("a password was set and the mark is the same")
	}
	if doorOf(t, file).Mark("bert", key) != nil {
		t.Error("nobody has a mark")
	}

	d := doorOf(t, file)
	was := d.table.Load().users["anna"].hash
	d.same["better"] = was
	mark := string(d.Mark("anna", key))
	d.table.Load().users["anna"].hash = "better"
	if string(d.Mark("anna", key)) != mark {
		t.Error("a better hash changes the mark")
	}
	d.same = map[string]string{}
	if string(d.Mark("anna", key)) != mark {
		t.Error("a better hash changes the mark after a restart")
	}
}

func TestWhole(t *testing.T) {
	guest := Role{Page: "use", Except: []string{"door/#"}}
	for i, c := range []struct {
		r    *Rights
		p    Page
		want bool
	}{
		{All, Change, true},
		{nil, See, false},
		{rightsOf("", guest), See, false},
		{rightsOf("", guest, Role{Page: "see"}), See, true},
		{rightsOf("", guest, Role{Page: "see"}), Use, false},
		{rightsOf("", Role{Publish: []string{"#"}}), See, false},
	} {
		if got := c.r.Whole(c.p); got != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}
