package migrate

import (
	"slices"
)

// A cond is a condition as both dialects say it: a test of a source, something
// that Hearth has a table of its own for, an expression, or several joined.
type cond struct {
	op     string // "test", "table", "expr", "and", "or", "not"
	source string // of test
	want   any    // of test: a value, a list of values, or a table of tests
	table  table  // of table
	text   string // of expr
	kids   []*cond
}

func both(op string, kids ...*cond) *cond {
	if len(kids) == 1 {
		return kids[0]
	}
	return &cond{op: op, kids: kids}
}

// behind is a condition, which may be nil, that a variable has to allow.
func behind(variable string, c *cond) *cond {
	on := &cond{op: "test", source: variable, want: true}
	if c == nil {
		return on
	}
	return both("and", on, c)
}

func not(c *cond) *cond {
	if c.op == "not" {
		return c.kids[0]
	}
	return &cond{op: "not", kids: []*cond{c}}
}

// list is a condition as the value of condition, if and while: all of a list hold.
func (c *cond) list() any {
	if c.op != "and" {
		return c.one()
	}
	var all []any
	for _, k := range c.kids {
		if k.op == "and" {
			if more, ok := k.list().([]any); ok {
				all = append(all, more...)
				continue
			}
		}
		all = add(all, k.one())
	}
	return oneOrMore(all)
}

// add puts a condition to those that hold together: tests of states go into one
// table where they fit.
func add(all []any, one any) []any {
	t, ok := one.(table)
	if !ok || len(t) != 1 || t[0].key != "state" {
		return append(all, one)
	}
	for i, other := range all {
		o, ok := other.(table)
		if !ok || len(o) != 1 || o[0].key != "state" {
			continue
		}
		sources, ours := o[0].value.(table), t[0].value.(table)
		if !slices.ContainsFunc(ours, func(p pair) bool { return sources.get(p.key) != nil }) {
			all[i] = table{{"state", append(slices.Clone(sources), ours...)}}
			return all
		}
	}
	return append(all, one)
}

// one is a condition where one table or text is wanted.
func (c *cond) one() any {
	switch c.op {
	case "test":
		return table{{"state", table{{c.source, c.want}}}}
	case "table":
		return c.table
	case "expr":
		return c.text
	case "not":
		return table{{"not", c.kids[0].one()}}
	case "or":
		var any []any
		for _, k := range c.kids {
			any = append(any, k.one())
		}
		return table{{"any", any}}
	}
	// Several that hold together, as one table: by their keys if these differ, else
	// none of them may fail.
	list, ok := c.list().([]any)
	if !ok {
		return c.list()
	}
	var merged table
	for _, e := range list {
		t, ok := e.(table)
		if !ok {
			t = table{{"any", []any{e}}}
		}
		for _, p := range t {
			if merged.get(p.key) != nil {
				var fails []any
				for _, e := range list {
					fails = append(fails, table{{"not", e}})
				}
				return table{{"not", table{{"any", fails}}}}
			}
			merged.put(p.key, p.value)
		}
	}
	return merged
}

// edges are triggers that fire whenever the condition may have become true: when
// one of its tests does. It is false if there is a part of which nothing tells.
func (c *cond) edges(negated bool) (list []table, ok bool) {
	switch c.op {
	case "test":
		t := table{{"state", c.source}}
		tests, isTable := c.want.(table)
		if !isTable {
			tests = table{{"is", c.want}}
		}
		for _, p := range tests {
			if negated {
				if p, ok = opposite(p); !ok || len(tests) > 1 {
					return nil, false
				}
			}
			t = append(t, p)
		}
		return []table{t}, true
	case "table":
		// That the sun is up or down begins with its rise or set.
		side, sun := c.table.get("sun").(string)
		height := c.table.get("elevation")
		if !sun || len(c.table) > 1 && (height == nil || len(c.table) > 2) {
			return nil, false
		}
		t := table{{"sun", "sunset"}}
		if (side == "up") != negated {
			t = table{{"sun", "sunrise"}}
		}
		if height != nil {
			t.put("elevation", height)
		}
		return []table{t}, true
	case "not":
		return c.kids[0].edges(!negated)
	case "and", "or":
		for _, k := range c.kids {
			more, ok := k.edges(negated)
			if !ok {
				return nil, false
			}
			list = append(list, more...)
		}
		return list, true
	}
	return nil, false
}

// opposite is the test that holds of a value when this one does not.
func opposite(p pair) (pair, bool) {
	turned := map[string]string{"above": "at_most", "below": "at_least", "at_least": "below", "at_most": "above"}
	if key, ok := turned[p.key]; ok {
		return pair{key, p.value}, true
	}
	if on, ok := p.value.(bool); ok && p.key == "is" {
		return pair{"is", !on}, true
	}
	return p, false
}
