package gpio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/warthog618/go-gpiocdev/uapi"
	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/physic"
)

// The kernel's lines, through version 2 of its GPIO character device (Linux
// 5.10 and later). go-gpiocdev knows the device; of that module only the layer
// next to the kernel is used, because a line then is a plain file: the runtime's
// poller waits for its edges, so that an input costs one descriptor and no
// goroutine, a deadline ends a wait, and a chip that is unplugged ends it with an
// error.

const (
	consumer    = "hearth" // who holds the line, as gpioinfo shows it
	kernelEdges = 256      // edges that wait in the kernel; then it drops the oldest
)

// kernelBank is all chips in /dev.
type kernelBank struct {
	dev   string
	pins  map[string]*kernelPin // by each name that they have
	names []string              // the best name of each
	pwm   pwmPins
}

// A kernelChip is one GPIO chip as it was found.
type kernelChip struct {
	path    string   // /dev/gpiochip0
	name    string   // gpiochip0, as the kernel calls it
	aliases []string // other names in /dev that lead to it
	label   string   // pinctrl-bcm2711
	lines   []string // what each line is called, "" if nothing
}

// OpenKernel finds the GPIO chips of this machine. It holds none of them: a pin
// is taken by its first Out or In. The error says that there is no chip, or none
// that may be opened.
func OpenKernel() (Bank, error) {
	return openKernel("/dev", "/sys/class/pwm")
}

func openKernel(dev, pwm string) (Bank, error) {
	chips, err := findChips(dev)
	if err != nil {
		return nil, err
	}
	b := newKernelBank(dev, chips)
	b.pwm.root = pwm
	return b, nil
}

// findChips is each GPIO chip in a folder once, as they are now; at least one.
func findChips(dev string) ([]*kernelChip, error) {
	paths, err := filepath.Glob(filepath.Join(dev, "gpiochip*"))
	if err != nil {
		return nil, fmt.Errorf("look for GPIO chips: %w", err)
	}
	var chips []*kernelChip
	var wrong []error
	found := map[uint64]*kernelChip{}
	slices.SortFunc(paths, byNumber)
	for _, path := range paths {
		// A Raspberry Pi 5 has a symlink gpiochip4 to what is gpiochip0 there, and
		// which name leads to the header differs with the kernel. By the number of
		// the device each chip is found once, by whatever name.
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", path, err))
			continue
		}
		if chip := found[stat.Rdev]; chip != nil {
			chip.aliases = append(chip.aliases, filepath.Base(path))
			continue
		}
		chip, err := readChip(path)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		found[stat.Rdev] = chip
		chips = append(chips, chip)
	}
	if len(chips) == 0 {
		if err := errors.Join(wrong...); err != nil {
			return nil, fmt.Errorf("no GPIO chip can be opened (is this user in the group gpio?): %w", err)
		}
		return nil, fmt.Errorf("no GPIO chip in %s", dev)
	}
	return chips, nil
}

func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// readChip asks a chip for its name and its lines, which also shows that the
// kernel is new enough.
func readChip(path string) (*kernelChip, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := uapi.GetChipInfo(f.Fd())
	if err != nil {
		return nil, fmt.Errorf("%s: not a GPIO chip: %w", path, err)
	}
	c := &kernelChip{
		path:  path,
		name:  uapi.BytesToString(info.Name[:]),
		label: uapi.BytesToString(info.Label[:]),
	}
	for i := range int(info.Lines) {
		line, err := uapi.GetLineInfoV2(f.Fd(), i)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d (Linux 5.10 or later is needed): %w", path, i, err)
		}
		c.lines = append(c.lines, uapi.BytesToString(line.Name[:]))
	}
	return c, nil
}

// newKernelBank gives each line its names. The chip of the header comes first, so
// that a name which two chips use means the header. There "GPIO17" is line 17
// also where the kernel calls it otherwise: older ones name lines after a
// second use, such as TXD1.
func newKernelBank(dev string, chips []*kernelChip) *kernelBank {
	b := &kernelBank{dev: dev, pins: map[string]*kernelPin{}}
	slices.SortStableFunc(chips, func(a, b *kernelChip) int { return a.rank() - b.rank() })
	add := func(name string, p *kernelPin) {
		if name != "" && b.pins[name] == nil {
			b.pins[name] = p
			if p.name == "" {
				p.name = name
				b.names = append(b.names, name)
			}
		}
	}
	var all [][]*kernelPin
	for _, c := range chips {
		var pins []*kernelPin
		for i, line := range c.lines {
			p := &kernelPin{bank: b, chip: c, home: c, offset: i, text: fmt.Sprintf("%s:%d", c.name, i)}
			add(line, p)
			pins = append(pins, p)
		}
		all = append(all, pins)
	}
	if chips[0].rank() < otherChip {
		for i, p := range all[0] {
			add("GPIO"+strconv.Itoa(i), p)
		}
	}
	for i, c := range chips {
		for j, p := range all[i] {
			add(fmt.Sprintf("%s:%d", c.name, j), p)
			for _, alias := range c.aliases {
				add(fmt.Sprintf("%s:%d", alias, j), p)
			}
		}
	}
	return b
}

const (
	headerChip  = iota // a Raspberry Pi's
	unnamedChip        // maybe the header's: its lines have no names
	otherChip
)

func (c *kernelChip) rank() int {
	switch {
	case strings.HasPrefix(c.label, "pinctrl-"):
		return headerChip
	case !slices.ContainsFunc(c.lines, func(name string) bool { return name != "" }):
		return unnamedChip
	}
	return otherChip
}

// ByName is the line, or the PWM channel, of that name.
func (b *kernelBank) ByName(pin string) (gpio.PinIO, error) {
	if p := b.pins[pin]; p != nil {
		return p, nil
	}
	if pwmName.MatchString(pin) {
		p, err := b.pwm.byName(pin)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	return nil, noPin(b, pin)
}

func (b *kernelBank) Names() []string { return append(slices.Clip(b.names), b.pwm.names()...) }
func (b *kernelBank) String() string  { return "pins of the kernel" }

// kernelPin is one line. It is held from the first In or Out that works until
// Halt; one that did not work can be tried again.
type kernelPin struct {
	bank   *kernelBank
	offset int
	name   string
	text   string      // stays the same where the chip gets another number
	home   *kernelChip // as it was found first

	mu   sync.Mutex
	chip *kernelChip
	held *os.File   // nil: not held
	with *kernelPin // the other line of the request, of a pair
	out  bool
	pull gpio.Pull
}

func (p *kernelPin) Name() string   { return p.name }
func (p *kernelPin) String() string { return p.text }
func (p *kernelPin) Number() int    { return p.offset }

// Function says what the pin is now. It never changes it.
func (p *kernelPin) Function() string {
	l, err := p.Level()
	p.mu.Lock()
	defer p.mu.Unlock()
	return function(p.held != nil && err == nil, p.out, l)
}

// Out makes the line an output. The first time the kernel gets direction and
// level in one request, so there is no other level in between.
func (p *kernelPin) Out(l gpio.Level) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	bit := uapi.LineBitmap(0)
	if l {
		bit = 1
	}
	if p.held != nil && p.out {
		err := p.control(func(fd uintptr) error {
			return uapi.SetLineValuesV2(fd, uapi.LineValues{Bits: bit, Mask: 1})
		})
		if err != nil {
			return fmt.Errorf("set %v %v: %w", p, l, err)
		}
		return nil
	}
	p.with = nil
	config := uapi.LineConfig{Flags: uapi.LineFlagV2Output}
	config.AddAttribute(uapi.LineConfigAttribute{Attr: uapi.OutputValues(bit).Encode(), Mask: 1})
	return p.request(config, true)
}

// In makes the line an input.
func (p *kernelPin) In(pull gpio.Pull, edge gpio.Edge) error { return p.InDebounced(pull, edge, 0) }

// InDebounced makes the line an input whose level and edges the kernel filters.
// It is let go in between if it was held.
func (p *kernelPin) InDebounced(pull gpio.Pull, edge gpio.Edge, stable time.Duration) error {
	config := inputConfig(pull)
	if edge&gpio.RisingEdge != 0 {
		config.Flags |= uapi.LineFlagV2EdgeRising
	}
	if edge&gpio.FallingEdge != 0 {
		config.Flags |= uapi.LineFlagV2EdgeFalling
	}
	if stable > 0 {
		config.AddAttribute(uapi.LineConfigAttribute{Attr: uapi.DebouncePeriod(stable).Encode(), Mask: 1})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.with = nil
	if err := p.request(config, false); err != nil {
		return err
	}
	p.pull = pull
	return nil
}

// inputConfig asks for an input with a resistor.
func inputConfig(pull gpio.Pull) uapi.LineConfig {
	config := uapi.LineConfig{Flags: uapi.LineFlagV2Input}
	switch pull {
	case gpio.PullUp:
		config.Flags |= uapi.LineFlagV2BiasPullUp
	case gpio.PullDown:
		config.Flags |= uapi.LineFlagV2BiasPullDown
	case gpio.Float:
		config.Flags |= uapi.LineFlagV2BiasDisabled
	}
	return config
}

// InPair makes the line and another of its chip one request; see pairer.
func (p *kernelPin) InPair(other gpio.PinIO, pull gpio.Pull) error {
	with, ok := other.(*kernelPin)
	if !ok || with.home != p.home {
		return fmt.Errorf("%w: %v and %v are not of one chip", errUnable, p, other)
	}
	config := inputConfig(pull)
	config.Flags |= uapi.LineFlagV2EdgeBoth
	p.mu.Lock()
	defer p.mu.Unlock()
	p.with = with
	if err := p.request(config, false); err != nil {
		return err
	}
	p.pull = pull
	return nil
}

// Levels reads both lines of a pair; see pairer.
func (p *kernelPin) Levels() (first, second gpio.Level, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil || p.with == nil {
		return first, second, fmt.Errorf("read %v: it is not held as a pair", p)
	}
	values := uapi.LineValues{Mask: 3}
	if err := p.control(func(fd uintptr) error { return uapi.GetLineValuesV2(fd, &values) }); err != nil {
		return first, second, fmt.Errorf("read %v and %v: %w", p, p.with, err)
	}
	return values.Bits&1 != 0, values.Bits&2 != 0, nil
}

// request takes the line anew; p.mu is held. A chip that was unplugged and is back
// may have another number.
func (p *kernelPin) request(config uapi.LineConfig, out bool) error {
	p.release()
	err := p.requestFrom(p.chip, config, out)
	if !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, errOtherChip) {
		return err
	}
	chips, _ := findChips(p.bank.dev)
	chips = slices.DeleteFunc(chips, func(c *kernelChip) bool { return !c.alike(p.chip) })
	if len(chips) != 1 { // of two that look the same nobody knows which it was
		return err
	}
	p.chip = chips[0]
	return p.requestFrom(p.chip, config, out)
}

// alike reports whether a chip is another again: its lines have the same names.
func (c *kernelChip) alike(other *kernelChip) bool {
	return c.label == other.label && slices.Equal(c.lines, other.lines)
}

// errOtherChip is found where the number of a chip has gone to another one.
var errOtherChip = errors.New("its chip is gone")

func (p *kernelPin) requestFrom(c *kernelChip, config uapi.LineConfig, out bool) error {
	chip, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer chip.Close()
	info, err := uapi.GetChipInfo(chip.Fd())
	if err != nil {
		return fmt.Errorf("take %v: %w", p, err)
	}
	if uapi.BytesToString(info.Label[:]) != c.label || int(info.Lines) != len(c.lines) {
		return fmt.Errorf("take %v: %w", p, errOtherChip)
	}
	r := uapi.LineRequest{Lines: 1, Config: config}
	r.Offsets[0] = uint32(p.offset)
	if p.with != nil {
		r.Lines, r.Offsets[1] = 2, uint32(p.with.offset)
	}
	copy(r.Consumer[:], consumer)
	if !out {
		r.EventBufferSize = kernelEdges
	}
	err = uapi.GetLine(chip.Fd(), &r)
	if errors.Is(err, unix.EBUSY) {
		return p.heldBy(chip, err)
	}
	if err != nil {
		return fmt.Errorf("take %v: %w", p, err)
	}
	// Only a descriptor that does not block is waited for by the poller.
	if err := unix.SetNonblock(int(r.Fd), true); err != nil {
		return errors.Join(fmt.Errorf("take %v: %w", p, err), unix.Close(int(r.Fd)))
	}
	p.held, p.out = os.NewFile(uintptr(r.Fd), p.String()), out
	return nil
}

// heldBy says who holds the line, as far as the kernel knows.
func (p *kernelPin) heldBy(chip *os.File, busy error) error {
	who := "something that does not give its name"
	if info, err := uapi.GetLineInfoV2(chip.Fd(), p.offset); err == nil {
		if name := uapi.BytesToString(info.Consumer[:]); name != "" {
			who = strconv.Quote(name)
		}
	}
	return fmt.Errorf("%v is held by %s: %w", p, who, busy)
}

// control does something with the line that is held; p.mu is held.
func (p *kernelPin) control(do func(fd uintptr) error) error {
	conn, err := p.held.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	if err := conn.Control(func(fd uintptr) { done = do(fd) }); err != nil {
		return err
	}
	return done
}

// Level reads the line. It changes nothing, also where the line is an output;
// what is not held is not read.
func (p *kernelPin) Level() (gpio.Level, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		return gpio.Low, fmt.Errorf("read %v: it is not held", p)
	}
	values := uapi.LineValues{Mask: 1}
	if err := p.control(func(fd uintptr) error { return uapi.GetLineValuesV2(fd, &values) }); err != nil {
		return gpio.Low, fmt.Errorf("read %v: %w", p, err)
	}
	return values.Bits&1 != 0, nil
}

// Read is Level for those who can do nothing about an error.
func (p *kernelPin) Read() gpio.Level {
	l, _ := p.Level()
	return l
}

// NextEdge waits for an edge; see edger.
func (p *kernelPin) NextEdge(timeout time.Duration) (Edge, error) {
	p.mu.Lock()
	f := p.held
	p.mu.Unlock()
	if f == nil {
		return Edge{}, errHalted
	}
	var deadline time.Time
	if timeout >= 0 {
		// One in the past would not even look for an edge that is there.
		deadline = time.Now().Add(max(timeout, time.Millisecond))
	}
	err := f.SetReadDeadline(deadline)
	var event [48]byte // the kernel's struct gpio_v2_line_event
	if err == nil {
		_, err = f.Read(event[:])
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Edge{}, errTimeout
	case errors.Is(err, os.ErrClosed):
		return Edge{}, errHalted
	case err != nil:
		return Edge{}, fmt.Errorf("wait for %v: %w", p, err)
	}
	return p.edge(event[:])
}

// edge is an event of the kernel. Its time is CLOCK_MONOTONIC, which Go's clock
// does not show; so it is told as how long ago it was.
func (p *kernelPin) edge(event []byte) (Edge, error) {
	var e uapi.LineEvent
	if err := binary.Read(bytes.NewReader(event), binary.NativeEndian, &e); err != nil {
		return Edge{}, fmt.Errorf("event of %v: %w", p, err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return Edge{}, fmt.Errorf("event of %v: %w", p, err)
	}
	ago := time.Duration(now.Nano() - int64(e.Timestamp))
	second := int(e.Offset) != p.offset // only of a pair
	return Edge{Level: e.ID == uapi.LineEventRisingEdge, At: time.Now().Add(-ago), Seq: e.Seqno, Second: second}, nil
}

// WaitForEdge is NextEdge in periph's words: -1 waits for ever, or until Halt.
func (p *kernelPin) WaitForEdge(timeout time.Duration) bool {
	_, err := p.NextEdge(timeout)
	return err == nil
}

// Halt lets the line go. What an output does then is up to the kernel.
func (p *kernelPin) Halt() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	return nil
}

// release lets the line go if it is held; p.mu is held. Closing such a
// descriptor can't fail in a way that would leave the line held.
func (p *kernelPin) release() {
	if p.held != nil {
		_ = p.held.Close()
		p.held = nil
	}
}

func (p *kernelPin) Pull() gpio.Pull {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil || p.out {
		return gpio.PullNoChange
	}
	return p.pull
}

func (p *kernelPin) DefaultPull() gpio.Pull { return gpio.PullNoChange }

func (p *kernelPin) PWM(gpio.Duty, physic.Frequency) error { return errNoPWM }
