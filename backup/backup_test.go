package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

var head = Head{Hearth: "v1.2.3", House: "home", Made: time.Date(2026, 11, 30, 3, 30, 0, 0, time.UTC), Config: "config.toml", Folder: "/etc/hearth", DataDir: "/var/lib/hearth"}

// house is what the archives of these tests have.
func house() map[string]string {
	return map[string]string{
		"config/config.toml":     "include = [\"rules/*.toml\"]\n",
		"config/rules/lamp.toml": strings.Repeat("# a rule\n", 50),
		"data/hearth.log":        strings.Repeat("hearthlg and what follows ", 400),
		"data/users.toml":        "[user.anna]\n",
		"outside/etc/ssl/house":  "-----BEGIN",
	}
}

func archive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	write(t, &b, files)
	return b.Bytes()
}

func write(t testing.TB, to io.Writer, files map[string]string) {
	t.Helper()
	w, err := NewWriter(to, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config/config.toml", "config/rules/lamp.toml", "data/hearth.log", "data/users.toml", "outside/etc/ssl/house"} {
		if text, ok := files[name]; ok {
			if err := w.Add(Member{Name: name, Size: int64(len(text)), Mode: 0o640, User: "root", Group: "gpio"}, strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.LeftOut("/etc/ssl/key: no such file")
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// contents is what Read finds.
func contents(b []byte) (map[string]string, *Manifest, error) {
	files := make(map[string]string)
	done, err := Read(bytes.NewReader(b), func(_ Head, m Member, r io.Reader) error {
		text, err := io.ReadAll(r)
		files[m.Name] = string(text)
		return err
	})
	return files, done, err
}

func TestWhatWasSavedIsFound(t *testing.T) {
	files, done, err := contents(archive(t, house()))
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(files, house()) {
		t.Errorf("%q", files)
	}
	h := head
	h.Format = Format
	if !reflect.DeepEqual(done.Head, h) || len(done.Members) != 6 || done.LeftOut[0] != "/etc/ssl/key: no such file" {
		t.Errorf("%+v", done)
	}
	if m := done.Members[1]; m.Name != "config/config.toml" || m.Mode != 0o640 || m.User != "root" || m.Group != "gpio" || len(m.SHA256) != 64 {
		t.Errorf("%+v", m)
	}
	// Of a member nothing need be read for it to be checked.
	if _, err := Read(bytes.NewReader(archive(t, house())), func(Head, Member, io.Reader) error { return nil }); err != nil {
		t.Error(err)
	}
}

// A stream of any length comes in parts.
func TestAStreamIsParts(t *testing.T) {
	for _, size := range []int{0, 1, partSize, 2*partSize + 17} {
		want := bytes.Repeat([]byte("history "), size/8+1)[:size]
		var b bytes.Buffer
		w, err := NewWriter(&b, head)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Stream("data/history", func(w io.Writer) error {
			for piece := range chunks(want, 300_000) {
				if n, err := w.Write(piece); n != len(piece) || err != nil {
					return fmt.Errorf("%d: %w", n, err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var got []byte
		names := 0
		if _, err := Read(&b, func(_ Head, m Member, r io.Reader) error {
			names++
			if m.Name != fmt.Sprintf("data/history/%06d", names) {
				t.Error(m.Name)
			}
			text, err := io.ReadAll(r)
			got = append(got, text...)
			return err
		}); err != nil || !bytes.Equal(got, want) || names != max(1, (size+partSize-1)/partSize) {
			t.Errorf("%d bytes: %d in %d parts, %v", size, len(got), names, err)
		}
	}
}

func chunks(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			m := min(n, len(b))
			if !yield(b[:m]) {
				return
			}
			b = b[m:]
		}
	}
}

// Cut anywhere an archive is known as cut.
func TestACutArchiveIsKnown(t *testing.T) {
	whole := archive(t, house())
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		n := r.IntN(len(whole))
		if i < 3 || i >= 190 {
			n = min(i, len(whole)-200+i) // the first and the last bytes, too
		}
		_, _, err := contents(whole[:n])
		if !errors.Is(err, ErrCut) || !strings.Contains(err.Error(), fmt.Sprintf("ends after %d bytes", n)) {
			t.Errorf("cut to %d of %d: %v", n, len(whole), err)
		}
	}
}

// A bit that flipped is found, unless it is one that says nothing, such as the time in the
// head of gzip: then all is as it was.
func TestAFlippedBitIsFound(t *testing.T) {
	whole := archive(t, house())
	r := rand.New(rand.NewPCG(3, 4))
	silent := 0
	for range 1000 {
		b := bytes.Clone(whole)
		bit := r.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		files, _, err := contents(b)
		switch {
		case err == nil && maps.Equal(files, house()):
			silent++
		case err == nil:
			t.Errorf("bit %d: another house was taken", bit)
		case !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrCut) && !errors.Is(err, ErrForeign):
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	if silent > 30 {
		t.Errorf("%d of 1000 were not noticed", silent)
	}
	if _, _, err := contents(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrDamaged) {
		t.Error("one byte more:", err)
	}
	if _, _, err := contents(append(bytes.Clone(whole), whole...)); !errors.Is(err, ErrDamaged) {
		t.Error("twice:", err)
	}
}

// crafted is an archive as somebody might make it by hand, whose list fits what is in it.
func crafted(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.tar.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.CopyN(w.tar, zeros{}, h.Size); err != nil {
				t.Fatal(err)
			}
		}
		w.done.Members = append(w.done.Members, Member{Name: h.Name, Size: h.Size})
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Nothing that an archive is called or made of leads out of the folders that it is put into.
func TestNothingLeadsOutOfItsFolder(t *testing.T) {
	for _, name := range []string{
		"config/../../etc/passwd", "/etc/passwd", "config//x", "config/./x", "data/..", "../x", "config", "x", "other/x", "data/a\\..\\b",
		"data/" + strings.Repeat("x", 256), "outside/../x", "data/\x7f/../x",
		"config/.hearth-restore/plan.json", "data/.hearth-restore-1/new/x", "outside/a/.Hearth-Restore/plan.json",
	} {
		if _, _, err := contents(crafted(t, tar.Header{Name: name})); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, h := range []tar.Header{
		{Name: "config/x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		{Name: "config/x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"},
		{Name: "config/x", Typeflag: tar.TypeDir},
		{Name: "config/x", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		{Name: "config/x", Typeflag: tar.TypeBlock},
		{Name: "config/x", Typeflag: tar.TypeFifo},
	} {
		if _, _, err := contents(crafted(t, h)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "no plain file") {
			t.Errorf("%c: %v", h.Typeflag, err)
		}
	}
	if _, _, err := contents(crafted(t, tar.Header{Name: "data/x"}, tar.Header{Name: "data/x"})); !errors.Is(err, ErrDamaged) {
		t.Error("twice:", err)
	}
}

// What claims to be larger than a house is refused before it is read.
func TestABombIsRefused(t *testing.T) {
	bomb := crafted(t, tar.Header{Name: "config/config.toml", Size: maxFile + 1})
	read := int64(0)
	_, err := Read(bytes.NewReader(bomb), func(_ Head, _ Member, r io.Reader) error {
		n, err := io.Copy(io.Discard, r)
		read += n
		return err
	})
	if !errors.Is(err, ErrDamaged) || read > 0 {
		t.Errorf("%d bytes were read: %v", read, err)
	}
	many := make([]tar.Header, maxMembers+1)
	for i := range many {
		many[i].Name = fmt.Sprint("data/", i)
	}
	if _, _, err := contents(crafted(t, many...)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "more than 10000 files") {
		t.Error(err)
	}
}

func TestWhatIsNoBackupIsRefused(t *testing.T) {
	var foreign bytes.Buffer
	gz := gzip.NewWriter(&foreign)
	files := tar.NewWriter(gz)
	files.WriteHeader(&tar.Header{Name: "photos/cat.jpg", Size: 3, Typeflag: tar.TypeReg})
	files.Write([]byte("cat"))
	files.Close()
	gz.Close()
	for name, b := range map[string][]byte{"text": []byte("[hub]\nname = \"home\"\n"), "tar.gz": foreign.Bytes(), "zip": []byte("PK\x03\x04" + strings.Repeat("x", 8000))} {
		if _, _, err := contents(b); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var newer bytes.Buffer
	w, err := NewWriter(&newer, head)
	if err != nil {
		t.Fatal(err)
	}
	h := head
	h.Format = Format + 1
	h.Hearth = "v9"
	newer.Reset()
	gz = gzip.NewWriter(&newer)
	w.gz, w.tar, w.done.Members = gz, tar.NewWriter(gz), nil
	if err := w.json(headName, h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := contents(newer.Bytes()); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "v9") {
		t.Error(err)
	}
	// A disk that can't be read is no damage of the archive.
	broken := errors.New("input/output error")
	if _, err := Read(io.MultiReader(bytes.NewReader(archive(t, house())[:900]), brokenDisk{broken}), nil); !errors.Is(err, broken) || errors.Is(err, ErrCut) {
		t.Error(err)
	}
}

type brokenDisk struct{ err error }

func (d brokenDisk) Read([]byte) (int, error) { return 0, d.err }

// A file is there whole or not at all, and what is no backup stays.
func TestAFileIsThereWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "house.tar.gz")
	full := func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	if err := WriteFile(name, full); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if left := list(t, dir); len(left) > 0 {
		t.Error("left on a full disk:", left)
	}
	good := func(w io.Writer) error { write(t, w, house()); return nil }
	if err := WriteFile(name, good); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	first, _ := os.ReadFile(name)
	if err := WriteFile(name, full); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if now, _ := os.ReadFile(name); !bytes.Equal(now, first) {
		t.Error("the older backup is not as it was")
	}
	if err := WriteFile(name, good); err != nil { // in its place
		t.Error(err)
	}

	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("[hub]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(config, good); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Error(err)
	}
	if err := WriteFile(filepath.Join(dir, "nowhere", "x"), good); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}

	// What a process left that was killed goes with the next one; what one writes now stays.
	dead := filepath.Join(dir, ".hearth-backup-1.part")
	if err := os.WriteFile(dead, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(name, func(w io.Writer) error {
		good(w)
		return WriteFile(filepath.Join(dir, "other.tar.gz"), good)
	}); err != nil {
		t.Error(err)
	}
	if left := list(t, dir); !reflect.DeepEqual(left, []string{"config.toml", "house.tar.gz", "other.tar.gz"}) {
		t.Error(left)
	}
}

func list(t testing.TB, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// Whatever an archive holds, Read neither hangs nor takes memory for it, and what it takes for
// whole has names that stay inside.
func FuzzRead(f *testing.F) {
	f.Add(archive(f, house()))
	f.Add(archive(f, house())[:700])
	f.Add(crafted(f, tar.Header{Name: "config/../x", Size: 3}))
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			done, err := Read(bytes.NewReader(b), nil)
			if err != nil {
				if !errors.Is(err, ErrForeign) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrCut) && !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				return
			}
			for _, m := range done.Members[1:] {
				if !filepath.IsLocal(m.Name) || filepath.Clean(m.Name) != m.Name {
					t.Fatalf("%q", m.Name)
				}
			}
		}
		check(b)
		var packed bytes.Buffer // as a tar, for the fuzzer makes no gzip that fits
		gz := gzip.NewWriter(&packed)
		gz.Write(b)
		gz.Close()
		check(packed.Bytes())
	})
}
