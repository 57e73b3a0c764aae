package config

import (
	"fmt"
	"slices"
	"testing"
)

// A rule is found where it is written, however that is, with what is said above it and
// nothing of its neighbours.
func TestExcerpts(t *testing.T) {
	src := `# The house.
name = "x"

# Light on the stairs.
# At night only.
[rule.stairs]
trigger = [
  { state = "pir" }, # [rule.other]
]
text = """
[rule.stairs]
"""
# a word at the end

[[rule.stairs.action]]
set = "lamp"

# Not of it.
[rule.other]
on = true
[rule]
short = { a = 1 }
dotted.b = 2
[rule.stairs.more]
"c d" = 1`
	for _, c := range []struct{ keys, want []string }{
		{[]string{"rule", "stairs"}, []string{"4\n# Light on the stairs.\n# At night only.\n[rule.stairs]\ntrigger = [\n  { state = \"pir\" }, # [rule.other]\n]\ntext = \"\"\"\n[rule.stairs]\n\"\"\"\n# a word at the end\n\n[[rule.stairs.action]]\nset = \"lamp\"\n",
			"24\n[rule.stairs.more]\n\"c d\" = 1\n"}},
		{[]string{"rule", "other"}, []string{"18\n# Not of it.\n[rule.other]\non = true\n"}},
		{[]string{"rule", "short"}, []string{"22\nshort = { a = 1 }\n"}},
		{[]string{"rule", "dotted"}, []string{"23\ndotted.b = 2\n"}},
		{[]string{"rule", "nothing"}, nil},
	} {
		var got []string
		for _, e := range Excerpts([]byte(src), c.keys...) {
			got = append(got, fmt.Sprintf("%d\n%s", e.Line, e.Text))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %q, want %q", c.keys, got, c.want)
		}
	}
	for _, broken := range []string{"", "[", "[rule.stairs", "[rule.stairs]\na = ", "\x00", "[rule.stairs]\n" + string([]byte{0xff}) + " = 1"} {
		Excerpts([]byte(broken), "rule", "stairs")
	}
}
