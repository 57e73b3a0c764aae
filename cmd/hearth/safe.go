package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"hearth/gpio"
	"hearth/hub"
)

// safeCommand is for the time after a crash: systemd runs it whenever serve has
// ended, however it ended. What the outputs are is read from what the hub kept,
// so the configuration may be broken or gone; it only tells where that is.
type safeCommand struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration, which tells where the data folder is; default ./config.toml if there is one, else /etc/hearth/config.toml, else the data folder is $$STATE_DIRECTORY."`
	Sim    bool   `help:"Switch simulated pins, which changes nothing; for tests."`
}

func (c *safeCommand) Run(std streams) error {
	log := newLogger(std.err, slog.LevelInfo)
	path, err := findConfig(c.Config)
	if err != nil && os.Getenv("STATE_DIRECTORY") == "" {
		return err
	}
	cfg, doc := hub.Load(path)
	if err := doc.Err(); err != nil {
		log.Warn("the configuration has mistakes; going by what was kept", "file", path, "data", cfg.DataDir())
	}
	bank := gpio.Bank(gpio.NewSim())
	if !c.Sim {
		if bank, err = gpio.OpenKernel(); err != nil {
			return fmt.Errorf("nothing was switched: %w", err)
		}
	}
	return makeSafe(cfg, bank, log)
}

// makeSafe gives the outputs that the last hub had their safe state. It fails
// while a hub runs on the same data folder: those outputs are in good hands.
func makeSafe(cfg *hub.Config, bank gpio.Bank, log *slog.Logger) error {
	if _, err := os.Stat(cfg.DataDir()); errors.Is(err, fs.ErrNotExist) {
		log.Info("no hub has run here yet, so there are no outputs to make safe", "data", cfg.DataDir())
		return nil
	}
	if err := hub.Safe(cfg, bank, log); err != nil {
		return fmt.Errorf("outputs to their safe state: %w", err)
	}
	log.Info("the outputs are in their safe state", "data", cfg.DataDir())
	return nil
}
