package web

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A batch has all that an event tells, whatever will be added to events.
func TestNothingOfAnEventIsLost(t *testing.T) {
	whole := Event{Output: &Pin{Name: "a"}, Input: &Pin{Name: "b"}, Reading: &Reading{Source: "c"}, Decision: &Decision{Rule: "d"}, Thing: &Thing{Name: "e"}, Rule: &Rule{Name: "f"}}
	told := reflect.ValueOf(whole)
	var g gathered
	g.take(whole, true)
	for i := range told.NumField() {
		name := told.Type().Field(i).Name
		if told.Field(i).IsNil() {
			t.Errorf("this test does not fill in %s", name)
		}
		found := 0
		for _, e := range g.events {
			if !reflect.ValueOf(e).Field(i).IsNil() {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s is told %d times", name, found)
		}
	}
}

// Ten sensors report a hundred times a second each, and twice a rule decides. The pages are
// told a few times, of each sensor the newest, and of both decisions in their place.
func TestWhileMuchHappensPagesAreToldTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := newHouse()
		house.room = 4096
		viewing := viewing{house: house}
		f := feed{house: &viewing, watch: house.Watch, beat: func() time.Duration { return time.Hour }}
		at := f.join()
		defer f.leave()
		began := time.Now()
		for n := range 100 {
			for sensor := range 10 {
				house.report(Reading{Source: fmt.Sprint("room/", sensor), Text: fmt.Sprint(n)})
			}
			if n%50 == 49 {
				house.mu.Lock()
				house.tell(Event{Decision: &Decision{Rule: fmt.Sprint("rule.", n)}})
				house.mu.Unlock()
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(f.pause(1000))
		synctest.Wait()
		batches, events, newest, rules := 0, 0, map[string]string{}, ""
		for ; isReady(at.ready); at = at.next {
			batches++
			events += len(at.events)
			for _, e := range at.events {
				switch {
				case e.Reading != nil:
					newest[e.Reading.Source] = e.Reading.Text
				case e.Decision != nil:
					rules += e.Decision.Rule + " "
				}
			}
		}
		if batches > 25 || events > 260 {
			t.Errorf("in %v they were told %d times %d things", time.Since(began), batches, events)
		}
		for sensor := range 10 {
			if got := newest[fmt.Sprint("room/", sensor)]; got != "99" {
				t.Errorf("room/%d ends with %q", sensor, got)
			}
		}
		if rules != "rule.49 rule.99 " {
			t.Errorf("decided: %s", rules)
		}
	})
}

// What happens while little happens is there at once.
func TestWhileLittleHappensPagesAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := newHouse()
		viewing := viewing{house: house}
		f := feed{house: &viewing, watch: house.Watch, beat: func() time.Duration { return time.Hour }}
		at := f.join()
		defer f.leave()
		for range 20 {
			synctest.Wait()
			began := time.Now()
			house.Switch(t.Context(), "porch_light", true)
			<-at.ready
			if took := time.Since(began); took > 0 {
				t.Fatalf("it was told after %v", took)
			}
			at = at.next
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// A hundred pages that come again at once, as after a reload, ask the house twice at most.
func TestManyWhoAskShareAPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := &slowHouse{smallHouse: newHouse()}
		v := viewing{house: house}
		answers := make(chan error, 100)
		for range 100 {
			go func() {
				_, err := v.ask(t.Context(), patience)
				answers <- err
			}()
		}
		for range 100 {
			if err := <-answers; err != nil {
				t.Fatal(err)
			}
		}
		if house.asked > 2 {
			t.Errorf("the house was asked %d times", house.asked)
		}
		// One who asks while a picture is made wants to know what happened since it was begun.
		go v.ask(t.Context(), patience)
		time.Sleep(slowly / 2)
		house.change(func(v *View) { v.Name = "renamed" })
		if got, err := v.ask(t.Context(), patience); err != nil || got.Name != "renamed" {
			t.Errorf("%q, %v", got.Name, err)
		}
		// And one who can't wait does not.
		if _, err := v.ask(t.Context(), slowly/2); err != errSlow {
			t.Errorf("got %v", err)
		}
		v.making.Wait()
	})
}

const slowly = 100 * time.Millisecond

// A slowHouse takes its time for a View.
type slowHouse struct {
	*smallHouse
	asked int
}

func (h *slowHouse) View(ctx context.Context) (View, error) {
	h.asked++
	v, err := h.smallHouse.View(ctx)
	time.Sleep(slowly)
	return v, err
}

// One page does not read what it is sent. It is dropped, the others go on as if nothing was,
// and when it comes again it is told how all is now.
func TestAPageThatDoesNotReadIsDroppedAndCatchesUp(t *testing.T) {
	house := newHouse()
	house.room = 1 << 16
	s := New(house, Options{Log: quietLog})
	s.limit = 2 * time.Second
	listenOn(t, s, "127.0.0.1:0")
	defer s.Close()

	deaf, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	deaf.(*net.TCPConn).SetReadBuffer(4096)
	fmt.Fprintf(deaf, "GET /api/v1/events HTTP/1.1\r\nHost: %s\r\n\r\n", s.Addr())
	in := bufio.NewReader(deaf)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	eventually(t, "it watches", func() bool { return streams(s) > 0 })
	other, _ := watchOn(t, s.Addr())
	other.next()

	n := 0
	eventually(t, "it is dropped", func() bool {
		for range 500 {
			n++
			house.report(Reading{Source: fmt.Sprint("room/", n%500), Text: strings.Repeat("x", 400) + fmt.Sprint(n)})
		}
		last := fmt.Sprintf("room/%d", n%500)
		for got := other.next(); !strings.Contains(got, last+`"`) || !strings.Contains(got, fmt.Sprintf("x%d", n)); got = other.next() {
			if got == "the end" {
				t.Fatal("the other was dropped, too")
			}
		}
		return s.streamsOpen() == 1
	})
	house.report(Reading{Source: "room/0", Text: "at last"})
	again, _ := watchOn(t, s.Addr())
	if first := again.next(); !strings.Contains(first, "at last") {
		t.Errorf("it comes again and is told %.200s", first)
	}
}

func (s *Server) streamsOpen() int {
	s.watching.mu.Lock()
	defer s.watching.mu.Unlock()
	return s.watching.all
}

// However many ask a large house for all that there is, it has half of its time for its rules.
func TestALargeHouseRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := &slowHouse{smallHouse: newHouse()}
		v, q := viewing{house: house}, make(queue, 1)
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		var asked sync.WaitGroup
		var listed atomic.Int64
		for range 8 {
			asked.Go(func() {
				for ctx.Err() == nil {
					v.ask(ctx, patience)
				}
			})
			asked.Go(func() {
				for ctx.Err() == nil {
					if leave, err := q.rest(ctx); err == nil {
						time.Sleep(slowly)
						listed.Add(int64(slowly))
						leave()
					}
				}
			})
		}
		asked.Wait()
		v.making.Wait()
		for what, took := range map[string]time.Duration{"pictures": time.Duration(house.asked) * slowly, "lists": time.Duration(listed.Load())} {
			if took < 4*time.Second || took > 6*time.Second {
				t.Errorf("of ten seconds %s took %v", what, took)
			}
		}
		time.Sleep(time.Second)
	})
}
