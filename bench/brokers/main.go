// Brokers measures the broker of the hub beside Mosquitto: how soon it acknowledges,
// how much passes through it, what connections cost, and whether one client can spoil
// it for another. ../brokers.sh builds what it needs and runs it.
//
// Each measurement starts each broker anew with an empty folder, and they take turns,
// so what else the machine does hits all. What is printed is the median over the
// rounds, of ratios too: those are what can be compared from one run to the next.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The peers.
const (
	hub       = "hub"       // the binary as it ships
	mosquitto = "mosquitto" // Debian's, or another binary of the hub
	withStore = "store"     // the hub's broker alone
	inMemory  = "memory"    // the same without a store
)

type program struct {
	hearth, beside, self, work string
	failed                     int // trials
}

// A measurement is made with each of its peers in turns.
type measurement struct {
	name    string
	setting setting
	peers   []string
	rounds  int // 0: as many as are asked for
	// All its peers run at once and it is made so often with each, for what is so short
	// that a neighbour's work could hit only one. 0: they run one after the other.
	turns int
	run   func(*trial) error
}

var both = []string{hub, mosquitto}

// fast leaves the rate to the client, and gives Mosquitto what the hub has anyway.
var fast = setting{
	limits:    "messages = 0",
	mosquitto: "set_tcp_nodelay true\nmax_inflight_messages 128\nmax_queued_messages 0",
}

var measurements = []measurement{
	{"ack, nobody kept", fast, []string{withStore, inMemory, hub, mosquitto}, 1, 50, ackUnkept},
	{"ack, kept subscriber", saved(fast), both, 0, 0, ackHere},
	{"ack, kept subscriber away", saved(fast), both, 0, 0, ackAway},
	{"1000/s", setting{}, both, 1, 0, steadyHere},
	{"1000/s, away", setting{limits: "queue = 100000", mosquitto: "max_queued_messages 100000"}, both, 1, 0, steadyAway},
	{"flood", setting{}, both, 0, 0, flood},
	{"1000 idle", setting{}, both, 0, 0, idle(1000)},
	{"10000 idle", setting{}, both, 1, 0, idle(10_000)},
	{"fan-out", fast, both, 0, 0, fanOut},
	{"one to one", fast, both, 1, 50, oneToOne},
	{"rate", fast, both, 0, 0, rates},
	{"silent", setting{}, both, 1, 0, silent},
	{"half CONNECT", setting{}, both, 1, 0, half},
}

// saved has Mosquitto write its state after each change. That is after the
// acknowledgement, but the nearest to what the hub does.
func saved(s setting) setting {
	s.mosquitto += "\nautosave_on_changes true\nautosave_interval 1"
	return s
}

// A line of the table.
type line struct {
	name, unit string
	want       want
	figures    map[string][]float64 // by peer
}

// What is wanted of the hub. Zero: nothing.
type want struct {
	most       float64 // at most so much
	ratioMost  float64 // at most so many times the other's
	ratioLeast float64
	of, to     string // the two that are compared; default the hub and Mosquitto
}

// A trial is one round of a measurement with one peer.
type trial struct {
	*server
	peer  string
	table *[]*line
	what  string
}

func (t *trial) report(name, unit string, v float64, w want) {
	name = t.what + ": " + name
	i := slices.IndexFunc(*t.table, func(l *line) bool { return l.name == name })
	if i < 0 {
		i = len(*t.table)
		*t.table = append(*t.table, &line{name: name, unit: unit, want: w, figures: map[string][]float64{}})
	}
	l := (*t.table)[i]
	l.figures[t.peer] = append(l.figures[t.peer], v)
}

func main() {
	address := flag.String("serve", "", "be a broker there instead")
	data := flag.String("data", "", "and keep what is to be kept in that folder")
	hearth := flag.String("hearth", "", "the binary to be measured")
	rounds := flag.Int("rounds", 3, "of all measurements but the long ones")
	beside := flag.String("beside", "", "another binary, to be measured instead of Mosquitto")
	only := flag.String("only", "", "measurements whose names match this expression")
	flag.Parse()
	err := error(nil)
	if *address != "" {
		err = serve(*address, *data)
	} else {
		err = measure(*hearth, *beside, *rounds, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "brokers:", err)
		os.Exit(1)
	}
}

func measure(hearth, beside string, rounds int, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	p := &program{hearth: hearth, beside: beside}
	if p.self, err = os.Executable(); err != nil {
		return err
	}
	if p.work, err = os.MkdirTemp("", "brokers-*"); err != nil {
		return err
	}
	defer os.RemoveAll(p.work)
	debug.SetGCPercent(400) // the memory of this process is not what is measured
	var table []*line
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
		if !match.MatchString(m.name) {
			continue
		}
		began := time.Now()
		if err := p.make(m, cmp.Or(m.rounds, rounds), &table); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f s\n", m.name, time.Since(began).Seconds())
	}
	other := mosquitto
	if beside != "" {
		other = beside
	}
	if len(table) == 0 {
		return fmt.Errorf("-only %q matches none of: %s", only, strings.Join(names, ", "))
	}
	missed := show(table, other)
	switch {
	case p.failed > 0:
		return fmt.Errorf("%d trials failed, see above", p.failed)
	case missed > 0:
		return fmt.Errorf("%d figures miss what is wanted", missed)
	}
	return nil
}

// make makes a measurement. A broker that fails costs its figures, and the others go on.
func (p *program) make(m measurement, rounds int, table *[]*line) error {
	servers := map[string]*server{}
	stop := func(peer string) {
		if s := servers[peer]; s != nil {
			s.stop()
			os.RemoveAll(filepath.Dir(s.log))
			delete(servers, peer)
		}
	}
	defer func() {
		for peer := range servers {
			stop(peer)
		}
	}()
	for round := range rounds * max(1, m.turns) {
		for i := range m.peers {
			peer := m.peers[(round+i)%len(m.peers)]
			if servers[peer] == nil {
				s, err := p.start(peer, m.setting)
				if err != nil {
					return err
				}
				servers[peer] = s
			}
			if err := m.run(&trial{servers[peer], peer, table, m.name}); err != nil {
				p.failed++
				said, _ := os.ReadFile(servers[peer].log)
				fmt.Fprintf(os.Stderr, "brokers: %s: %s: %v\n%s", m.name, peer, err, said[max(0, len(said)-2000):])
			}
			if m.turns == 0 {
				stop(peer)
			}
		}
	}
	return nil
}

// show prints the table, and counts what misses.
func show(table []*line, other string) (missed int) {
	rows := [][]string{{"", "", "hub", other, "ratio", "wanted", ""}}
	for _, l := range table {
		w := l.want
		of, to := w.of, w.to
		if of == "" {
			of, to = hub, mosquitto
		}
		row := []string{l.name, l.unit, "", "", "", "", ""}
		for i, peer := range both {
			if f := l.figures[peer]; f != nil {
				row[2+i] = number(median(f))
			}
		}
		ratio := 0.0
		if a, b := l.figures[of], l.figures[to]; a != nil && len(a) == len(b) {
			var all []float64
			for i := range a {
				all = append(all, a[i]/b[i])
			}
			ratio = median(all)
			row[4] = fmt.Sprintf("%.2f", ratio)
			if of != hub {
				row[4] += " " + of + "÷" + to
			}
		}
		good := true
		switch {
		case w.most > 0:
			row[5] = "≤ " + number(w.most)
			good = median(l.figures[hub]) <= w.most
		case w.ratioMost > 0:
			row[5] = fmt.Sprintf("≤ %.2f ×", w.ratioMost)
			good = ratio <= w.ratioMost
		case w.ratioLeast > 0:
			row[5] = fmt.Sprintf("≥ %.2f ×", w.ratioLeast)
			good = ratio >= w.ratioLeast
		}
		if !good {
			row[6] = "misses"
			missed++
		}
		rows = append(rows, row)
	}
	rows = slices.Insert(rows, 1, []string{"---", "---", "---", "---", "---", "---", "---"})
	for _, row := range rows {
		fmt.Println("| " + strings.Join(row, " | ") + " |")
	}
	return missed
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func median(of []float64) float64 {
	if len(of) == 0 {
		return 0
	}
	of = slices.Sorted(slices.Values(of))
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
}

// A sample is durations in nanoseconds.
type sample struct {
	mu  sync.Mutex
	all []int64
}

func (s *sample) add(d int64) {
	s.mu.Lock()
	s.all = append(s.all, d)
	s.mu.Unlock()
}

// ms is a quantile in milliseconds.
func (s *sample) ms(q float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.all)
	return float64(s.all[int(q*float64(len(s.all)-1))]) / 1e6
}

// within waits until what is counted is there.
func within(d time.Duration, count *atomic.Int64, want int64) error {
	for end := time.Now().Add(d); count.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d came", count.Load(), want)
		}
	}
	return nil
}

// sequence publishes n messages of QoS 1, each when the one before is acknowledged.
func sequence(addr string, n int) (*sample, error) {
	c, err := dial(addr, "publisher", true)
	if err != nil {
		return nil, err
	}
	defer c.nc.Close()
	times := &sample{}
	for i := range n + 50 {
		c.nc.SetDeadline(time.Now().Add(patience))
		start := now()
		if err := c.publish("house/hall/lamp", 1, start); err != nil {
			return nil, err
		}
		if first, _, err := c.next(); err != nil || first>>4 != puback {
			return nil, fmt.Errorf("the answer to message %d is %#x: %v", i, first, err)
		}
		if i >= 50 {
			times.add(now() - start)
		}
	}
	return times, nil
}

func ackUnkept(t *trial) error {
	sub, err := dial(t.addr, "subscriber", true)
	if err != nil {
		return err
	}
	defer sub.nc.Close()
	if err := sub.subscribe("house/#", 1); err != nil {
		return err
	}
	go sub.receive(nil, nil)
	times, err := sequence(t.addr, 300)
	if err == nil {
		t.report("p50", "ms", times.ms(.5), want{ratioMost: 1.2, of: withStore, to: inMemory})
		t.report("p99", "ms", times.ms(.99), want{of: withStore, to: inMemory})
	}
	return err
}

func ackHere(t *trial) error { return ackKept(t, true, 900) }
func ackAway(t *trial) error { return ackKept(t, false, 900) } // Mosquitto's queue ends at 1000

func ackKept(t *trial, here bool, n int) error {
	sub, err := dial(t.addr, "subscriber", false)
	if err != nil {
		return err
	}
	defer sub.nc.Close()
	if err := sub.subscribe("house/#", 1); err != nil {
		return err
	}
	if here {
		go sub.receive(nil, nil)
	} else {
		sub.nc.Close()
		time.Sleep(100 * time.Millisecond)
	}
	times, err := sequence(t.addr, n)
	if err == nil {
		t.report("p50", "ms", times.ms(.5), want{most: 10})
		t.report("p99", "ms", times.ms(.99), want{})
	}
	return err
}

func steadyHere(t *trial) error { return steady(t, true) }
func steadyAway(t *trial) error { return steady(t, false) }

// steady is 1000 messages a second of QoS 1 from 50 clients to a kept subscriber.
func steady(t *trial, here bool) error {
	const clients, each, length = 50, 20, 30
	sub, err := dial(t.addr, "subscriber", false)
	if err != nil {
		return err
	}
	defer sub.nc.Close()
	if err := sub.subscribe("house/#", 1); err != nil {
		return err
	}
	var acks, trips sample
	var nAcks, nTrips atomic.Int64
	if here {
		go sub.receive(func(stamp int64) { trips.add(now() - stamp); nTrips.Add(1) }, nil)
	} else {
		sub.nc.Close()
		time.Sleep(100 * time.Millisecond)
	}
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for i := range clients {
		c, err := dial(t.addr, fmt.Sprint("client", i), true)
		if err != nil {
			return err
		}
		defer c.nc.Close()
		due := make([]int64, each*length+2) // by packet id
		var mu sync.Mutex
		go c.receive(nil, func(id uint16) {
			mu.Lock()
			acks.add(now() - due[id])
			mu.Unlock()
			nAcks.Add(1)
		})
		wg.Go(func() {
			start := now() + int64(i)*int64(time.Second)/each/clients
			for k := range each * length {
				at := start + int64(k)*int64(time.Second)/each
				time.Sleep(time.Duration(at - now()))
				mu.Lock()
				due[k+1] = at
				mu.Unlock()
				if err := c.publish(fmt.Sprintf("house/room%d/lamp", i), 1, at); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	before := t.cpu()
	wg.Wait()
	if len(errs) > 0 {
		return <-errs
	}
	const all = clients * each * length
	err = within(patience, &nAcks, all)
	if err == nil && here {
		err = within(patience, &nTrips, all)
	}
	if err != nil {
		return err
	}
	t.report("all acknowledged, p50", "ms", acks.ms(.5), want{})
	t.report("all acknowledged, p99", "ms", acks.ms(.99), want{})
	if here {
		t.report("to the subscriber, p50", "ms", trips.ms(.5), want{})
		t.report("to the subscriber, p99", "ms", trips.ms(.99), want{})
	}
	t.report("CPU", "%", 100*(t.cpu()-before).Seconds()/length, want{})
	return nil
}

// probe is the round trips of a client to itself, one each 5 ms, for 6 s.
func probe(addr string) (*sample, error) {
	c, err := dial(addr, "probe", true)
	if err != nil {
		return nil, err
	}
	defer c.nc.Close()
	if err := c.subscribe("house/probe", 0); err != nil {
		return nil, err
	}
	times := &sample{}
	for start, k := now(), int64(0); k < 1200; k++ {
		time.Sleep(time.Duration(start + k*5e6 - now()))
		c.nc.SetDeadline(time.Now().Add(patience))
		at := now()
		if err := c.publish("house/probe", 0, at); err != nil {
			return nil, err
		}
		if _, _, err := c.next(); err != nil {
			return nil, err
		}
		times.add(now() - at)
	}
	return times, nil
}

// flood is one client that offers 50,000 messages a second, with somebody who reads
// them, beside one that only wants its own way.
func flood(t *trial) error {
	quiet, err := probe(t.addr)
	if err != nil {
		return err
	}
	sub, err := dial(t.addr, "reader", true)
	if err != nil {
		return err
	}
	defer sub.nc.Close()
	if err := sub.subscribe("flood", 0); err != nil {
		return err
	}
	var came atomic.Int64
	go sub.receive(func(int64) { came.Add(1) }, nil)
	flooder, err := dial(t.addr, "flooder", true)
	if err != nil {
		return err
	}
	one := publishPacket("flood", 0, 0, 0)
	var wg sync.WaitGroup
	stop := make(chan bool)
	wg.Go(func() {
		start := now()
		for sent := int64(0); ; {
			select {
			case <-stop:
				return
			default:
			}
			// What is due. A throttled one falls behind, and offers all the more.
			if due := (now() - start) / 20_000; due > sent {
				n := min(due-sent, 500)
				if _, err := flooder.nc.Write(slices.Repeat(one, int(n))); err != nil {
					return
				}
				sent += n
			}
			time.Sleep(time.Millisecond)
		}
	})
	time.Sleep(500 * time.Millisecond)
	start, before := now(), came.Load()
	loud, err := probe(t.addr)
	rate := float64(came.Load()-before) * 1e9 / float64(now()-start)
	close(stop)
	flooder.nc.Close()
	wg.Wait()
	if err != nil {
		return err
	}
	allowed := max(2*quiet.ms(.99), 20)
	t.report("p50 of another, idle", "ms", quiet.ms(.5), want{})
	t.report("p99 of another, idle", "ms", quiet.ms(.99), want{})
	t.report("p50 of another, flooded", "ms", loud.ms(.5), want{})
	t.report("p99 of another, flooded", "ms", loud.ms(.99), want{most: allowed})
	t.report("taken of the flooder", "1/s", rate, want{})
	return nil
}

// idle is what connections cost that have one subscription each and say nothing.
func idle(n int) func(t *trial) error {
	most := map[int]float64{1000: 20, 10_000: 300}[n]
	return func(t *trial) error {
		c, err := newCrowd(t.addr)
		if err != nil {
			return err
		}
		defer c.close()
		before := t.rss()
		start := now()
		for i := range n {
			if err := c.member(fmt.Sprint("device", i), fmt.Sprintf("house/device%d/set", i)); err != nil {
				return err
			}
		}
		took := float64(now()-start) / 1e6
		time.Sleep(3 * time.Second)
		t.report("memory they add", "MB", t.rss()-before, want{most: most})
		t.report("connected within", "ms", took, want{})
		return nil
	}
}

// fanOut is messages to 5000 subscribers: one at a time, and as many as they take.
func fanOut(t *trial) error {
	const n, one, many, ahead = 5000, 15, 60, 10
	c, err := newCrowd(t.addr)
	if err != nil {
		return err
	}
	defer c.close()
	for i := range n {
		if err := c.member(fmt.Sprint("device", i), "house/all"); err != nil {
			return err
		}
	}
	pub, err := dial(t.addr, "publisher", true)
	if err != nil {
		return err
	}
	defer pub.nc.Close()
	size := int64(len(publishPacket("house/all", 0, 0, 0)))
	c.total = 0
	until := func(messages int64) error {
		for end := time.Now().Add(patience); c.total < messages*n*size; {
			if time.Now().After(end) {
				return fmt.Errorf("%d of %d messages came to %d subscribers", c.total/size, messages*n, n)
			}
			if err := c.look(100 * time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	}
	var times sample
	for k := range one {
		start := now()
		if err := pub.publish("house/all", 0, start); err != nil {
			return err
		}
		if err := until(int64(k + 1)); err != nil {
			return err
		}
		times.add(now() - start)
	}
	start, before := now(), t.cpu()
	for k := range many {
		if err := pub.publish("house/all", 0, start); err != nil {
			return err
		}
		if err := until(int64(max(0, one+k+1-ahead))); err != nil {
			return err
		}
	}
	if err := until(one + many); err != nil {
		return err
	}
	took := float64(now()-start) / 1e9
	for _, fd := range c.fds {
		if c.got[fd] != (one+many)*size {
			return fmt.Errorf("a subscriber got %d bytes of %d", c.got[fd], (one+many)*size)
		}
	}
	t.report("one to all 5000, p50", "ms", times.ms(.5), want{})
	t.report("deliveries", "1/s", n*many/took, want{ratioLeast: 1})
	t.report("memory of the broker then", "MB", t.rss(), want{})
	t.report("CPU for 100,000 deliveries", "s", (t.cpu()-before).Seconds()/(n*many)*1e5, want{})
	return nil
}

// oneToOne is the time from a publisher to a subscriber, one message at a time.
func oneToOne(t *trial) error {
	for qos := range byte(2) {
		sub, err := dial(t.addr, "subscriber", true)
		if err != nil {
			return err
		}
		if err := sub.subscribe("house/hall/lamp", qos); err != nil {
			return err
		}
		pub, err := dial(t.addr, "publisher", true)
		if err != nil {
			return err
		}
		go pub.receive(nil, nil)
		came := make(chan int64, 1)
		go sub.receive(func(int64) { came <- now() }, nil)
		var times sample
		for range 300 {
			start := now()
			if err := pub.publish("house/hall/lamp", qos, start); err != nil {
				return err
			}
			select {
			case at := <-came:
				times.add(at - start)
			case <-time.After(patience):
				return fmt.Errorf("a message did not come")
			}
		}
		pub.nc.Close()
		sub.nc.Close()
		w := want{}
		if qos == 0 {
			w.ratioMost = 1.5
		}
		t.report(fmt.Sprintf("QoS %d, p50", qos), "ms", times.ms(.5), w)
		t.report(fmt.Sprintf("QoS %d, p99", qos), "ms", times.ms(.99), want{})
	}
	return nil
}

// rates is how many messages pass from 1 and from 50 publishers to one subscriber,
// when 400 of them are on their way at a time: nobody has to drop any.
func rates(t *trial) error {
	for _, publishers := range []int{1, 50} {
		for qos := range byte(2) {
			if err := rate(t, publishers, qos); err != nil {
				return fmt.Errorf("%d publishers, QoS %d: %w", publishers, qos, err)
			}
		}
	}
	return nil
}

func rate(t *trial, publishers int, qos byte) error {
	const all, ahead = 50_000, 400
	sub, err := dial(t.addr, "subscriber", true)
	if err != nil {
		return err
	}
	defer sub.nc.Close()
	if err := sub.subscribe("house/#", qos); err != nil {
		return err
	}
	tokens := make(chan bool, ahead)
	for range ahead {
		tokens <- true
	}
	var came atomic.Int64
	go sub.receive(func(int64) { came.Add(1); tokens <- true }, nil)
	start, before := now(), t.cpu()
	errs := make(chan error, publishers)
	for i := range publishers {
		c, err := dial(t.addr, fmt.Sprint("publisher", i), true)
		if err != nil {
			return err
		}
		defer c.nc.Close()
		go c.receive(nil, nil)
		go func() {
			var out []byte
			for range all / publishers {
				select {
				case <-tokens:
				default: // before it waits it says what it has
					if _, err := c.nc.Write(out); err != nil {
						errs <- err
						return
					}
					out = out[:0]
					<-tokens
				}
				c.id = max(1, c.id+1)
				out = append(out, publishPacket(fmt.Sprintf("house/room%d/lamp", i), qos, c.id, start)...)
				if len(out) > 8<<10 {
					if _, err := c.nc.Write(out); err != nil {
						errs <- err
						return
					}
					out = out[:0]
				}
			}
			c.nc.Write(out)
		}()
	}
	if err := within(2*patience, &came, all); err != nil {
		return err
	}
	took := float64(now()-start) / 1e9
	if len(errs) > 0 {
		return <-errs
	}
	what := fmt.Sprintf("%d to 1, QoS %d", publishers, qos)
	t.report(what, "1/s", all/took, want{})
	t.report(what+", CPU for 100,000", "s", (t.cpu()-before).Seconds()*2, want{})
	return nil
}

// silent is 5000 connections that say nothing at all.
func silent(t *trial) error {
	const n = 5000
	c, err := newCrowd(t.addr)
	if err != nil {
		return err
	}
	defer c.close()
	before, most := t.rss(), 0.0
	for range n {
		if err := c.join(nil, 0); err != nil {
			return err
		}
	}
	start := now()
	for c.gone < n && now()-start < 12e9 {
		most = max(most, t.rss()-before)
		if err := c.look(100 * time.Millisecond); err != nil {
			return err
		}
	}
	took := float64(now()-start) / 1e9
	t.report("5000 sockets, closed after the last came", "s", took, want{most: 10}) // 12: not at all
	t.report("memory they add", "MB", most, want{most: 50})
	return nil
}

// half is CONNECTs that say that they are 256 MB long, and never end.
func half(t *trial) error {
	before, most := t.rss(), 0.0
	var wg sync.WaitGroup
	for range 8 {
		nc, err := net.Dial("tcp", t.addr)
		if err != nil {
			return err
		}
		defer nc.Close()
		wg.Go(func() {
			nc.SetDeadline(time.Now().Add(3 * time.Second))
			nc.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0xff, 0xff})
			part := make([]byte, 64<<10)
			for range 128 << 20 / len(part) {
				if _, err := nc.Write(part); err != nil {
					return
				}
			}
		})
	}
	for end := now() + 3e9; now() < end; time.Sleep(10 * time.Millisecond) {
		most = max(most, t.rss()-before)
	}
	wg.Wait()
	t.report("8 of 256 MB, memory they add", "MB", most, want{most: 10})
	return nil
}
