// Package push sends what the house measures to databases that keep numbers of many
// houses: InfluxDB, version 1 to 3, and what takes its line protocol, such as
// VictoriaMetrics, QuestDB and Telegraf.
//
// # What it promises
//
//   - [Pushers.Put] never waits. What is put is sent in batches, compressed, by one
//     goroutine for each database: one that is slow or gone delays nothing else.
//   - While a database is gone or not well what is for it waits in memory, and it is
//     tried again less and less often, up to every five minutes. When too much waits the
//     oldest goes. What was lost is counted, and said when it begins and when it is over.
//   - What a database refuses for good, because it does not understand it, is dropped and
//     counted: it blocks nothing behind it. A token that is wrong, or a bucket that is not
//     there, is not that: somebody can mend it, and until then all waits.
//   - A reading has the time at which it was measured. Until the clock is known to be
//     right nothing is sent; then what waited has its right time too.
//   - Whatever devices call themselves, a line is a line: see [Point].
//
// What waits is lost when the hub ends, but for what can be sent within a second:
// the house itself remembers in package history.
package push

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hearth/devices"
)

// Options is what it needs of the hub. All but Transport are needed.
type Options struct {
	Dir    string                                   // files are named relative to it
	Secret func(name string) (value string, _ bool) // of [secret]; called within New and Use
	Now    func() devices.Now
	Log    *slog.Logger

	Transport http.RoundTripper // of tests: in place of the network
}

// Pushers send to the databases of a configuration. Use and Close belong to one
// goroutine, the others may be called from any.
type Pushers struct {
	opt Options
	all atomic.Pointer[[]*pusher]
}

// New sends nowhere yet.
func New(opt Options) *Pushers {
	ps := &Pushers{opt: opt}
	ps.all.Store(new([]*pusher))
	return ps
}

// Use sends to the databases of cfg from now on. With one that stays as it was nothing
// happens; what waits for one that is reached in another way now is sent there.
func (ps *Pushers) Use(cfg Config) {
	before := slices.Clone(*ps.all.Load())
	var all, fresh []*pusher
	for _, entry := range cfg.Push {
		next := newPusher(entry.Name, entry.Value, ps.opt)
		i := slices.IndexFunc(before, func(p *pusher) bool { return p.name == entry.Name })
		if i >= 0 && reflect.DeepEqual(before[i].cfg, next.cfg) && before[i].secret == next.secret {
			next = before[i]
			before = slices.Delete(before, i, i+1)
		} else {
			fresh = append(fresh, next)
		}
		all = append(all, next)
	}
	ps.all.Store(&all) // which get all that is put from now on
	for _, old := range before {
		old.end()
	}
	for _, next := range fresh {
		if i := slices.IndexFunc(before, func(p *pusher) bool { return p.name == next.name }); i >= 0 {
			next.inherit(before[i])
		}
		next.start()
	}
}

// Any reports whether there is a database to send to.
func (ps *Pushers) Any() bool { return len(*ps.all.Load()) > 0 }

// Put has a reading sent to all that want it.
func (ps *Pushers) Put(point Point) {
	for _, p := range *ps.all.Load() {
		p.put(point)
	}
}

// Status is how each of them is doing.
func (ps *Pushers) Status() (all []Status) {
	for _, p := range *ps.all.Load() {
		all = append(all, p.status())
	}
	return all
}

// Close sends what can be sent within a second, and ends.
func (ps *Pushers) Close() {
	all := *ps.all.Swap(new([]*pusher))
	var ended sync.WaitGroup
	for _, p := range all {
		ended.Go(p.finish)
	}
	ended.Wait()
}

// A Status is how one is doing.
type Status struct {
	Name    string
	Waiting int    // readings that were not sent yet
	Sent    int64  // since the hub started
	Dropped int64  // because too many waited
	Refused int64  // because the database did not understand them
	Trouble string // why nothing is taken now, "" if all is well
}

const (
	batch     = 5000             // lines in one request; what the makers of InfluxDB advise
	patience  = 30 * time.Second // for one request
	lastWords = time.Second      // for all of them when the hub ends
	soonest   = time.Second      // until the next try
	latest    = 5 * time.Minute
)

// A pusher sends to one database.
type pusher struct {
	name   string
	cfg    Target
	secret string // a token, or a password
	opt    Options
	log    *slog.Logger
	client *http.Client
	full   chan struct{} // holds a token while there is enough for a batch
	cancel context.CancelFunc
	done   sync.WaitGroup

	most  int    // lines in one request; fewer for good once that was too much
	said  string // what was refused last, as it was logged
	tries int    // in a row that went wrong

	mu    sync.Mutex
	queue []Point
	taken int // of queue that are on their way: the first
	stats Status

	shedding bool // too many wait, and it was said
}

func newPusher(name string, cfg Target, opt Options) *pusher {
	p := &pusher{name: name, cfg: cfg, opt: opt, log: opt.Log.With("push", name), full: make(chan struct{}, 1), most: batch}
	p.secret, _ = opt.Secret(cmp.Or(cfg.Token, cfg.Password))
	p.stats.Name = name
	transport := opt.Transport
	if transport == nil {
		transport = p.transport()
	}
	p.client = &http.Client{Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // a login is for nobody else
	return p
}

func (p *pusher) transport() http.RoundTripper {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 5 * time.Minute, MaxIdleConns: 1, ForceAttemptHTTP2: true,
	}
	if p.cfg.CA == "" {
		return t
	}
	path := p.cfg.CA
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.opt.Dir, path)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	if pem, err := os.ReadFile(path); err != nil {
		p.log.Error("who signed the database's certificate can't be read", "err", err)
	} else if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		p.log.Error("there is no certificate in the file of who signed the database's", "file", path)
	}
	return t
}

func (p *pusher) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.done.Go(func() { p.run(ctx) })
}

// end stops at once.
func (p *pusher) end() {
	p.cancel()
	p.done.Wait()
	p.client.CloseIdleConnections()
}

// finish is end with a last attempt.
func (p *pusher) finish() {
	p.end()
	ctx, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	for p.ready(1) && p.opt.Now().Known && p.send(ctx) == nil {
	}
	p.client.CloseIdleConnections()
}

// inherit takes over what waited for the same database with other settings.
func (p *pusher) inherit(old *pusher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waited := slices.DeleteFunc(old.queue, func(point Point) bool { return !p.cfg.wants(point.Name) })
	p.queue = append(waited, p.queue...)
	p.stats = old.stats
	p.shed()
}

// put appends a reading, and lets the oldest go if too many wait.
func (p *pusher) put(point Point) {
	if !p.cfg.wants(point.Name) || !point.fit() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, point)
	if p.shed(); len(p.queue) >= batch {
		select {
		case p.full <- struct{}{}:
		default:
		}
	}
}

// shed drops what is too much. mu is held.
func (p *pusher) shed() {
	over := len(p.queue) - p.cfg.buffer()
	if over <= 0 {
		return
	}
	if !p.shedding {
		p.shedding = true
		p.log.Warn("too many readings wait to be sent: the oldest are dropped", "waiting", len(p.queue))
	}
	p.stats.Dropped += int64(over)
	p.forget(over)
}

// forget drops the first of those that wait. mu is held.
func (p *pusher) forget(n int) {
	clear(p.queue[:n])
	p.queue = p.queue[n:]
	p.taken = max(0, p.taken-n)
}

func (p *pusher) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Waiting = len(p.queue)
	return s
}

// ready says whether there are so many to be sent.
func (p *pusher) ready(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) >= n
}

// run sends what there is now and then, and what is much at once.
func (p *pusher) run(ctx context.Context) {
	tick := time.NewTimer(p.cfg.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.full:
		}
		wait := p.cfg.every()
		for p.ready(1) && p.opt.Now().Known {
			err := p.send(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				wait = p.failed(err)
				break
			}
			p.succeeded()
			if !p.ready(p.most) { // the rest may wait for company
				break
			}
		}
		if p.tries > 0 {
			select { // however much there is
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = 0
		}
		tick.Reset(wait)
	}
}

// failed notes that nothing was taken, and gives how long to wait.
func (p *pusher) failed(err error) time.Duration {
	if p.tries == 0 {
		p.log.Warn("readings can't be sent, and wait", "err", err)
	}
	p.tries++
	p.mu.Lock()
	p.stats.Trouble = err.Error()
	p.mu.Unlock()
	wait := min(latest, soonest<<min(p.tries-1, 10))
	var later retryAfter
	if errors.As(err, &later) {
		wait = max(wait, min(later.after, latest))
	}
	return wait
}

func (p *pusher) succeeded() {
	p.mu.Lock()
	dropped := p.stats.Dropped
	p.stats.Trouble, p.shedding = "", false
	waiting := len(p.queue)
	p.mu.Unlock()
	if p.tries > 0 {
		p.log.Info("readings are sent again", "waiting", waiting, "dropped", dropped)
	}
	p.tries = 0
}

// take is what is to be sent next.
func (p *pusher) take() []Point {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken = min(len(p.queue), p.most)
	return slices.Clone(p.queue[:p.taken])
}

// sent forgets the n that were taken. Some may have been dropped while they were on
// their way, for there was too much: if they were taken by the database they were not lost.
func (p *pusher) sent(n int, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if refused {
		p.stats.Refused += int64(p.taken)
	} else {
		p.stats.Sent += int64(n)
		p.stats.Dropped -= int64(n - p.taken)
	}
	p.forget(p.taken)
}

// send sends one batch. What the database refuses for good counts as sent; the error is
// why nothing was taken.
func (p *pusher) send(ctx context.Context) error {
	points := p.take()
	now := p.opt.Now()
	var lines []byte
	for _, point := range points {
		lines = point.appendLine(lines, p.cfg, now)
	}
	err := p.post(ctx, lines)
	var no refusal
	switch {
	case err == nil:
		p.said = ""
	case !errors.As(err, &no):
		return err
	case no.tooLarge && len(points) > 1:
		p.most = len(points) / 2
		return p.send(ctx)
	default:
		if p.said != no.Error() {
			p.said = no.Error()
			p.log.Error("the database refused readings, which are dropped", "readings", len(points), "err", no)
		}
	}
	p.sent(len(points), err != nil)
	return nil
}

// A refusal is for good: the same again would not be taken either.
type refusal struct {
	error
	tooLarge bool
}

// A retryAfter says when to try again.
type retryAfter struct {
	error
	after time.Duration
}
