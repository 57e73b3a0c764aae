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

	"hearth/backup"
	"hearth/control"
	"hearth/hub"
)

// backupCommand saves a house in a file, or looks at one.
type backupCommand struct {
	Make   backupMake   `cmd:"" default:"withargs" help:"Save the house in a file."`
	Verify backupVerify `cmd:"" help:"Say whether a backup is whole, and what is in it."`
}

// backupMake asks the hub that runs for it, and if none does reads what the last one kept.
type backupMake struct {
	File string `arg:"" placeholder:"FILE" help:"Where to: a file, a folder in which it gets a name, or - for standard output."`
	hubFlags
}

func (c *backupMake) Run(ctx context.Context, std streams) error {
	if slices.Contains([]string{"list", "ls", "show", "create", "restore"}, c.File) { // and not a file of that name
		return usageError{fmt.Errorf("there is no hearth backup %s: hearth backup FILE makes one, hearth backup verify FILE looks at one, hearth restore FILE brings it back; a file of that name is ./%s", c.File, c.File)}
	}
	h, err := c.find()
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		err := h.Backup(ctx, w)
		if !errors.Is(err, control.ErrNobody) {
			return err
		}
		if h.cfg.Free() != nil {
			return h.because(err)
		}
		_, err = h.cfg.Save(ctx, w, versionText(), func(doubt string) { fmt.Fprintln(std.err, "warning: "+doubt) })
		return err
	}
	if c.File == "-" {
		if isTerminal(std.out) {
			return usageError{errors.New("a backup is nothing for a terminal: name a file, or send it on, as in: hearth backup - > FILE")}
		}
		out := bufio.NewWriterSize(std.out, 64<<10)
		if err := write(out); err != nil {
			return h.because(err)
		}
		return out.Flush()
	}
	name := c.File
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, "hearth-"+time.Now().UTC().Format("20060102T150405Z")+".tar.gz")
	}
	if err := backup.WriteFile(name, write); err != nil {
		return fmt.Errorf("no backup was made: %w", h.because(err))
	}
	done, err := readBackup(name)
	if err != nil {
		return err
	}
	sayLeftOut(std.err, done)
	_, err = fmt.Fprintf(std.out, "%s: %s of the house %q in %s. It has its passwords, keys and messages in it: keep it where nobody else gets at it.\n",
		name, count(len(done.Members)-1, "file"), done.Head.House, humanSize(name))
	return err
}

func humanSize(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return "?"
	}
	return size(info.Size())
}

// readBackup is what an archive has, if it is whole.
func readBackup(name string) (*backup.Manifest, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	done, err := backup.Read(f, nil)
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return done, nil
}

func sayLeftOut(w io.Writer, done *backup.Manifest) {
	for _, what := range done.LeftOut {
		fmt.Fprintf(w, "warning: not in it: %s\n", harmless([]byte(what)))
	}
}

type backupVerify struct {
	File string `arg:"" placeholder:"FILE" help:"The backup; - for standard input."`
	JSON bool   `name:"json" help:"For scripts."`
}

func (c *backupVerify) Run(std streams) error {
	var done *backup.Manifest
	var err error
	if c.File == "-" {
		if done, err = backup.Read(std.in, nil); err != nil {
			err = fmt.Errorf("what was read %w", err)
		}
	} else {
		done, err = readBackup(c.File)
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, struct {
			backup.Head
			*backup.Manifest
		}{done.Head, done})
	}
	t := &table{columns: []column{{head: "FILE"}, {head: "SIZE", right: true}}}
	for _, m := range done.Members[1:] {
		t.add(m.Name, size(m.Size))
	}
	if err := t.print(std.out, screen); err != nil {
		return err
	}
	sayLeftOut(std.err, done)
	_, err = fmt.Fprintf(std.out, "whole: the house %q of %s, by hearth %s\n", harmless([]byte(done.Head.House)), madeAt(done.Head), harmless([]byte(done.Head.Hearth)))
	return err
}

func madeAt(head backup.Head) string {
	at := head.Made.Local().Format("2006-01-02 15:04")
	if head.Unsure {
		at += " (by a clock that nobody had set)"
	}
	return at
}

// restoreCommand brings a house from a file onto this machine.
type restoreCommand struct {
	File   string `arg:"" optional:"" placeholder:"FILE" help:"The backup."`
	Config string `short:"c" placeholder:"PATH" help:"Where the configuration is to be; default /etc/hearth/config.toml. What it includes gets the same place beside it that it had."`
	Data   string `placeholder:"DIR" help:"The data folder; default what the configuration says."`
	Force  bool   `help:"Move the house aside that is there already."`
	Undo   bool   `help:"Bring back what was there before a restore that was interrupted."`
}

func (c *restoreCommand) Run(std streams) error {
	path := c.Config
	if path == "" {
		path = systemConfig
	}
	switch {
	case c.Undo && c.File != "":
		return usageError{errors.New("--undo takes no file")}
	case c.Undo:
		return c.undo(std, path)
	case c.File == "":
		return usageError{errors.New("name the backup, as in: hearth restore FILE")}
	case c.File == "-":
		return usageError{errors.New("a backup is looked at as a whole before anything is changed: save it in a file first")}
	}
	done, err := hub.Restore(hub.Restoring{Archive: c.File, Config: path, Data: c.Data, Force: c.Force})
	if err != nil {
		return err
	}
	sayLeftOut(std.err, done.Manifest)
	_, doc := hub.Load(done.Config)
	for _, m := range append(doc.Mistakes(), doc.Warnings()...) {
		fmt.Fprintln(std.err, harmlessLines(fmt.Sprint(m)))
	}
	for _, doubt := range done.Doubts {
		fmt.Fprintln(std.err, "warning: "+harmless([]byte(doubt)))
	}
	w := std.out
	fmt.Fprintf(w, "The house %q of %s is restored.\n", harmless([]byte(done.Head.House)), madeAt(done.Head))
	fmt.Fprintf(w, "  configuration  %s\n", done.Config)
	fmt.Fprintf(w, "  data           %s\n", done.Data)
	for _, dir := range done.Aside {
		fmt.Fprintf(w, "  was there      %s\n", dir)
	}
	fmt.Fprintln(w, "Next:")
	for _, o := range done.Outside {
		fmt.Fprintf(w, "  cp %s %s   # the configuration names it there\n", quoted(o.Here), quoted(o.There))
	}
	if done.Config == systemConfig { // which root and the hub alone may read
		fmt.Fprintf(w, "  sudo hearth check %s\n  sudo systemctl enable --now hearth\n", quoted(done.Config))
	} else {
		fmt.Fprintf(w, "  hearth check %s\n  hearth serve --config %[1]s\n", quoted(done.Config))
	}
	_, err = fmt.Fprintf(w, "The machine that it comes from must not run it any more: two with the same names would take each other's messages.\nWhat was sent after %s may be sent again, and what was kept since is not there.\n", madeAt(done.Head))
	return err
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+@:", r))
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(harmless([]byte(path)), "'", `'\''`) + "'"
}

func (c *restoreCommand) undo(std streams, path string) error {
	if c.Data == "" {
		h, err := hubFlags{path}.find()
		if err != nil {
			return fmt.Errorf("%w (with --data DIR it is enough to know the data folder)", err)
		}
		c.Data = h.data
	}
	if err := hub.Undo(c.Data, filepath.Dir(path)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.out, "what was in %s before is there\n", c.Data)
	return err
}
