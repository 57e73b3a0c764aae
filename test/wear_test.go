package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What the hub writes to a card, counted by the kernel as sectors that reached the
// device, with the file system's journal. 100 sensors say something every ten
// seconds, retained and with QoS 1. `make wear` runs this for as many minutes as
// HEARTH_WEAR says.
func TestWear(t *testing.T) {
	minutes, _ := strconv.Atoi(os.Getenv("HEARTH_WEAR"))
	if minutes <= 0 {
		t.Skip("takes half an hour: make wear, or HEARTH_WEAR=minutes")
	}
	if !alone(t) {
		return
	}
	for _, c := range []struct {
		name     string
		interval time.Duration
		sensors  int
		mostADay float64 // MB
	}{
		{"idle", 5 * time.Minute, 0, 0},
		{"by default", 5 * time.Minute, 100, 20},
		{`with retained_interval = "0s"`, 0, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk := newDisk(t, 64<<20)
			disk.mount(t)
			house := newHouse(t, filepath.Join(disk.dir, "data"), porch)
			house.retain(t, c.interval)
			hub := house.start(t)
			var sensors []*peer
			var acked atomic.Int64
			for i := range c.sensors {
				p := &peer{id: fmt.Sprint("sensor", i), version: 4 + byte(i%2), got: func(packet) {}, acked: func(_ packet, code byte) {
					if code < 0x80 {
						acked.Add(1)
					}
				}}
				if err := p.connect(t.Context(), hub.tcp); err != nil {
					t.Fatal(err)
				}
				sensors = append(sensors, p)
			}
			<-time.After(15 * time.Second) // the file system settles
			run(t, "sync", "-f", disk.dir)
			before, end := disk.written(t), time.Now().Add(time.Duration(minutes)*time.Minute)
			var busy sync.WaitGroup
			for i, p := range sensors {
				busy.Go(func() {
					<-time.After(time.Duration(i) * 10 * time.Second / time.Duration(len(sensors)))
					for n := 0; time.Now().Before(end); n++ {
						p.publish(fmt.Sprintf("zigbee2mqtt/sensor_%d", i), fmt.Sprintf(`{"battery":100,"humidity":%d,"linkquality":%d,"temperature":%.1f}`, 40+n%9, 90+n%31, 20+float64(n%50)/10), 1, true)
						<-time.After(10 * time.Second)
					}
				})
			}
			busy.Wait()
			<-time.After(time.Until(end))
			run(t, "sync", "-f", disk.dir)
			bytes := disk.written(t) - before
			day := float64(bytes) / 1e6 * 24 * 60 / float64(minutes)
			t.Logf("%-30s %d messages acknowledged in %d minutes, %d bytes written: %.2f MB a day", c.name, acked.Load(), minutes, bytes, day)
			if want := int64(c.sensors * minutes * 6 * 95 / 100); acked.Load() < want { // a busy machine is late now and then
				t.Errorf("%d messages were acknowledged, want %d", acked.Load(), want)
			}
			// The first values of all sensors, and what shares their first five minutes, are
			// only small beside half an hour.
			if c.interval > 0 && day > c.mostADay && (minutes >= 30 || c.sensors == 0) {
				t.Errorf("%.2f MB a day, want at most %.0f", day, c.mostADay)
			}
		})
	}
}

// written is what the disk was given to write so far, in bytes.
func (d *disk) written(t *testing.T) int64 {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[1] != d.dir {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(f[0]), "stat"))
		if err != nil {
			t.Fatal(err)
		}
		sectors, err := strconv.ParseInt(strings.Fields(string(stat))[6], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return 512 * sectors
	}
	t.Fatal(d.dir, "is not mounted")
	return 0
}
