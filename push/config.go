package push

import (
	"cmp"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"hearth/config"
)

// Config is the databases of a house: [push.NAME].
type Config struct {
	Push config.Table[Target] `toml:"push"`
}

// A Target is a database that takes InfluxDB's line protocol, and what it gets.
type Target struct {
	// URL is where it listens: "http://influx.lan:8086". A path stands before the one
	// of its API.
	URL string `toml:"url,required" eg:"\"http://influx.lan:8086\""`

	// Bucket is where the readings go, of an Org, by the second version of the API
	// (InfluxDB 2 and 3, VictoriaMetrics); Token is the name in [secret] of the token
	// that allows it.
	Bucket string `toml:"bucket" eg:"\"home\""`
	Org    string `toml:"org" eg:"\"family\""`
	Token  string `toml:"token" eg:"\"influx\""`

	// Database is the same by the first version (InfluxDB 1); Password is the name in
	// [secret] of User's.
	Database string `toml:"database" eg:"\"home\""`
	User     string `toml:"user" eg:"\"hearth\""`
	Password string `toml:"password" eg:"\"influx\""`

	// CA is a file with who signed the database's certificate; default: those whom the
	// system trusts.
	CA string `toml:"ca" eg:"\"ca.pem\""`

	Measurement string            `toml:"measurement" eg:"\"hearth\""` // of all readings; default "hearth"
	Tags        map[string]string `toml:"tags"`                        // of all of them, beside device, property, room and unit

	// Include and Exclude are patterns of names: "*.temperature". A * is any text but a
	// slash. Default: all that is read.
	Include config.List[string] `toml:"include" eg:"\"*.temperature\""`
	Exclude config.List[string] `toml:"exclude" eg:"\"*.linkquality\""`

	Every  config.Duration `toml:"every" min:"1s" max:"1h"`        // how long readings wait for company; default 10s
	Buffer *int            `toml:"buffer" min:"100" max:"1000000"` // how many may wait while it is gone; default 20,000
}

func (t Target) measurement() string  { return cmp.Or(t.Measurement, "hearth") }
func (t Target) every() time.Duration { return cmp.Or(time.Duration(t.Every), 10*time.Second) }
func (t Target) buffer() int {
	if t.Buffer == nil {
		return 20_000
	}
	return *t.Buffer
}

// wants says whether a reading of that name is sent.
func (t Target) wants(name string) bool {
	wanted := len(t.Include) == 0
	for _, pattern := range t.Include {
		wanted = wanted || matches(pattern, name)
	}
	for _, pattern := range t.Exclude {
		wanted = wanted && !matches(pattern, name)
	}
	return wanted
}

// matches says whether a pattern is about a name, as those of [history] are.
func matches(pattern, name string) bool {
	is, err := path.Match(pattern, name)
	return is && err == nil
}

// tagKey is what a tag may be called here: nothing that would need to be escaped, nor
// begin with what InfluxDB keeps for itself.
var tagKey = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_-]*$`)

// Check says what could never work.
func (t Target) Check(at config.Place) {
	switch u, err := url.Parse(t.URL); {
	case t.URL == "":
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		at.Key("url").Mistake(`want an address such as "http://influx.lan:8086"`)
	case u.User != nil:
		at.Key("url").Mistake("a login does not stand here: want user and password, or token, which name a [secret]")
	case u.RawQuery != "" || u.Fragment != "":
		at.Key("url").Mistake("want it without what follows ? or #: bucket, org and database have keys of their own")
	case t.CA != "" && u.Scheme != "https":
		at.Key("ca").Mistake(`the address is not encrypted: want "https://…" there, or no ca here`)
	}
	switch {
	case t.Bucket == "" && t.Database == "":
		at.Mistake(`want a bucket (InfluxDB 2 and 3) or a database (InfluxDB 1), such as bucket = "home"`)
	case t.Bucket != "" && t.Database != "":
		at.Key("database").Mistake("want either a bucket (InfluxDB 2 and 3) or a database (InfluxDB 1)")
	case t.Bucket == "":
		for _, key := range []struct{ name, value string }{{"org", t.Org}, {"token", t.Token}} {
			if key.value != "" {
				at.Key(key.name).Mistake("it goes with a bucket; a database has user and password")
			}
		}
	default:
		for _, key := range []struct{ name, value string }{{"user", t.User}, {"password", t.Password}} {
			if key.value != "" {
				at.Key(key.name).Mistake("it goes with a database; a bucket has a token")
			}
		}
	}
	if t.Bucket == "" && t.Password != "" && t.User == "" {
		at.Key("user").Mistake("missing, for there is a password")
	}
	if strings.HasPrefix(t.Measurement, "_") || strings.HasPrefix(t.Measurement, "#") || tagText(t.Measurement) != t.Measurement {
		at.Key("measurement").Mistake(`want a name that does not begin with _ or #, without line feeds or backslashes, such as "hearth"`)
	}
	for key, value := range t.Tags {
		switch {
		case !tagKey.MatchString(key):
			at.Key("tags").Key(key).Mistake("want a name made of letters, digits, - and _")
		case key == "device" || key == "property" || key == "room" || key == "unit" || key == "time":
			at.Key("tags").Key(key).Mistake("readings have one of this name: want another")
		case value == "":
			at.Key("tags").Key(key).Mistake("want some text")
		}
	}
	for _, list := range []struct {
		key      string
		patterns config.List[string]
	}{{"include", t.Include}, {"exclude", t.Exclude}} {
		for i, pattern := range list.patterns {
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				at.Key(list.key).Index(i).Mistake(`want a pattern of names such as "*.temperature" or "zigbee2mqtt/*:linkquality"`)
			}
		}
	}
}
