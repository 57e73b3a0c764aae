package bus

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"hearth/config"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
)

// A fake is a bus whose transactions can be made to hang, and to fail.
type fake struct {
	mu     sync.Mutex
	hang   chan struct{} // while not nil a transaction waits for it to be closed
	err    error
	ops    []string
	closed bool
}

func (f *fake) String() string                  { return "fake" }
func (f *fake) SetSpeed(physic.Frequency) error { return nil }

func (f *fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *fake) Tx(addr uint16, w, r []byte) error {
	f.mu.Lock()
	hang, err := f.hang, f.err
	f.ops = append(f.ops, fmt.Sprintf("%02x %x", addr, w))
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	for i := range r {
		r[i] = 42
	}
	return err
}

func (f *fake) set(hang chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hang, f.err = hang, err
}

func opens(f *fake, count *int) Opener {
	return func(string) (i2c.BusCloser, error) {
		*count++
		f.mu.Lock()
		defer f.mu.Unlock()
		f.closed = false
		return f, nil
	}
}

func mustOpen(t *testing.T, b *Buses, name string) Bus {
	t.Helper()
	bus, err := b.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func TestABusIsOpenWhileItHasUsers(t *testing.T) {
	f, opened := new(fake), 0
	b := New(Config{}, opens(f, &opened))
	one, two := mustOpen(t, b, "I2C1"), mustOpen(t, b, "I2C1")
	var r [1]byte
	if err := two.Tx(0x76, []byte{0xd0}, r[:]); err != nil || r[0] != 42 {
		t.Fatal(r, err)
	}
	one.Close()
	one.Close() // a second time gives back nothing more
	if f.closed || opened != 1 {
		t.Fatalf("opened %d times, closed %v", opened, f.closed)
	}
	two.Close()
	if !f.closed {
		t.Fatal("nobody has it, but it is open")
	}
	mustOpen(t, b, "I2C1")
	if opened != 2 {
		t.Fatalf("opened %d times, want 2", opened)
	}
	b.Close()
	if !f.closed {
		t.Fatal("open after the end")
	}
	if _, err := b.Open("I2C1"); err == nil {
		t.Fatal("opened after the end")
	}
}

// A bus that hangs fails at once, for everybody, without a goroutine more, and
// works again by itself.
func TestABusThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, opened := new(fake), 0
		b := New(Config{}, opens(f, &opened))
		bus, other := mustOpen(t, b, "I2C1"), mustOpen(t, b, "I2C1")
		hang := make(chan struct{})
		f.set(hang, nil)

		waits := make(chan error)
		go func() {
			time.Sleep(Limit / 2)
			waits <- other.Tx(0x20, nil, make([]byte, 1)) // waits for its turn
		}()
		r := []byte{7}
		began := time.Now()
		err := bus.Tx(0x76, []byte{1}, r)
		if err == nil || !strings.Contains(err.Error(), "I2C1: no answer within 1s") || time.Since(began) != Limit {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
		if err := <-waits; err == nil || !strings.Contains(err.Error(), "hangs since") || time.Since(began) != Limit {
			t.Fatalf("one that waited, after %v: %v", time.Since(began), err)
		}
		time.Sleep(time.Minute)
		goroutines := runtime.NumGoroutine()
		for range 1000 {
			began := time.Now()
			if err := other.Tx(0x20, nil, make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "for 1m1s") || time.Since(began) != 0 {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		if n := runtime.NumGoroutine(); n > goroutines+10 {
			t.Fatalf("%d goroutines after 1000 transactions, %d before", n, goroutines)
		}

		bus.Close() // and nobody waits for it
		other.Close()
		if f.closed {
			t.Fatal("closed under the one who is on it")
		}
		if _, err := b.Open("I2C1"); err == nil || !strings.Contains(err.Error(), "hangs since") {
			t.Fatalf("opened a bus that hangs: %v", err)
		}
		f.set(nil, nil)
		close(hang)
		synctest.Wait()
		if !f.closed || r[0] != 7 {
			t.Fatalf("closed %v; the one who gave up got %v", f.closed, r)
		}
		bus = mustOpen(t, b, "I2C1")
		if err := bus.Tx(0x76, []byte{1}, r); err != nil || r[0] != 42 || opened != 2 {
			t.Fatalf("after it came back: %v %v, opened %d times", r, err, opened)
		}
	})
}

// An adapter that is unplugged and comes back is opened anew.
func TestAnAdapterThatReturns(t *testing.T) {
	f, opened := new(fake), 0
	b := New(Config{}, opens(f, &opened))
	bus := mustOpen(t, b, "I2C1")
	f.set(nil, unix.ENODEV)
	if err := bus.Tx(0x76, []byte{1}, nil); !errors.Is(err, unix.ENODEV) {
		t.Fatal(err)
	}
	f.set(nil, nil)
	if err := bus.Tx(0x76, []byte{1}, nil); err != nil || opened != 2 {
		t.Fatalf("%v, opened %d times", err, opened)
	}
}

func TestABusThatIsNotThere(t *testing.T) {
	b := New(Config{}, nil)
	if _, err := b.Open("I2C987"); err == nil || !strings.Contains(err.Error(), "there is no /dev/i2c-987") {
		t.Fatal(err)
	}
	if _, err := b.Open("/dev/i2c-1"); err == nil || !strings.Contains(err.Error(), `such as "I2C1"`) {
		t.Fatal(err)
	}
}

// A port is selected for each transaction and left after it, also after one that
// went wrong.
func TestAMultiplexer(t *testing.T) {
	cfg := Config{I2C: config.Table[Mux]{{Name: "attic", Value: Mux{Type: "pca9548", Bus: "I2C1", Address: 0x71}}}}
	play := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{
		{Addr: 0x71, W: []byte{1 << 3}},
		{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x60}},
		{Addr: 0x71, W: []byte{0}},
		{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x58}},
	}}
	b := New(cfg, func(name string) (i2c.BusCloser, error) { return play, nil })
	port, plain := mustOpen(t, b, "attic:3"), mustOpen(t, b, "I2C1")
	var r [1]byte
	if err := port.Tx(0x76, []byte{0xd0}, r[:]); err != nil || r[0] != 0x60 {
		t.Fatal(r, err)
	}
	if err := plain.Tx(0x76, []byte{0xd0}, r[:]); err != nil || r[0] != 0x58 {
		t.Fatal(r, err)
	}
	if err := play.Close(); err != nil {
		t.Fatal(err)
	}

	f, opened := new(fake), 0
	b = New(cfg, opens(f, &opened))
	port = mustOpen(t, b, "attic:0")
	f.set(nil, errors.New("no answer"))
	if err := port.Tx(0x76, []byte{1}, nil); err == nil || !strings.Contains(err.Error(), "multiplexer attic at 0x71") {
		t.Fatal(err)
	}
	f.set(nil, nil)
	if err := port.Tx(0x76, []byte{1}, nil); err != nil || !slices.Equal(f.ops[1:], []string{"71 01", "76 01", "71 00"}) {
		t.Fatal(f.ops, err)
	}
	if a, b := cfg.Path("attic:3"), cfg.Path("I2C1"); a != "I2C1 0x71:3" || b != "I2C1" {
		t.Fatal(a, b)
	}
}

// The kernel gets what it expects: the layout of its structs, and a file that is
// no bus says so.
func TestTheKernelsBus(t *testing.T) {
	word := unsafe.Sizeof(uintptr(0))
	if size, at := unsafe.Sizeof(message{}), unsafe.Offsetof(message{}.buf); size != 8+word || at != 8 {
		t.Errorf("a message has %d bytes, its buffer is at %d", size, at)
	}
	if size, at := unsafe.Sizeof(messages{}), unsafe.Offsetof(messages{}.n); size != 2*word || at != word {
		t.Errorf("the list has %d bytes, its length is at %d", size, at)
	}
	file, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &kernelBus{"I2C1", file}
	defer b.Close()
	if err := b.Tx(0x76, []byte{1}, make([]byte, 2)); !errors.Is(err, unix.ENOTTY) {
		t.Error(err)
	}
	if err := b.Tx(0x76, make([]byte, 8193), nil); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Error(err)
	}
	if err := b.Tx(0x76, nil, nil); err != nil {
		t.Error(err)
	}
}
