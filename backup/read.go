package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Read reads an archive to its end and checks all of it. each, which may be nil, is given
// every member but the first and the last, with its content, which it need not read; what it
// returns ends the reading. An error that is not each's own, or the reader's, is one of
// ErrForeign, ErrNewer, ErrCut and ErrDamaged.
func Read(r io.Reader, each func(Head, Member, io.Reader) error) (*Manifest, error) {
	source := &noting{r: r}
	in := bufio.NewReaderSize(source, 64<<10)
	a := &reader{}
	done, err := a.read(in, each)
	switch {
	case err == nil:
		return done, nil
	case a.foreign != nil: // each's own
		return nil, a.foreign
	case source.err != nil:
		return nil, source.err
	case !a.known && !errors.Is(err, ErrNewer):
		// A backup that was cut in its first kilobyte looks like anything.
		if _, short := in.Peek(1); short != nil && source.n < 4096 && bytes.HasPrefix([]byte(gzipMagic), source.first[:min(source.n, 3)]) {
			return nil, fmt.Errorf("%w: it ends after %d bytes", ErrCut, source.n)
		}
		return nil, ErrForeign
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%w: it ends after %d bytes, %s", ErrCut, source.n, a.where())
	case errors.Is(err, ErrNewer), errors.Is(err, ErrDamaged):
		return nil, err
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.Is(err, tar.ErrHeader), errors.As(err, new(flate.CorruptInputError)):
		return nil, fmt.Errorf("%w, %s", ErrDamaged, a.where())
	}
	return nil, fmt.Errorf("%w, %s: %w", ErrDamaged, a.where(), err)
}

const gzipMagic = "\x1f\x8b\x08"

// noting keeps what the file itself had to say, to tell it from what is wrong with the content.
type noting struct {
	r     io.Reader
	n     int64
	first [3]byte
	err   error
}

func (s *noting) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if s.n < 3 {
		copy(s.first[s.n:], b[:n])
	}
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

type reader struct {
	known   bool // it is one of ours
	at      string
	foreign error
	found   []Member
	total   int64
}

// where is how far it could be read.
func (a *reader) where() string {
	if a.at == "" {
		return "at its beginning"
	}
	return "in " + a.at
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

func (a *reader) read(in *bufio.Reader, each func(Head, Member, io.Reader) error) (*Manifest, error) {
	gz, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	gz.Multistream(false)
	files := tar.NewReader(gz)
	var head Head
	names := make(map[string]bool)
	for {
		h, err := files.Next()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF // there was no manifest
		}
		if err != nil {
			return nil, err
		}
		a.at = strings.ToValidUTF8(h.Name, "\uFFFD")
		first := len(a.found) == 0
		switch {
		case first && h.Name != headName:
			return nil, ErrForeign
		case first && (h.Typeflag != tar.TypeReg || h.Size > maxHead):
			return nil, ErrForeign
		case h.Typeflag != tar.TypeReg:
			return nil, damaged("%q is no plain file", a.at)
		case names[h.Name]:
			return nil, damaged("%q is in it twice", a.at)
		case len(a.found) >= maxMembers:
			return nil, damaged("it has more than %d files", maxMembers)
		}
		names[h.Name] = true
		switch h.Name {
		case headName:
			m, text, err := a.text(files, h)
			if err != nil {
				return nil, err
			}
			if json.Unmarshal(text, &head) != nil || head.Format < 1 {
				return nil, ErrForeign
			}
			if head.Format > Format {
				return nil, fmt.Errorf("%w, %s (format %d; this one, which reads up to %d, has to be updated first)", ErrNewer, head.Hearth, head.Format, Format)
			}
			a.known = true
			if !inside("config/" + head.Config) {
				return nil, damaged("it says that its configuration is %q", head.Config)
			}
			a.found = append(a.found, m)
			continue
		case manifestName:
			if h.Size > maxManifest {
				return nil, damaged("its list of what is in it has %d bytes", h.Size)
			}
			_, text, err := a.text(files, h)
			if err != nil {
				return nil, err
			}
			done := &Manifest{Head: head}
			if err := json.Unmarshal(text, done); err != nil {
				return nil, damaged("its list of what is in it can't be read: %v", err)
			}
			if err := a.compare(done); err != nil {
				return nil, err
			}
			a.at = "its end"
			return done, finish(files, gz, in)
		}
		if err := a.allowed(h); err != nil {
			return nil, err
		}
		m := member(h)
		sum := sha256.New()
		content := io.TeeReader(files, sum)
		if each != nil {
			if err := each(head, m, content); err != nil {
				// What it says of a content that could not be read is said better here.
				if _, broken := io.Copy(io.Discard, content); broken != nil {
					return nil, broken
				}
				a.foreign = err
				return nil, err
			}
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return nil, err
		}
		m.SHA256 = hex.EncodeToString(sum.Sum(nil))
		a.found = append(a.found, m)
	}
}

func member(h *tar.Header) Member {
	return Member{Name: h.Name, Size: h.Size, Mode: fs.FileMode(h.Mode).Perm(), User: h.Uname, Group: h.Gname}
}

// text is a member of the archive's own.
func (a *reader) text(files *tar.Reader, h *tar.Header) (Member, []byte, error) {
	text, err := io.ReadAll(files)
	if err != nil {
		return Member{}, nil, err
	}
	m := member(h)
	sum := sha256.Sum256(text)
	m.SHA256 = hex.EncodeToString(sum[:])
	return m, text, nil
}

// allowed looks at a member's name and size.
func (a *reader) allowed(h *tar.Header) error {
	top, _, _ := strings.Cut(h.Name, "/")
	most := int64(maxFile)
	switch {
	case !inside(h.Name):
		return damaged("the name %q leads out of its folder, or nowhere", a.at)
	case top == "data":
		most = maxData
	case top != "config" && top != "outside":
		return damaged("%q is not something that belongs to a house", a.at)
	}
	if a.total += h.Size; h.Size < 0 || h.Size > most || a.total > maxData {
		return damaged("%q has %d bytes, which is more than a house has", a.at, h.Size)
	}
	return nil
}

// inside says that a name leads to a file below a folder, by any reading.
func inside(name string) bool {
	if !fs.ValidPath(name) || len(name) > 1024 || strings.ContainsAny(name, "\\\x00") || path.Dir(name) == "." {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 255 || isStage(part) {
			return false
		}
	}
	return true
}

// isStage says that a name is one of the folders in which a restore keeps what it has still to
// do: whoever could put something there could have any file moved. Some file systems do
// not tell capitals from small letters.
func isStage(name string) bool {
	return len(name) >= len(stageName) && strings.EqualFold(name[:len(stageName)], stageName)
}

// compare says what of the list is not so.
func (a *reader) compare(list *Manifest) error {
	if len(list.Members) != len(a.found) {
		return damaged("it has %d files, and should have %d", len(a.found), len(list.Members))
	}
	for i, is := range a.found {
		want := list.Members[i]
		switch {
		case is.Name != want.Name:
			return damaged("%q stands where %q should", is.Name, want.Name)
		case is.Size != want.Size || is.SHA256 != want.SHA256:
			return damaged("%q is not as it was", is.Name)
		}
		list.Members[i] = is // with mode and owner, which the list does not have
	}
	return nil
}

// finish looks at what is behind the list: the end of the tar, the sum that gzip has of it
// all, and then nothing.
func finish(files *tar.Reader, gz *gzip.Reader, in *bufio.Reader) error {
	switch _, err := files.Next(); {
	case err == nil:
		return damaged("something follows its list of what is in it")
	case err != io.EOF:
		return err
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(gz, 1<<20)); err != nil {
		return err
	} else if n == 1<<20 {
		return damaged("something follows its end")
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return damaged("something follows its end")
	}
	return nil
}
