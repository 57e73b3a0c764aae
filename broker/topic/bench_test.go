package topic

import (
	"fmt"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// BenchmarkSubscribers is what finding the subscribers of one message costs, here
// and in mochi's index, which also merges what one client has several times.
func BenchmarkSubscribers(b *testing.B) {
	type sub struct{ filter, client string }
	many := func(n int, filter, client string) (subs []sub) {
		for i := range n {
			s := sub{filter, client}
			if client == "" {
				s.client = fmt.Sprint("client", i)
			} else {
				s.filter = fmt.Sprintf(filter, i)
			}
			subs = append(subs, s)
		}
		return subs
	}
	for _, c := range []struct {
		name, topic string
		want        int
		subs        []sub
	}{
		{"3 of one filter", "house/hall/lamp", 3, many(3, "house/hall/lamp", "")},
		{"3 of one wildcard", "house/hall/lamp", 3, many(3, "house/+/lamp", "")},
		{"5000 of one filter", "house/hall/lamp", 5000, many(5000, "house/hall/lamp", "")},
		{"10000 exact filters", "house/room5000/lamp", 1, many(10_000, "house/room%d/lamp", "c")},
		{"1000 filters +÷x÷#", "house/room500/lamp/state", 1, many(1000, "+/room%d/#", "c")},
		{"a house", "house/room50/lamp/state", 4, append(append(many(100, "house/room%d/lamp/state", "c"), many(100, "house/room%d/+/set", "d")...),
			sub{"#", "logger"}, sub{"house/+/+/state", "page"}, sub{"house/#", "bridge"})},
	} {
		b.Run(c.name+"/ours", func(b *testing.B) {
			var index Subscribers[string, int]
			for i, s := range c.subs {
				index.Set(s.filter, s.client, i)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				index.Match(c.topic, func(string, string, int) bool { n++; return true })
			}
			if n != c.want {
				b.Errorf("%d match", n)
			}
		})
		b.Run(c.name+"/mochi", func(b *testing.B) {
			index := mqtt.NewTopicsIndex()
			for _, s := range c.subs {
				index.Subscribe(s.client, packets.Subscription{Filter: s.filter})
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = len(index.Subscribers(c.topic).Subscriptions)
			}
			if n != c.want {
				b.Errorf("%d match", n)
			}
		})
	}
}

// BenchmarkValues is what a subscription costs among 10,000 retained values.
func BenchmarkValues(b *testing.B) {
	var values Values[int]
	mochi := mqtt.NewTopicsIndex()
	for i := range 10_000 {
		topic := fmt.Sprintf("house/device%d/part%d", i/4, i%4)
		values.Set(topic, i)
		mochi.RetainMessage(packets.Packet{TopicName: topic, Payload: []byte("x"), FixedHeader: packets.FixedHeader{Retain: true}})
	}
	for _, c := range []struct {
		filter string
		want   int
	}{
		{"house/device77/part3", 1}, {"house/device77/+", 4}, {"+/device77/#", 4}, {"house/+/part3", 2500}, {"#", 10_000},
	} {
		name := ""
		for _, r := range c.filter {
			if r == '/' {
				r = '÷'
			}
			name += string(r)
		}
		b.Run(name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = 0
				values.Match(c.filter, func(string, int) bool { n++; return true })
			}
			if n != c.want {
				b.Errorf("%d match", n)
			}
		})
		b.Run(name+"/mochi", func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = len(mochi.Messages(c.filter))
			}
			if n != c.want {
				b.Errorf("%d match", n)
			}
		})
	}
	b.Run("set and delete", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			values.Set("house/device77/new", 1)
			values.Delete("house/device77/new")
		}
	})
}

func BenchmarkSetAndDelete(b *testing.B) {
	for _, n := range []int{0, 3, 5000} {
		b.Run(fmt.Sprint("beside ", n), func(b *testing.B) {
			var index Subscribers[int, int]
			for k := range n {
				index.Set("house/+/lamp", k, k)
			}
			b.ReportAllocs()
			for b.Loop() {
				index.Set("house/+/lamp", -1, 1)
				index.Delete("house/+/lamp", -1)
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !Match("house/+/lamp/#", "house/hall/lamp/state") {
			b.Fatal()
		}
	}
}
