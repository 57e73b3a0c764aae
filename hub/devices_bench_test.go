package hub

import (
	"slices"
	"strings"
	"testing"

	"hearth/devices"
	"hearth/devices/catalog"
)

// What a topic costs that neither announces a device nor is known.
func BenchmarkUnknownTopic(b *testing.B) {
	f := newFilters(catalog.New().Filters())
	x := catalog.NewIndex(nil)
	for _, topic := range []string{"office/desk/lamp/power", "a/b", "zigbee2mqtt/Desk plug", "shellies/x/relay/0", "homie/x/y/z"} {
		b.Run(topic, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = x.Takes(topic) || f.match(topic)
			}
		})
	}
}

// The tree takes what the filters themselves take.
func TestFilters(t *testing.T) {
	all := append(catalog.New().Filters(), "#deep/x", "a/#", "+/x/#")
	f := newFilters(all)
	topics := []string{"", "a", "a/b/c", "$SYS/broker/x", "$SYS/online", "b/x/y", "/online", "a//online", "online", "shellies", "shellies/a", "tele/x/LWT", "tele//LWT", "tele/x/y/LWT"}
	for _, filter := range all {
		for _, with := range []string{"", "x", "$state", "5", "light"} {
			topic := strings.ReplaceAll(strings.ReplaceAll(filter, "+", with), "#", with)
			topics = append(topics, topic, "x/"+topic, topic+"/x")
		}
	}
	for _, topic := range topics {
		want := slices.ContainsFunc(all, func(filter string) bool { return devices.MatchTopic(filter, topic) })
		if got := f.match(topic); got != want {
			t.Errorf("%q: %v, want %v", topic, got, want)
		}
	}
}
