package web

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a page says is said in all languages, and nothing else is.
func TestWords(t *testing.T) {
	named := make(map[string]bool)
	for _, keys := range ofModules() {
		for _, key := range keys {
			named[key] = true
		}
	}
	inTemplate, inGo := regexp.MustCompile(`[{(]t "([a-z_.]+)"`), regexp.MustCompile(`\.text\("([a-z_.]+)"`)
	fs.WalkDir(files, "pages", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".html" {
			content, _ := files.ReadFile(name)
			for _, found := range inTemplate.FindAllSubmatch(content, -1) {
				named[string(found[1])] = true
			}
		}
		return err
	})
	sources, _ := fs.Glob(os.DirFS("."), "*.go")
	for _, name := range sources {
		content, _ := os.ReadFile(name)
		for _, found := range inGo.FindAllSubmatch(content, -1) {
			named[string(found[1])] = true
		}
	}
	english := allWords()["en"].texts
	for key := range english { // by what things say
		if strings.HasPrefix(key, "is.") && named["is."] {
			named[key] = true
		}
	}
	delete(named, "is.")
	for _, m := range menu {
		named[m.Page+".title"] = true
	}
	for _, r := range readyMades {
		named["edit.ready_"+r.Name] = true
	}
	if len(named) < 50 {
		t.Fatalf("only %d words are named", len(named))
	}
	placeholders := func(text string) []string {
		return slices.Sorted(slices.Values(regexp.MustCompile(`\{\w+\}`).FindAllString(text, -1)))
	}
	for language, w := range allWords() {
		for _, key := range slices.Sorted(maps.Keys(named)) {
			if w.texts[key] == "" {
				t.Errorf("words/%s.toml lacks %s", language, key)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(w.texts)) {
			if !named[key] {
				t.Errorf("words/%s.toml has %s, which nothing uses", language, key)
			}
			if !slices.Equal(placeholders(w.texts[key]), placeholders(english[key])) {
				t.Errorf("words/%s.toml, %s: other {names} than in English", language, key)
			}
		}
	}
}

// A broker and the versions' folder tell the time in UTC; people read that of the house.
func TestTheClockIsThatOfTheHouse(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 30, 0, 30, 0, 0, berlin)
	w := allWords()["en"]
	for moment, want := range map[time.Time]string{now.UTC(): "00:30:00", now.Add(-time.Hour).UTC(): "2026-11-29 23:30"} {
		if got := w.clock(moment, now); got != want {
			t.Errorf("%v is %s, want %s", moment, got, want)
		}
	}
}

func TestTheLanguageOfThePage(t *testing.T) {
	s := New(newHouse(), Options{Log: quietLog})
	for accepts, want := range map[string]string{"": "en", "fr": "en", "de": "de", "de-AT,en;q=0.8": "de", "fr, en;q=0.3, DE;q=0.4": "de", "en-GB, de;q=0.9": "en", "de;q=0": "en", "de;q=x": "en"} {
		if page := ask(s, "GET", "/", "", "Accept-Language", accepts).Body.String(); !strings.Contains(page, `<html lang="`+want+`"`) {
			t.Errorf("%q is not shown %s", accepts, want)
		}
	}
	s.set.Store(&settings{loopback: true, anonymous: true, language: "de"})
	for path, want := range map[string]string{"/": "Sonst im Haus", "/log": "läuft seit <span id=\"started\">09.03.2026 10:00", "/login?again=1": "Passwort"} {
		if path != "/" && path != "/log" {
			s.set.Store(&settings{loopback: true, language: "de"})
		}
		if page := ask(s, "GET", path, "", "Accept-Language", "en").Body.String(); !strings.Contains(page, want) {
			t.Errorf("%s lacks %q", path, want)
		}
		s.set.Store(&settings{loopback: true, anonymous: true, language: "de"})
	}
	if got := mistakes("127.0.0.1:0", "language = \"fr\"\n"); !strings.Contains(got, `want one of the languages of the page`) {
		t.Error(got)
	}
}
