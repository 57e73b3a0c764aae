package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hearth/control"
)

type deviceCommand struct {
	Replace replaceCommand `cmd:"" help:"Put a new device into the place of one that broke: it gets the name, and rules go on with it."`
}

type replaceCommand struct {
	Old   string `arg:"" help:"The one that broke, by its name or its id."`
	New   string `arg:"" optional:"" help:"The new one, which has announced itself."`
	Undo  bool   `help:"Take the last replacement of OLD back."`
	Force bool   `help:"Although the new one lacks what rules use."`
	hubFlags
}

// Run says what the name means now, and what would make that permanent.
func (c *replaceCommand) Run(ctx context.Context, std streams) error {
	if c.Undo != (c.New == "") {
		return usageError{errors.New("want either the new device, hearth device replace OLD NEW, or --undo and the name alone")}
	}
	h, err := c.find()
	if err != nil {
		return err
	}
	var done control.Replaced
	if c.Undo {
		done, err = h.ReinstateDevice(ctx, c.Old)
	} else {
		done, err = h.ReplaceDevice(ctx, c.Old, c.New, c.Force)
	}
	if err != nil {
		return h.because(err)
	}
	fmt.Fprintf(std.out, "%s is %s now, in place of %s\n", done.Name, harmless([]byte(done.Now)), harmless([]byte(done.Old)))
	if len(done.Missing) > 0 {
		fmt.Fprintf(std.out, "it has not what rules use: %s\n", harmless([]byte(strings.Join(done.Missing, ", "))))
	}
	if done.Written {
		fmt.Fprintf(std.out, "The configuration still names the old one, which counts for the new one. To say it there:\n\n%s", standInLine(done.Name, done.Now))
	}
	return nil
}

// standInLine is what the configuration would say of a device that stands for another.
func standInLine(name, id string) string {
	return fmt.Sprintf("[device.%s]\nid = %q\n", name, id)
}
