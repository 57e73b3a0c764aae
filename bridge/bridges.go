package bridge

import (
	"cmp"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"sync"
)

// Bridges are all of a house.
type Bridges struct {
	opt Options

	mu      sync.Mutex // held by Commit, Status and Close
	closed  bool
	running []*Bridge // in the order of the configuration
}

// New has no bridge yet.
func New(opt Options) *Bridges {
	opt.Log = cmp.Or(opt.Log, slog.New(slog.DiscardHandler))
	if opt.Dial == nil {
		opt.Dial = new(net.Dialer).DialContext
	}
	return &Bridges{opt: opt}
}

// A Change is a reload that is planned: Commit or Undo ends it.
type Change struct {
	bs  *Bridges
	cfg Config
}

// Prepare plans the bridges of cfg. It can't fail: a remote that can't be reached,
// or a file that can't be read, is what a bridge waits for.
func (bs *Bridges) Prepare(cfg Config) *Change { return &Change{bs, cfg} }

// Undo leaves all as it is.
func (ch *Change) Undo() {}

// Commit stops the bridges that are gone or have changed and starts those that are
// new or have changed; the others are not touched. What the brokers kept for one
// that is gone is dropped. When it returns the own broker keeps what is to go out, so that
// nothing is lost that is said right after the start.
func (ch *Change) Commit() {
	for _, b := range ch.swap() {
		<-b.keeps
	}
}

// swap is Commit but for the wait; it gives the bridges that are new.
func (ch *Change) swap() (started []*Bridge) {
	bs := ch.bs
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if bs.closed {
		return nil
	}
	var stopping sync.WaitGroup
	stays := map[string]*Bridge{}
	for _, b := range bs.running {
		is, ok := ch.cfg.Bridge.Get(b.name)
		if ok && reflect.DeepEqual(*is, b.cfg) {
			stays[b.name] = b
			continue
		}
		moves := ok && (is.Address != b.cfg.Address || is.ClientID != b.cfg.ClientID)
		stopping.Go(func() { b.stop(!ok, moves) })
	}
	stopping.Wait()
	was := bs.opt.Kept()
	for name := range was { // also those that an earlier run left
		if _, ok := ch.cfg.Bridge.Get(name); !ok {
			endLocal(name, bs.opt)
		}
	}
	bs.running = nil
	for _, n := range ch.cfg.Bridge {
		b := stays[n.Name]
		if b == nil {
			b = startBridge(n.Name, n.Value, bs.opt, was[n.Name])
			started = append(started, b)
		}
		bs.running = append(bs.running, b)
	}
	return started
}

// Status is how all of them are doing, in the order of the configuration.
func (bs *Bridges) Status() []Status {
	bs.mu.Lock()
	running := slices.Clone(bs.running)
	bs.mu.Unlock()
	var all []Status
	for _, b := range running {
		all = append(all, b.Status())
	}
	return all
}

// Close stops all bridges and returns when everything they started has ended. What
// they have not passed waits at the brokers.
func (bs *Bridges) Close() {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	bs.closed = true
	var stopping sync.WaitGroup
	for _, b := range bs.running {
		stopping.Go(func() { b.stop(false, false) })
	}
	stopping.Wait()
	bs.running = nil
}
