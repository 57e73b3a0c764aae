package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"hearth/backup"
	"hearth/config"
	"hearth/rules/calendar"
)

// Backups is [backup]: backups by the clock.
type Backups struct {
	To          string          `toml:"to,required" eg:"\"/mnt/usb/hearth\""` // folder, which is never made: a stick that is not in must not fill the card
	Every       config.Duration `toml:"every" min:"1h" max:"366d"`            // default 1d
	At          calendar.Times  `toml:"at"`                                   // or by the house's clock
	Keep        *int            `toml:"keep" min:"1" max:"1000"`              // how many of the newest stay; default 7
	KeepWeekly  int             `toml:"keep_weekly" min:"0" max:"1000"`       // of so many weeks the newest stays too
	KeepMonthly int             `toml:"keep_monthly" min:"0" max:"1000"`      // and of so many months
}

// Check says what makes no sense together.
func (b Backups) Check(at config.Place) {
	if b.Every != 0 && len(b.At) > 0 {
		at.Key("at").OfKey().Mistake("every is given too: want one of them")
	}
	if b.To != "" && !filepath.IsAbs(b.To) {
		at.Key("to").Mistake("want the whole path of a folder, such as \"/mnt/usb/hearth\"")
	}
}

// due is when the next backup is to be made after one at last, as far as is known at now: a
// moment that is not after now is one that has come.
func (b Backups) due(last, now time.Time) time.Time {
	switch {
	case last.IsZero():
		return now
	case len(b.At) == 0:
		return last.Add(cmp.Or(time.Duration(b.Every), 24*time.Hour))
	}
	daily := calendar.Daily(b.At, 0)
	last = last.In(now.Location())
	if missed, ok := daily.Latest(last, now); ok {
		return missed
	}
	next, _ := daily.Next(now)
	return next
}

const (
	// A house that has just started has better to do than what was missed.
	firstBackup = 2 * time.Minute
	// How often it is looked whether something changed: the clock, or the folder.
	lookForBackups = 10 * time.Minute
	// After a backup that failed the next attempt comes after the first pause, then after
	// longer ones.
	firstRetry, lastRetry = time.Minute, time.Hour
	// A name with a time so far ahead was given when the clock was wrong.
	aheadOfTime = 24 * time.Hour
)

// A saver makes backups by the clock, in a goroutine of its own.
type saver struct {
	hub    *Hub
	cancel context.CancelFunc
	done   chan struct{}
	poke   chan struct{} // the configuration is another

	mu  sync.Mutex
	cfg *Config

	// Its goroutine's own.
	pause  time.Duration // after a failure
	retry  time.Duration // when to try again, monotonic
	begun  time.Duration // when it may begin at all
	warned string        // the folder of which was said that it lies on the house's own disk
}

// saved is what the loop knows of backups.
type saved struct {
	newest time.Time
	wrong  string // why there is no newer one
}

func (h *Hub) openSaver(cfg *Config) *saver {
	ctx, cancel := context.WithCancel(context.Background())
	s := &saver{hub: h, cancel: cancel, done: make(chan struct{}), poke: make(chan struct{}, 1), cfg: cfg, begun: h.clock.Mono() + firstBackup}
	go s.run(ctx)
	return s
}

// use makes another configuration count.
func (s *saver) use(cfg *Config) {
	s.mu.Lock()
	s.cfg = cfg
	s.mu.Unlock()
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// close ends a backup that is being made, and waits for that, but not for a disk that hangs.
func (s *saver) close() {
	s.cancel()
	select {
	case <-s.done:
	case <-time.After(time.Second):
		s.hub.log.Warn("a backup is being written still, to a disk that does not take it")
	}
}

func (s *saver) run(ctx context.Context) {
	defer close(s.done)
	for {
		s.mu.Lock()
		cfg := s.cfg
		s.mu.Unlock()
		var look <-chan time.Time
		if cfg.Backup != nil {
			look = time.After(s.turn(ctx, cfg))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.poke:
			s.pause, s.retry = 0, 0
		case <-look:
		}
	}
}

// turn makes a backup if one is due, and says after how long to look again.
func (s *saver) turn(ctx context.Context, cfg *Config) time.Duration {
	now := s.hub.now()
	if early := max(s.begun, s.retry) - now.Mono; early > 0 {
		return early
	}
	series := cfg.name() + "-" + s.hub.houseID() // two houses may share a folder
	all, err := backupsIn(cfg.Backup.To, series, now.Wall)
	if err != nil {
		return s.failed(saved{}, cfg, err)
	}
	is := saved{}
	if len(all) > 0 {
		is.newest = all[0].at
	}
	if !now.Known { // nobody could say what is due, or what is old
		s.tell(is)
		return min(lookForBackups, time.Minute)
	}
	if wait := cfg.Backup.due(is.newest, now.Wall).Sub(now.Wall); wait > 0 {
		s.tell(is)
		return min(wait, lookForBackups)
	}
	s.warnOfOneDisk(cfg)
	name := filepath.Join(cfg.Backup.To, backupName(series, now.Wall))
	var done *backup.Manifest
	err = backup.WriteFile(name, func(w io.Writer) (err error) {
		done, err = s.hub.Backup(ctx, w)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return 0
		}
		return s.failed(is, cfg, err)
	}
	s.pause = 0
	for _, what := range done.LeftOut {
		s.hub.log.Warn("a file that the configuration names is not in the backup", "why", what)
	}
	is.newest = done.Head.Made
	removed := 0
	for _, old := range cfg.Backup.outlived(append([]backupFile{{name, is.newest}}, all...), now.Wall.Location()) {
		if err := os.Remove(old.name); err != nil {
			s.hub.log.Warn("an old backup can't be removed", "err", err)
			continue
		}
		removed++
	}
	s.hub.log.Info("a backup was made", "file", name, "files", len(done.Members), "removed", removed)
	s.tell(is)
	return time.Second
}

// failed tells why there is no backup, and when to try again.
func (s *saver) failed(is saved, cfg *Config, err error) time.Duration {
	is.wrong = whyNoBackup(cfg.Backup.To, err)
	s.pause = min(max(4*s.pause, firstRetry), lastRetry)
	s.retry = s.hub.clock.Mono() + s.pause
	s.hub.log.Error("no backup was made", "to", cfg.Backup.To, "err", is.wrong, "again_in", s.pause)
	s.tell(is)
	return s.pause
}

func whyNoBackup(to string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no folder %s: is the stick in, and mounted? (The hub does not make the folder, so that it never fills the card instead.)", to)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Sprintf("the hub may not write to %s (under systemd ReadWritePaths= has to name it, and its owner has to be the user hearth): %v", to, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Sprintf("%s is full: %v", to, err)
	}
	return err.Error()
}

// tell lets the loop know.
func (s *saver) tell(is saved) {
	h := s.hub
	h.inbox.always(&item{control: func() {
		if !is.newest.IsZero() || is.wrong == "" {
			h.backup.newest = is.newest
		}
		h.backup.wrong = is.wrong
		h.sayHealth()
	}})
}

// warnOfOneDisk says once that a broken card would take the backups with it.
func (s *saver) warnOfOneDisk(cfg *Config) {
	to, err := os.Stat(cfg.Backup.To)
	data, err2 := os.Stat(cfg.DataDir())
	if err != nil || err2 != nil || s.warned == cfg.Backup.To {
		return
	}
	if a, b := to.Sys().(*syscall.Stat_t), data.Sys().(*syscall.Stat_t); a.Dev == b.Dev {
		s.warned = cfg.Backup.To
		s.hub.log.Warn("backups lie on the same disk as the house itself, so a broken one takes both; is a stick not mounted?", "to", cfg.Backup.To)
	}
}

// A backupFile is one of a series in its folder.
type backupFile struct {
	name string
	at   time.Time
}

const backupTime = "20060102T150405Z"

// backupName is the file for a backup of this moment.
func backupName(series string, at time.Time) string {
	return unplain.ReplaceAllString(series, "_") + "-" + at.UTC().Format(backupTime) + ".tar.gz"
}

var unplain = regexp.MustCompile(`[^\pL\pN._-]+`)

// backupsIn are the backups of a series in a folder, the newest first. Whatever else lies
// there, and what was named by a clock that was ahead, is none of them.
func backupsIn(dir, series string, now time.Time) (all []backupFile, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), unplain.ReplaceAllString(series, "_")+"-")
		text, is := strings.CutSuffix(rest, ".tar.gz")
		at, err := time.Parse(backupTime, text)
		if ok && is && err == nil && e.Type().IsRegular() && at.Before(now.Add(aheadOfTime)) {
			all = append(all, backupFile{filepath.Join(dir, e.Name()), at})
		}
	}
	slices.SortFunc(all, func(a, b backupFile) int { return b.at.Compare(a.at) })
	return all, nil
}

// outlived are those that need not stay. The first, which is the newest, always does.
func (b Backups) outlived(all []backupFile, zone *time.Location) (old []backupFile) {
	newest := 7
	if b.Keep != nil {
		newest = *b.Keep
	}
	weeks, months := make(map[string]bool), make(map[string]bool)
	for i, f := range all {
		local := f.at.In(zone)
		year, week := local.ISOWeek()
		stays := i < newest
		for _, span := range []struct {
			seen map[string]bool
			name string
			most int
		}{{weeks, fmt.Sprint(year, " ", week), b.KeepWeekly}, {months, local.Format("2006-01"), b.KeepMonthly}} {
			if !span.seen[span.name] && len(span.seen) < span.most {
				span.seen[span.name] = true
				stays = true
			}
		}
		if !stays {
			old = append(old, f)
		}
	}
	return old
}
