package hub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"hearth/backup"
	"hearth/config"
	"hearth/history"
	"hearth/store"
)

// A Restoring is an archive, and where its house is to be.
type Restoring struct {
	Archive string
	Config  string // the main file of the configuration
	Data    string // the data folder; "": what the configuration says
	Force   bool   // move aside what is there already
}

// Restored is what came of it.
type Restored struct {
	*backup.Manifest
	Config  string
	Data    string
	Aside   []string // folders that have what was there before
	Outside []Elsewhere
	Doubts  []string // what is not as it was, for a person
}

// An Elsewhere is a file that was neither with the configuration nor in the data folder. An
// archive must not say where on a machine its files go, so a person puts these there.
type Elsewhere struct{ Here, There string }

// Where the package for Debian puts things.
const (
	packagedConfig = "/etc/hearth/config.toml"
	packagedSample = "/usr/share/doc/hearth/config.toml"
	packagedData   = "/var/lib/hearth"
	packagedUser   = "hearth"
)

// Restore puts the house of an archive onto this machine. It refuses while a hub runs there,
// and to touch a house that is there already, unless it is forced to move that aside.
// Everything is looked at before anything is changed; after an error all is as it was. See
// [backup.Restoring.Run].
func Restore(r Restoring) (*Restored, error) {
	f, err := os.Open(r.Archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	done, err := backup.Read(f, nil)
	if err != nil {
		return nil, fmt.Errorf("%s %w", r.Archive, err)
	}
	to := &Restored{Manifest: done}
	if to.Config, err = filepath.Abs(r.Config); err != nil {
		return nil, err
	}
	says := Config{path: to.Config}
	says.Hub.Data = done.Head.Data
	if to.Config == packagedConfig && says.Hub.Data == "" && os.Getenv("STATE_DIRECTORY") == "" {
		says.Hub.Data = packagedData
	}
	if to.Data, err = filepath.Abs(says.DataDir()); err != nil {
		return nil, err
	}
	if r.Data != "" {
		named := to.Data
		if to.Data, err = filepath.Abs(r.Data); err != nil {
			return nil, err
		}
		if to.Data != named {
			to.Doubts = append(to.Doubts, fmt.Sprintf("by its configuration this house keeps its data in %s: write data = %q under [hub], or it will not find what was restored", named, to.Data))
		}
	}
	folder := filepath.Dir(to.Config)
	// While this is held no hub opens the data folder.
	held, err := store.Hold(to.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: stop it first (systemctl stop hearth)", err)
	}
	defer func() {
		if held != nil {
			held.Close()
		}
	}()
	if err := backup.Undo(to.Data); err != nil { // what one that was interrupted moved aside
		return nil, err
	}
	before, err := dataBefore(to.Data)
	if err != nil {
		return nil, err
	}
	configs, err := configBefore(to.Config)
	if err != nil {
		return nil, err
	}
	if !r.Force {
		if err := inTheWay(to, before, configs); err != nil {
			return nil, err
		}
	}

	owners := owners{data: to.Data, folder: folder, done: done}
	in := backup.Restoring{
		Name: r.Archive, Done: done, Last: ofConfig + done.Head.Config, LastAs: filepath.Base(to.Config),
		Targets: []backup.Target{
			{Prefix: ofData, Dir: to.Data, Aside: before, Own: owners.ofData},
			{Prefix: ofConfig, Dir: folder, Aside: configs, Own: owners.ofConfig},
		},
		Streams: map[string]func(string, io.Reader) error{streamOfHistory: func(dir string, r io.Reader) error {
			_, err := history.Restore(dir, r)
			if errors.Is(err, history.ErrCopyCut) { // it was when it was saved, which is said
				return nil
			}
			return err
		}},
		Check: func(staged []string) error {
			if held == nil { // the folder has been made by now
				if held, err = store.Hold(to.Data); err != nil {
					return err
				}
			}
			switch _, damage, err := store.Read(staged[0]); {
			case err != nil:
				return fmt.Errorf("%s: what the house kept %w", r.Archive, unnamed(err, staged[0]))
			case len(damage) > 0:
				return fmt.Errorf("%s: what the house kept is damaged: %v", r.Archive, damage[0])
			}
			return nil
		},
	}
	if there := filepath.Join(folder, "outside-"+done.Head.Made.UTC().Format(backupTime)); slices.ContainsFunc(done.Members, isOutside) {
		in.Targets = append(in.Targets, backup.Target{Prefix: ofOutside, Dir: folder, Below: filepath.Base(there), Own: owners.ofConfig})
		for _, m := range done.Members {
			if name, ok := strings.CutPrefix(m.Name, ofOutside); ok {
				to.Outside = append(to.Outside, Elsewhere{filepath.Join(there, filepath.FromSlash(name)), "/" + name})
			}
		}
	}
	if to.Aside, err = in.Run(); errors.Is(err, backup.ErrLeft) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("%s was not restored, and all is as it was: %w", r.Archive, err)
	}
	to.doubt(folder)
	return to, nil
}

func isOutside(m backup.Member) bool { return strings.HasPrefix(m.Name, ofOutside) }

// unnamed takes a path that nobody knows out of an error.
func unnamed(err error, dir string) error {
	return errors.New(strings.TrimPrefix(err.Error(), filepath.Join(dir, store.LogName)+" "))
}

// Undo brings back what was there before a restore that was interrupted: into this data
// folder, and this one of the configuration.
func Undo(data, config string) error {
	held, err := store.Hold(data)
	if err != nil {
		return err
	}
	defer held.Close()
	return errors.Join(backup.Undo(data), backup.Undo(config))
}

// dataBefore is what lies in a data folder. One that holds something else than what a hub
// keeps is none, and is not to be touched whatever anybody says.
func dataBefore(dir string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ours := false
	for _, e := range all {
		switch name := e.Name(); {
		case name == "lost+found", backup.IsOwn(name):
			continue
		default:
			ours = ours || name == store.LogName
			names = append(names, name)
		}
	}
	if len(names) > 0 && !ours {
		return nil, fmt.Errorf("%s is no data folder of a hub, for it has %s and no %s in it: name another with --data, or empty it", dir, names[0], store.LogName)
	}
	return names, nil
}

// configBefore is what the configuration that is there consists of, in its folder and below.
func configBefore(main string) (names []string, err error) {
	if _, err := os.Lstat(main); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	for _, file := range config.Load(main, nil).Files() {
		if rel, err := filepath.Rel(filepath.Dir(main), file); err == nil && filepath.IsLocal(rel) {
			names = append(names, rel)
		}
	}
	return names, nil
}

// inTheWay refuses what only force would move aside. The sample that a package brings is
// nobody's house.
func inTheWay(to *Restored, data, configs []string) error {
	if len(data) > 0 {
		return fmt.Errorf("there is a house in %s already: --force moves it aside and puts this one in its place", to.Data)
	}
	folder := filepath.Dir(to.Config)
	for _, name := range configs {
		if !isSample(filepath.Join(folder, name)) {
			return fmt.Errorf("there is a configuration already, %s: --force moves it aside and puts this one in its place", filepath.Join(folder, name))
		}
	}
	for _, m := range to.Members {
		name, ok := strings.CutPrefix(m.Name, ofConfig)
		if path := filepath.Join(folder, filepath.FromSlash(name)); ok && path != to.Config && name != to.Head.Config {
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s is there already: --force moves it aside", path)
			}
		}
	}
	return nil
}

func isSample(path string) bool {
	sample, err := os.ReadFile(packagedSample)
	if err != nil {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, int64(len(sample))+1))
	return err == nil && string(text) == string(sample)
}

// doubt says what of the configuration is not as it was when the archive was made.
func (to *Restored) doubt(folder string) {
	doc := config.Load(to.Config, nil)
	for _, file := range doc.Files() {
		rel, err := filepath.Rel(folder, file)
		if err != nil || rel == filepath.Base(to.Config) {
			continue
		}
		if !slices.ContainsFunc(to.Members, func(m backup.Member) bool { return m.Name == ofConfig+filepath.ToSlash(rel) }) {
			to.Doubts = append(to.Doubts, file+" belongs to the configuration now, and is not of the backup: move it away if it should not")
		}
	}
}

// owners says whose files are to be, and who may read them. Only root can give them away.
type owners struct {
	data   string
	folder string // of the configuration
	done   *backup.Manifest
}

// hub is whom the hub will run as: who has the data folder; else, by name, who had it on
// the other machine; else whom the package made.
func (o owners) hub() (uid, gid int) {
	if info, err := os.Stat(o.data); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 {
			return int(s.Uid), int(s.Gid)
		}
	}
	for _, m := range o.done.Members {
		if m.Name == keptState && m.User != "" && m.User != "root" {
			if uid, gid, ok := lookUp(m.User, m.Group); ok {
				return uid, gid
			}
		}
	}
	if o.data == packagedData {
		if uid, gid, ok := lookUp(packagedUser, packagedUser); ok {
			return uid, gid
		}
	}
	return 0, 0
}

func (o owners) ofData(m backup.Member) (uid, gid int, mode fs.FileMode) {
	uid, gid = o.hub()
	if m.Name == ofData {
		return uid, gid, 0o700
	}
	return uid, gid, 0o600
}

// ofConfig keeps owner and mode as they were. What only its owner could read the hub's user
// gets, if that owner is nobody here. Its folders are whose the one around them is, so that the
// page can edit what is in them if it can edit that, and what is made in them has that group.
func (o owners) ofConfig(m backup.Member) (uid, gid int, mode fs.FileMode) {
	if strings.HasSuffix(m.Name, "/") {
		if info, err := os.Stat(o.folder); err == nil && strings.HasPrefix(m.Name, ofConfig) {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				return int(s.Uid), int(s.Gid), info.Mode() & (fs.ModePerm | fs.ModeSetgid)
			}
		}
		return 0, 0, 0o755
	}
	mode = m.Mode.Perm() &^ 0o022
	if uid, gid, ok := lookUp(m.User, m.Group); ok {
		return uid, gid, mode
	}
	if mode&0o004 == 0 {
		uid, gid = o.hub()
	}
	return uid, gid, mode
}

// lookUp is who has a name on this machine.
func lookUp(name, group string) (uid, gid int, ok bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false
	}
	uid, err = strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if g, err := user.LookupGroup(group); err == nil {
		gid, err2 = strconv.Atoi(g.Gid)
	}
	return uid, gid, err == nil && err2 == nil
}
