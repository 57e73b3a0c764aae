package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// The lamp, its link, and a bell on MQTT, which must not be rung twice and so is
// written down before it rings.
const houseWithBell = porch + `
[rule.bell]
trigger = { event = "door/button" }
action = { pulse = "chime", for = "200ms", on = "RING", off = "QUIET" }
`

// A full disk stops nothing but what it would have to keep. Lamp, link and bell
// work; who asks for a retained value to be kept waits, for in version 3 there is no
// way to refuse it, and is answered when there is room again.
func TestFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	disk := newDisk(t, 16<<20)
	disk.mount(t)
	house := newHouse(t, filepath.Join(disk.dir, "data"), strings.Replace(houseWithBell, `"chime"`, `"house/chime"`, 1))
	hub := house.start(t)
	hand := hub.client(t, "hand")
	watch := hub.client(t, "watch", "hearth/#", "house/#", "kept/#")
	ring := func(t *testing.T) time.Duration {
		began := time.Now()
		hand.send(t, "door/button", "pressed", false)
		at := watch.expect(t, "house/chime", "RING").at
		watch.expect(t, "house/chime", "QUIET")
		return at.Sub(began)
	}
	t.Logf("in peace the bell rings after %v", ring(t))
	hand.send(t, "kept/before", "here", true)

	// The log was made with room in it, so that is used up first.
	disk.fill(t)
	before := 0
	publish := func(id, topic, payload string) (waits chan byte) {
		waits = make(chan byte, 1)
		p := &peer{id: id, version: 4, got: func(packet) {}, acked: func(_ packet, code byte) { waits <- code }}
		if err := p.connect(t.Context(), hub.tcp); err != nil {
			t.Fatal(err)
		}
		p.publish(topic, payload, 1, true)
		return waits
	}
	big := strings.Repeat("x", 60<<10)
	refused := func(topic string) (waits chan byte) {
		waits = publish(fmt.Sprint("publisher", before), topic, big)
		select {
		case <-waits:
			return nil
		case <-time.After(2 * time.Second):
			return waits
		}
	}
	var waiting []chan byte
	for len(waiting) == 0 {
		topic := fmt.Sprint("kept/", before)
		if waits := refused(topic); waits != nil {
			waiting = append(waiting, waits)
		} else if before++; before > 1000 {
			t.Fatal("the disk is full and 60 MB were kept on it")
		}
	}
	t.Logf("on the full disk %d values of 60 KiB were acknowledged, then no more", before)
	for i := range 5 {
		waiting = append(waiting, publish(fmt.Sprint("waiting", i), fmt.Sprint("kept/waiting", i), "patient"))
	}
	eventually(t, "the page says that the disk refuses", func() bool {
		return slices.ContainsFunc(hub.view(t).Trouble, func(s string) bool { return strings.Contains(s, "no space left") })
	})

	// The house goes on.
	var links []time.Duration
	level := map[bool][2]string{true: {`{"occupancy":true}`, "ON"}, false: {`{"occupancy":false}`, "OFF"}}
	for i := range 100 {
		began := time.Now()
		hand.send(t, "zigbee2mqtt/hall_motion", level[i%2 == 0][0], false)
		links = append(links, watch.expect(t, "hearth/porch_light/state", level[i%2 == 0][1]).at.Sub(began))
	}
	watchLamp := hub.client(t, "lamp", "hearth/porch_light/state")
	watchLamp.expect(t, "hearth/porch_light/state", "OFF")
	sets := switches(t, watchLamp, 100)
	t.Logf("meanwhile sensor -> link -> state: %s", spread(links))
	t.Logf("meanwhile set -> state:            %s", spread(sets))
	t.Logf("meanwhile the bell rings after %v", ring(t))
	for i, waits := range waiting {
		select {
		case <-waits:
			t.Fatalf("publisher %d was answered, but its value can't be on disk", i)
		default:
		}
	}

	disk.empty(t)
	began := time.Now()
	for i, waits := range waiting {
		select {
		case <-waits:
		case <-time.After(patience):
			t.Fatalf("there is room again, but publisher %d is not answered", i)
		}
	}
	t.Logf("with room again all %d who waited were answered after %v", len(waiting), time.Since(began))
	if trouble := hub.view(t).Trouble; slices.ContainsFunc(trouble, func(s string) bool { return strings.Contains(s, "disk") }) {
		t.Errorf("the disk is well, the page says %v", trouble)
	}

	// Killed, and started on a disk that is full again: the hub can't copy its log
	// as it would after a crash, but it works with what it finds.
	hub.kill()
	disk.fill(t)
	hub = house.start(t)
	t.Logf("after kill -9, on a full disk: ready after %v", hub.ready)
	kept := hub.client(t, "kept", "kept/#", "hearth/porch_light/state")
	kept.expect(t, "kept/before", "here")
	for topic, want := range map[string]string{"kept/0": big, "kept/waiting0": "patient", "kept/waiting4": "patient", fmt.Sprint("kept/", before): big} {
		if !within(patience, func() bool { return kept.last()[topic] == want }) {
			t.Errorf("%s is not there after the crash", topic)
		}
	}
	switches(t, hub.client(t, "lamp", "hearth/porch_light/state"), 10)
	hub.stop(t)

	// A house that is new can't begin on a full disk, and says so.
	fresh := newHouse(t, filepath.Join(disk.dir, "fresh"), porch)
	hub = fresh.launch(t)
	if err := hub.waitReady(); err == nil {
		t.Logf("the first start on a full disk works")
	} else if last := hub.lines()[len(hub.lines())-1]; strings.Contains(last, "no space left") && strings.Contains(last, filepath.Join(disk.dir, "fresh")) {
		t.Logf("the first start on a full disk says: %s", last)
	} else {
		t.Errorf("the first start on a full disk: %v\n%s", err, strings.Join(hub.lines(), "\n"))
	}
	hub.kill()
	disk.empty(t)
	fresh.start(t)
}

// alone runs the test that calls it once more, as root of a process and a mount
// namespace of its own, and says which of the two it is. Whatever ends that one,
// be it a panic, a timeout or kill -9, the kernel then ends all its processes and
// takes back its mounts and loop devices.
func alone(t *testing.T) bool {
	t.Helper()
	const sign = "HEARTH_TEST_ALONE"
	if os.Getenv(sign) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		missing(t, "right to mount disks (this is not root)")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "%s", tool)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		missing(t, "loop device: %v", err)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v", fmt.Sprint("-cuts=", *cuts)}
	if end, ok := t.Deadline(); ok {
		args = append(args, fmt.Sprint("-test.timeout=", time.Until(end)))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), sign+"="+t.Name(), "HEARTH_TEST_BINARY="+program, "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNS,
		Cloneflags:   syscall.CLONE_NEWPID,
		Pdeathsig:    syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		missing(t, "right to make namespaces: %v", err)
	}
	var told []string
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "=== ") && strings.TrimSpace(line) != "PASS" {
			told = append(told, strings.TrimSuffix(line, "\n"))
		}
	}
	switch text := strings.Join(told, "\n"); {
	case err != nil:
		t.Fatalf("%v\n%s", err, text)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skip(text)
	default:
		t.Log(text)
	}
	return false
}

// A disk is an ext4 file system on a loop device. It may only be mounted alone.
type disk struct{ image, dir string }

func newDisk(t *testing.T, size int64) *disk {
	t.Helper()
	d := &disk{filepath.Join(t.TempDir(), "image"), t.TempDir()}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	// Nothing is reserved for root, which the hub is here.
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	return d
}

func (d *disk) mount(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("mount", "-o", "loop,noatime", d.image, d.dir).CombinedOutput(); err != nil {
		missing(t, "loop device that can be mounted: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", d.dir).Run() }) // the kernel would do it too
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	run(t, "umount", d.dir)
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), command, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", command, strings.Join(args, " "), err, out)
	}
}

// cut takes the power from the disk: what has not been synced is lost, the
// journal is not written out, and every write from now on fails. now is called
// when it is about to happen.
func (d *disk) cut(t *testing.T, now func()) {
	t.Helper()
	dir, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	const shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	noLogFlush := uint32(2)
	now()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdown, uintptr(unsafe.Pointer(&noLogFlush))); errno != 0 {
		t.Fatal("cut the power:", errno)
	}
}

// fill leaves no byte free, empty gives the room back.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	ballast, err := os.OpenFile(filepath.Join(d.dir, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for _, piece := range []int{64 << 10, 4 << 10, 1} {
		for {
			if _, err = ballast.Write(make([]byte, piece)); err != nil {
				break
			}
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal("fill the disk:", err)
		}
		ballast.Sync()
	}
}

func (d *disk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil {
		t.Fatal(err)
	}
}
