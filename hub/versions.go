package hub

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/config"
	"hearth/web"
)

// What the configuration was before: each that came into force is kept whole in a file of its
// own in the data folder, for what people undo is often weeks old. One of a large house takes
// some 10 kB.

const (
	versionsDir = "versions"
	// How many versions are kept, and how many bytes of them on disk.
	maxVersions     = 200
	maxVersionBytes = 16 << 20
	// How much one may unpack to, against a file that somebody put there.
	maxVersionText = 64 << 20
)

// A configText is a file of the configuration, by the name by which it was read.
type configText struct {
	Name string `json:"name"` // as seen from the folder of the main one
	Text string `json:"text"`
}

// textsOf are the files of a document.
func textsOf(doc *config.Doc) (all []configText) {
	files := doc.Files()
	for _, f := range files {
		if text := doc.Source(f); text != nil {
			all = append(all, configText{configName(files[0], f), string(text)})
		}
	}
	return all
}

// configName is what people call a file of the configuration: as seen from the folder of the
// main one, if it is below.
func configName(main, file string) string {
	if name, err := filepath.Rel(filepath.Dir(main), file); err == nil && filepath.IsLocal(name) {
		return name
	}
	return file
}

// A keptVersion is a configuration that was in force.
type keptVersion struct {
	ID      int          `json:"-"`
	At      time.Time    `json:"at"`
	By      string       `json:"by,omitempty"`
	How     string       `json:"how"`
	Note    string       `json:"note,omitempty"`
	Sum     string       `json:"sum"`
	Changed []string     `json:"changed,omitempty"` // against the one before
	Files   []configText `json:"files,omitempty"`
}

// versions keeps them. Its methods may be called from any goroutine but the loop's.
type versions struct {
	dir string // "": none are kept
	mu  sync.Mutex
	all []keptVersion // without their texts, the oldest first; nil: not read yet
}

func (v *versions) file(id int) string { return filepath.Join(v.dir, fmt.Sprintf("%06d.json.gz", id)) }

// list is all there are, the oldest first. v.mu is held.
func (v *versions) list() ([]keptVersion, error) {
	if v.all != nil {
		return v.all, nil
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []keptVersion{}
	for _, e := range entries { // in the order of their names, which is that of their numbers
		id := 0
		if _, err := fmt.Sscanf(e.Name(), "%06d.json.gz", &id); err != nil || !e.Type().IsRegular() || filepath.Base(v.file(id)) != e.Name() {
			continue
		}
		if one, err := v.read(id); err == nil { // one that a bad card spoiled is none
			one.Files = nil
			all = append(all, one)
		}
	}
	v.all = all
	return all, nil
}

func (v *versions) read(id int) (one keptVersion, err error) {
	f, err := os.Open(v.file(id))
	if err != nil {
		return one, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return one, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxVersionText)) // whole, for the checksum
	if err == nil {
		err = json.Unmarshal(text, &one)
	}
	one.ID = id
	return one, err
}

// keep keeps a configuration, unless it is the newest already.
func (v *versions) keep(one keptVersion) error {
	if len(one.Files) == 0 || v.dir == "" {
		return nil // it is in no file
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	all, err := v.list()
	if err != nil {
		return err
	}
	one.ID = 1
	if n := len(all); n > 0 {
		if all[n-1].Sum == one.Sum {
			return nil
		}
		one.ID = all[n-1].ID + 1
		if before, err := v.read(all[n-1].ID); err == nil {
			one.Changed = changedFiles(before.Files, one.Files)
		}
	}
	text, err := json.Marshal(one)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(text)
	z.Close()
	if err := config.MakeDir(v.dir); err != nil {
		return err
	}
	if err := config.Replace(v.file(one.ID), b.Bytes(), 0o600, v.dir); err != nil {
		return err
	}
	one.Files = nil
	v.all = append(all, one)
	v.prune()
	return nil
}

// prune removes the oldest while there are too many. v.mu is held.
func (v *versions) prune() {
	size := int64(0)
	keep := 0
	for _, one := range slices.Backward(v.all) {
		info, err := os.Stat(v.file(one.ID))
		if err == nil {
			size += info.Size()
		}
		if keep++; keep > 1 && (keep > maxVersions || size > maxVersionBytes) {
			keep--
			break
		}
	}
	for _, one := range v.all[:len(v.all)-keep] {
		os.Remove(v.file(one.ID))
	}
	v.all = slices.Clone(v.all[len(v.all)-keep:])
}

// changedFiles are the names of those that are others, new or gone.
func changedFiles(before, after []configText) (names []string) {
	texts := make(map[string]string)
	for _, f := range before {
		texts[f.Name] = f.Text
	}
	for _, f := range after {
		if text, ok := texts[f.Name]; !ok || text != f.Text {
			names = append(names, f.Name)
		}
		delete(texts, f.Name)
	}
	for _, f := range before {
		if _, gone := texts[f.Name]; gone {
			names = append(names, f.Name)
		}
	}
	return names
}

// textNamed is the text of a file; "" if there is none.
func textNamed(all []configText, name string) (string, bool) {
	i := slices.IndexFunc(all, func(f configText) bool { return f.Name == name })
	if i < 0 {
		return "", false
	}
	return strings.Clone(all[i].Text), true
}

// --- On the page ---

// ConfigVersions are those that are kept, the newest first.
func (p page) ConfigVersions(context.Context) ([]web.Version, error) {
	v := &p.editing.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	list, err := v.list()
	if err != nil {
		return nil, err
	}
	var all []web.Version
	now := p.editing.sumInForce()
	for _, one := range slices.Backward(list) {
		w := webVersion(one)
		w.Now = one.Sum == now
		if w.Now {
			now = "" // an older one of the same text is not
		}
		all = append(all, w)
	}
	return all, nil
}

func webVersion(v keptVersion) web.Version {
	return web.Version{ID: v.ID, At: v.At, By: v.By, How: v.How, Note: v.Note, Changed: v.Changed}
}

// version is one with its texts, and those of the one before.
func (v *versions) version(id int) (one, before keptVersion, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	all, err := v.list()
	if err != nil {
		return one, before, err
	}
	i := slices.IndexFunc(all, func(o keptVersion) bool { return o.ID == id })
	if i < 0 {
		return one, before, web.Refusal(http.StatusNotFound, "there is no such version; the oldest are not kept")
	}
	if one, err = v.read(id); err != nil {
		return one, before, web.Refusal(http.StatusNotFound, "this version can't be read any more: %v", err)
	}
	if i > 0 {
		before, _ = v.read(all[i-1].ID)
	}
	return one, before, nil
}

// ConfigVersion is a version with what differs.
func (p page) ConfigVersion(ctx context.Context, id int) (web.VersionDetail, error) {
	e := p.editing
	one, before, err := e.versions.version(id)
	if err != nil {
		return web.VersionDetail{}, err
	}
	d := e.onDisk()
	detail := web.VersionDetail{Version: webVersion(one), Sum: e.nameOf(d.doc), Since: []web.FileDiff{}, Restores: []web.FileDiff{}}
	detail.Version.Now = one.Sum == e.sumInForce()
	if before.ID != 0 {
		detail.Since = fileDiffs(before.Files, one.Files)
	}
	detail.Restores = append(detail.Restores, fileDiffs(textsOf(d.doc), one.Files)...)
	return detail, nil
}

// fileDiffs is what differs between two configurations, without secrets.
func fileDiffs(before, after []configText) []web.FileDiff {
	all := []web.FileDiff{}
	for _, name := range changedFiles(before, after) {
		was, _ := textNamed(before, name)
		is, _ := textNamed(after, name)
		a, _, hiddenA := shownText([]byte(was))
		b, _, hiddenB := shownText([]byte(is))
		diff := web.FileDiff{Name: name, Veiled: hiddenA+hiddenB != ""}
		if !diff.Veiled {
			diff.Lines = web.Unified(a, b)
			diff.Veiled = len(diff.Lines) == 0
		}
		all = append(all, diff)
	}
	return all
}

// RestoreVersion saves the texts of a version again.
func (p page) RestoreVersion(ctx context.Context, id int, sum, note string) (web.Saved, error) {
	e := p.editing
	d, leave, err := e.toSave(ctx)
	if err != nil {
		return web.Saved{}, err
	}
	defer leave()
	one, _, err := e.versions.version(id)
	if err != nil {
		return web.Saved{}, err
	}
	if sum != e.nameOf(d.doc) {
		return web.Saved{}, web.Refusal(http.StatusConflict, "the configuration was changed meanwhile, so nothing was restored: look at what differs now")
	}
	texts := make(map[string][]byte)
	for _, f := range one.Files {
		file := d.path(f.Name)
		if file == "" {
			if file = filepath.Join(filepath.Dir(d.main), filepath.FromSlash(f.Name)); !niceName.MatchString(f.Name) || exists(file) {
				return web.Saved{}, web.Refusal(http.StatusConflict, "the file %s is not of the configuration any more, and the page can't make it: make it on the machine, if only an empty one, and include it", f.Name)
			}
		}
		if text := []byte(f.Text); d.doc.Source(file) == nil || !bytes.Equal(text, d.doc.Source(file)) {
			texts[file] = text
		}
	}
	// What came to it since is none of it.
	for _, file := range config.LoadDraft(e.path, nil, config.Draft{Instead: texts, May: d.may}).Files() {
		name := configName(e.path, file)
		if _, ok := textNamed(one.Files, name); !ok && !niceName.MatchString(name) {
			return web.Saved{}, web.Refusal(http.StatusConflict, "the file %s came to it since, and the page can't remove it: do so on the machine", name)
		} else if !ok {
			texts[file] = nil
		}
	}
	// Nor is what no include names any more: left there it would be in the way of its own text,
	// when a version with it is brought back.
	for _, file := range d.doc.Files() {
		name := configName(e.path, file)
		if _, ok := textNamed(one.Files, name); !ok && d.doc.Source(file) != nil && niceName.MatchString(name) && locked(file) == "" {
			texts[file] = nil
		}
	}
	if len(texts) == 0 {
		return web.Saved{}, web.Refusal(http.StatusConflict, "nothing would be another than it is")
	}
	return p.save(ctx, d, texts, nil, author{web.By(ctx), "restore", cmp.Or(note, fmt.Sprintf("as in version %d", id))})
}
