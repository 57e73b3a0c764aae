package doctor

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Look asks the kernel: by its files below root, "/" on a real machine, and of the disk on
// which the folder data is.
func Look(root, data string) Machine {
	m := Machine{
		Model:       strings.TrimRight(read(root, "proc/device-tree/model"), "\x00"),
		Temperature: temperature(root),
		Throttled:   throttled(root),
	}
	up, _, _ := strings.Cut(read(root, "proc/uptime"), " ")
	m.Uptime, _ = strconv.ParseFloat(up, 64)
	m.Memory, m.Available = field(read(root, "proc/meminfo"), "MemTotal:")<<10, field(read(root, "proc/meminfo"), "MemAvailable:")<<10
	var disk unix.Statfs_t
	if unix.Statfs(data, &disk) == nil {
		m.DiskSize, m.DiskFree = int64(disk.Blocks)*int64(disk.Bsize), int64(disk.Bavail)*int64(disk.Bsize)
		m.ReadOnly = disk.Flags&unix.ST_RDONLY != 0
		m.Card = onCard(read(root, "proc/self/mounts"), data)
	}
	var t unix.Timex
	const nano = 0x2000 // STA_NANO: the offset is in nanoseconds
	if state, err := unix.Adjtimex(&t); err == nil {
		m.Synchronized = state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
		offset := float64(t.Offset) / 1e6
		if t.Status&nano != 0 {
			offset /= 1e3
		}
		if m.Synchronized {
			m.Offset = &offset
		}
	}
	switch {
	case there(root, "run/systemd/timesync/synchronized"):
		m.TimeSource, m.Synchronized = "systemd-timesyncd", true
	case there(root, "run/chrony"):
		m.TimeSource = "chrony"
	}
	m.RTC = there(root, "dev/rtc0")
	switch state := read(root, "sys/class/watchdog/watchdog0/state"); {
	case state == "active":
		m.Watchdog = "active"
	case there(root, "dev/watchdog"):
		m.Watchdog = "there"
	}
	return m
}

// Own is how much memory this process has, and may have, and what it has written to disks.
func Own(root string) (resident, limit, written int64) {
	resident = field(read(root, "proc/self/status"), "VmRSS:") << 10
	written = field(read(root, "proc/self/io"), "write_bytes:")
	if most := debug.SetMemoryLimit(-1); most < math.MaxInt64 {
		limit = most
	}
	if _, group, ok := strings.Cut(read(root, "proc/self/cgroup"), "0::"); ok {
		group, _, _ = strings.Cut(group, "\n")
		if most, err := strconv.ParseInt(read(root, filepath.Join("sys/fs/cgroup", group, "memory.max")), 10, 64); err == nil && (limit == 0 || most < limit) {
			limit = most
		}
	}
	return resident, limit, written
}

func read(root, path string) string {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func there(root, path string) bool {
	_, err := os.Stat(filepath.Join(root, path))
	return err == nil
}

// field is the number behind a name at the begin of a line; 0 if there is none.
func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n
		}
	}
	return 0
}

// temperature is that of the processor, in °C.
func temperature(root string) *float64 {
	zones, _ := filepath.Glob(filepath.Join(root, "sys/class/thermal/thermal_zone*"))
	var found *float64
	for _, zone := range zones {
		milli, err := strconv.ParseFloat(read(zone, "temp"), 64)
		if err != nil {
			continue
		}
		degrees := milli / 1000
		kind := read(zone, "type")
		if cpu := strings.Contains(kind, "cpu") || kind == "x86_pkg_temp"; cpu || found == nil {
			if found = &degrees; cpu {
				break
			}
		}
	}
	return found
}

// throttled is what the firmware of a Raspberry Pi says of power and heat, or its sensor of
// the voltage alone.
func throttled(root string) *uint32 {
	files, _ := filepath.Glob(filepath.Join(root, "sys/devices/platform/*/*firmware/get_throttled"))
	for _, file := range files {
		if n, err := strconv.ParseUint(strings.TrimPrefix(read("", file), "0x"), 16, 32); err == nil {
			bits := uint32(n)
			return &bits
		}
	}
	names, _ := filepath.Glob(filepath.Join(root, "sys/class/hwmon/*/name"))
	for _, file := range names {
		if read("", file) != "rpi_volt" {
			continue
		}
		if alarm, err := strconv.ParseUint(read(filepath.Dir(file), "in0_lcrit_alarm"), 10, 32); err == nil {
			bits := uint32(alarm) & undervoltage
			return &bits
		}
	}
	return nil
}

// onCard says whether a folder is on an SD card, by the table of mounts.
func onCard(mounts, folder string) bool {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return false
	}
	device, longest := "", -1
	for line := range strings.Lines(mounts) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		at := strings.TrimSuffix(words[1], "/")
		if (folder == words[1] || strings.HasPrefix(folder, at+"/")) && len(at) >= longest {
			device, longest = words[0], len(at)
		}
	}
	return strings.HasPrefix(device, "/dev/mmcblk")
}
