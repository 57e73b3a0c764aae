package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"hearth/control"
	"hearth/why"
)

// whyCommand asks the hub why something is as it is. Where none runs it looks into the
// history itself.
type whyCommand struct {
	Name string `arg:"" help:"An output, a device or a property of one, a topic, a variable, a machine or a rule: heater, lamp.brightness, rule.stairs."`
	At   string `placeholder:"TIME" help:"As it was then: 07:30, \"yesterday 22:15\", \"2026-11-29 22:15\", or 2h for two hours ago; default now."`
	JSON bool   `name:"json" help:"For scripts."`
	hubFlags
}

func (c *whyCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	raw, err := h.Why(ctx, c.Name, c.At)
	var a why.Answer
	switch {
	case errors.Is(err, control.ErrNobody) && h.cfg.Free() == nil:
		if a, err = h.cfg.Why(c.Name, c.At); errors.Is(err, fs.ErrPermission) {
			return noPermission(err, h.data)
		} else if err != nil {
			return err
		}
		note := ", and where the rules stand is not known"
		if c.At != "" {
			note = ""
		}
		fmt.Fprintf(std.err, "no hub runs on %s: this is from its history%s\n", h.data, note)
	case err != nil:
		return h.because(err)
	default:
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("the hub's answer was not understood: %w", err)
		}
	}
	if c.JSON {
		return printJSON(std.out, a)
	}
	for _, line := range a.Text {
		fmt.Fprintln(std.out, harmless([]byte(line)))
	}
	return nil
}
