package bridge

import "strings"

// toRemote gives the remote name of a local topic that the line is about.
func (t Topic) toRemote(local string) (string, bool) {
	rest, ok := strings.CutPrefix(local, t.LocalPrefix)
	if !ok || !overlap(t.Filter, rest) {
		return "", false
	}
	return t.RemotePrefix + rest, true
}

// toLocal gives the local name of a remote topic that the line is about.
func (t Topic) toLocal(remote string) (string, bool) {
	rest, ok := strings.CutPrefix(remote, t.RemotePrefix)
	if !ok || !overlap(t.Filter, rest) {
		return "", false
	}
	return t.LocalPrefix + rest, true
}

// local and remote are the filters to subscribe to on either side.
func (t Topic) local() string  { return t.LocalPrefix + t.Filter }
func (t Topic) remote() string { return t.RemotePrefix + t.Filter }

// overlap says whether a topic can match both filters. For a topic itself in place
// of one of them it says whether it matches the other.
func overlap(a, b string) bool {
	for {
		x, aRest, aMore := strings.Cut(a, "/")
		y, bRest, bMore := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case aMore && bMore:
			a, b = aRest, bRest
		case aMore:
			return aRest == "#" // a/# matches a itself
		case bMore:
			return bRest == "#"
		default:
			return true
		}
	}
}

// fault says what is wrong with a filter; "" is nothing.
func fault(filter string) string {
	switch {
	case filter == "":
		return `want a filter such as "garage/#"`
	case strings.HasPrefix(filter, "$"):
		return "what begins with $ is each broker's own; want other topics"
	case strings.ContainsRune(filter, 0):
		return "no topic has a NUL"
	case len(filter) > 65535:
		return "is too long"
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i < len(levels)-1:
			return "# stands at the end only, where it means all that follows"
		case level != "#" && level != "+" && strings.ContainsAny(level, "+#"):
			return `+ and # stand alone between slashes, such as "garage/+/state"`
		}
	}
	return ""
}
