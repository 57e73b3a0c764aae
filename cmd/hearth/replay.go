package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hearth/config"
	"hearth/control"
	"hearth/hub"
	"hearth/replay"
)

type replayCommand struct {
	Config string `short:"c" placeholder:"FILE" help:"The configuration to replay with; default that of the hub here, or of the recording."`
	Since  string `default:"1d" placeholder:"TIME" help:"From when on: 7d (ago), 07:30, \"yesterday 22:15\", monday, \"2026-11-29 22:15\"."`
	Until  string `placeholder:"TIME" help:"Up to when; default now."`
	From   string `placeholder:"FILE" help:"A recording, instead of what the hub here has recorded."`
	Data   string `placeholder:"DIR" help:"Data folder of the hub; default that of the configuration, or if nothing is recorded there that of the default one."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

type recordCommand struct {
	hubFlags
	File  string `arg:"" placeholder:"FILE" help:"The recording to be written."`
	Since string `default:"1d" placeholder:"TIME" help:"From when on, as of hearth replay."`
}

// An exitStatus ends the program with nothing more to say.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprint("exit status ", int(s)) }

// A troubleError is why a replay can't tell whether something differs: status 2, as of diff.
type troubleError struct{ error }

func (t troubleError) Unwrap() error { return t.error }

// moment reads a time as a person says it; "" is none.
func moment(text, of string, now time.Time, zone *time.Location) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := config.When(text, now.In(zone))
	if err != nil {
		return t, usageError{fmt.Errorf("%s %w", of, err)}
	}
	return t, nil
}

// A past is what was recorded, to be read as often as needed.
type past struct {
	read func(context.Context) (replay.Entries, func(), error)
	from string // where it is
}

// Run replays, and says what differs.
func (c *replayCommand) Run(ctx context.Context, std streams) error {
	differs, err := c.run(ctx, std)
	switch {
	case err != nil:
		return troubleError{err}
	case differs:
		return exitStatus(1)
	}
	return nil
}

func (c *replayCommand) run(ctx context.Context, std streams) (differs bool, err error) {
	if c.From != "" {
		return c.file(std)
	}
	path, err := findConfig(c.Config)
	if err != nil {
		return false, err
	}
	cfg, doc := hub.Load(path)
	if err := complain(std.err, path, doc); err != nil {
		return false, err
	}
	house := cfg.Replay()
	now := time.Now()
	since, err := moment(c.Since, "--since", now, house.Rules.Zone)
	if err != nil {
		return false, err
	}
	until, err := moment(c.Until, "--until", now, house.Rules.Zone)
	if err != nil {
		return false, err
	}
	p, err := c.past(ctx, cfg, path, since)
	if err != nil {
		return false, err
	}
	return c.both(ctx, std, p, house, until, c.Config != "")
}

// file replays a recording.
func (c *replayCommand) file(std streams) (differs bool, err error) {
	f, err := os.Open(c.From)
	if err != nil {
		return false, err
	}
	defer f.Close()
	defer func() { // of what strangers send nobody knows what it does to the rules
		if bug := recover(); bug != nil {
			err = fmt.Errorf("%s: the rules can't take what is in it: %v", c.From, bug)
		}
	}()
	r, err := replay.Open(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", c.From, err)
	}
	house, err := hub.Other(r.About)
	if err != nil {
		return false, fmt.Errorf("%s: %w", c.From, err)
	}
	if c.Config != "" {
		cfg, doc := hub.Load(c.Config)
		if err := complain(std.err, c.Config, doc); err != nil {
			return false, err
		}
		house = cfg.Replay()
	}
	until, err := moment(c.Until, "--until", r.Made, house.Rules.Zone)
	if err != nil {
		return false, err
	}
	p := past{func(context.Context) (replay.Entries, func(), error) { return r.Entries(), func() {}, nil }, c.From}
	return c.both(context.Background(), std, p, house, until, c.Config != "")
}

// past finds what was recorded: the hub that runs is asked, else its history is read.
func (c *replayCommand) past(ctx context.Context, cfg *hub.Config, path string, since time.Time) (past, error) {
	at := []*hub.Config{cfg}
	if c.Data != "" {
		dir, err := filepath.Abs(c.Data)
		if err != nil {
			return past{}, err
		}
		cfg.Hub.Data = dir
	} else if other, err := findConfig(""); err == nil && c.Config != "" && other != path {
		usual, _ := hub.Load(other)
		at = append(at, usual)
	}
	var first error
	for _, cfg := range at {
		h := hubAt(cfg, path)
		entries, done, err := h.recorded(ctx, since)
		if err == nil {
			return past{func(ctx context.Context) (replay.Entries, func(), error) {
				if all, close := entries, done; all != nil {
					entries = nil
					return all, close, nil
				}
				return h.recorded(ctx, since)
			}, h.data}, nil
		}
		if first == nil {
			first = err
		}
	}
	return past{}, first
}

// hubAt is the hub of a configuration that has been read.
func hubAt(cfg *hub.Config, path string) *hubHere {
	if path == systemConfig && cfg.Hub.Data == "" && os.Getenv("STATE_DIRECTORY") == "" {
		if _, err := os.Stat(packaged); err == nil {
			cfg.Hub.Data = packaged
		}
	}
	return &hubHere{control.Ask(cfg.DataDir()), path, cfg.DataDir(), cfg}
}

// recorded is what the hub here has recorded since a moment, whether it runs or not.
func (h *hubHere) recorded(ctx context.Context, since time.Time) (replay.Entries, func(), error) {
	body, err := h.Recording(ctx, since)
	if errors.Is(err, control.ErrNobody) {
		return h.cfg.Recorded(since)
	}
	if err != nil {
		return nil, nil, h.because(err)
	}
	r, err := replay.Receive(body)
	if err != nil {
		body.Close()
		return nil, nil, err
	}
	return r.Entries(), func() { body.Close() }, nil
}

// both replays exactly where the configuration was in force; where it never was, or another
// is to be tried, it tells what would have been different.
func (c *replayCommand) both(ctx context.Context, std streams, p past, house replay.House, until time.Time, named bool) (differs bool, err error) {
	entries, done, err := p.read(ctx)
	if err != nil {
		return false, err
	}
	began := time.Now()
	same, err := replay.Again(entries, house, until)
	done()
	switch {
	case err == nil && (!named || len(same.Skipped) == 0):
		return same.Differ > 0, c.tellSame(std.out, same, time.Since(began))
	case err != nil && !errors.Is(err, replay.ErrOtherConfig):
		return false, fmt.Errorf("%s: %w", p.from, err)
	}
	if !named {
		fmt.Fprintln(std.err, "Another configuration was in force then; this is what the one of now would have done.")
	}
	if entries, done, err = p.read(ctx); err != nil {
		return false, err
	}
	defer done()
	began = time.Now()
	o, err := replay.Try(entries, house, until)
	if err != nil {
		return false, fmt.Errorf("%s: %w", p.from, err)
	}
	if c.JSON {
		return !o.Same(), printJSON(std.out, o)
	}
	out := bufio.NewWriter(std.out)
	o.Print(out)
	more := 0
	var rules []string
	for _, d := range o.Differences {
		if d.Would {
			more++
		}
		if !slices.Contains(rules, d.Rule) {
			rules = append(rules, d.Rule)
		}
	}
	if o.Same() {
		fmt.Fprintf(out, "Nothing would have been different: ")
	} else {
		fmt.Fprintf(out, "\n%s would have done otherwise: %d more and %d less, and %s of which nothing comes. ", count(len(rules), "rule"), more, len(o.Differences)-more, count(o.Silent, "decision"))
	}
	fmt.Fprintf(out, "%s from %s to %s, in %.1f s.\n", count(o.Events, "event"), local(o.From), local(o.To), time.Since(began).Seconds())
	return !o.Same(), out.Flush()
}

func local(t time.Time) string { return t.Format(time.DateTime) }

// tellSame says what came of letting the same happen again.
func (c *replayCommand) tellSame(w io.Writer, same replay.Repeat, took time.Duration) error {
	if c.JSON {
		return printJSON(w, same)
	}
	out := bufio.NewWriter(w)
	for _, u := range same.First {
		what := "another decision, in " + u.What
		switch {
		case u.Is == nil:
			what = "no longer decided"
		case u.Was == nil:
			what = "decided now, and was not"
		}
		fmt.Fprintf(out, "%s %s\n", u.At.Wall.Format(time.DateTime), what)
		if u.Was != nil {
			fmt.Fprintf(out, "  was: %s\n", u.Was)
		}
		if u.Is != nil {
			fmt.Fprintf(out, "  is:  %s\n", u.Is)
		}
	}
	for _, s := range same.Skipped {
		fmt.Fprintf(out, "From %s to %s another configuration was in force; that is left out.\n", local(s.From), local(s.To))
	}
	if same.Veiled > 0 {
		fmt.Fprintf(out, "%s not whole in the recording, for rules compare them with a secret: what these made of them is not compared.\n", are(same.Veiled, "event"))
	}
	verdict := "the same, bit for bit"
	if same.Differ > 0 {
		verdict = fmt.Sprintf("%d of them others", same.Differ)
	}
	fmt.Fprintf(out, "%s, %s: %s from %s to %s, in %.1f s.\n", count(same.Decisions, "decision"), verdict, count(same.Events, "event"), local(same.From), local(same.To), took.Seconds())
	return out.Flush()
}

func are(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// Run writes a recording for others.
func (c *recordCommand) Run(ctx context.Context, std streams) error {
	h, err := c.find()
	if err != nil {
		return err
	}
	cfg, doc := hub.Load(h.config)
	if err := complain(std.err, h.config, doc); err != nil {
		return err
	}
	house := cfg.Replay()
	since, err := moment(c.Since, "--since", time.Now(), house.Rules.Zone)
	if err != nil {
		return err
	}
	about, hashes, err := cfg.About(doc)
	if err != nil {
		return err
	}
	about.Made, about.Hearth = time.Now(), versionText()
	entries, done, err := h.recorded(ctx, since)
	if err != nil {
		return err
	}
	defer done()
	f, err := os.OpenFile(c.File, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := replay.Write(f, about, replay.Masked(entries, hashes))
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(c.File)
		return err
	}
	size := int64(0)
	if info, err := os.Stat(c.File); err == nil {
		size = info.Size()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %s in %s. It holds what was reported and decided, and the rules.\n", c.File, count(n, "line"), config.Size(size))
	b.WriteString("Left out are secrets, users and passwords, broker, page and bridges, the headers of requests, and of their addresses all but the host.\n")
	if about.Secrets {
		b.WriteString("What rules compare with a secret is not in it, so what these made of it can't be replayed.\n")
	}
	fmt.Fprintf(&b, "Look at it with: zcat %s\n", c.File)
	_, err = io.WriteString(std.out, b.String())
	return err
}
