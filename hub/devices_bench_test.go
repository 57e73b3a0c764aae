package hub

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	filters "hearth/broker/topic"
	"hearth/devices/catalog"
)

// What a topic costs that neither announces a device nor is known.
func BenchmarkUnknownTopic(b *testing.B) {
	var f filters.Subscribers[struct{}, struct{}]
	for _, filter := range catalog.New().Filters() {
		f.Set(filter, struct{}{}, struct{}{})
	}
	x := catalog.NewIndex(nil)
	var slowest, decoded time.Duration
	b.Run("encoding/json", func(b *testing.B) { // of 500 bytes, to compare machines by
		payload := []byte(`{"a":[` + strings.Repeat(`{"power":12.5,"state":"ON"},`, 17) + `1]}`)
		for b.Loop() {
			var v map[string]any
			json.Unmarshal(payload, &v)
		}
		decoded = b.Elapsed() / time.Duration(b.N)
	})
	for _, topic := range []string{"office/desk/lamp/power", "a/b", "zigbee2mqtt/Desk plug", "shellies/x/relay/0", "homie/x/y/z"} {
		b.Run(topic, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = x.Takes(topic) || f.Any(topic)
			}
			slowest = max(slowest, b.Elapsed()/time.Duration(b.N))
		})
	}
	// 200 ns where encoding/json takes 16 us; other machines are compared by that.
	if slowest > decoded/80 {
		b.Errorf("a topic that nobody knows costs up to %v, want at most an 80th of encoding/json's %v", slowest, decoded)
	}
}
