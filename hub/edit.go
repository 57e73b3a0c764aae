package hub

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"hearth/config"
	"hearth/web"
)

// The configuration as the page edits it. All of it runs on the goroutine of who asks, and
// the loop hears of it when a configuration that was found sound is to be in force. What
// others write may be anything, so there is one check at a time, of a text that is not long.

const (
	// How many mistakes are told; who has more has mistaken the file.
	maxMistakes = 200
	// How long who wants a check waits for those of others.
	checkPatience = 5 * time.Second
	// How long a hub may take to obey what was saved.
	takeOverPatience = 30 * time.Second
)

// editing is what there is to editing the configuration beside the files.
type editing struct {
	path     string // of the main file
	versions versions
	now      func() time.Time
	warn     func(msg string, args ...any)
	key      []byte // of the names of texts; set before the page is there

	saving, checking, trying chan struct{} // have one in them while one does
	unended                  func() error  // ends the last change of the files, if that failed; who saves has it

	mu    sync.Mutex
	sum   string            // of what is in force
	byWho map[string]author // by the sum of what they are about to bring into force
}

// An author is who saved a configuration, and why.
type author struct{ by, how, note string }

func newEditing(cfg *Config, opt Options) *editing {
	dir := filepath.Join(cfg.DataDir(), versionsDir)
	if opt.FS != nil { // there are no versions on a disk of tests
		dir = ""
	}
	return &editing{
		path:     cfg.path,
		versions: versions{dir: dir},
		now:      opt.Clock.Wall,
		warn:     opt.Log.Warn,
		saving:   make(chan struct{}, 1), checking: make(chan struct{}, 1), trying: make(chan struct{}, 1),
		byWho: make(map[string]author),
	}
}

// inForce notes that a configuration has come into force, and keeps it.
func (e *editing) inForce(cfg *Config, how string) {
	e.mu.Lock()
	who, ok := e.byWho[cfg.sum]
	if !ok {
		who = author{how: how}
	}
	e.sum = cfg.sum
	texts := cfg.texts
	cfg.texts = nil
	e.mu.Unlock()
	err := e.versions.keep(keptVersion{At: e.now(), By: who.by, How: who.how, Note: who.note, Sum: cfg.sum, Files: texts})
	if err != nil {
		e.warn("this version of the configuration is not kept, so a later one can't be undone to it", "err", err)
	}
}

func (e *editing) sumInForce() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sum
}

// enter waits for a place. The error says what is going on.
func enter(ctx context.Context, place chan struct{}, patience time.Duration, busy string) (leave func(), err error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case place <- struct{}{}:
		return func() { <-place }, nil
	case <-late.C:
		return nil, web.Refusal(http.StatusServiceUnavailable, "%s", busy)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// --- What is there ---

// A disk is the configuration as it stands in its files now.
type disk struct {
	main     string
	doc      *config.Doc
	patterns map[string]bool // what includes name
}

// onDisk reads the files, and no more of what is in them than what they include.
func (e *editing) onDisk() disk {
	d := disk{main: e.path, patterns: make(map[string]bool)}
	d.doc = config.LoadDraft(e.path, nil, config.Draft{May: func(path string) error {
		d.patterns[path] = true
		return nil
	}})
	return d
}

// path is where a file is, by its name on the page; "" if it is none of the configuration.
func (d disk) path(name string) string {
	for _, f := range d.doc.Files() {
		if configName(d.main, f) == name {
			return f
		}
	}
	return ""
}

// niceName is how a new file may be called: below the folder of the main one, and so that no
// program takes its name for something else.
var niceName = regexp.MustCompile(`^([\pL\pN_][\pL\pN_ .-]*/)*[\pL\pN_][\pL\pN_ .-]*\.toml$`)

const maxFileName = 100

// fresh is where a file would be that is to be made, by its name on the page. The error says why
// none can be made of that name.
func (e *editing) fresh(d disk, name string) (file string, err error) {
	refuse := func(format string, args ...any) (string, error) {
		return "", web.Refusal(http.StatusUnprocessableEntity, format, args...)
	}
	if !niceName.MatchString(name) || len(name) > maxFileName || !filepath.IsLocal(name) {
		return refuse("a file can't be called %q: want letters, digits, _ and - and .toml at the end, such as \"rules/garden.toml\"", name)
	}
	folder := filepath.Dir(d.main)
	file = filepath.Join(folder, filepath.FromSlash(name))
	for dir := filepath.Dir(file); dir != folder; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
			return refuse("%s is no folder, so nothing can be made in it", configName(d.main, dir))
		}
	}
	if exists(file) {
		return "", web.Refusal(http.StatusConflict, "there is something called %s already", name)
	}
	with := config.LoadDraft(d.main, nil, config.Draft{Instead: map[string][]byte{file: {}}, May: d.may})
	if !slices.Contains(with.Files(), file) {
		return refuse("no include names %s, so the hub would not read it: first write at the top of %s a line such as include = [%q], and save", name, filepath.Base(d.main), strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name))+"/", "./")+"*.toml")
	}
	return file, nil
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// NewConfigFile is a file as one begins to write it.
func (p page) NewConfigFile(_ context.Context, name string) (web.ConfigFile, error) {
	file, err := p.editing.fresh(p.editing.onDisk(), name)
	return web.ConfigFile{Name: name, New: true, Locked: locked(file)}, err
}

// may says why a draft may not include something: all that its owner did not include already,
// unless it lies with the rest and is called as it has to be. Mistakes show parts of files,
// and who may change rules is not to read by that what else there is on this machine.
func (d disk) may(path string) error {
	if d.patterns[path] {
		return nil
	}
	if in, err := filepath.Rel(filepath.Dir(d.main), path); err != nil || !filepath.IsLocal(in) || filepath.Ext(path) != ".toml" {
		return errors.New("the page takes only files that end in .toml and lie in the folder of the main one: include others on the machine")
	}
	return nil
}

// name names a text on the page. It tells nothing of what is in it: of a PIN that is hidden
// there all that it may be could be tried.
func (e *editing) name(text []byte) string {
	sum := hmac.New(sha256.New, e.key)
	sum.Write(text)
	return hex.EncodeToString(sum.Sum(nil)[:12])
}

func (e *editing) nameOf(doc *config.Doc) string { return e.name([]byte(doc.Sum())) }

// Configuration is what stands on disk.
func (p page) Configuration(_ context.Context, at string) (web.Configuration, error) {
	e := p.editing
	d := e.onDisk()
	c := web.Configuration{Sum: e.nameOf(d.doc), InForce: d.doc.Sum() == e.sumInForce()}
	for _, file := range d.doc.Files() {
		c.Files = append(c.Files, e.fileView(d, file))
	}
	for _, pattern := range slices.Sorted(maps.Keys(d.patterns)) {
		if folder, of := filepath.Split(configName(d.main, pattern)); of == "*.toml" && filepath.IsLocal(folder+of) {
			c.NewIn = filepath.ToSlash(folder)
			break
		}
	}
	if at != "" {
		place := d.doc.Root()
		for key := range strings.SplitSeq(at, ".") {
			place = place.Key(key)
		}
		if place.Given() {
			pos := place.OfKey().Position()
			c.At = &web.ConfigPlace{File: configName(d.main, pos.File), Line: pos.Line}
		}
	}
	return c, nil
}

// fileView is a file as the page shows it.
func (e *editing) fileView(d disk, file string) web.ConfigFile {
	f := web.ConfigFile{Name: configName(d.main, file)}
	src := d.doc.Source(file)
	f.Version = e.name(src)
	switch {
	case src == nil && !exists(file):
		f.Hidden = "it is not there"
	case src == nil:
		f.Hidden = "the hub can't read it"
	case len(src) > web.MaxDraft:
		f.Hidden = fmt.Sprintf("it has more than the %d bytes that can be edited in the page: split it with include", web.MaxDraft)
	case !utf8.Valid(src):
		f.Hidden = "it is not UTF-8"
	case bytes.ContainsFunc(src, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' && c != '\r' }):
		f.Hidden = "there are characters in it that can't be shown, and no TOML has"
	default:
		f.Text, f.Secrets, f.Hidden = shownText(src)
	}
	f.Locked = locked(file)
	return f
}

// shownText is a text without its mark and its secrets, with how many these are; or why it is
// not to be shown.
func shownText(src []byte) (text string, secrets int, hidden string) {
	shown, err := config.Veil(src, secretText)
	if err != nil {
		if secretWords.Match(src) || slices.ContainsFunc(addresses.FindAllString(string(src), -1), func(u string) bool { return secretText([]string{""}, u) }) {
			return "", 0, "it seems to hold secrets, and " + err.Error() + ": mend it on the machine"
		}
		shown = src
	}
	return strings.TrimPrefix(string(shown), "\ufeff"), strings.Count(string(shown), `"***`), ""
}

// secretWords are in a text that may hold secrets, where it can't be told where.
var secretWords = regexp.MustCompile(`(?i)secret|password|passphrase|token|hash|headers|authorization|api_?key`)

// addresses are those in such a text, with what may stand behind them.
var addresses = regexp.MustCompile(`[a-z]+://[^\s"']*`)

// secretText says which texts of a configuration the page does not show: passwords, tokens
// and their hashes, [secret], what requests carry to be let in, and addresses with such in
// them.
func secretText(keys []string, text string) bool {
	last := keys[len(keys)-1]
	switch {
	case text == "":
		return false
	case keys[0] == "secret" && len(keys) > 1, slices.Contains([]string{"password", "passphrase", "token", "hash"}, last):
		return true
	case len(keys) > 1 && keys[len(keys)-2] == "headers":
		return !slices.Contains([]string{"content-type", "accept", "title", "tags", "priority", "user-agent"}, strings.ToLower(last)) && !strings.Contains(text, "{secret(")
	case !strings.Contains(text, "://"):
		return false
	}
	u, err := url.Parse(text)
	if err != nil {
		return userInURL.MatchString(text) || longInURL.MatchString(text)
	}
	if _, has := u.User.Password(); has {
		return true
	}
	for name, values := range u.Query() {
		if keyInQuery.MatchString(name) && !strings.Contains(strings.Join(values, ""), "{") {
			return true
		}
	}
	return longInURL.MatchString(u.Path)
}

var (
	inList     = regexp.MustCompile(`\[[0-9]+\]`)
	userInURL  = regexp.MustCompile(`://[^/]*:[^/]*@`)
	keyInQuery = regexp.MustCompile(`(?i)key|token|secret|pass|pw|auth|appid|sig`)
	// As https://hooks.example/services/T024BE7LD/xoxb4f8b2c, which is as good as a password.
	longInURL = regexp.MustCompile(`/[^/{}]*[0-9][^/{}]{15,}|/[^/{}]{15,}[0-9][^/{}]*|/bot[0-9]+:`)
)

// locked says why a file can't be written and what would allow it; "" if it can.
func locked(file string) string {
	if info, err := os.Lstat(file); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		to, _ := filepath.EvalSymlinks(file)
		return "it is a link to " + cmp.Or(to, "another file") + ": edit it there, on the machine"
	}
	dir := filepath.Dir(file)
	for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir); _, err = os.Stat(dir) {
		dir = filepath.Dir(dir) // in which those below will be made
	}
	if err := syscall.Access(dir, 2|1); err != nil { // a new file takes the place of the old one
		return mayNotWrite(dir, err)
	}
	return ""
}

// mayNotWrite says why the hub can't write into a folder, and what its owner would do to allow it.
func mayNotWrite(dir string, err error) string {
	abs, _ := filepath.Abs(dir)
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Sprintf("the hub may not write to %s. Who may change the house on the page could then write rules; if that is meant: sudo systemctl edit hearth, write there [Service] and below it ReadWritePaths=%s, then: sudo systemctl restart hearth", abs, abs)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("the folder %s is not the hub's to write to. Who may change the house on the page could then write rules; if that is meant: sudo chgrp hearth %s && sudo chmod g+rwxs %s (or whatever group the hub runs as)", abs, abs, abs)
	}
	return fmt.Sprintf("the hub can't write to %s: %v", abs, err)
}

// --- Checks ---

// draftTexts is the files with a draft in the place of one, as they would be written.
func (e *editing) draftTexts(d disk, draft web.Draft) (file string, texts map[string][]byte, wrong []config.Mistake, err error) {
	switch file = d.path(draft.File); {
	case draft.Version == "" && !exists(file):
		file, err = e.fresh(d, draft.File)
	case file == "":
		err = web.Refusal(http.StatusNotFound, "no file of the configuration is named %q", draft.File)
	}
	if err != nil {
		return "", nil, nil, err
	}
	src := d.doc.Source(file)
	if _, _, hidden := shownText(src); hidden != "" || src == nil && exists(file) {
		return "", nil, nil, web.Refusal(http.StatusConflict, "%s can't be edited in the page: %s", draft.File, cmp.Or(hidden, "the hub can't read it"))
	}
	text, wrong := config.Unveil(file, []byte(draft.Text), src, secretText)
	return file, map[string][]byte{file: []byte(config.LikeBefore(string(text), string(src)))}, wrong, nil
}

// check reads the configuration with some files in place of those on disk.
func (e *editing) check(d disk, texts map[string][]byte, wrong []config.Mistake) (cfg *Config, checked web.Checked, err error) {
	defer func() {
		if bug := recover(); bug != nil { // of what strangers write nobody knows what it does
			err = web.Refusal(http.StatusInternalServerError, "the check has a bug that this text meets: %v", bug)
		}
	}()
	cfg, doc := loadDraft(e.path, config.Draft{Instead: texts, May: d.may}, func(*Config) {})
	checked.Whole = doc.Whole()
	checked.OK = doc.Err() == nil && len(wrong) == 0
	hidden := secretsOf(doc)
	for _, m := range slices.Concat(wrong, doc.Mistakes(), doc.Warnings()) {
		if len(checked.Mistakes) == maxMistakes {
			checked.More++
			continue
		}
		m = m.Without(hidden)
		if secretText(strings.Split(inList.ReplaceAllString(m.Key, ""), "."), "x") {
			m.Found = ""
		}
		checked.Mistakes = append(checked.Mistakes, web.ConfigMistake{
			File: configName(e.path, m.File), Line: m.Line, Column: m.Column, Key: m.Key, Found: m.Found, Text: m.Text, Message: m.String(), Warning: m.Warning,
		})
	}
	return cfg, checked, nil
}

// secretsOf are the texts in the files of a configuration that nobody is to see.
func secretsOf(doc *config.Doc) (hidden []string) {
	for _, f := range doc.Files() {
		hidden = append(hidden, config.Secrets(doc.Source(f), secretText)...)
	}
	slices.Sort(hidden)
	return slices.Compact(hidden)
}

// CheckDraft says what `hearth check` would.
func (p page) CheckDraft(ctx context.Context, draft web.Draft) (web.Checked, error) {
	e := p.editing
	leave, err := enter(ctx, e.checking, checkPatience, "others have the hub check something: try again")
	if err != nil {
		return web.Checked{}, err
	}
	defer leave()
	d := e.onDisk()
	_, texts, wrong, err := e.draftTexts(d, draft)
	if err != nil {
		return web.Checked{}, err
	}
	_, checked, err := e.check(d, texts, wrong)
	return checked, err
}

// --- Saving ---

// toSave waits until nobody else saves, and is what there is then. What is left to do of the
// last change is done before.
func (e *editing) toSave(ctx context.Context) (d disk, leave func(), err error) {
	leave, err = enter(ctx, e.saving, takeOverPatience, "somebody else saves just now: try again")
	if err != nil {
		return d, nil, err
	}
	if e.unended != nil {
		if err := e.unended(); err != nil && !errors.Is(err, config.ErrOther) {
			leave()
			return d, nil, web.Refusal(http.StatusServiceUnavailable, "nothing was saved: %v", err)
		}
		e.unended = nil
	}
	return e.onDisk(), leave, nil
}

// SaveDraft writes a draft and has it obeyed.
func (p page) SaveDraft(ctx context.Context, draft web.Draft) (web.Saved, error) {
	e := p.editing
	d, leave, err := e.toSave(ctx)
	if err != nil {
		return web.Saved{}, err
	}
	defer leave()
	file, texts, wrong, err := e.draftTexts(d, draft)
	if err != nil {
		return web.Saved{}, err
	}
	if draft.Version != e.versionOf(d, file) {
		return web.Saved{}, web.Refusal(http.StatusConflict, "%s was changed meanwhile, so nothing was saved: what you wrote is still here, and what others wrote is in the file", draft.File)
	}
	saved, err := p.save(ctx, d, texts, wrong, author{web.By(ctx), "page", draft.Note})
	saved.Version = e.name(texts[file])
	return saved, err
}

// versionOf names the text of a file; "" if there is none.
func (e *editing) versionOf(d disk, file string) string {
	if src := d.doc.Source(file); src != nil {
		return e.name(src)
	}
	return ""
}

// RemoveFile removes one in which nothing is.
func (p page) RemoveFile(ctx context.Context, draft web.Draft) (web.Saved, error) {
	e := p.editing
	d, leave, err := e.toSave(ctx)
	if err != nil {
		return web.Saved{}, err
	}
	defer leave()
	file := d.path(draft.File)
	src := d.doc.Source(file)
	switch {
	case file == "" || src == nil:
		return web.Saved{}, web.Refusal(http.StatusNotFound, "no file of the configuration is named %q", draft.File)
	case draft.Version != e.name(src):
		return web.Saved{}, web.Refusal(http.StatusConflict, "%s was changed meanwhile, so it was not removed", draft.File)
	case file == d.doc.Files()[0]:
		return web.Saved{}, web.Refusal(http.StatusConflict, "%s is the main file: it stays", draft.File)
	case len(bytes.TrimSpace(bytes.TrimPrefix(src, []byte("\ufeff")))) > 0:
		return web.Saved{}, web.Refusal(http.StatusConflict, "only a file in which nothing is can be removed: save %s empty first", draft.File)
	}
	return p.save(ctx, d, map[string][]byte{file: nil}, nil, author{web.By(ctx), "page", cmp.Or(draft.Note, draft.File+" removed")})
}

// save checks texts, writes them and has the hub obey. If it can't all is as before. Who calls
// it has e.saving.
func (p page) save(ctx context.Context, d disk, texts map[string][]byte, wrong []config.Mistake, who author) (saved web.Saved, err error) {
	e := p.editing
	for file := range texts {
		if why := locked(file); why != "" {
			return saved, web.Refusal(http.StatusConflict, "%s can't be written: %s", configName(e.path, file), why)
		}
	}
	if p.opt.Reload == nil {
		return saved, web.Refusal(http.StatusConflict, "this hub was not started from a file that could be read again")
	}
	leave, err := enter(ctx, e.checking, checkPatience, "others have the hub check something: try again")
	if err != nil {
		return saved, err
	}
	cfg, checked, err := e.check(d, texts, wrong)
	leave()
	if saved.Checked = checked; err != nil {
		return saved, err
	}
	if !checked.OK {
		saved.Why = "it was not saved, for there are mistakes in it"
		return saved, nil
	}
	if was, is := p.dataDir(ctx), cfg.DataDir(); was != is {
		saved.Why = fmt.Sprintf("it was not saved: hub.data is now %s, and only a restart can move what is kept in %s: write that into the file on the machine", is, was)
		return saved, nil
	}
	// What is on disk now, so that it is never lost, also if it never was in force.
	before := keptVersion{At: e.now(), How: "reload", Sum: d.doc.Sum(), Files: textsOf(d.doc)}
	if err := e.versions.keep(before); err != nil {
		return saved, web.Refusal(http.StatusServiceUnavailable, "nothing was saved, for what was before can't be kept: %v", err)
	}
	e.mu.Lock()
	e.byWho[cfg.sum] = who
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.byWho, cfg.sum)
		e.mu.Unlock()
	}()
	var edits []config.Edit
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		if is := d.doc.Source(file); (is == nil) != (texts[file] == nil) || !bytes.Equal(is, texts[file]) {
			edits = append(edits, config.Edit{File: file, Before: is, After: texts[file]})
		}
	}
	rewrite, err := config.Begin(e.path, edits)
	if err == nil {
		if err = rewrite.Write(); err != nil {
			e.unended = rewrite.Undo // unless it has undone itself
		}
	}
	switch {
	case errors.Is(err, config.ErrOther):
		return saved, web.Refusal(http.StatusConflict, "nothing was saved: %v", err)
	case err != nil:
		return saved, web.Refusal(http.StatusServiceUnavailable, "nothing was saved: %v", err)
	}
	// Who asked may be gone by now, and what is half done is to be done.
	ctx, done := p.untilEnded(context.WithoutCancel(ctx), takeOverPatience)
	defer done()
	result, err := p.opt.Reload(ctx)
	if err == nil && result.Error != "" {
		err = errors.New(result.Error)
	}
	if err != nil {
		saved.Why = fmt.Sprintf("it was not saved, for the hub could not take it over: %v. What was before is in force and in the file", err)
		if bad := rewrite.Undo(); bad != nil {
			e.unended = rewrite.Undo
			saved.Why = fmt.Sprintf("the hub could not take it over: %v; what was before is in force, and could not be written back: %v", err, bad)
		}
		if _, err := p.opt.Reload(ctx); err != nil { // it is as it was, and no trouble any more
			p.log.Warn("the configuration of before was not read again", "err", err)
		}
		return saved, nil
	}
	if err := rewrite.Keep(); err != nil {
		e.unended = rewrite.Keep
		p.log.Warn("the configuration is saved, and a start would take it back", "err", err)
	}
	p.log.Info("the configuration was changed on the page", "by", cmp.Or(who.by, "somebody on this machine"), "files", strings.Join(p.names(slices.Sorted(maps.Keys(texts))), " "), "how", who.how, "note", who.note)
	saved.Saved, saved.Said = true, result.Said
	return saved, nil
}

// untilEnded is ctx, which ends after some time and with the hub. done waits for what it began.
func (p page) untilEnded(ctx context.Context, within time.Duration) (_ context.Context, done func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("that took more than %v, which is too long", within))
	var beside sync.WaitGroup
	beside.Go(func() {
		select {
		case <-p.ended:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		cancel()
		beside.Wait()
	}
}

func (p page) names(files []string) (names []string) {
	for _, f := range files {
		names = append(names, configName(p.editing.path, f))
	}
	return names
}

// dataDir is that of the configuration in force.
func (p page) dataDir(ctx context.Context) string {
	dir, _ := ask(ctx, p.Hub, func() string { return p.cfg.DataDir() })
	return dir
}
