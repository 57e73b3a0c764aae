package hub

import "testing"

// A login is needed unless all who can come are on this machine and may come without.
func TestWhoNeedsALogin(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		anonymous *bool
		listen    []string
		want      bool
	}{
		{nil, nil, true},
		{&no, []string{"127.0.0.1:1883"}, true},
		{&yes, nil, false},
		{&yes, []string{"127.0.0.1:1883", "[::1]:1883", "localhost:1", "ws://127.1.2.3:80", "tcp://[::ffff:127.0.0.1]:1", "unix:///run/x"}, false},
		{&yes, []string{"127.0.0.1:1883", "0.0.0.0:8883"}, true},
		{&yes, []string{"tls://:8883"}, true},
		{&yes, []string{"wss://[::]:443"}, true},
		{&yes, []string{"tls://hearth.local:8883"}, true},
		{&yes, []string{"192.168.1.2:1883"}, true},
	} {
		var cfg Config
		cfg.Broker.Anonymous, cfg.Broker.Listen = c.anonymous, c.listen
		if got := cfg.needsLogin(); got != c.want {
			t.Errorf("anonymous %v, listen %v: %v, want %v", c.anonymous != nil && *c.anonymous, c.listen, got, c.want)
		}
	}
}
