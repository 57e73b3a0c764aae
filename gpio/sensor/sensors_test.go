package sensor

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/devices"
	"hearth/gpio/bus"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
)

// write makes files below root, each with one line, and the folders that they need.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// sys is a machine with some of everything.
func sys(t *testing.T) string {
	root := t.TempDir()
	write(t, root, map[string]string{
		"sys/bus/iio/devices/iio:device0/name":                           "bmp280",
		"sys/bus/iio/devices/iio:device0/in_temp_input":                  "25080",
		"sys/bus/iio/devices/iio:device0/in_pressure_input":              "100.653269531",
		"sys/bus/iio/devices/iio:device1/name":                           "ads1115",
		"sys/bus/iio/devices/iio:device1/in_voltage0_raw":                "16384",
		"sys/bus/iio/devices/iio:device1/in_voltage0_scale":              "0.125000000",
		"sys/bus/iio/devices/iio:device1/in_voltage1_raw":                "-16384",
		"sys/bus/iio/devices/iio:device1/in_voltage_scale":               "0.0625",
		"sys/bus/iio/devices/iio:device2/name":                           "sht4x",
		"sys/bus/iio/devices/iio:device2/in_temp_raw":                    "26000",
		"sys/bus/iio/devices/iio:device2/in_temp_offset":                 "-16852",
		"sys/bus/iio/devices/iio:device2/in_temp_scale":                  "2.670329",
		"sys/bus/iio/devices/iio:device2/in_humidityrelative_raw":        "32767",
		"sys/bus/iio/devices/iio:device2/in_humidityrelative_offset":     "-3145",
		"sys/bus/iio/devices/iio:device2/in_humidityrelative_scale":      "1.907349",
		"sys/bus/iio/devices/iio:device3/name":                           "scd4x",
		"sys/bus/iio/devices/iio:device3/in_concentration_co2_raw":       "612",
		"sys/bus/iio/devices/iio:device3/in_concentration_co2_scale":     "0.0001",
		"sys/bus/iio/devices/iio:device4/name":                           "mlx90614",
		"sys/bus/iio/devices/iio:device4/in_temp_object_raw":             "15000",
		"sys/bus/iio/devices/iio:device4/in_temp_offset":                 "-13657.5",
		"sys/bus/iio/devices/iio:device4/in_temp_scale":                  "20",
		"sys/bus/iio/devices/iio:device5/name":                           "tsl2561",
		"sys/bus/iio/devices/iio:device5/in_illuminance0_input":          "120",
		"sys/class/hwmon/hwmon0/name":                                    "lm75",
		"sys/class/hwmon/hwmon0/temp1_input":                             "25500",
		"sys/class/hwmon/hwmon1/name":                                    "ina219",
		"sys/class/hwmon/hwmon1/in0_input":                               "12",
		"sys/class/hwmon/hwmon1/in1_input":                               "12016",
		"sys/class/hwmon/hwmon1/curr1_input":                             "850",
		"sys/class/hwmon/hwmon1/power1_input":                            "10200000",
		"sys/class/hwmon/hwmon2/name":                                    "pwmfan",
		"sys/class/hwmon/hwmon2/fan1_input":                              "2400",
		"sys/class/hwmon/hwmon3/name":                                    "max31790",
		"sys/class/hwmon/hwmon3/temp1_input":                             "20000",
		"sys/class/hwmon/hwmon3/temp1_fault":                             "1",
		"sys/class/thermal/thermal_zone0/type":                           "cpu-thermal",
		"sys/class/thermal/thermal_zone0/temp":                           "48312",
		"sys/bus/w1/devices/28-00000a1b2c3d/w1_slave":                    "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125",
		"sys/bus/w1/devices/28-00000a1b2c3e/temperature":                 "-1250",
		"sys/bus/w1/devices/28-00000a1b2c3f/w1_slave":                    "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000",
		"sys/bus/w1/devices/28-00000a1b2c40/w1_slave":                    "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n72 01 4b 46 7f ff 0e 10 57 t=-62",
		"sys/bus/w1/devices/28-00000a1b2c41/w1_slave":                    "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0",
		"sys/bus/w1/devices/28-00000a1b2c42/temperature":                 "-127000",
		"sys/devices/platform/soc/i2c-1/1-0048/hwmon/hwmon7/name":        "tmp102",
		"sys/devices/platform/soc/i2c-1/1-0048/hwmon/hwmon7/temp1_input": "1000",
		"sys/devices/platform/soc/i2c-1/1-0049/hwmon/hwmon8/name":        "tmp102",
		"sys/devices/platform/soc/i2c-1/1-0049/hwmon/hwmon8/temp1_input": "2000",
	})
	for _, dir := range []string{"1-0048/hwmon/hwmon7", "1-0049/hwmon/hwmon8"} {
		if err := os.Symlink("../../devices/platform/soc/i2c-1/"+dir, filepath.Join(root, "sys/class/hwmon", filepath.Base(dir))); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// What the kernel says, in the units that the house uses.
func TestTheKernelsSensors(t *testing.T) {
	root := sys(t)
	for _, test := range []struct {
		sensor string // its table
		want   string // what is told, or the error
	}{
		{`iio = "bmp280"`, "temperature 25.08, pressure 1006.53"},
		{`iio = "bmp280", unit = "kPa"`, "temperature 25.08, pressure 100.653"},
		{`iio = "bmp280", unit = ["F", "inHg"]`, "temperature 77.14, pressure 29.723"},
		{`iio = "bmp280", properties = ["humidity"]`, "humidity: open "},
		{`iio = "ads1115", properties = ["voltage0", "voltage1"]`, "voltage0 2.048, voltage1 -1.024"},
		{`iio = "ads1115", properties = ["voltage0"], scale = 11, unit = "mV", round = 0`, "voltage0 22528"},
		{`iio = "sht4x"`, "temperature 24.43, humidity 56.5"},
		{`iio = "scd4x", properties = ["co2"]`, "co2 612"},
		{`iio = "mlx90614", properties = ["temperature_object"]`, "temperature_object 26.85"},
		{`iio = "tsl2561"`, "illuminance 120"},
		{`iio = "bme680", properties = ["temperature"]`, "there is no device called bme680, only ads1115, bmp280, mlx90614, scd4x, sht4x, tsl2561"},
		{`hwmon = "lm75"`, "temperature 25.5"},
		{`hwmon = "lm75", offset = -0.5`, "temperature 25"},
		{`hwmon = "ina219"`, "voltage 12.016, current 0.85, power 10.2"},
		{`hwmon = "ina219", properties = ["voltage0"]`, "voltage0 0.012"},
		{`hwmon = "pwmfan", properties = ["speed"]`, "speed 2400"},
		{`hwmon = "max31790", properties = ["temperature"]`, "temperature: the device reports a fault of its sensor"},
		{`hwmon = "tmp102"`, "several devices are called tmp102 (hwmon7, hwmon8)"},
		{`hwmon = "tmp102@1-0049"`, "temperature 2"},
		{`hwmon = "tmp102@1-004a"`, "no device called tmp102 has 1-004a in its path"},
		{`thermal = "cpu-thermal"`, "temperature 48.31"},
		{`w1 = "28-00000a1b2c3d"`, "temperature 23.13"},
		{`w1 = "28-00000a1b2c3d", round = 1`, "temperature 23.1"},
		{`w1 = "28-00000a1b2c3e"`, "temperature -1.25"},
		{`w1 = "28-00000a1b2c3f"`, "it says 85 °C, as it does when its power failed"},
		{`w1 = "28-00000a1b2c40"`, "the check sum is wrong"},
		{`w1 = "28-00000a1b2c41"`, "only zeros"},
		{`w1 = "28-00000a1b2c42"`, "it says -127 °C, which it can't measure"},
		{`w1 = "28-00000a1b2c99"`, "there is no thermometer 28-00000a1b2c99"},
	} {
		cfg, doc := parse("sensor.x = { " + test.sensor + " }")
		if err := doc.Err(); err != nil {
			t.Fatal(err)
		}
		s := &Sensors{opt: Options{Root: root}}
		track := newTrack("x", cfg.Sensor[0].Value, 0)
		var rs []devices.Reading
		if values, err := s.reader(track.s, "").measure(time.Time{}); err != nil {
			rs = track.failed(err.Error(), 0)
		} else {
			rs = track.measured(values, 0)
		}
		if got := said(rs); !strings.HasPrefix(got, test.want) && !(rs[0].Gone && strings.Contains(rs[0].Bad, test.want)) {
			t.Errorf("%s: got %s, want %s", test.sensor, got, test.want)
		}
	}
}

// said is readings in a line.
func said(rs []devices.Reading) string {
	var parts []string
	for _, r := range rs {
		_, property, _ := strings.Cut(r.Source, ".")
		switch {
		case r.Gone:
			parts = append(parts, property+" gone: "+r.Bad)
		case r.Initial:
			parts = append(parts, property+" "+r.Text)
		default:
			parts = append(parts, property+" "+r.Text+"!")
		}
	}
	return strings.Join(parts, ", ")
}

// What a track tells of a list of measurements, one each 30 seconds.
func TestTracks(t *testing.T) {
	const bad = -1e9
	for _, test := range []struct {
		name, sensor string
		values       []float64
		want         []string // of each value
	}{
		{"rounding and offset", `round = 1, offset = { temperature = 0.1 }, scale = 2`, []float64{10.01, 10.04, -0.06},
			[]string{"20.1", "20.2!", "0!"}},
		{"a delta", `delta = 0.5, round = 1`, []float64{20, 20.4, 20.5, 20.1, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20, 20},
			[]string{"20", "", "20.5!", "", "20!", "", "", "", "", "", "", "", "", "", "20!"}},
		{"a median", `filter = "median 3"`, []float64{20, 21, 90, 21, 20, 19},
			[]string{"20", "20.5!", "21!", "21!", "21!", "20!"}},
		{"a mean", `filter = "mean 2"`, []float64{20, 21, 23}, []string{"20", "20.5!", "22!"}},
		{"one that fails once", ``, []float64{20, bad, 21}, []string{"20", "", "21!"}},
		{"one that fails for longer", ``, []float64{20, bad, bad, bad, bad, 21},
			[]string{"20", "", "gone: broken", "", "", "21!"}},
		{"one that fails from the start", ``, []float64{bad, bad, 20}, []string{"gone: broken", "", "20"}},
		{"what can't be", ``, []float64{20, math.NaN(), math.Inf(1), -274}, []string{"20", "", "gone: temperature: +Inf C can't be", ""}},
		{"a filter after an outage begins anew", `filter = "mean 2"`, []float64{20, bad, bad, 30}, []string{"20", "", "gone: broken", "30!"}},
		{"a longer expiry", `expire = "90s"`, []float64{20, bad, bad, bad}, []string{"20", "", "", "gone: broken"}},
	} {
		cfg, doc := parse(`sensor.x = { thermal = "cpu-thermal", ` + strings.TrimSuffix(test.sensor, ", ") + ` }`)
		if err := doc.Err(); err != nil {
			t.Fatal(err)
		}
		track := newTrack("x", cfg.Sensor[0].Value, 0)
		for i, v := range test.values {
			now := time.Duration(i) * 30 * time.Second
			var rs []devices.Reading
			if v == bad {
				rs = track.failed("broken", now)
			} else {
				rs = track.measured(map[string]float64{"temperature": v}, now)
			}
			if got := strings.TrimPrefix(said(rs), "temperature "); got != test.want[i] {
				t.Errorf("%s: after %v: got %q, want %q", test.name, now, got, test.want[i])
			}
		}
	}
}

// A house of sensors in a bubble.
type house struct {
	t     *testing.T
	began time.Time
	*Sensors
	mu   sync.Mutex
	said []string
	log  bytes.Buffer
}

func open(t *testing.T, root, text string, opener bus.Opener) *house {
	h := &house{t: t, began: time.Now()}
	h.Sensors = Open(h.config(text), Options{
		Root: root, Buses: bus.New(bus.Config{}, opener),
		Now: func() devices.Now { return devices.Now{Mono: time.Since(h.began)} },
		Log: slog.New(slog.NewTextHandler(&h.log, nil)),
		Feed: func(r devices.Reading) {
			h.mu.Lock()
			defer h.mu.Unlock()
			name, _, _ := strings.Cut(r.Source, ".")
			h.said = append(h.said, fmt.Sprintf("%v %s %s", r.At.Mono.Round(time.Second), name, said([]devices.Reading{r})))
		},
	})
	return h
}

func (h *house) config(text string) Config {
	h.t.Helper()
	cfg, doc := parse(text)
	if err := doc.Err(); err != nil {
		h.t.Fatal(err)
	}
	return cfg
}

// until lets time pass up to a moment since the start and compares what was told
// since the last call.
func (h *house) until(moment string, want ...string) {
	h.t.Helper()
	d, err := time.ParseDuration(moment)
	if err != nil {
		h.t.Fatal(err)
	}
	time.Sleep(d - time.Since(h.began))
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := strings.Join(h.said, "\n"); got != strings.Join(want, "\n") {
		h.t.Errorf("until %s: got\n%s\nwant\n%s", moment, got, strings.Join(want, "\n"))
	}
	h.said = nil
}

// A device that is deleted is unavailable within two intervals, and back by itself
// under another number.
func TestADeviceThatGoesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := sys(t)
		devices := filepath.Join(root, "sys/bus/iio/devices")
		h := open(t, root, `sensor.cellar = { iio = "bmp280", interval = "10s" }`, nil)
		h.until("1s", "0s cellar temperature 25.08", "0s cellar pressure 1006.53")
		h.until("15s", "10s cellar temperature 25.08!", "10s cellar pressure 1006.53!")
		if err := os.Rename(filepath.Join(devices, "iio:device0"), filepath.Join(root, "gone")); err != nil {
			t.Fatal(err)
		}
		h.until("29s")
		why := "gone: there is no device called bmp280, only ads1115, mlx90614, scd4x, sht4x, tsl2561"
		h.until("35s", "30s cellar temperature "+why, "30s cellar pressure "+why)
		h.until("10m5s")
		if why := h.Fault("cellar"); !strings.Contains(why, "no device called bmp280") {
			t.Errorf("Fault is %q", why)
		}
		if err := os.Rename(filepath.Join(root, "gone"), filepath.Join(devices, "iio:device17")); err != nil {
			t.Fatal(err)
		}
		h.until("10m15s", "10m10s cellar temperature 25.08!", "10m10s cellar pressure 1006.53!")
		if why := h.Fault("cellar"); why != "" {
			t.Errorf("Fault is %q", why)
		}
		h.Close()
		h.until("20m")
		log := h.log.String()
		if strings.Count(log, "unavailable") != 1 || strings.Count(log, "available again") != 1 {
			t.Errorf("want one line for each, not\n%s", log)
		}
	})
}

// hanging is a bus whose transactions hang until released.
type hanging struct {
	i2ctest.Playback
	release chan struct{}
}

func (h *hanging) Tx(addr uint16, w, r []byte) error {
	<-h.release
	return h.Playback.Tx(addr, w, r)
}

// A bus that hangs delays no other sensor and costs no more with time; when it
// comes back its sensor works again.
func TestABusThatHangsDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &hanging{release: make(chan struct{})}
		stuck.DontPanic = true
		h := open(t, sys(t), `
			[sensor.attic]
			type = "bmp280"
			bus = "I2C1"
			interval = "10s"
			[sensor.cpu]
			thermal = "cpu-thermal"
			interval = "10s"`,
			func(string) (i2c.BusCloser, error) { return stuck, nil })
		h.until("5s", "0s cpu temperature 48.31",
			"1s attic temperature gone: I2C1: no answer within 1s, the bus hangs", "1s attic pressure gone: I2C1: no answer within 1s, the bus hangs")
		h.until("11s", "10s cpu temperature 48.31!")
		goroutines := runtime.NumGoroutine()
		for i := 2; i < 60; i++ {
			h.until(fmt.Sprintf("%ds", 10*i+1), fmt.Sprintf("%v cpu temperature 48.31!", time.Duration(i)*10*time.Second))
		}
		if n := runtime.NumGoroutine(); n > goroutines+10 {
			t.Errorf("%d goroutines after 58 measurements, %d before", n, goroutines)
		}
		stuck.Ops = concat([]i2ctest.IO{bmp280[0]}, bmp280, bmp280Measures) // the first is the one that hung
		close(stuck.release)
		h.until("601s", "10m0s cpu temperature 48.31!", "10m0s attic temperature 25.08", "10m0s attic pressure 1006.53")
		h.Close()
	})
}

// Close does not wait for ever for what hangs.
func TestCloseWhileABusHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := &hanging{release: make(chan struct{})}
		stuck.DontPanic = true
		h := open(t, t.TempDir(), `sensor.attic = { type = "ds18b20", w1 = "28-00000a1b2c3d", bus = "I2C1" }`,
			func(string) (i2c.BusCloser, error) { return stuck, nil })
		synctest.Wait()
		began := time.Now()
		h.Close()
		if took := time.Since(began); took > closeLimit {
			t.Errorf("Close took %v", took)
		}
		close(stuck.release)
		h.until("1m")
	})
}

// A reading that hangs in the kernel is given up, and there is never a second one
// beside it.
func TestAReaderThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), 0
		h := open(t, t.TempDir(), ``, nil)
		r := &runner{of: h.Sensors, quit: make(chan struct{}), done: make(chan struct{}),
			track: newTrack("x", Sensor{Thermal: "x", Interval: config.Duration(5 * time.Second)}, 0),
			read: kernel(func() (map[string]float64, error) {
				calls++
				if calls == 2 {
					<-release
				}
				return map[string]float64{"temperature": float64(calls)}, nil
			})}
		h.byName["x"] = r
		go r.run(nil)
		h.until("1s", "0s x temperature 1")
		h.until("16s", "10s x temperature gone: it does not answer") // expired before the limit
		h.until("3m")
		if calls != 2 {
			t.Errorf("%d calls, want 2", calls)
		}
		close(release)
		h.until("185s", "3m5s x temperature 3!") // what the second said is old
		h.Close()
	})
}

// A reload touches only what changed.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := sys(t)
		h := open(t, root, `
			[sensor.cpu]
			thermal = "cpu-thermal"
			[sensor.power]
			hwmon = "ina219"`, nil)
		time.Sleep(5 * time.Second)
		h.mu.Lock()
		if len(h.said) != 4 {
			t.Error("at the start:", h.said)
		}
		h.said = nil
		h.mu.Unlock()
		h.Reload(h.config(`
			[sensor.power]
			hwmon = "ina219"
			properties = ["voltage"]
			[sensor.cpu]
			thermal = "cpu-thermal"`))
		h.until("6s", "5s power current gone: it is no longer measured", "5s power power gone: it is no longer measured", "5s power voltage 12.016")
		h.until("31s", "30s cpu temperature 48.31!") // in its own step
		h.Reload(h.config(`sensor.power = { hwmon = "ina219", properties = ["voltage"] }`))
		h.until("50s", "35s power voltage 12.016!")
		h.Close()
		h.Close()
		h.Reload(h.config(`sensor.power = { hwmon = "ina219" }`))
		h.until("5m")
	})
}

// Of a sensor that was taken out nothing is told any more, and one that takes over
// its chip waits for the measurement under way.
func TestTheNextOneWaitsForTheChip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		play := &i2ctest.Playback{DontPanic: true, Ops: concat(bmp280, bmp280Measures, bmp280, bmp280Measures)}
		h := open(t, t.TempDir(), `sensor.a = { type = "bmp280", bus = "I2C1" }`, func(string) (i2c.BusCloser, error) { return play, nil })
		synctest.Wait() // in the middle of its first measurement
		h.Reload(h.config(`sensor.b = { type = "bmp280", bus = "I2C1", properties = ["temperature"] }`))
		h.until("1s", "0s b temperature 25.08")
		h.Close()
		if err := play.Close(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzW1(f *testing.F) {
	f.Add("72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n")
	f.Add("00 : crc=00 YES\nt=")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseW1(text)
		if err == nil && (!strings.Contains(text, "YES") || !strings.Contains(text, "t=") || math.IsNaN(v) || math.IsInf(v, 0)) {
			t.Errorf("%q is %v", text, v)
		}
	})
}

// Whatever a file of the kernel says, what is told is a number that can be.
func FuzzNumber(f *testing.F) {
	f.Add("25080\n")
	f.Add("nan")
	f.Add("1e999")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseNumber(text)
		if err != nil {
			return
		}
		track := newTrack("x", Sensor{Thermal: "x"}, 0)
		for _, r := range track.measured(map[string]float64{"temperature": v * 1e-3}, 0) {
			if n, ok := r.Value.(float64); r.Bad == "" && (!ok || !(n >= -200 && n <= 2000)) {
				t.Errorf("%q is %v", text, r)
			}
		}
	})
}
