package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"hearth/control"
	"hearth/hub"
)

// hubFlags say which of this machine's hubs is meant. One is known by the folder
// it keeps everything in, and that stands in its configuration.
type hubFlags struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration of the hub, which tells where its data folder is; default ./config.toml if there is one, else /etc/hearth/config.toml."`
}

// packaged is the data folder of a hub that systemd runs and whose configuration
// names no other. It is told that in its environment, which is not ours.
const packaged = "/var/lib/hearth"

// A hubHere is the hub of a configuration, whether it runs or not.
type hubHere struct {
	*control.Remote
	config, data string
	cfg          *hub.Config
}

// find looks up where the hub is to be asked. A configuration with mistakes is
// none here: the hub may run with what it was before.
func (f hubFlags) find() (*hubHere, error) {
	path, err := findConfig(f.Config)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, noPermission(err, path)
	}
	file.Close()
	cfg, _ := hub.Load(path)
	if path == systemConfig && cfg.Hub.Data == "" && os.Getenv("STATE_DIRECTORY") == "" {
		if _, err := os.Stat(packaged); err == nil {
			cfg.Hub.Data = packaged
		}
	}
	return &hubHere{control.Ask(cfg.DataDir()), path, cfg.DataDir(), cfg}, nil
}

// because says what to do about an answer that did not come.
func (h *hubHere) because(err error) error {
	switch {
	case errors.Is(err, control.ErrNobody):
		// The socket may be missing where the hub is not.
		if inUse := h.cfg.Free(); inUse != nil {
			return fmt.Errorf("%w, but it has no control socket there: its log says why, and a reload (kill -HUP) tries again", inUse)
		}
		return fmt.Errorf("no hub runs on %s, the data folder of %s: start one with hearth serve, or name another configuration with --config", h.data, h.config)
	case errors.Is(err, fs.ErrPermission):
		return noPermission(fmt.Errorf("%s: only who runs the hub may ask it", h.data), filepath.Join(h.data, control.Name), h.data)
	}
	return err
}

// noPermission adds who would have it: whose the first of the paths is that can be
// looked at.
func noPermission(err error, paths ...string) error {
	for _, path := range paths {
		info, statErr := os.Stat(path)
		if statErr != nil {
			continue
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Uid == 0 {
			break
		}
		owner := strconv.Itoa(int(stat.Uid))
		if u, err := user.LookupId(owner); err == nil {
			owner = u.Username
		}
		return fmt.Errorf("%w; try again with sudo, or as the user %s", err, owner)
	}
	return fmt.Errorf("%w; try again with sudo", err)
}

// printJSON is for scripts: one document, readable.
func printJSON(w io.Writer, what any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(what)
}

// reloadCommand does what SIGHUP does, and waits for what comes of it.
type reloadCommand struct{ hubFlags }

func (c *reloadCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	done, err := h.Reload(ctx)
	if err != nil {
		return h.because(err)
	}
	for _, line := range done.Said {
		fmt.Fprintln(std.err, line)
	}
	if done.Error != "" {
		return fmt.Errorf("the old configuration stays: %s", done.Error)
	}
	_, err = fmt.Fprintf(std.out, "%s is in force: %s\n", h.config, done.Now)
	return err
}
