package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/control"
	"hearth/devices"
	"hearth/replay"
	"hearth/rules"
)

// What happened, for a replay: out of the hub that runs, out of the history of one that does
// not, and without what nobody else is to know.

// Record writes what was recorded since a moment. It reads beside the loop.
func (d desk) Record(ctx context.Context, since time.Time, w io.Writer) error {
	if d.past == nil {
		return control.Mistaken(errors.New(d.pastTrouble))
	}
	about, err := ask(ctx, d.Hub, func() replay.About {
		return replay.About{Hearth: d.opt.Version, Made: d.clock.Wall(), Config: d.cfg.Sum()}
	})
	if err != nil {
		return err
	}
	_, err = replay.Write(w, about, bounded(ctx, d.past.Entries(since)))
	return err
}

// Recorded is what was recorded since a moment in the data folder of a configuration on which
// no hub runs. It is there until done is called.
func (c *Config) Recorded(since time.Time) (entries replay.Entries, done func(), err error) {
	if err := c.Free(); err != nil {
		return nil, nil, err
	}
	past, closed, err := c.readHistory()
	if err != nil {
		return nil, nil, err
	}
	return past.Entries(since), func() { closed() }, nil
}

// Replay is the house for a replay.
func (c *Config) Replay() replay.House {
	return replay.House{Config: c.sum, Pins: c.Pins, Logic: c.Logic, Rules: c.house()}
}

// About says of which configuration a recording is that others may see: without broker, page
// and bridges, who may log in and the names of people's things; with "***" for each secret,
// for what requests carry in their headers, and of where these go for all but the host. The
// rules in it decide the same, but for what they compare with a secret. hashes are the names
// of definitions in it, by their names here, where they differ.
func (c *Config) About(doc *config.Doc) (about replay.About, hashes map[string]string, err error) {
	about = replay.About{Config: c.sum, Zone: zoneName(c.zone()), Text: string(doc.Text(forOthers)), Secrets: len(c.Secret) > 0}
	other, parsed := Parse("recording", []byte(about.Text))
	if err := parsed.Err(); err != nil {
		return about, nil, fmt.Errorf("the configuration makes no sense without its secrets: %w", err)
	}
	hashes = make(map[string]string)
	names := func(c *Config) map[string]rules.State {
		return rules.New(c.Logic, c.house(), new(devices.Registry), config.Place{}).Snapshot(devices.Now{}, "")
	}
	there := names(other)
	for key, s := range names(c) {
		if as := there[key].Hash; as != s.Hash && as != "" {
			hashes[s.Hash] = as
		}
	}
	return about, hashes, nil
}

// ofOthers are the tables that others need to let it happen again, and of those of which they
// need not all what of them.
var ofOthers = map[string][]string{
	"hub": {"timezone", "latitude", "longitude"}, "device": {"via", "id", "main"},
	"output": nil, "input": nil, "counter": nil, "encoder": nil, "cover": nil, "interlock": nil, "group": nil, "expander": nil, "i2c": nil, "sensor": nil,
	"link": nil, "calc": nil, "variable": nil, "machine": nil, "rule": nil, "notify": nil, "secret": nil,
}

// forOthers is what others may see of a value in a configuration.
func forOthers(keys []string, v any) any {
	only, wanted := ofOthers[keys[0]]
	last := keys[len(keys)-1]
	text, isText := v.(string)
	switch {
	case !wanted:
		return nil
	case keys[0] == "hub" && len(keys) == 2 && !slices.Contains(only, last), keys[0] == "device" && len(keys) == 3 && !slices.Contains(only, last):
		return nil
	case keys[0] == "secret" && len(keys) > 1:
		return replay.Hidden
	case len(keys) > 1 && keys[len(keys)-2] == "headers" && isText:
		return replay.Hidden
	case isText && (last == "http" || last == "url") && strings.Contains(text, "://"):
		return replay.URL(text)
	}
	return v
}

// zoneName is how other machines know a time zone; "" if it has no such name.
func zoneName(zone *time.Location) string {
	if name := zone.String(); name != "Local" {
		return name
	}
	to, err := os.Readlink("/etc/localtime")
	if _, name, ok := strings.Cut(to, "zoneinfo/"); err == nil && ok {
		return name
	}
	return ""
}

// Other reads the configuration of a recording.
func Other(about replay.About) (replay.House, error) {
	cfg, doc := Parse("the recording's configuration", []byte(about.Text))
	if err := doc.Err(); err != nil {
		return replay.House{}, err
	}
	house := cfg.Replay()
	house.Config = about.Config
	if zone, err := time.LoadLocation(about.Zone); err == nil && about.Zone != "" {
		house.Rules.Zone = zone
	}
	return house, nil
}
