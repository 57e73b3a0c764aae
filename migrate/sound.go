package migrate

import (
	"fmt"

	"hearth/rules/formula"
)

var name = lazily(`[A-Za-z_][A-Za-z0-9_]*`)

// known are the types of what an expression sees of a message.
var known = map[string]formula.Type{"topic": formula.Text, "trigger": formula.Text, "n": formula.Number, "timed_out": formula.Boolean}

// scope lets an expression name what it names: whether all of that is there is for
// the house to say.
func scope(text string) formula.Scope {
	names := make(map[string]formula.Type)
	for _, n := range name().FindAllString(text, -1) {
		if !formula.Reserved(n) {
			names[n] = known[n]
		}
	}
	return formula.Scope{Names: names, Property: func(string, string) (formula.Type, bool) { return formula.Any, true }}
}

// unsound says which expression or text with holes in a table means nothing: what a
// dialect without types lets pass may be none.
func unsound(v any, key string) error {
	switch v := v.(type) {
	case table:
		for _, p := range v {
			if key == "payload" || key == "state" { // its keys are those of JSON, or sources
				p.key = key
			}
			if err := unsound(p.value, p.key); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := unsound(e, key); err != nil {
				return err
			}
		}
	case string:
		var err error
		switch key {
		case "condition", "if", "while", "not", "any":
			_, err = formula.Compile(v, scope(v), formula.Boolean)
		case "value":
			_, err = formula.Compile(v, scope(v), formula.Any)
		case "payload", "notify", "publish", "for", "delay", "http", "body":
			_, err = formula.CompileText(v, scope(v))
		}
		if err != nil {
			return fmt.Errorf("%s is no expression: %w", inline(oneLine(v)), err)
		}
	}
	return nil
}
