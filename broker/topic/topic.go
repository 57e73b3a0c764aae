// Package topic knows MQTT's topics and filters: which are valid, which match
// which, and how to find all that match among many.
//
// A topic is levels with slashes between them, which may be empty. In a filter the
// level + stands for any one level, and # at the end for all that follow, none
// included: "a/#" matches "a" too. A wildcard at the front matches no topic that
// begins with $; those are the broker's own.
//
// Subscribers finds the subscriptions that match a topic, Values the topics that
// match a filter. Everything but Fault takes its topics and filters for valid: what
// it says of others means nothing, but it ends, and soon.
package topic

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Fault says what is wrong with a topic, or with a filter; "" is nothing. What is
// too long is found out without a look at it.
func Fault(s string, filter bool, maxBytes, maxLevels int) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > maxBytes:
		return fmt.Sprintf("it is longer than %d bytes", maxBytes)
	case strings.Count(s, "/") >= maxLevels:
		return fmt.Sprintf("it has more than %d levels", maxLevels)
	case !utf8.ValidString(s):
		return "it is no valid text: not UTF-8"
	case strings.IndexByte(s, 0) >= 0:
		return "it is no valid text: there is a zero byte in it"
	case !wild(s):
		return ""
	case !filter:
		return "wildcards are for subscribing"
	}
	for more := true; more; {
		var level string
		level, s, more = strings.Cut(s, "/")
		switch {
		case level == "#" && more:
			return "# is for the end"
		case level != "#" && level != "+" && wild(level):
			return "a wildcard is a level of its own"
		}
	}
	return ""
}

// wild says whether there are wildcards in a filter.
func wild(filter string) bool {
	return strings.IndexByte(filter, '+') >= 0 || strings.IndexByte(filter, '#') >= 0
}

// hidden says whether a topic or filter begins with $, and so out of the sight of
// filters that begin with a wildcard.
func hidden(s string) bool { return s != "" && s[0] == '$' }

// Share takes "$share/GROUP/FILTER" apart: each message goes to one subscriber of
// the group. Of any other filter the group is "" and rest the filter. It is not ok
// if the group or its filter is missing, or a wildcard is in the group.
func Share(filter string) (group, rest string, ok bool) {
	first, rest, _ := strings.Cut(filter, "/")
	if first != "$share" {
		return "", filter, true
	}
	group, rest, _ = strings.Cut(rest, "/")
	if group == "" || rest == "" || wild(group) {
		return "", "", false
	}
	return group, rest, true
}

// Match says whether a topic matches a filter.
func Match(filter, topic string) bool {
	if hidden(topic) && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		f, moreF, isF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, moreT, isT := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !isT:
			return !isF || moreF == "#"
		case !isF:
			return false
		}
		filter, topic = moreF, moreT
	}
}

// Covers says whether every topic that matches filter matches rule, itself a
// filter. A topic is a filter that matches itself alone.
func Covers(rule, filter string) bool {
	if hidden(filter) && rule != "" && (rule[0] == '+' || rule[0] == '#') {
		return false
	}
	if rule == "+/#" { // every topic has a first level
		rule = "#"
	}
	for {
		r, moreR, isR := strings.Cut(rule, "/")
		if r == "#" {
			return true
		}
		f, moreF, isF := strings.Cut(filter, "/")
		switch {
		case f == "#":
			return false // it matches the level above too, and all that is below
		case r != "+" && r != f:
			return false
		case !isF:
			return !isR || moreR == "#"
		case !isR:
			return false
		}
		rule, filter = moreR, moreF
	}
}

// Meet says whether some topic matches both filters.
func Meet(a, b string) bool {
	if wildFirst := func(f string) bool { return f[:1] == "+" || f[:1] == "#" }; a == "" || b == "" ||
		hidden(a) && wildFirst(b) || hidden(b) && wildFirst(a) {
		return false
	}
	for {
		x, moreA, isA := strings.Cut(a, "/")
		y, moreB, isB := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != "+" && y != "+" && x != y:
			return false
		case !isA && !isB:
			return true
		case !isA:
			return moreB == "#"
		case !isB:
			return moreA == "#"
		}
		a, b = moreA, moreB
	}
}
