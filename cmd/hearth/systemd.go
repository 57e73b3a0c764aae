package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What systemd is told with sd_notify(3). Outside systemd nobody listens, and
// notify does nothing.

func ready(status string) string {
	return daemon.SdNotifyReady + "\nSTATUS=" + strings.ReplaceAll(status, "\n", "; ")
}

func reloading() string {
	return daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec()
}

func stopping() string { return daemon.SdNotifyStopping + "\nSTATUS=stopping" }

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "what", strings.SplitN(state, "\n", 2)[0], "err", err)
	}
}

// watchdog is what the loop calls each time it has gone round, and what shows
// systemd that it does. No ticker may do this: one would go on when the loop is
// stuck. Without a watchdog it is nil.
func watchdog(log *slog.Logger) (alive func()) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not fed", "err", err)
	}
	if limit <= 0 {
		return nil
	}
	return throttled(limit/3, time.Now, func() { notify(log, daemon.SdNotifyWatchdog) })
}

// throttled calls f when it is called itself, but not again before pause has
// passed. It is for one goroutine.
func throttled(pause time.Duration, now func() time.Time, f func()) func() {
	var last time.Time
	return func() {
		if t := now(); last.IsZero() || t.Sub(last) >= pause {
			last = t
			f()
		}
	}
}

// newLogger logs as text to w. The journal knows the time by itself and wants
// the level as sd-daemon(3) writes it, so that journalctl -p finds it.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	if toJournal() {
		return slog.New(newJournal(w, level))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// toJournal reports whether standard error is the journal: systemd says which
// file that is, because a program may have been given another since.
var toJournal = sync.OnceValue(func() bool {
	var stderr syscall.Stat_t
	if syscall.Fstat(int(os.Stderr.Fd()), &stderr) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", stderr.Dev, stderr.Ino)
})

// A journal is a text handler for each level, whose lines begin with its own
// prefix. Each line is one write, so they need no lock between them.
type journal map[slog.Level]slog.Handler

var priorities = map[slog.Level]string{
	slog.LevelDebug: "<7>",
	slog.LevelInfo:  "<6>",
	slog.LevelWarn:  "<4>",
	slog.LevelError: "<3>",
}

func newJournal(w io.Writer, level slog.Level) journal {
	j := make(journal)
	for l, prefix := range priorities {
		j[l] = slog.NewTextHandler(prefixed{prefix, w}, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
					return slog.Attr{}
				}
				return a
			},
		})
	}
	return j
}

// at is the handler for a level, which may lie between the four.
func (j journal) at(l slog.Level) slog.Handler {
	switch {
	case l >= slog.LevelError:
		return j[slog.LevelError]
	case l >= slog.LevelWarn:
		return j[slog.LevelWarn]
	case l >= slog.LevelInfo:
		return j[slog.LevelInfo]
	}
	return j[slog.LevelDebug]
}

func (j journal) Enabled(ctx context.Context, l slog.Level) bool { return j.at(l).Enabled(ctx, l) }

func (j journal) Handle(ctx context.Context, r slog.Record) error {
	return j.at(r.Level).Handle(ctx, r)
}

func (j journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (j journal) WithGroup(name string) slog.Handler {
	return j.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (j journal) each(f func(slog.Handler) slog.Handler) journal {
	all := make(journal, len(j))
	for l, h := range j {
		all[l] = f(h)
	}
	return all
}

type prefixed struct {
	prefix string
	w      io.Writer
}

func (p prefixed) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
