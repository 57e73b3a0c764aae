package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits: far beyond any house, near enough that no file can make the hub slow
// or run it out of stack.
const (
	maxFile  = 1 << 20 // bytes
	maxFiles = 500
	maxDepth = 64 // tables and arrays within each other
)

// A Doc is what was read: the values are in the caller's struct, the places and
// the mistakes are here.
type Doc struct {
	sum      hash.Hash // of the files' text
	files    []string
	sources  map[string][]byte   // by file, as far as they could be read
	matched  map[string][]string // by pattern, the files that an include found
	value    map[string]any
	root     *node
	broken   bool // a file is missing from value
	mistakes []Mistake
	seen     map[Mistake]bool
	refused  map[string]bool // paths whose value the decoder could not take
	structs  structs
}

// A node is the places of one value and of what it holds.
type node struct {
	key, val Position // of its key and its value; the same where it has no key
	keys     map[string]*node
	order    []string // of keys, as written
	elems    []*node
	header   bool   // val is that of a [table] of its own
	set      bool   // written with =
	raw      string // a text with its quotes, where there is more to it than the text between two of them
}

// Load reads the file at path and those it includes into the struct that into
// points at. It always returns a Doc; Err says whether into can be used.
func Load(path string, into any) *Doc { return LoadDraft(path, into, Draft{}) }

// A Draft is what Load is to read otherwise than it stands on disk.
type Draft struct {
	Instead map[string][]byte       // texts, by files as Files names them; nil: it is gone
	May     func(path string) error // says why an include may not name that, which may be a pattern; nil: it may name anything
}

// LoadDraft is Load of files of which some are being edited.
func LoadDraft(path string, into any, draft Draft) *Doc {
	d := newDoc(path)
	l := loader{doc: d, draft: draft, names: map[string]string{}}
	l.load(path, filepath.Clean(path), nil, Place{})
	d.decode(into)
	return d
}

// Parse reads src, called name in mistakes, into the struct that into points
// at. It opens no file, so an include is a mistake.
func Parse(name string, src []byte, into any) *Doc {
	d := newDoc(name)
	d.files = []string{name}
	if value, root, ok := d.read(name, src); ok {
		d.value, d.root = value, root
		if at := d.Root().Key("include"); at.Given() {
			at.wrongKey("only a file on disk can include others")
			delete(value, "include")
		}
	}
	d.decode(into)
	return d
}

// Sum names the text of all files that were read: it is the same where that is.
func (d *Doc) Sum() string { return hex.EncodeToString(d.sum.Sum(nil)[:16]) }

func newDoc(name string) *Doc {
	first := Position{File: name, Line: 1, Column: 1}
	return &Doc{
		sum:     sha256.New(),
		sources: map[string][]byte{},
		matched: map[string][]string{},
		value:   map[string]any{},
		root:    &node{key: first, val: first},
		seen:    map[Mistake]bool{},
		refused: map[string]bool{},
		structs: structs{},
	}
}

func (d *Doc) decode(into any) {
	if into != nil {
		Decode(d.value, into, d.Root())
	}
}

// Root is the place of the whole document.
func (d *Doc) Root() Place {
	return Place{doc: d, node: d.root, near: d.root, val: d.value, has: true}
}

// Whole says that every file was read. If not, what is missing from the values
// may be in the file that was not.
func (d *Doc) Whole() bool { return !d.broken }

// Files are the paths of all files that were read or should have been, the
// main file first: what to watch for changes.
func (d *Doc) Files() []string { return slices.Clone(d.files) }

// Source is the text of one of Files as it was read; nil where it could not be.
func (d *Doc) Source(file string) []byte { return d.sources[file] }

// Texts are the files of a document as they were read, without what they mean: enough to show
// them, and to know whether they are others by now.
type Texts struct {
	files   []string
	sources map[string][]byte
	matched map[string][]string
	sum     string
}

// Texts are those of d.
func (d *Doc) Texts() *Texts { return &Texts{d.files, d.sources, d.matched, d.Sum()} }

func (t *Texts) Files() []string           { return slices.Clone(t.files) }
func (t *Texts) Source(file string) []byte { return t.sources[file] }
func (t *Texts) Sum() string               { return t.sum }

// Fresh says whether they would be read the same now. It reads them, for a file may be another of
// the same size within one tick of its clock, and parses nothing.
func (t *Texts) Fresh() bool {
	for pattern, found := range t.matched {
		now, err := filepath.Glob(pattern)
		if slices.Sort(now); err != nil || !slices.Equal(now, found) {
			return false
		}
	}
	for _, file := range t.files {
		src, err := readFile(filepath.Clean(file))
		if was, read := t.sources[file]; (err == nil) != read || !bytes.Equal(src, was) {
			return false
		}
	}
	return true
}

// Mistakes are all mistakes, by file in the order of reading, line and column.
func (d *Doc) Mistakes() []Mistake { return d.sorted(false) }

// Warnings are what is allowed but seldom meant, in the same order.
func (d *Doc) Warnings() []Mistake { return d.sorted(true) }

func (d *Doc) sorted(warnings bool) []Mistake {
	rank := make(map[string]int, len(d.files))
	for i, f := range d.files {
		rank[f] = i
	}
	var ms []Mistake
	for _, m := range d.mistakes {
		if m.Warning == warnings {
			ms = append(ms, m)
		}
	}
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		if a.File != b.File {
			return rank[a.File] - rank[b.File]
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return ms
}

// Err is nil when there are no mistakes, or else an error whose text is all of
// them, one a line.
func (d *Doc) Err() error {
	if ms := d.Mistakes(); len(ms) > 0 {
		return mistakes(ms)
	}
	return nil
}

// Join adds what is wrong in another document to this one, after its own.
func (d *Doc) Join(other *Doc) {
	for _, f := range other.files {
		if !slices.Contains(d.files, f) {
			d.files = append(d.files, f)
		}
	}
	for _, m := range other.mistakes {
		d.add(m)
	}
}

type mistakes []Mistake

func (ms mistakes) Error() string {
	var b strings.Builder
	for i, m := range ms {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(m.String())
	}
	return b.String()
}

func (d *Doc) add(m Mistake) {
	if !d.seen[m] {
		d.seen[m] = true
		d.mistakes = append(d.mistakes, m)
	}
}

// A loader follows includes.
type loader struct {
	doc   *Doc
	draft Draft
	names map[string]string // of the files read, by real path
}

// load reads one file and what it includes. within holds the real paths of the
// files that led here; from is the value that names this one.
func (l *loader) load(name, path string, within []string, from Place) {
	d := l.doc
	fail := func(format string, args ...any) {
		d.broken = true
		if from.doc != nil {
			from.wrong("%s", fmt.Sprintf(format, args...))
			return
		}
		d.add(Mistake{Position: Position{File: name, Line: 1, Column: 1}, Text: fmt.Sprintf(format, args...)})
	}
	real := realPath(path)
	if i := slices.Index(within, real); i >= 0 {
		var way strings.Builder
		for _, w := range within[i:] {
			way.WriteString(l.names[w] + " includes ")
		}
		fail("a circle: %s%s", way.String(), l.names[real])
		return
	}
	if l.names[real] != "" {
		return
	}
	l.names[real] = name
	if len(d.files) >= maxFiles {
		fail("more than %d files", maxFiles)
		return
	}
	d.files = append(d.files, name)
	src, drafted := l.draft.Instead[name]
	if src == nil {
		err := error(fs.ErrNotExist)
		if !drafted {
			src, err = readFile(path)
		}
		if err != nil {
			fail("cannot read %s: %v", name, err)
			return
		}
	}
	d.sources[name] = src
	value, root, ok := d.read(name, src)
	if !ok {
		d.broken = true
		return
	}
	at := Place{doc: d, node: root, near: root, val: value, has: true}.Key("include")
	var include List[string]
	if at.Given() {
		Decode(at.val, &include, at)
		delete(value, "include")
	}
	d.merge(value, root)
	within = append(slices.Clone(within), real)
	for i, pattern := range include {
		l.include(pattern, name, within, at.Index(i))
	}
}

// include loads the files of one pattern, which is relative to the file name.
func (l *loader) include(pattern, name string, within []string, at Place) {
	if l.doc.refused[at.path] && pattern == "" {
		return // not a text
	}
	path, dir := filepath.FromSlash(pattern), filepath.Dir(name)
	if l.draft.May != nil {
		whole := path
		if !filepath.IsAbs(path) {
			whole = filepath.Join(dir, path)
		}
		if err := l.draft.May(whole); err != nil {
			l.doc.broken = true
			at.wrong("%v", err)
			return
		}
	}
	wild := strings.ContainsAny(pattern, "*?[")
	if wild {
		dir = literal.Replace(dir)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if !wild {
		l.load(path, path, within, at)
		return
	}
	names, err := filepath.Glob(path)
	if err != nil {
		at.wrong(`want a pattern such as "rules/*.toml"`)
		return
	}
	l.doc.matched[path] = slices.Sorted(slices.Values(names))
	names = l.draft.names(names, path)
	found := false
	for _, n := range names {
		base := filepath.Base(n)
		if strings.HasPrefix(base, ".") && !strings.HasPrefix(filepath.Base(path), ".") {
			continue // an editor's lock or swap file
		}
		found = true
		if realPath(n) == within[len(within)-1] {
			continue // "*.toml" matches the file it stands in
		}
		l.load(n, n, within, at)
	}
	if !found {
		at.report(at.Position(), true, "no file matches")
	}
}

// names is the files that match a pattern, of which those on disk do, in their order.
func (d Draft) names(onDisk []string, pattern string) []string {
	names := slices.DeleteFunc(onDisk, func(n string) bool { text, drafted := d.Instead[n]; return drafted && text == nil })
	for n, text := range d.Instead {
		if ok, _ := filepath.Match(pattern, n); ok && text != nil && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// literal lets the folder of a file be called anything.
var literal = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`)

// realPath names a file in one way, however it is reached.
func realPath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// readFile reads a file, or enough of it to see that it is too large.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before Open, which waits for ever on a pipe
	if err == nil && !info.Mode().IsRegular() {
		return nil, errors.New("not a file")
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			defer f.Close()
			var src []byte
			if src, err = io.ReadAll(io.LimitReader(f, maxFile+16)); err == nil {
				return src, nil
			}
		}
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path is named by the mistake
	}
	return nil, err
}

// merge adds one more file to the document: tables at the top are joined, lists
// of tables appended, and what is given twice is a mistake at the second place.
func (d *Doc) merge(value map[string]any, root *node) {
	if len(d.files) == 1 {
		d.value, d.root = value, root
		return
	}
	file := Place{doc: d, node: root, near: root, val: value, has: true}
	for _, key := range file.order(value) {
		at := file.Key(key)
		old := d.Root().Key(key)
		if !old.has {
			d.root.put(d.value, key, at)
			continue
		}
		switch was := old.val.(type) {
		case map[string]any:
			now, ok := at.val.(map[string]any)
			if !ok {
				break
			}
			for _, name := range at.order(now) {
				sub := at.Key(name)
				if first := old.Key(name); first.has {
					sub.twice(first)
					continue
				}
				old.node.put(was, name, sub)
			}
			continue
		case []any:
			now, ok := at.val.([]any)
			if !ok || !allTables(was) || !allTables(now) {
				break
			}
			if old.node != nil && at.node != nil && len(old.node.elems) == len(was) {
				old.node.elems = append(old.node.elems, at.node.elems...)
			}
			d.value[key] = append(was, now...)
			continue
		}
		at.twice(old)
	}
}

// put adds what is at p to the table that n and m describe.
func (n *node) put(m map[string]any, key string, p Place) {
	m[key] = p.val
	if n != nil && p.node != nil {
		n.add(key, p.node)
	}
}

func (n *node) add(key string, sub *node) {
	if n.keys == nil {
		n.keys = map[string]*node{}
	}
	n.keys[key] = sub
	n.order = append(n.order, key)
}

// twice reports p as given already at first.
func (p Place) twice(first Place) {
	was := first.Position()
	if first.node != nil {
		was = first.node.key
	}
	at := p.Position()
	if p.node != nil {
		at = p.node.key
	}
	p.report(at, false, "given twice, first at %s: want it only once", was)
}

func allTables(elems []any) bool {
	for _, e := range elems {
		if _, ok := e.(map[string]any); !ok {
			return false
		}
	}
	return len(elems) > 0
}
