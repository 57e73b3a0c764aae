package formula

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The reference lists every function, and no other.
func TestTheReferenceListsTheFunctions(t *testing.T) {
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| function |")
	if !ok {
		t.Fatal("docs/rules.md has no table of functions")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	listed := make(map[string]bool)
	for line := range strings.Lines(table) {
		if first := strings.Split(line, " | ")[0]; strings.HasPrefix(first, "| `") {
			for _, m := range regexp.MustCompile("`(\\w+)").FindAllStringSubmatch(first, -1) {
				listed[m[1]] = true
			}
		}
	}
	names := slices.Concat(slices.Sorted(maps.Keys(functions)), slices.Sorted(maps.Keys(loops)), slices.Sorted(maps.Keys(special)))
	for _, name := range names {
		if !listed[name] {
			t.Errorf("docs/rules.md does not list the function %s", name)
		}
	}
	for _, name := range names {
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("docs/rules.md lists a function %s, which there is not", name)
	}
}
