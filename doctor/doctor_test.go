package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// machine writes what a kernel would tell below a folder.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLookingAtARaspberryPi(t *testing.T) {
	root := machine(t, map[string]string{
		"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\x00", "proc/uptime": "93784.12 1.5\n", "proc/meminfo": "MemTotal:        3884376 kB\nMemAvailable:    2000000 kB\n",
		"sys/class/thermal/thermal_zone0/type": "cpu-thermal\n", "sys/class/thermal/thermal_zone0/temp": "48312\n",
		"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n", "run/systemd/timesync/synchronized": "",
		"dev/watchdog": "", "dev/rtc0": "", "sys/class/watchdog/watchdog0/state": "inactive\n",
		"proc/self/status": "VmRSS:	   34000 kB\n", "proc/self/io": "write_bytes: 12288\n", "proc/self/cgroup": "0::/system.slice/hearth.service\n", "sys/fs/cgroup/system.slice/hearth.service/memory.max": "200000000\n",
	})
	m := Look(root, root)
	if m.Model != "Raspberry Pi 4 Model B Rev 1.5" || m.Uptime != 93784.12 || m.Memory != 3884376<<10 || m.Available != 2000000<<10 || m.Temperature == nil || *m.Temperature != 48.312 ||
		m.Throttled == nil || *m.Throttled != 0x50005 || !m.Synchronized || m.TimeSource != "systemd-timesyncd" || !m.RTC || m.Watchdog != "there" || m.DiskSize == 0 {
		t.Errorf("%+v", m)
	}
	if resident, limit, written := Own(root); resident != 34000<<10 || limit != 200000000 || written != 12288 {
		t.Error(resident, limit, written)
	}
	// A Raspberry Pi 5 has no such file for every kernel, but its sensor of the voltage.
	if m := Look(machine(t, map[string]string{"sys/class/hwmon/hwmon1/name": "rpi_volt\n", "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "1\n", "sys/class/watchdog/watchdog0/state": "active"}), "/"); m.Throttled == nil || *m.Throttled != undervoltage || m.Watchdog != "active" {
		t.Errorf("%+v", m)
	}
	// Of a machine that tells nothing nothing is known, and so nothing is found.
	nothing := Machine{Synchronized: true}
	if m := Look(t.TempDir(), "/no/such/folder"); m.Temperature != nil || m.Throttled != nil || m.Memory != 0 || m.DiskSize != 0 {
		t.Errorf("%+v", m)
	}
	if all := Examine(nothing, Hub{}); len(all) != 0 || Worst(all) != "" {
		t.Error(all)
	}
}

func TestOnACard(t *testing.T) {
	mounts := "/dev/mmcblk0p2 / ext4 rw 0 0\n/dev/sda1 /var/lib ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/mmcblk0p1 /boot vfat rw 0 0\n"
	for folder, want := range map[string]bool{"/home/pi/hearth-data": true, "/var/lib/hearth": false, "/var/library": true, "/": true, "/run/x": false} {
		if onCard(mounts, folder) != want {
			t.Errorf("%s: want %v", folder, want)
		}
	}
}

// Each thing that can be wrong is found alone, and by what it is found is what helps.
func TestFindings(t *testing.T) {
	bits := func(n uint32) *uint32 { return &n }
	degrees := func(d float64) *float64 { return &d }
	well := func() (Machine, Hub) {
		return Machine{Memory: 4 << 30, Available: 2 << 30, Temperature: degrees(50), Throttled: bits(0), DiskSize: 30 << 30, DiskFree: 20 << 30, Card: true, Synchronized: true, Watchdog: "active"},
			Hub{Running: true, ClockKnown: true, Resident: 30 << 20, Limit: 200 << 20, PerDay: 20 << 20, Loop: 0.001, Backups: true, Page: "127.0.0.1:8080"}
	}
	if all := Examine(well()); len(all) != 0 {
		t.Errorf("where all is well: %v", all)
	}
	for what, c := range map[string]struct {
		level Level
		wrong func(*Machine, *Hub)
		do    string
	}{
		"the power supply is too weak right now": {Bad, func(m *Machine, h *Hub) { m.Throttled = bits(0x10001) }, "unplug"},
		"the power supply was too weak since":    {Warning, func(m *Machine, h *Hub) { m.Throttled = bits(0x10000) }, "short thick cable"},
		"the processor is slowed down":           {Bad, func(m *Machine, h *Hub) { m.Throttled = bits(0x4) }, "fan"},
		"the processor was slowed down":          {Warning, func(m *Machine, h *Hub) { m.Throttled = bits(0x40000) }, "fan"},
		"the processor has 82 °C":                {Bad, func(m *Machine, h *Hub) { m.Temperature = degrees(82.1) }, "air"},
		"the processor has 76 °C":                {Warning, func(m *Machine, h *Hub) { m.Temperature = degrees(76) }, "air"},
		"nearly full: 100 MB":                    {Bad, func(m *Machine, h *Hub) { m.DiskFree = 100 << 20 }, "max_size"},
		"can only be read":                       {Bad, func(m *Machine, h *Hub) { m.ReadOnly = true }, "dmesg"},
		"writes 3.2 GB a day":                    {Warning, func(m *Machine, h *Hub) { h.PerDay = 3 << 30 }, "SSD"},
		"the clock is not known":                 {Bad, func(m *Machine, h *Hub) { h.ClockKnown = false }, "timesyncd"},
		"no time service":                        {Warning, func(m *Machine, h *Hub) { m.Synchronized = false }, "timedatectl"},
		"nothing starts the machine anew":        {Hint, func(m *Machine, h *Hub) { m.Watchdog = "there" }, "watchdog ="},
		"without a login, on 0.0.0.0:1883":       {Bad, func(m *Machine, h *Hub) { h.Anonymous = []string{"0.0.0.0:1883"} }, "anonymous = false"},
		"in the clear":                           {Warning, func(m *Machine, h *Hub) { h.PageOpen = true }, "tls init"},
		"in page.crt has expired":                {Bad, func(m *Machine, h *Hub) { h.Certificates = []Certificate{{"page.crt", -1}} }, "hearth tls renew"},
		"in page.crt expires today":              {Bad, func(m *Machine, h *Hub) { h.Certificates = []Certificate{{"page.crt", day - 1}} }, "hearth tls renew"},
		"in page.crt expires in 20 days": {Warning, func(m *Machine, h *Hub) {
			h.Certificates = []Certificate{{"page.crt", 20.9 * day}, {"mqtt.crt", 30 * day}}
		}, "Let's Encrypt"},
		"may read users.toml":                       {Warning, func(m *Machine, h *Hub) { h.Readable = []string{"users.toml"} }, "chmod o-rwx users.toml"},
		"output lamp is on GPIO2":                   {Bad, func(m *Machine, h *Hub) { h.Held = []string{"output lamp is on GPIO2, which is taken: I2C1"} }, "another pin"},
		"found damaged: a page":                     {Warning, func(m *Machine, h *Hub) { h.HistoryDamaged = []string{"a page"} }, "card"},
		"1 entry of the history went lost":          {Warning, func(m *Machine, h *Hub) { h.HistoryLost = 1 }, "log"},
		"has 2 mistakes":                            {Bad, func(m *Machine, h *Hub) { h.Mistakes, h.Warnings = 2, 1 }, "hearth check"},
		"has 1 warning":                             {Warning, func(m *Machine, h *Hub) { h.Warnings = 1 }, "hearth check"},
		"the disk refuses":                          {Bad, func(m *Machine, h *Hub) { h.Troubles = []string{"the disk refuses: no space"} }, "journalctl"},
		"pump: the line is held":                    {Bad, func(m *Machine, h *Hub) { h.Faults = []string{"pump: the line is held"} }, "acknowledged"},
		"the run before had no end":                 {Hint, func(m *Machine, h *Hub) { h.Crashed = true }, "poweroff"},
		"no backups":                                {Hint, func(m *Machine, h *Hub) { h.Backups = false }, "docs/backup.md"},
		"took 400 ms":                               {Warning, func(m *Machine, h *Hub) { h.Loop = 0.4 }, "top"},
		"nearly all of the memory":                  {Warning, func(m *Machine, h *Hub) { h.Resident = 195 << 20 }, "MemoryMax"},
		"only 100 MB of memory":                     {Warning, func(m *Machine, h *Hub) { m.Available = 100 << 20 }, "not needed"},
		"the processor is kept from its full speed": {Warning, func(m *Machine, h *Hub) { m.Throttled = bits(2) }, "power supply"},
	} {
		m, h := well()
		c.wrong(&m, &h)
		all := Examine(m, h)
		if len(all) != 1 || all[0].Level != c.level || !strings.Contains(all[0].What, what) || !strings.Contains(all[0].Do, c.do) {
			t.Errorf("%s: %v", what, all)
		}
	}
	m, h := well()
	if m.Synchronized, h.Trusts = false, true; len(Examine(m, h)) > 0 {
		t.Errorf("whose owner trusts the clock is told %v", Examine(m, h))
	}
	m, h = well()
	h.Crashed, m.ReadOnly, m.Synchronized, h.Started = true, true, false, time.Now()
	all := Examine(m, h)
	if len(all) != 3 || Worst(all) != Bad || all[2].Level != Hint {
		t.Errorf("%v", all)
	}
}
