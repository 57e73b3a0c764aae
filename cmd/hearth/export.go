package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"hearth/control"
)

type exportCommand struct {
	To    string   `arg:"" help:"A file that ends in .csv or .jsonl, - for what is printed, or a folder, in which each series gets a file of its own."`
	Names []string `arg:"" optional:"" help:"What to export, as in hearth history; default all."`
	stretchFlags
	Format string `placeholder:"csv" help:"csv or jsonl, JSON of one object a line; default as the file ends, else csv."`
	Force  bool   `help:"Replace files that are there."`
	hubFlags
}

// Run writes every reading that is kept, in the order of their series, and of each of
// these in the order of time.
func (c *exportCommand) Run(ctx context.Context, std streams) error {
	ends := strings.TrimPrefix(filepath.Ext(c.To), ".")
	isFile := c.To == "-" || ends == "csv" || ends == "jsonl"
	if info, err := os.Stat(c.To); err == nil {
		isFile = !info.IsDir() || c.To == "-"
	} else if ends != "" && !isFile && !strings.HasSuffix(c.To, "/") {
		return usageError{fmt.Errorf("%s: want a file that ends in .csv or .jsonl; or a folder: write %s/", c.To, c.To)}
	}
	format := c.Format
	switch {
	case format != "" && format != "csv" && format != "jsonl":
		return usageError{fmt.Errorf("--format %s: want csv or jsonl", format)}
	case format == "" && isFile && ends == "jsonl":
		format = "jsonl"
	case format == "":
		format = "csv"
	}
	past, s, found, err := c.asked(ctx, std, c.stretchFlags, 100*365*24*time.Hour, c.Names)
	if err != nil {
		return err
	}
	defer past.close()
	x := &exporting{past: past, stretch: s, format: format, force: c.Force}
	switch {
	case c.To == "-":
		return x.write(ctx, std.out, found)
	case isFile:
		err = x.file(ctx, c.To, found)
	default:
		err = x.folder(ctx, c.To, found)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s of %s to %s\n", count(x.n, "reading"), count(len(found), "name"), c.To)
	return err
}

// An exporting is a history on its way to files.
type exporting struct {
	past *archive
	stretch
	format string
	force  bool
	n      int // readings
}

// folder makes a file for each series.
func (x *exporting) folder(ctx context.Context, dir string, found []control.Series) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, one := range found {
		if err := x.file(ctx, filepath.Join(dir, fileName(one.Name)+"."+x.format), []control.Series{one}); err != nil {
			return err
		}
	}
	return nil
}

// fileName is a name as every file system takes it: what is not a letter, a digit, or one of
// . _ - becomes % and two digits, and so do a dot at the beginning and capitals, which
// some do not tell from small letters.
func fileName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	const most = 200
	if b.Len() > most { // two that begin and end the same are told apart by a number made of the whole
		sum := fnv.New64a()
		sum.Write([]byte(name))
		return fmt.Sprintf("%s~%016x~%s", b.String()[:most/2], sum.Sum64(), b.String()[b.Len()-most/2:])
	}
	return b.String()
}

// file writes one whole or not at all.
func (x *exporting) file(ctx context.Context, path string, found []control.Series) (err error) {
	if info, err := os.Lstat(path); err == nil && !x.force {
		return fmt.Errorf("%s is there already: --force replaces it", path)
	} else if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is there and no file: name one", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// A name of its own: nobody can have put a link there, nor does another export write to it.
	part := filepath.Join(filepath.Dir(path), fmt.Sprintf(".hearth-export-%d-%d.part", os.Getpid(), time.Now().UnixNano()))
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(part)
		}
	}()
	out := bufio.NewWriterSize(f, 64<<10)
	if err := x.write(ctx, out, found); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil { // else after a power cut the name may have an empty file
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(part, path)
}

func (x *exporting) write(ctx context.Context, to io.Writer, found []control.Series) error {
	lines, rows := json.NewEncoder(to), csv.NewWriter(to)
	lines.SetEscapeHTML(false)
	rows.UseCRLF = true
	if x.format == "csv" {
		if err := rows.Write(pointColumns); err != nil {
			return err
		}
	}
	for _, one := range found {
		for p, err := range x.past.Points(ctx, one.Name, x.from, x.to) {
			switch {
			case err != nil:
				return err
			case x.format == "csv":
				err = rows.Write(pointCells(one, p))
			default:
				err = lines.Encode(dated{one.Name, one.Unit, p})
			}
			if err != nil {
				return err
			}
			x.n++
		}
	}
	rows.Flush()
	return rows.Error()
}
