// Package control is how an administrator's commands reach the hub that runs:
// HTTP with JSON over a Unix socket in the data folder. It knows nothing of
// houses or MQTT; what it tells it asks of a [House], which the hub fills.
//
// The socket has mode 0600. Whoever may read the data folder could read the
// passwords and the messages in it, so that person is the administrator, and
// there is no other login.
//
//	GET    /clients                        [Client, ...]
//	GET    /broker                         Broker
//	GET    /retained?filter=F&payload=N    [Value, ...]; N bytes of each payload, all without it
//	DELETE /retained?filter=F              {"cleared": 12}
//	GET    /devices                        Devices
//	DELETE /devices?name=N                 {}
//	POST   /devices/replace?old=A&new=B    Replaced; &force=true though B lacks what rules use
//	POST   /devices/reinstate?name=N       Replaced
//	POST   /set?name=N&value=V             Answer
//	GET    /why?name=N&at=T                why it is as it is; T as a person types it, now without it
//	GET    /health                         how the house and its machine are doing, as package doctor writes it
//	GET    /recording?since=T              what was recorded since T (RFC 3339), as package replay writes it
//	GET    /history                        [Series, ...]
//	GET    /history/points?name=N&from=T&to=T      Point, one a line
//	GET    /history/chart?name=N&from=T&to=T&n=N   [Bucket, ...]
//	GET    /history/summary?name=N&from=T&to=T     Summary
//	POST   /backup                         an archive of the house, as package backup has it; what went
//	                                       wrong after its beginning is in the trailer Error
//	POST   /reload                         Reloaded; status 409 if the old configuration stays
//
// What is refused has a fitting status and {"error": "..."}. The names of the
// fields are stable; fields may be added.
//
// # What it promises
//
//   - A socket that a killed hub left is replaced. Only the hub that holds the
//     store of a folder may open a [Server] there, so nobody answers on an old one.
//   - The path of the folder may be longer than the 107 bytes that a socket's
//     address has.
//   - A disk that is full or read-only costs the socket and nothing else; the next
//     Open tries again.
package control

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// Name is the socket's, in the data folder.
const Name = "control.sock"

// A Client is one that is connected, or whose session is kept.
type Client struct {
	ID            string    `json:"id"`
	User          string    `json:"user"`
	Version       string    `json:"version"` // of MQTT: "3.1", "3.1.1" or "5"
	Connected     bool      `json:"connected"`
	Address       string    `json:"address"`
	Listener      string    `json:"listener"`
	Since         time.Time `json:"since,omitzero"` // connected or away
	LastSeen      time.Time `json:"last_seen,omitzero"`
	Expires       time.Time `json:"expires,omitzero"` // of a session whose client is away
	Subscriptions int       `json:"subscriptions"`
	Queued        int       `json:"queued"`
	QueuedBytes   int64     `json:"queued_bytes"`
	Unacked       int       `json:"unacknowledged"`
	Received      int64     `json:"received"` // from it
	Sent          int64     `json:"sent"`     // to it
	Dropped       int64     `json:"dropped"`
	Refused       int64     `json:"refused"`
}

// A Broker is the one that the house uses instead of its own, and how the link to it
// is doing.
type Broker struct {
	Address     string    `json:"address"` // "": the house uses its own
	Connected   bool      `json:"connected"`
	Since       time.Time `json:"since,omitzero"`
	Why         string    `json:"why,omitempty"` // not connected
	Queued      int       `json:"queued"`        // messages that wait to go there
	QueuedBytes int64     `json:"queued_bytes"`
	In          int64     `json:"in"` // messages since the hub started
	Out         int64     `json:"out"`
	Dropped     int64     `json:"dropped"` // not passed on, for too many waited
	Refused     int64     `json:"refused"` // not passed on, for the other side did not want them
}

// A Value is what is retained of a topic.
type Value struct {
	Topic   string    `json:"topic"`
	Size    int       `json:"size"` // of the payload, of which only the beginning may be here
	QoS     byte      `json:"qos"`
	Client  string    `json:"client"`           // "" for the hub
	At      time.Time `json:"at,omitzero"`      // zero: before the hub started
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Payload Payload   `json:"payload"`
}

// Devices are those that have announced themselves, and what could not be
// understood of that.
type Devices struct {
	Devices     []Device `json:"devices"`
	Unlinked    string   `json:"unlinked,omitempty"` // why nothing is heard of any: there is no link to the house's broker
	Faults      []Fault  `json:"faults,omitempty"`
	OtherFaults int      `json:"other_faults,omitempty"` // messages of topics beyond those in Faults
}

// A Device is one of them.
type Device struct {
	Name       string     `json:"name"` // here
	ID         string     `json:"id"`
	Via        string     `json:"via"`
	Named      bool       `json:"named,omitempty"` // the configuration says what it is called
	Aliases    []string   `json:"aliases,omitempty"`
	Label      string     `json:"label,omitempty"` // what people call it: as the configuration says, or it itself
	Room       string     `json:"room,omitempty"`
	Maker      string     `json:"maker,omitempty"`
	Model      string     `json:"model,omitempty"`
	Version    string     `json:"version,omitempty"`
	Sleepy     bool       `json:"sleepy,omitempty"`
	Also       []string   `json:"also,omitempty"`
	StandsFor  string     `json:"stands_for,omitempty"`  // the id of the device in whose place it is
	ReplacedBy string     `json:"replaced_by,omitempty"` // the id of the device in its place
	Denied     []string   `json:"denied,omitempty"`      // topics for commands on which who announced it may not publish
	Since      time.Time  `json:"since,omitzero"`
	Seen       time.Time  `json:"seen,omitzero"`
	Online     *bool      `json:"online,omitempty"` // absent: nobody says, or nobody can
	Silent     bool       `json:"silent,omitempty"` // it has not announced itself since the hub started
	Properties []Property `json:"properties"`
}

// A Property is what a device reports or is told.
type Property struct {
	Name       string    `json:"name"`
	Label      string    `json:"label,omitempty"`
	Kind       string    `json:"kind"`
	Of         string    `json:"of,omitempty"`
	Class      string    `json:"class,omitempty"`
	Unit       string    `json:"unit,omitempty"`
	Min        *float64  `json:"min,omitempty"`
	Max        *float64  `json:"max,omitempty"`
	Options    []string  `json:"options,omitempty"`
	Diagnostic bool      `json:"diagnostic,omitempty"`
	Raw        string    `json:"raw,omitempty"` // why its values are as they were sent
	Settable   bool      `json:"settable"`
	Value      any       `json:"value,omitempty"` // the newest
	At         time.Time `json:"at,omitzero"`
	Bad        string    `json:"bad,omitempty"`  // why the newest report was no value
	Away       bool      `json:"away,omitempty"` // this part of the device is not available, whatever its value was
	Asked      any       `json:"asked,omitempty"`
	AskedAt    time.Time `json:"asked_at,omitzero"`
	GaveUp     bool      `json:"gave_up,omitempty"` // it was told so as often as makes sense
	Again      bool      `json:"again,omitempty"`   // it will be told so again when the device shows that it lives
	Topics     []string  `json:"topics,omitempty"`  // where it is reported
	SetTopic   string    `json:"set_topic,omitempty"`
}

// A Replaced is what came of putting a device into the place of another.
type Replaced struct {
	Name    string   `json:"name"`              // of the place
	Old     string   `json:"old"`               // ids: of the one that had it, and
	Now     string   `json:"now"`               // of the one that has it now
	Missing []string `json:"missing,omitempty"` // what rules use of the name and this one does not have
	Written bool     `json:"written,omitempty"` // the configuration has the id of one before
}

// A Fault is what was wrong with announcements on a topic.
type Fault struct {
	Topic string `json:"topic"`
	Times int    `json:"times"`
	Why   string `json:"why"`
}

// An Answer is what came of telling something a value.
type Answer struct {
	Name     string `json:"name"`
	Topic    string `json:"topic"` // what was published
	Payload  string `json:"payload"`
	Was      bool   `json:"was,omitempty"`      // it had that value already
	Reported any    `json:"reported,omitempty"` // what the device answered
	Late     bool   `json:"late,omitempty"`     // it has not answered yet
	Again    bool   `json:"again,omitempty"`    // it most likely does not hear now, and will be told again when it shows that it lives
	Waits    string `json:"waits,omitempty"`    // why an output does not obey yet
}

// A Payload is a JSON string if it is text, else {"base64": "..."}.
type Payload []byte

type encoded struct {
	Base64 []byte `json:"base64"`
}

func (p Payload) MarshalJSON() ([]byte, error) {
	if utf8.Valid(p) {
		return json.Marshal(string(p))
	}
	return json.Marshal(encoded{p})
}

func (p *Payload) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var e encoded
		err := json.Unmarshal(b, &e)
		*p = e.Base64
		return err
	}
	var s string
	err := json.Unmarshal(b, &s)
	*p = Payload(s)
	return err
}

// cut gives at most n bytes, and no half of a character if it is text.
func (p Payload) cut(n int) Payload {
	if len(p) <= n {
		return p
	}
	short := p[:n]
	for i := 1; i <= min(n, utf8.UTFMax-1); i++ {
		if b := short[n-i]; !utf8.RuneStart(b) {
			continue
		}
		if !utf8.FullRune(short[n-i:]) {
			return short[:n-i]
		}
		break
	}
	return short
}

// Reloaded is what came of a reload.
type Reloaded struct {
	Said  []string `json:"said"`            // warnings and mistakes in the configuration
	Now   string   `json:"now"`             // what the house has, if the new one is in force
	Error string   `json:"error,omitempty"` // why it is not
}

// A Mistake is one of whoever asked.
type Mistake struct{ error }

// Mistaken makes an error a Mistake.
func Mistaken(err error) error { return Mistake{err} }

// Unwrap gives what was wrong.
func (m Mistake) Unwrap() error { return m.error }
