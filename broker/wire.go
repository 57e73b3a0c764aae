package broker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The codec is the library's. It has been seen to panic on short packets, so
// nothing is decoded but by decode; and it takes a length as it comes, so frames
// are read here.

// readPacket reads one packet of at most limit bytes, fixed header included. Its
// errors are packets.Code for what the client did wrong, others for the connection.
func readPacket(r *bufio.Reader, pk *packets.Packet, version byte, limit int) error {
	first, err := r.ReadByte()
	if err != nil {
		return err
	}
	*pk = packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return err
	}
	n, prefix, err := packets.DecodeLength(r)
	if err != nil {
		return err
	}
	if prefix > 4 { // the library reads on for as long as the value fits
		return packets.ErrMalformedVariableByteInteger
	}
	if 1+prefix+n > limit {
		return packets.ErrPacketTooLarge
	}
	pk.FixedHeader.Remaining = n
	body, err := readBody(r, n)
	if err != nil {
		return err
	}
	return decode(pk, body)
}

// readBody reads n bytes, and does not take the memory of a packet before the
// packet has come.
func readBody(r *bufio.Reader, n int) ([]byte, error) {
	const step = 16 << 10
	body := make([]byte, min(n, step))
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	for len(body) < n {
		have := len(body)
		more := min(n-have, have)
		body = append(body, make([]byte, more)...)
		if _, err := io.ReadFull(r, body[have:]); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// decode reads the body of a packet into pk, which shares its memory.
func decode(pk *packets.Packet, body []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = packets.Code{Code: packets.ErrMalformedPacket.Code, Reason: fmt.Sprintf("malformed packet: the decoder stumbled: %v", p)}
		}
	}()
	if err := fault(pk, body); err != nil {
		return err
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return pk.ConnectDecode(body)
	case packets.Publish:
		return pk.PublishDecode(body)
	case packets.Puback:
		return pk.PubackDecode(body)
	case packets.Pubrec:
		return pk.PubrecDecode(body)
	case packets.Pubrel:
		return pk.PubrelDecode(body)
	case packets.Pubcomp:
		return pk.PubcompDecode(body)
	case packets.Subscribe:
		return pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		return pk.UnsubscribeDecode(body)
	case packets.Pingreq:
		return nil
	case packets.Disconnect:
		if len(body) == 1 && pk.ProtocolVersion == 5 { // the library passes over it
			pk.ReasonCode = body[0]
		}
		return pk.DisconnectDecode(body)
	case packets.Auth:
		return pk.AuthDecode(body)
	}
	return packets.ErrProtocolViolation
}

// appendPacket appends a packet of the broker's own, other than PUBLISH.
func appendPacket(b []byte, pk packets.Packet) []byte {
	var buf bytes.Buffer
	pk.Mods.AllowResponseInfo = true
	switch pk.FixedHeader.Type {
	case packets.Connack:
		pk.ConnackEncode(&buf)
	case packets.Puback, packets.Pubrec, packets.Pubcomp:
		pk.PubackEncode(&buf)
	case packets.Pubrel:
		pk.FixedHeader.Qos = 1 // the bits that PUBREL must have
		pk.PubrelEncode(&buf)
	case packets.Suback:
		pk.SubackEncode(&buf)
	case packets.Unsuback:
		pk.UnsubackEncode(&buf)
	case packets.Pingresp:
		pk.PingrespEncode(&buf)
	case packets.Disconnect:
		pk.DisconnectEncode(&buf)
	}
	return append(b, buf.Bytes()...)
}
