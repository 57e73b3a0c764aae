package hub

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"hearth/rules"
)

// decisionsLogged is how many decisions a minute go to the log: a chatty sensor
// must not wear the card out. The page shows them all.
const decisionsLogged = 60

// asynchronous lets the loop log without waiting for whoever reads the log.
type asynchronous struct {
	slog.Handler
	lines *outbox[func()]
}

func (a asynchronous) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	return a.lines.put(func() { a.Handler.Handle(context.WithoutCancel(ctx), r) })
}

func (a asynchronous) WithAttrs(as []slog.Attr) slog.Handler {
	return asynchronous{a.Handler.WithAttrs(as), a.lines}
}

func (a asynchronous) WithGroup(name string) slog.Handler {
	return asynchronous{a.Handler.WithGroup(name), a.lines}
}

// logDecision logs what was decided, until it becomes too much for this minute.
func (h *Hub) logDecision(d rules.Decision, text string) {
	if minute := d.At.Mono / time.Minute; minute != h.logMinute {
		if over := h.logged - decisionsLogged; over > 0 {
			h.log.Info(fmt.Sprintf("%d more decisions were made in that minute; the page shows the newest", over))
		}
		h.logMinute, h.logged = minute, 0
	}
	h.logged++
	switch {
	case d.Outcome == rules.Stopped:
		h.log.Warn(text)
	case h.logged <= decisionsLogged:
		h.log.Info(text)
	}
}
