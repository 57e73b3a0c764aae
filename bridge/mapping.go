package bridge

import (
	"strings"

	"hearth/broker/topic"
)

// toRemote gives the remote name of a local topic that the line is about.
func (t Topic) toRemote(local string) (string, bool) {
	rest, ok := strings.CutPrefix(local, t.LocalPrefix)
	if !ok || !topic.Match(t.Filter, rest) {
		return "", false
	}
	return t.RemotePrefix + rest, true
}

// toLocal gives the local name of a remote topic that the line is about.
func (t Topic) toLocal(remote string) (string, bool) {
	rest, ok := strings.CutPrefix(remote, t.RemotePrefix)
	if !ok || !topic.Match(t.Filter, rest) {
		return "", false
	}
	return t.LocalPrefix + rest, true
}

// local and remote are the filters to subscribe to on either side.
func (t Topic) local() string  { return t.LocalPrefix + t.Filter }
func (t Topic) remote() string { return t.RemotePrefix + t.Filter }

// fault says what is wrong with a filter; "" is nothing.
func fault(filter string) string {
	if strings.HasPrefix(filter, "$") {
		return "what begins with $ is each broker's own; want other topics"
	}
	if why := topic.Fault(filter, true, 65535, 65535); why != "" {
		return why + `; want a filter such as "garage/+/state" or "garage/#"`
	}
	return ""
}
