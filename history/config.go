package history

import (
	"path"
	"time"

	"hearth/config"
)

// Config is [history]: what is recorded, and for how long.
type Config struct {
	Enabled  *bool              `toml:"enabled"`                              // default true
	Flush    config.Duration    `toml:"flush" min:"10s" max:"1d"`             // default "10m"
	Raw      config.Duration    `toml:"raw" min:"1d" max:"3650d"`             // default "30d"
	Keep     config.Duration    `toml:"keep" min:"1d" max:"36500d"`           // default "1825d"
	MaxSize  config.Size        `toml:"max_size" min:"16MiB" eg:"\"512MiB\""` // default "512MiB"
	Include  []string           `toml:"include"`                              // sources that no rule looks at
	Exclude  []string           `toml:"exclude"`                              // patterns of names
	Deadband map[string]float64 `toml:"deadband"`                             // by pattern of names
}

// On reports whether anything is recorded.
func (c *Config) On() bool { return c.Enabled == nil || *c.Enabled }

func (c *Config) flush() time.Duration { return or(c.Flush, 10*time.Minute) }
func (c *Config) raw() time.Duration   { return or(c.Raw, 30*24*time.Hour) }
func (c *Config) keep() time.Duration  { return or(c.Keep, 5*365*24*time.Hour) }

func (c *Config) maxSize() int64 {
	if c.MaxSize > 0 {
		return int64(c.MaxSize)
	}
	return 512 << 20
}

func or(d config.Duration, otherwise time.Duration) time.Duration {
	if d > 0 {
		return time.Duration(d)
	}
	return otherwise
}

// Check looks at the patterns, and at what can hardly be meant.
func (c *Config) Check(at config.Place) {
	for i, p := range c.Exclude {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			at.Key("exclude").Index(i).Mistake(`want a pattern of names such as "kitchen.*" or "zigbee2mqtt/*:linkquality"`)
		}
	}
	for p, band := range c.Deadband {
		switch place := at.Key("deadband").Key(p); {
		case !matches(p):
			place.Mistake(`want a pattern of names such as "*.power" before the number`)
		case !(band > 0):
			place.Mistake("want a number above 0: by how much a value must differ from the last recorded one")
		}
	}
	if c.keep() < c.raw() && c.Keep > 0 {
		at.Key("keep").Warn("readings are kept for %v, and what is computed of them no longer than that: want keep to be longer than raw", config.Duration(c.raw()))
	}
}

func matches(pattern string) bool {
	_, err := path.Match(pattern, "")
	return err == nil && pattern != ""
}

// excluded reports whether the owner wants nothing of that name.
func (c *Config) excluded(name string) bool {
	for _, p := range c.Exclude {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

// deadband is by how much a number of that name must differ from the last recorded
// one: the smallest of what matches, 0 if nothing does.
func (c *Config) deadband(name string) (band float64) {
	for p, b := range c.Deadband {
		if ok, _ := path.Match(p, name); ok && (band == 0 || b < band) {
			band = b
		}
	}
	return band
}
