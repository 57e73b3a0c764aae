package broker

import (
	"testing"
	"testing/synctest"

	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/broker/access"
)

// An administrator sees what a client subscribes to, and sends it away: it is told so, and may
// come again to the session that it had.
func TestAClientIsDisconnected(t *testing.T) {
	b := open(t, Options{})
	defer b.Close()
	phone := speak(t, dial(t, listen(t, b, "127.0.0.1:0")[0]), 5)
	phone.connect("phone", kept)
	own := connect(t, b, "own", 5)
	phone.subscribe(1, 1, "door/#", "bell", "attic/+")
	if got := b.Subscriptions("phone", 2); len(got) != 2 || got[0] != "attic/+" || got[1] != "bell" {
		t.Error(got)
	}
	if b.Subscriptions("nobody", 2) != nil || b.Disconnect("nobody") || b.Disconnect("own") {
		t.Error("there is nobody, and the hub's own stay")
	}
	if !b.Disconnect("phone") {
		t.Error("it is there")
	}
	if pk := phone.want(packets.Disconnect); pk.ReasonCode != packets.ErrAdministrativeAction.Code {
		t.Errorf("it is told %#x", pk.ReasonCode)
	}
	phone.nc.Close()
	again := speak(t, dial(t, b.Addrs()[0]), 5)
	again.connect("phone", kept, func(pk *packets.Packet) { pk.Connect.Clean = false })
	if got := b.Subscriptions("phone", 9); len(got) != 3 {
		t.Errorf("afterwards it has %v", got)
	}
	own.alive()
}

// What somebody publishes through the hub has their rights, now and when it is found again.
func TestPublishingInTheNameOfAUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard *access.Rights
		b := open(t, Options{Receive: func(m Message) func() <-chan struct{} { heard = m.Rights; return nil }})
		defer b.Close()
		few := new(access.Rights)
		if err := b.PublishAs("guest", Message{Topic: "homeassistant/light/x/config", Payload: []byte("{}"), Retain: true, Rights: few}); err != nil {
			t.Fatal(err)
		}
		if heard != few {
			t.Errorf("it came with %v", heard)
		}
		if all := b.RetainedValues("#"); len(all) != 1 || all[0].Rights == nil {
			t.Errorf("it is kept as the hub's own: %+v", all)
		}
	})
}
