package broker

import (
	"runtime"
	"strconv"
	"strings"
	"time"
)

// sysEvery is how often $SYS is told, in seconds, as Mosquitto does.
const sysEvery = 10

const sysPrefix = "$SYS/"

// publishSys tells those who subscribe to $SYS how the broker is. The values are live
// messages, and who subscribes is told within ten seconds; they are not retained, so
// nothing is computed that nobody hears.
func (b *Broker) publishSys(now time.Time) {
	b.mu.Lock()
	heard := b.sys > 0
	b.mu.Unlock()
	if !heard {
		return
	}
	st := b.Stats()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	for _, v := range []struct {
		topic string
		value int64
	}{
		{"broker/uptime", int64(now.Sub(b.begun) / time.Second)},
		{"broker/clients/connected", st.Clients},
		{"broker/clients/disconnected", st.Sessions - st.Clients},
		{"broker/clients/total", st.Sessions},
		{"broker/messages/received", st.Received},
		{"broker/messages/sent", st.Sent},
		{"broker/publish/messages/dropped", st.Dropped},
		{"broker/publish/messages/refused", st.Refused},
		{"broker/store/messages/bytes", st.QueuedBytes},
		{"broker/retained messages/count", st.Retained},
		{"broker/heap/current", int64(mem.HeapAlloc)},
	} {
		b.tell(&message{topic: sysPrefix + v.topic, payload: strconv.AppendInt(nil, v.value, 10), at: now})
	}
}

// tell sends a message of the broker's own to those who subscribe, and to nobody else.
func (b *Broker) tell(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	m.seq = b.seq
	b.match(m)
	d := &delivery{m: m}
	lim := b.limits.Load()
	for _, s := range b.hits {
		if s.rights.Receive(m.topic) && s.admit(d, lim) {
			s.push(d)
		}
	}
	b.hits = b.hits[:0]
}

// isSys says whether a filter can match what $SYS tells.
func isSys(filter string) bool { return strings.HasPrefix(filter, sysPrefix) || filter == "$SYS" }
