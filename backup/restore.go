package backup

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Target is a folder that members go to.
type Target struct {
	Prefix string // of their names, which they lose: "config/"
	Dir    string // made if it is missing
	Below  string // of Dir is where they go

	// Aside names what stands in Dir and has to go before, relative to it. It is moved to
	// the folder before-restore-... there, not deleted. What a member replaces need not be named.
	Aside []string

	// Own says whose a file is to be, which only root can bring about, and its mode. It is
	// asked of Dir, too, with a name that is Prefix, should that have to be made.
	Own func(Member) (uid, gid int, mode fs.FileMode)
}

// A Restoring is an archive and where it is to be put.
type Restoring struct {
	Name    string    // of the archive's file
	Done    *Manifest // what [Read] found in it
	Targets []Target  // the first is the one that [Interrupted] and [Undo] are asked of
	Last    string    // the member that comes last of all: without it there is no house
	LastAs  string    // what it is called then, below its target

	// Streams are members that came in parts, by the name before those. What is made of one
	// goes to the folder for the target that it belongs to.
	Streams map[string]func(dir string, r io.Reader) error

	// Check looks at what will be put into each target, in a folder of its own, before
	// anything is changed. Nil: nothing more is asked.
	Check func(staged []string) error

	step func() error // of tests: before each change; ErrLeft stands for the end of the process
}

const (
	stageName  = ".hearth-restore"
	planName   = "plan.json"
	asideName  = "before-restore-"
	stagedName = "new"
)

// ErrInterrupted is that of a folder in which a restore was ended in its last moments.
var ErrInterrupted = errors.New("a restore was interrupted here")

// IsOwn says that a name in a target is of this package: what waits there, or what was
// moved aside.
func IsOwn(name string) bool {
	return strings.HasPrefix(name, stageName) || strings.HasPrefix(name, asideName)
}

// A move gives a file another name.
type move struct{ From, To string }

// Run puts an archive's members into their targets. Until all of it has been read once more and
// found right, and lies on the disks beside what is there, nothing is changed; then it takes the
// place of that by names alone. If one can't be changed those before it are changed back. So
// after an error, or if the process is killed, all is as it was; but for the few moments in
// which the names are changed, after which [Interrupted] says so and [Undo] mends it.
//
// It returns the folders that have what was there before. The caller has to keep hubs off.
func (r Restoring) Run() (aside []string, err error) {
	f, err := os.Open(r.Name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for _, t := range r.Targets {
		if err := Undo(t.Dir); err != nil {
			return nil, err
		}
	}
	stages, made, err := r.stages()
	defer func() {
		if errors.Is(err, ErrLeft) {
			return // the plan is needed still, and what it names
		}
		for _, s := range stages {
			os.RemoveAll(s)
		}
		if err == nil {
			return
		}
		for _, dir := range aside {
			removeEmpty(dir)
		}
		for _, dir := range slices.Backward(made) {
			os.Remove(dir)
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := r.room(); err != nil {
		return nil, err
	}
	flow := &flow{}
	again, err := Read(f, func(_ Head, m Member, content io.Reader) error {
		name := path.Dir(m.Name)
		if r.Streams[name] == nil {
			return r.stage(stages, m, content)
		}
		if flow.name != name {
			if err := flow.end(nil); err != nil {
				return err
			}
			i, _, err := r.place(m)
			if err != nil {
				return err
			}
			flow.begin(name, filepath.Join(stages[i], stagedName), r.Streams[name])
		}
		_, err := io.Copy(flow.to, content)
		return err
	})
	if failed := flow.end(err); failed != nil && err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	if err := r.ownMade(stages); err != nil {
		return nil, err
	}
	if !slices.Equal(again.Members, r.Done.Members) {
		return nil, fmt.Errorf("%s was changed meanwhile", r.Name)
	}
	staged := make([]string, len(stages))
	for i, s := range stages {
		staged[i] = filepath.Join(s, stagedName)
		if err := syncTree(staged[i]); err != nil {
			return nil, err
		}
	}
	if r.Check != nil {
		if err := r.Check(staged); err != nil {
			return nil, err
		}
	}
	moves, aside, err := r.plan(staged)
	if err != nil {
		return aside, err
	}
	return aside, r.move(stages[0], moves)
}

// place is the target of a member, by its number, and its name there.
func (r Restoring) place(m Member) (target int, name string, err error) {
	for i, t := range r.Targets {
		if name, ok := strings.CutPrefix(m.Name, t.Prefix); ok {
			if m.Name == r.Last {
				name = r.LastAs
			}
			return i, filepath.Join(t.Below, filepath.FromSlash(name)), nil
		}
	}
	if m.Name == headName || m.Name == manifestName {
		return -1, "", nil
	}
	return 0, "", fmt.Errorf("%q has no place here", m.Name)
}

// ErrLeft is that of a restore that ended between the old and the new.
var ErrLeft = errors.New("what was begun could not be taken back: hearth restore --undo tries again")

// stages makes the targets and in each the folder for what will be there.
func (r Restoring) stages() (stages, made []string, err error) {
	for i, t := range r.Targets {
		news, err := makeAll(t.Dir)
		made = append(made, news...)
		if err != nil {
			return stages, made, err
		}
		if slices.Contains(news, t.Dir) {
			if err := r.own(t.Dir, t, Member{Name: t.Prefix}); err != nil {
				return stages, made, err
			}
		}
		stage := filepath.Join(t.Dir, stageName)
		if i > 0 { // two may be one folder
			stage += fmt.Sprint("-", i)
		}
		stages = append(stages, stage)
		if err := os.MkdirAll(filepath.Join(stage, stagedName), 0o700); err != nil {
			return stages, made, err
		}
	}
	return stages, made, nil
}

// own makes what has a name whose it is to be.
func (r Restoring) own(name string, t Target, m Member) error {
	uid, gid, mode := t.Own(m)
	if os.Geteuid() == 0 {
		if err := os.Lchown(name, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(name, mode&(fs.ModePerm|fs.ModeSetgid))
}

// makeAll makes a folder and those above it, and says which were missing.
func makeAll(dir string) (made []string, err error) {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if made, err = makeAll(filepath.Dir(dir)); err != nil {
		return made, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// room refuses what would not fit.
func (r Restoring) room() error {
	need := make(map[uint64]int64) // by device
	for _, t := range r.Targets {
		var stat unix.Stat_t
		if err := unix.Stat(t.Dir, &stat); err != nil {
			return &fs.PathError{Op: "stat", Path: t.Dir, Err: err}
		}
		for _, m := range r.Done.Members {
			if strings.HasPrefix(m.Name, t.Prefix) {
				need[uint64(stat.Dev)] += (m.Size + 8191) &^ 4095
			}
		}
		var disk unix.Statfs_t
		if unix.Statfs(t.Dir, &disk) != nil {
			continue
		}
		if has := int64(disk.Bavail) * int64(disk.Bsize); has < need[uint64(stat.Dev)] {
			return fmt.Errorf("the disk of %s has %d MB left, and %d are needed", t.Dir, has>>20, need[uint64(stat.Dev)]>>20+1)
		}
	}
	return nil
}

// stage writes a member where it waits.
func (r Restoring) stage(stages []string, m Member, content io.Reader) error {
	i, name, err := r.place(m)
	if err != nil {
		return err
	}
	name = filepath.Join(stages[i], stagedName, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(&pacing{f: f}, content); err != nil {
		return err
	}
	if err := r.own(name, r.Targets[i], m); err != nil {
		return err
	}
	return f.Sync()
}

// staging calls f with every file below a folder.
func staging(dir string, f func(name string) error) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return f(name)
	})
}

// ownMade gives what was made of streams to whose it is to be, and waits for the disk to have it.
func (r Restoring) ownMade(stages []string) error {
	is := make(map[string]bool)
	for _, m := range r.Done.Members {
		if i, name, err := r.place(m); err == nil && i >= 0 {
			is[filepath.Join(stages[i], stagedName, name)] = true
		}
	}
	for i, t := range r.Targets {
		dir := filepath.Join(stages[i], stagedName)
		if err := staging(dir, func(name string) error {
			if is[name] {
				return nil
			}
			if err := r.own(name, t, Member{Name: t.Prefix + strings.TrimPrefix(name, dir+"/"), Mode: 0o600}); err != nil {
				return err
			}
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Sync()
		}); err != nil {
			return err
		}
	}
	return nil
}

// A flow is a stream whose parts come one after the other.
type flow struct {
	name string
	to   *io.PipeWriter
	done chan error
}

func (f *flow) begin(name, dir string, work func(string, io.Reader) error) {
	var from *io.PipeReader
	from, f.to = io.Pipe()
	f.name, f.done = name, make(chan error, 1)
	go func() {
		err := work(dir, from)
		from.CloseWithError(cmp.Or(err, errEnough))
		f.done <- err
	}()
}

var errEnough = errors.New("more of a stream than belongs to it")

// end waits for what is made of it, which is told err in the place of its end if there is one.
func (f *flow) end(err error) error {
	if f.to == nil {
		return nil
	}
	f.to.CloseWithError(err)
	f.to, f.name = nil, ""
	return <-f.done
}

// syncTree brings the names in a folder and those below to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

// plan is what has to be moved, in order: in each target first away and then in.
func (r Restoring) plan(staged []string) (moves []move, asides []string, err error) {
	var last []move
	stamp, gone := "", make(map[string]bool)
	for i, t := range r.Targets {
		aside := ""
		away := func(name string) error {
			old := filepath.Join(t.Dir, name)
			for above := old; above != filepath.Dir(above); above = filepath.Dir(above) {
				if gone[above] {
					return nil
				}
			}
			gone[old] = true
			if _, err := os.Lstat(old); err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return nil
				}
				return err
			}
			if aside == "" {
				if stamp == "" {
					stamp = r.Done.Head.Made.UTC().Format("20060102T150405Z")
				}
				for n := 1; ; n++ { // made with the first move
					aside = filepath.Join(t.Dir, asideName+stamp)
					if n > 1 {
						aside += fmt.Sprint("-", n)
					}
					if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) && !slices.Contains(asides, aside) {
						break
					} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
						return err
					}
				}
				asides = append(asides, aside)
			}
			moves = append(moves, move{old, filepath.Join(aside, name)})
			return nil
		}
		for _, name := range t.Aside {
			if err := away(name); err != nil {
				return nil, asides, err
			}
		}
		err := staging(staged[i], func(name string) error {
			name = strings.TrimPrefix(name, staged[i]+"/")
			if err := away(name); err != nil {
				return err
			}
			in := move{filepath.Join(staged[i], name), filepath.Join(t.Dir, name)}
			if strings.HasPrefix(r.Last, t.Prefix) && name == filepath.Join(t.Below, r.LastAs) {
				last = append(last, in)
			} else {
				moves = append(moves, in)
			}
			return nil
		})
		if err != nil {
			return nil, asides, err
		}
	}
	return append(moves, last...), asides, nil
}

// move carries the plan out, or nothing of it.
func (r Restoring) move(stage string, moves []move) error {
	step := func(change func() error) error {
		if r.step != nil {
			if err := r.step(); err != nil {
				return err
			}
		}
		return change()
	}
	plan := filepath.Join(stage, planName)
	text, err := json.Marshal(moves)
	if err != nil {
		return err
	}
	if err := step(func() error { return writeSynced(plan, text) }); err != nil {
		return err
	}
	for i, m := range moves {
		if err := step(func() error { return m.do() }); err != nil {
			return takeBack(err, plan, moves[:i])
		}
	}
	if err := step(func() error { return syncMoved(moves) }); err != nil {
		return takeBack(err, plan, moves)
	}
	if err := step(func() error { return os.Remove(plan) }); err != nil {
		return takeBack(err, plan, moves)
	}
	syncDir(stage) // if the plan comes back with a power cut the old house does, too
	return nil
}

// takeBack undoes moves because of an error.
func takeBack(err error, plan string, moves []move) error {
	if errors.Is(err, ErrLeft) { // a test's: the process is dead
		return err
	}
	if failed := undo(moves); failed != nil {
		return errors.Join(err, failed, ErrLeft)
	}
	return errors.Join(err, os.Remove(plan))
}

// do never replaces anything.
func (m move) do() error {
	var err error
	above(m.To, asideName, func(dir string) { err = os.Mkdir(dir, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.To), 0o755); err != nil {
		return err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, m.From, unix.AT_FDCWD, m.To, unix.RENAME_NOREPLACE); err != unix.EINVAL && err != unix.ENOSYS {
		if err != nil {
			return &os.LinkError{Op: "rename", Old: m.From, New: m.To, Err: err}
		}
		return nil
	}
	if _, err := os.Lstat(m.To); err == nil { // the file system does not know how to look and rename in one
		return &os.LinkError{Op: "rename", Old: m.From, New: m.To, Err: syscall.EEXIST}
	}
	return os.Rename(m.From, m.To)
}

// undo takes moves back, the last first; those that were not made are none to take back.
func undo(moves []move) (err error) {
	for _, m := range slices.Backward(moves) {
		if _, there := os.Lstat(m.To); errors.Is(there, fs.ErrNotExist) {
			continue
		}
		if _, there := os.Lstat(m.From); there == nil {
			continue
		}
		err = errors.Join(err, move{m.To, m.From}.do())
	}
	return errors.Join(err, syncMoved(moves))
}

func syncMoved(moves []move) error {
	seen := make(map[string]bool)
	for _, m := range moves {
		for _, dir := range []string{filepath.Dir(m.From), filepath.Dir(m.To)} {
			if seen[dir] {
				continue
			}
			seen[dir] = true
			if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func writeSynced(name string, text []byte) error {
	f, err := os.OpenFile(name+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(name+".part", name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// Interrupted is ErrInterrupted if a restore into dir, the first of its targets, was ended
// while it changed the names: what stands there and in the others is neither the old nor the
// new.
func Interrupted(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, stageName, planName)); err != nil {
		return nil // also if it can't be told: then nothing here can be opened
	}
	return fmt.Errorf("%s: %w, so what is there is neither the old house nor the new: hearth restore --undo brings the old one back", dir, ErrInterrupted)
}

// Undo brings back what was there before a restore into dir that was interrupted, and
// removes what one left that was ended before it changed anything. Where there is nothing of
// the kind it does nothing.
func Undo(dir string) error {
	stage := filepath.Join(dir, stageName)
	moves, err := planned(filepath.Join(stage, planName))
	if err == nil {
		if err := undo(moves); err != nil {
			return err
		}
		for _, m := range moves {
			above(m.To, asideName, removeEmpty)
			above(m.From, stageName, func(other string) {
				if other != stage { // which has the plan, so it is the last
					os.RemoveAll(other)
				}
			})
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	within, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range within {
		if strings.HasPrefix(e.Name(), stageName) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// planned reads a plan. The data folder is the hub's, and root brings a house back: so one that
// somebody else has written is not carried out, nor one that a restore does not make.
func planned(name string) (moves []move, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && int(s.Uid) != os.Geteuid() && s.Uid != 0 {
		return nil, fmt.Errorf("%s is of the user %d: who began that restore has to undo it", name, s.Uid)
	}
	if err := json.NewDecoder(f).Decode(&moves); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, m := range moves {
		if !m.isPlanned() {
			return nil, fmt.Errorf("%s is no plan of a restore: it moves %q to %q", name, m.From, m.To)
		}
	}
	return moves, nil
}

// isPlanned says that a move is from a folder to what is kept aside in it, or into a folder from
// what waits in it.
func (m move) isPlanned() bool {
	within := func(file, begins string, skip ...string) (is bool) {
		other := m.From
		if file == m.From {
			other = m.To
		}
		above(file, begins, func(keeps string) {
			rel, err := filepath.Rel(filepath.Join(append([]string{keeps}, skip...)...), file)
			is = err == nil && filepath.IsLocal(rel) && filepath.Join(filepath.Dir(keeps), rel) == other
		})
		return is
	}
	return filepath.IsAbs(m.From) && filepath.IsAbs(m.To) && (within(m.To, asideName) || within(m.From, stageName, stagedName))
}

// above calls f with the folder above a file whose name begins so, if there is one.
func above(file, begins string, f func(dir string)) {
	for dir := filepath.Dir(file); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if strings.HasPrefix(filepath.Base(dir), begins) {
			f(dir)
			return
		}
	}
}

// removeEmpty removes a folder and those in it, but for what is not empty.
func removeEmpty(dir string) {
	within, _ := os.ReadDir(dir)
	for _, e := range within {
		if e.IsDir() {
			removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	os.Remove(dir)
}
