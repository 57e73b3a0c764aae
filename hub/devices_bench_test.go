package hub

import (
	"testing"

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
	for _, topic := range []string{"office/desk/lamp/power", "a/b", "zigbee2mqtt/Desk plug", "shellies/x/relay/0", "homie/x/y/z"} {
		b.Run(topic, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = x.Takes(topic) || f.Any(topic)
			}
		})
	}
}
