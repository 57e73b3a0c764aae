package hub

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/certs"
	"hearth/doctor"
	"hearth/gpio"
)

const openToAll = `
hub = { clock = "trust" }
web = { listen = "0.0.0.0:0" }
[broker]
listen = ["127.0.0.1:0", "0.0.0.0:0", "unix:///run/x.sock"]
anonymous = true
[output.lamp]
pin = "GPIO2"
[output.ghost]
pin = "GPIO99"
[sensor.hall]
type = "bme280"
bus = "I2C1"
[secret]
code = "4711"
`

// What can be known without a hub that runs, by its configuration alone.
func TestWhatAConfigurationTellsTheDoctor(t *testing.T) {
	dir := t.TempDir()
	cfg := load(t, dir, openToAll)
	d := cfg.Doctor(Options{Bank: gpio.NewSim(), Simulated: true})
	if !d.PageOpen || d.PageTLS || !slices.Equal(d.Anonymous, []string{"0.0.0.0:0"}) || !slices.Equal(d.Readable, []string{filepath.Join(dir, "config.toml")}) || d.Running || !d.History || d.Backups {
		t.Errorf("%+v", d)
	}
	held := strings.Join(d.Held, "\n")
	if !strings.Contains(held, "output lamp is on GPIO2, which is taken: I2C1") || !strings.Contains(held, "output ghost: ") {
		t.Error(held)
	}
	os.Chmod(filepath.Join(dir, "config.toml"), 0o640)
	if d := cfg.Doctor(Options{Bank: gpio.NewSim(), Simulated: true}); len(d.Readable) > 0 {
		t.Error(d.Readable)
	}
}

// A certificate that both show is looked at once.
func TestTheDoctorLooksAtCertificates(t *testing.T) {
	dir := t.TempDir()
	if err := certs.Init(dir, []string{"hearth.local"}, time.Now().AddDate(-1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	tls := fmt.Sprintf("certificate = %q\nkey = %q\n", filepath.Join(dir, certs.CertificateFile), filepath.Join(dir, certs.KeyFile))
	d := load(t, t.TempDir(), "[web.tls]\n"+tls+"[broker.tls]\n"+tls).Doctor(Options{Bank: gpio.NewSim(), Simulated: true})
	if len(d.Certificates) != 1 || d.Certificates[0].File != filepath.Join(dir, certs.CertificateFile) {
		t.Fatalf("%+v", d.Certificates)
	}
	if days := d.Certificates[0].Left / (24 * 60 * 60); days < 450 || days > 462 { // of 825
		t.Errorf("%.1f days are left of it", days)
	}
}

// The page and the command are told the same, by the hub that runs.
func TestTheReportOfAHub(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"proc/self/status": "VmRSS: 1000 kB\n", "proc/self/io": "write_bytes: 4096\n", "sys/class/thermal/thermal_zone0/temp": "85000"} {
		os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
		os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
	}
	sim := gpio.NewSim()
	sim.Fail("GPIO17", errBroken("the line is held"))
	h, stop := start(t, load(t, t.TempDir(), "[output.lamp]\npin = \"GPIO17\"\n"), Options{Bank: sim, Simulated: true, Root: root, Version: "v1"})
	defer stop()
	var r doctor.Report
	for range 100 { // until the line was tried
		var err error
		if r, err = (page{h}).Report(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(r.Hub.Faults) > 0 {
			break
		}
		page{h}.Switch(t.Context(), "lamp", true)
		time.Sleep(10 * time.Millisecond)
	}
	if r.Hub.Version != "v1" || !r.Hub.Running || r.Hub.Resident != 1000<<10 || r.Hub.Written != 4096 || r.Hub.PerDay != 0 || r.Hub.Loop <= 0 || r.Hub.Broker["retained topics"] == 0 {
		t.Errorf("%+v", r.Hub)
	}
	var what []string
	for _, f := range r.Findings {
		what = append(what, f.What)
	}
	all := strings.Join(what, "\n")
	for _, want := range []string{"lamp: ", "the processor has 85 °C"} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing says %q:\n%s", want, all)
		}
	}
	raw, err := desk{h}.Health(t.Context())
	var same doctor.Report
	if err != nil || json.Unmarshal(raw, &same) != nil || len(same.Findings) != len(r.Findings) {
		t.Errorf("%s %v", raw, err)
	}
}
