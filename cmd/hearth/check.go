package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"hearth/config"
	"hearth/hub"
)

const (
	localConfig  = "config.toml"
	systemConfig = "/etc/hearth/config.toml"
)

type checkCommand struct {
	Strict bool   `help:"Fail on warnings too: what can be run and is hardly meant."`
	Config string `short:"c" placeholder:"FILE" help:"The same as FILE, as other commands have it."`
	File   string `arg:"" optional:"" placeholder:"FILE" help:"Configuration; default ./config.toml if there is one, else /etc/hearth/config.toml."`
}

// Run prints what is right to standard output, what is wrong or doubtful to
// standard error. A mistake fails, a doubt only where that is asked for.
func (c *checkCommand) Run(std streams) error {
	if c.File != "" && c.Config != "" {
		return usageError{errors.New("want the file once, either as it is or after --config")}
	}
	path, err := findConfig(cmp.Or(c.File, c.Config))
	if err != nil {
		return err
	}
	cfg, doc := hub.Load(path)
	if err := complain(std.err, path, doc); err != nil {
		return err
	}
	if warnings := doc.Warnings(); c.Strict && len(warnings) > 0 {
		return fmt.Errorf("%s has %s, and --strict allows none", path, count(len(warnings), "warning"))
	}
	_, err = fmt.Fprintf(std.out, "%s is in order: %s\n", path, contents(cfg))
	return err
}

// findConfig is the configuration that was asked for, or else the one that is
// there.
func findConfig(asked string) (string, error) {
	if asked != "" {
		switch info, err := os.Stat(asked); {
		case err != nil:
			return "", mayRead(asked, err)
		case info.IsDir():
			return "", fmt.Errorf("%s is a folder: name the file, such as %s", asked, filepath.Join(asked, localConfig))
		}
		return asked, nil
	}
	for _, path := range []string{localConfig, systemConfig} {
		// One that is there but can't be read is the one that was meant.
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path, mayRead(path, err)
		}
	}
	return "", errNoConfig
}

var errNoConfig = fmt.Errorf("there is neither ./%s nor %s: write one (the config.toml that comes with Hearth is a commented start) or name one with --config FILE", localConfig, systemConfig)

// mayRead says who may read a configuration that this user may not.
func mayRead(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return noPermission(fmt.Errorf("%s is for root and the hub alone to read, for there may be passwords in it", path))
	}
	return err
}

// complain prints every warning and mistake of a configuration, one a line. The
// error, nil if there are no mistakes, counts them.
func complain(w io.Writer, path string, doc *config.Doc) error {
	for _, m := range doc.Warnings() {
		fmt.Fprintln(w, harmlessLines(fmt.Sprint(m)))
	}
	if doc.Err() == nil {
		return nil
	}
	mistakes := doc.Mistakes()
	for _, m := range mistakes {
		fmt.Fprintln(w, harmlessLines(fmt.Sprint(m)))
	}
	more := ""
	if !doc.Whole() {
		more = "; there may be more once what could not be read is mended"
	}
	return fmt.Errorf("%s has %s%s", path, count(len(mistakes), "mistake"), more)
}

// contents says what a house has: "3 outputs, 1 input, 2 rules".
func contents(cfg *hub.Config) string {
	var has []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{len(cfg.Output), "output"},
		{len(cfg.Cover), "cover"},
		{len(cfg.Input), "input"},
		{len(cfg.Counter), "counter"},
		{len(cfg.Encoder), "encoder"},
		{len(cfg.Sensor), "sensor"},
		{len(cfg.Device), "device"},
		{len(cfg.Link), "link"},
		{len(cfg.Rule), "rule"},
		{len(cfg.Calc), "calc"},
		{len(cfg.Variable), "variable"},
		{len(cfg.Machine), "machine"},
		{len(cfg.Bridge), "bridge"},
		{len(cfg.Broker.Role), "role"},
		{len(cfg.Test), "test"},
	} {
		if part.n > 0 {
			has = append(has, count(part.n, part.what))
		}
	}
	if other := cfg.Broker.Connect; other != nil {
		has = append(has, "the broker "+other.Address)
	}
	if len(has) == 0 {
		return "an MQTT broker, and nothing else yet"
	}
	return strings.Join(has, ", ")
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
