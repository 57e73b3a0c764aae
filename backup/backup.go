// Package backup is the file that a house is saved in: what it looks like, how it is
// written so that there is never half of one, and how it is read so that nothing that is
// wrong with it goes unnoticed.
//
// It is a tar in gzip, so that whoever has nothing of Hearth at hand can look into it and
// take out a file. Its members, in this order:
//
//	backup.json      which version of the format it is, when and by what it was made, and where
//	                 what is in it lay: a [Head]
//	config/...       the configuration, and what it names in or below its own folder
//	outside/...      what it names elsewhere, by its whole path
//	data/...         what was in the data folder; what is too large to know its size before it
//	                 has been written is a folder of parts, data/NAME/000001 and so on
//	manifest.json    every member before it with its size and SHA-256, and what was left
//	                 out: a [Manifest]
//
// The manifest is the trailer: a file without it has been cut short. Sizes are not known
// before the end, and an archive may go to a pipe, so it can't stand at the beginning.
//
// What [Read] promises, whoever made the archive: it is refused with a reason if it is no
// backup, was made by a newer Hearth, is cut or damaged; its members are plain files whose
// names stay below the folder that they are put into; there are no more of them, and they are
// not larger, than a house has. Until Read has returned without an error nothing of what it
// gave away is known to be whole.
//
// An archive has passwords, keys and messages in it, so its file is for its owner only.
package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// Format is the newest version of the format that this program reads and the one that it
// writes.
const Format = 1

const (
	headName     = "backup.json"
	manifestName = "manifest.json"
)

// Limits: far beyond any house, near enough that no archive can fill a memory, and none a
// disk without being asked for it (see [Manifest.Size]).
const (
	maxMembers  = 10_000
	maxHead     = 64 << 10
	maxManifest = 8 << 20
	maxFile     = 16 << 20 // of config/, outside/ and the users
	maxData     = 64 << 30 // of data/, and of all together
)

// partSize is how large the parts of a member are whose size is not known.
const partSize = 1 << 20

// A Head is what an archive says of itself first.
type Head struct {
	Format  int       `json:"format"`
	Hearth  string    `json:"hearth"` // version of the program
	House   string    `json:"house"`  // its name
	Made    time.Time `json:"made"`
	Unsure  bool      `json:"unsure,omitempty"` // nobody knew whether the clock was right then
	Config  string    `json:"config"`           // the main file of the configuration, below config/
	Folder  string    `json:"folder"`           // where that was
	Data    string    `json:"data,omitempty"`   // what the configuration says of the data folder, "" if nothing
	DataDir string    `json:"data_dir"`         // where it was
}

// A Member is one file.
type Member struct {
	Name   string      `json:"name"`
	Size   int64       `json:"size"`
	SHA256 string      `json:"sha256"`
	Mode   fs.FileMode `json:"-"` // permissions
	User   string      `json:"-"` // whose it was, by name; "" if nobody knows
	Group  string      `json:"-"`
}

// A Manifest is what an archive holds.
type Manifest struct {
	Head    Head     `json:"-"`
	Members []Member `json:"members"`
	LeftOut []string `json:"left_out,omitempty"` // what should be in it, and why it is not, for a person
}

// Size is how many bytes all members have.
func (m *Manifest) Size() (n int64) {
	for _, one := range m.Members {
		n += one.Size
	}
	return n
}

// A Writer writes an archive, to anything.
type Writer struct {
	gz   *gzip.Writer
	tar  *tar.Writer
	done Manifest
}

// NewWriter begins an archive. Its format is the newest, whatever the head says.
func NewWriter(w io.Writer, head Head) (*Writer, error) {
	head.Format = Format
	// Half of what is large is compressed already, and a small computer has better to do.
	gz, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	a := &Writer{gz: gz, tar: tar.NewWriter(gz), done: Manifest{Head: head}}
	return a, a.json(headName, head)
}

func (a *Writer) json(name string, what any) error {
	text, err := json.MarshalIndent(what, "", "\t")
	if err != nil {
		return err
	}
	return a.Add(Member{Name: name, Size: int64(len(text)), Mode: 0o600}, bytes.NewReader(text))
}

// Add adds a member of m's name, mode, owner and size; there are just so many bytes in r.
func (a *Writer) Add(m Member, r io.Reader) error {
	return a.Write(m, writerTo{r})
}

type writerTo struct{ io.Reader }

func (r writerTo) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, r.Reader) }

// Write is Add of what writes itself.
func (a *Writer) Write(m Member, content io.WriterTo) error {
	err := a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: m.Name, Size: m.Size, Mode: int64(m.Mode.Perm()), Uname: m.User, Gname: m.Group,
		ModTime: a.done.Head.Made.Truncate(time.Second),
	})
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	sum := sha256.New()
	switch n, err := content.WriteTo(io.MultiWriter(a.tar, sum)); {
	case err != nil:
		return err
	case n != m.Size:
		return fmt.Errorf("%s has %d bytes, and was said to have %d", m.Name, n, m.Size)
	}
	m.SHA256 = hex.EncodeToString(sum.Sum(nil))
	a.done.Members = append(a.done.Members, m)
	return nil
}

// File reads a file of the disk as a member, with the mode and the owner that it has. A link is
// followed, for what counts is what stands there.
func File(name, path string) (Member, []byte, error) {
	info, err := os.Stat(path) // before Open, which waits for ever on a pipe
	if err != nil {
		return Member{}, nil, err
	}
	if !info.Mode().IsRegular() {
		return Member{}, nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return Member{}, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1)) // whole: it may be replaced at any moment
	if err != nil {
		return Member{}, nil, err
	}
	if len(text) > maxFile {
		return Member{}, nil, fmt.Errorf("%s has more than %d bytes, which no file of a configuration has", path, maxFile)
	}
	m := Member{Name: name, Size: int64(len(text)), Mode: info.Mode().Perm()}
	m.User, m.Group = Owner(info)
	return m, text, nil
}

// Stream adds what write writes, in parts of at most 1 MiB: name/000001 and so on.
func (a *Writer) Stream(name string, write func(io.Writer) error) error {
	p := &parts{a: a, name: name}
	if err := write(p); err != nil {
		return err
	}
	return p.flush()
}

type parts struct {
	a    *Writer
	name string
	n    int
	buf  []byte
}

func (p *parts) Write(b []byte) (n int, err error) {
	for n < len(b) {
		m := min(len(b)-n, partSize-len(p.buf))
		p.buf = append(p.buf, b[n:n+m]...)
		if n += m; len(p.buf) == partSize {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *parts) flush() error {
	if len(p.buf) == 0 && p.n > 0 {
		return nil
	}
	p.n++
	err := p.a.Add(Member{Name: fmt.Sprintf("%s/%06d", p.name, p.n), Size: int64(len(p.buf)), Mode: 0o600}, bytes.NewReader(p.buf))
	p.buf = p.buf[:0]
	return err
}

// LeftOut notes what should be in the archive and why it is not.
func (a *Writer) LeftOut(what string) { a.done.LeftOut = append(a.done.LeftOut, what) }

// Close ends the archive: without it there is none.
func (a *Writer) Close() (*Manifest, error) {
	done := a.done
	if err := a.json(manifestName, done); err != nil {
		return nil, err
	}
	if err := a.tar.Close(); err != nil {
		return nil, err
	}
	return &done, a.gz.Close()
}

// Owner is whose a file is, by name; "" for who has none.
func Owner(info fs.FileInfo) (name, group string) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", ""
	}
	if u, err := user.LookupId(strconv.Itoa(int(stat.Uid))); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid))); err == nil {
		group = g.Name
	}
	return name, group
}

// Errors of [Read], to be told apart.
var (
	ErrForeign = errors.New("is no backup of Hearth")
	ErrNewer   = errors.New("was made by a newer Hearth")
	ErrCut     = errors.New("is cut short")
	ErrDamaged = errors.New("is damaged")
)
