package broker

import "time"

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
	stalled       time.Duration // a client that takes nothing for so long is disconnected

	// Of all together.
	queuedBytes   int64 // all queues
	retained      int   // topics with a value
	retainedBytes int64
	sessions      int // connected or kept
	connections   int

	// Of one address; loopback and sockets of the machine itself are not bounded.
	addressConnections int

	// Rates, per second; a burst is burst seconds' worth.
	messages        float64 // packets of one client, but for acknowledgements
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
		queue:              1000,
		queueBytes:         4 << 20,
		sessionExpiry:      7 * 24 * time.Hour,
		stalled:            30 * time.Second,
		queuedBytes:        64 << 20,
		retained:           10_000,
		retainedBytes:      64 << 20,
		sessions:           11_000,
		connections:        11_000,
		addressConnections: 256,
		messages:           1000,
		addressMessages:    10_000,
		burst:              4,
	}
}
