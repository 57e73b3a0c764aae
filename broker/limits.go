package broker

import (
	"time"

	"hearth/config"
)

// limits bound what one client, one address and all together may cost. Every one
// is a setting: [broker.limits].
type limits struct {
	// Before the login.
	connectWithin time.Duration // from the connection to its CONNECT
	loginPacket   int           // bytes of CONNECT

	// Of one packet, topic or client.
	packet        int           // bytes, both ways
	topic         int           // bytes of a topic or filter
	levels        int           // of a topic or filter
	subscriptions int           // of one client
	aliases       int           // topic aliases, each way
	receive       int           // QoS 1 and 2 messages of one client that wait for their acknowledgement
	window        int           // the same towards a client that names no limit
	queue         int           // messages that wait for one client
	queueBytes    int           // the same in bytes of topics and payloads
	sessionExpiry time.Duration // a session is kept this long at most while its client is away
	keepAlive     time.Duration // an MQTT 5 client that asks for a longer one is told this
	stalled       time.Duration // a client that takes nothing for so long is disconnected

	// Of all together.
	allSubs       int   // subscriptions
	queuedBytes   int64 // all queues
	retained      int   // topics with a value
	retainedBytes int64
	sessions      int // connected or kept
	connections   int

	// Of one address; loopback and sockets of the machine itself are not bounded.
	addressConnections int
	addressConnects    float64 // new connections a second; five seconds' worth at once

	// Rates, per second; a burst is burst seconds' worth.
	messages        float64 // packets of one client, but for acknowledgements; 0: any
	addressMessages float64
	burst           float64
}

func defaultLimits() limits {
	return limits{
		connectWithin:      5 * time.Second,
		loginPacket:        4 << 10,
		packet:             256 << 10,
		topic:              512,
		levels:             32,
		subscriptions:      200,
		aliases:            16,
		receive:            512,
		window:             128,
		queue:              10_000,
		queueBytes:         4 << 20,
		sessionExpiry:      7 * 24 * time.Hour,
		keepAlive:          time.Minute,
		stalled:            30 * time.Second,
		allSubs:            50_000,
		queuedBytes:        64 << 20,
		retained:           10_000,
		retainedBytes:      64 << 20,
		sessions:           11_000,
		connections:        11_000,
		addressConnections: 256,
		addressConnects:    20,
		messages:           1000,
		addressMessages:    10_000,
		burst:              4,
	}
}

// Limits are what the owner may set of the limits; what is left out is as in
// defaultLimits. Where 0 is a meaning of its own the field is a pointer.
type Limits struct {
	ConnectTimeout config.Duration `toml:"connect_timeout" min:"1s" max:"1m"`      // from the connection to the end of its CONNECT
	ConnectPacket  config.Size     `toml:"connect_packet" min:"256B" max:"256KiB"` // of the CONNECT itself

	Packet         config.Size     `toml:"packet" min:"1KiB" max:"256MiB"`      // of any packet, both ways
	Topic          int             `toml:"topic" min:"64" max:"65535"`          // bytes of a topic or filter
	Levels         int             `toml:"levels" min:"8" max:"1000"`           // of a topic or filter
	Subscriptions  int             `toml:"subscriptions" min:"1" max:"100000"`  // of one client
	Aliases        *int            `toml:"aliases" min:"0" max:"65535"`         // topic aliases, each way
	ReceiveMaximum int             `toml:"receive_maximum" min:"1" max:"65535"` // QoS 1 and 2 messages that one client may have under way to the broker
	SendMaximum    int             `toml:"send_maximum" min:"1" max:"5000"`     // and the broker to it, if the client names no limit
	Queue          int             `toml:"queue" min:"1" max:"60000"`           // messages that wait for one client; each, and each under way, has one of 65,535 packet ids
	QueueBytes     config.Size     `toml:"queue_bytes" min:"16KiB" max:"1GiB"`  // the same in bytes
	SessionExpiry  config.Duration `toml:"session_expiry" min:"1m" max:"3650d"` // a session is kept so long at most while its client is away
	Keepalive      config.Duration `toml:"keepalive" min:"5s" max:"18h"`        // MQTT 5 clients that ask for a longer one are told this; 0 is not longer
	Stalled        config.Duration `toml:"stalled" min:"1s" max:"1h"`           // who takes nothing for so long is disconnected

	AllSubscriptions int         `toml:"all_subscriptions" min:"1" max:"100000000"` // of all clients together
	AllQueueBytes    config.Size `toml:"all_queue_bytes" min:"1MiB" max:"16GiB"`    // messages that wait for all clients together
	Retained         int         `toml:"retained" min:"1" max:"10000000"`           // topics with a retained value
	RetainedBytes    config.Size `toml:"retained_bytes" min:"64KiB" max:"16GiB"`    // of their values
	Sessions         int         `toml:"sessions" min:"1" max:"1000000"`            // clients, connected or with a kept session
	Connections      int         `toml:"connections" min:"1" max:"1000000"`         // open at a time, MQTT or not yet

	AddressConnections int `toml:"address_connections" min:"1" max:"1000000"` // of one address
	AddressConnects    int `toml:"address_connects" min:"1" max:"1000000"`    // new connections a second from one address

	Messages        *int            `toml:"messages" min:"0" max:"10000000"`         // a second from one client; 0: as many as it sends
	AddressMessages *int            `toml:"address_messages" min:"0" max:"10000000"` // and from one address
	Burst           config.Duration `toml:"burst" min:"1s" max:"1m"`                 // of so much time's worth is saved up while there is quiet
}

// over gives d with what is set.
func (s Limits) over(d limits) limits {
	set(&d.connectWithin, time.Duration(s.ConnectTimeout))
	set(&d.loginPacket, int(s.ConnectPacket))
	set(&d.packet, int(s.Packet))
	set(&d.topic, s.Topic)
	set(&d.levels, s.Levels)
	set(&d.subscriptions, s.Subscriptions)
	setTo(&d.aliases, s.Aliases)
	set(&d.receive, s.ReceiveMaximum)
	set(&d.window, s.SendMaximum)
	set(&d.queue, s.Queue)
	set(&d.queueBytes, int(s.QueueBytes))
	set(&d.sessionExpiry, time.Duration(s.SessionExpiry))
	set(&d.keepAlive, time.Duration(s.Keepalive).Truncate(time.Second))
	set(&d.stalled, time.Duration(s.Stalled))
	set(&d.allSubs, s.AllSubscriptions)
	set(&d.queuedBytes, int64(s.AllQueueBytes))
	set(&d.retained, s.Retained)
	set(&d.retainedBytes, int64(s.RetainedBytes))
	set(&d.sessions, s.Sessions)
	set(&d.connections, s.Connections)
	set(&d.addressConnections, s.AddressConnections)
	set(&d.addressConnects, float64(s.AddressConnects))
	setTo(&d.messages, s.Messages)
	setTo(&d.addressMessages, s.AddressMessages)
	set(&d.burst, time.Duration(s.Burst).Seconds())
	return d
}

func set[T comparable](into *T, v T) {
	var zero T
	if v != zero {
		*into = v
	}
}

func setTo[T int | float64](into *T, v *int) {
	if v != nil {
		*into = T(*v)
	}
}
