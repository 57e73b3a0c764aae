package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hearth/control"
	"hearth/devices"
)

type retainedCommand struct {
	List  retainedListCommand  `cmd:"" default:"withargs" help:"List the retained values (the default)."`
	Clear retainedClearCommand `cmd:"" help:"Delete retained values."`
}

type retainedListCommand struct {
	Filter string `arg:"" optional:"" default:"#" help:"Topics, such as 'zigbee2mqtt/#'; default all."`
	Wide   bool   `short:"w" help:"Nothing cut but payloads over 1 KiB, however wide that is."`
	JSON   bool   `name:"json" help:"For scripts, with the whole payloads."`
	hubFlags
}

func (c *retainedListCommand) Run(ctx context.Context, std streams) error {
	if err := devices.CheckFilter(c.Filter); err != nil {
		return usageError{fmt.Errorf("filter %q: %w", c.Filter, err)}
	}
	h, err := c.find()
	if err != nil {
		return err
	}
	payload, width := screen, screen
	switch {
	case c.JSON:
		payload = -1
	case c.Wide:
		payload, width = 1<<10, 0
	}
	all, err := h.Retained(ctx, c.Filter, payload)
	if err != nil {
		return h.because(err)
	}
	if c.JSON {
		return printJSON(std.out, all)
	}
	if len(all) > 0 {
		if err := valueTable(all, time.Now()).print(std.out, width); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(std.out, summary(all, c.Filter))
	return err
}

func valueTable(all []control.Value, now time.Time) *table {
	t := &table{columns: []column{
		{head: "TOPIC", least: 36}, {head: "PAYLOAD", least: 10}, {head: "SIZE", right: true}, {head: "QOS", right: true},
		{head: "FROM", least: 8, spare: true}, {head: "AGE", right: true}, {head: "EXPIRES", right: true},
	}}
	for _, v := range all {
		text := string(v.Payload)
		if v.Size > len(v.Payload) {
			text += "…"
		}
		from := v.Client
		if from == "" && !v.At.IsZero() { // of what is older than the hub nobody knows
			from = "the hub"
		}
		age := ""
		if !v.At.IsZero() {
			age = about(now.Sub(v.At))
		}
		t.add(v.Topic, text, size(int64(v.Size)), strconv.Itoa(int(v.QoS)), from, age, expires(v.Expires, now, about))
	}
	return t
}

func summary(all []control.Value, filter string) string {
	if len(all) == 0 {
		return "no retained value matches " + harmless([]byte(filter))
	}
	var bytes int64
	for _, v := range all {
		bytes += int64(v.Size)
	}
	return fmt.Sprintf("%s, %s", count(len(all), "retained value"), size(bytes))
}

type retainedClearCommand struct {
	Filter string `arg:"" help:"Topics, such as 'homeassistant/#'."`
	Yes    bool   `short:"y" help:"Don't ask."`
	hubFlags
}

func (c *retainedClearCommand) Run(ctx context.Context, std streams) error {
	if err := devices.CheckFilter(c.Filter); err != nil {
		return usageError{fmt.Errorf("filter %q: %w", c.Filter, err)}
	}
	if !c.Yes && !isTerminal(std.in) {
		return usageError{errors.New("nobody is there to be asked: --yes deletes without a question")}
	}
	h, err := c.find()
	if err != nil {
		return err
	}
	if !c.Yes {
		all, err := h.Retained(ctx, c.Filter, 0)
		if err != nil {
			return h.because(err)
		}
		if len(all) == 0 {
			_, err := fmt.Fprintln(std.out, summary(all, c.Filter))
			return err
		}
		if !confirm(ctx, std, all) {
			return errors.New("nothing was deleted")
		}
	}
	n, err := h.ClearRetained(ctx, c.Filter)
	if err != nil {
		return h.because(err)
	}
	_, err = fmt.Fprintf(std.out, "%s deleted\n", count(n, "retained value"))
	return err
}

// confirm shows what is at stake and asks.
func confirm(ctx context.Context, std streams, all []control.Value) bool {
	const most = 10
	own := 0
	for i, v := range all {
		if i < most {
			fmt.Fprintf(std.out, "  %s\n", harmless([]byte(v.Topic)))
		}
		if strings.HasPrefix(v.Topic, "hearth/") {
			own++
		}
	}
	if len(all) > most {
		fmt.Fprintf(std.out, "  and %d more\n", len(all)-most)
	}
	if own > 0 {
		fmt.Fprintf(std.out, "Of these the hub itself keeps %d. It says them again only when they change, or after a restart.\n", own)
	}
	fmt.Fprintf(std.out, "Delete %s? [y/N] ", count(len(all), "retained value"))
	select {
	case line, ok := <-lines(std.in):
		if !ok {
			fmt.Fprintln(std.out)
		}
		answer := strings.ToLower(strings.TrimSpace(line))
		return answer == "y" || answer == "yes"
	case <-ctx.Done():
		fmt.Fprintln(std.out)
		return false
	}
}
