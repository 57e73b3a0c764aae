package hub

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The arrows of the house: what each folder may import of the others. The page
// of the design draws them; here they hold.
var arrows = map[string][]string{
	"hearth/store":            {},
	"hearth/store/storetest":  {"hearth/store"},
	"hearth/web/webtest":      nil,
	"hearth/config":           {},
	"hearth/devices":          {},
	"hearth/devices/announce": {"hearth/config", "hearth/devices", "hearth/devices/catalog"},
	"hearth/devices/catalog":  {"hearth/config", "hearth/devices", "hearth/devices/template"},
	"hearth/devices/template": {},
	"hearth/certs":            {"hearth/config"},
	"hearth/broker":           {"hearth/broker/access", "hearth/broker/topic", "hearth/certs", "hearth/config", "hearth/store"},
	"hearth/broker/access":    {"hearth/broker/topic", "hearth/config"},
	"hearth/broker/topic":     {},
	"hearth/bridge":           {"hearth/broker/topic", "hearth/config"},
	"hearth/control":          {},
	"hearth/doctor":           {},
	"hearth/push":             {"hearth/config", "hearth/devices"},
	"hearth/backup":           {},
	"hearth/rules":            {"hearth/config", "hearth/devices", "hearth/rules/calendar", "hearth/rules/formula"},
	"hearth/rules/calendar":   {"hearth/config"},
	"hearth/rules/formula":    {"hearth/config"},
	"hearth/gpio":             {"hearth/config", "hearth/devices", "hearth/store"},
	"hearth/gpio/bus":         {"hearth/config"},
	"hearth/gpio/sensor":      {"hearth/config", "hearth/devices", "hearth/gpio/bus"},
	"hearth/history":          {"hearth/config", "hearth/devices", "hearth/rules"},
	"hearth/web":              {"hearth/certs", "hearth/config", "hearth/devices", "hearth/doctor", "hearth/history", "hearth/rules"},
	"hearth/why":              {"hearth/config", "hearth/devices", "hearth/history", "hearth/rules"},
	"hearth/hub":              {"hearth/backup", "hearth/bridge", "hearth/broker", "hearth/broker/access", "hearth/broker/topic", "hearth/certs", "hearth/config", "hearth/control", "hearth/devices", "hearth/devices/announce", "hearth/devices/catalog", "hearth/doctor", "hearth/gpio", "hearth/gpio/bus", "hearth/gpio/sensor", "hearth/history", "hearth/push", "hearth/replay", "hearth/rules", "hearth/rules/calendar", "hearth/store", "hearth/trial", "hearth/web", "hearth/why"},
	"hearth/replay":           {"hearth/config", "hearth/devices", "hearth/gpio", "hearth/history", "hearth/rules"},
	"hearth/trial":            {"hearth/config", "hearth/devices", "hearth/gpio", "hearth/rules"},
	"hearth/migrate":          {"hearth/rules/formula"},
	"hearth/bench":            {}, // of tests alone, as is the next
	"hearth/test":             {},
	"hearth/cmd/hearth":       {"hearth/backup", "hearth/broker/access", "hearth/certs", "hearth/config", "hearth/control", "hearth/devices", "hearth/doctor", "hearth/gpio", "hearth/history", "hearth/hub", "hearth/migrate", "hearth/replay", "hearth/trial", "hearth/why"},
	"hearth/bench/brokers":    {"hearth/broker", "hearth/store"},
}

// A library that a folder hides is imported by that folder alone, or by the few
// that need the same of it.
var hidden = map[string]string{
	"github.com/mochi-mqtt/":        "hearth/broker",
	"github.com/coder/websocket":    "hearth/broker hearth/bridge",
	"github.com/warthog618/":        "hearth/gpio",
	"periph.io/":                    "hearth/gpio",
	"github.com/BurntSushi/":        "hearth/config",
	"github.com/pelletier/":         "hearth/config",
	"github.com/expr-lang/":         "hearth/rules/formula",
	"github.com/robfig/cron/":       "hearth/rules/calendar",
	"go.yaml.in/":                   "hearth/migrate",
	"github.com/alecthomas/kong":    "hearth/cmd/hearth",
	"github.com/coreos/go-systemd/": "hearth/cmd/hearth",
	"modernc.org/":                  "hearth/history",
	"golang.org/x/crypto/":          "hearth/broker/access",
	"golang.org/x/term":             "hearth/cmd/hearth",
	"github.com/VictoriaMetrics/":   "hearth/web",
}

func imports(t *testing.T) map[string][]string {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "hearth/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		pkg, list, _ := strings.Cut(strings.TrimSpace(line), ":")
		all[pkg] = strings.Fields(list)
	}
	return all
}

func TestArrowsPointOneWay(t *testing.T) {
	for pkg, list := range imports(t) {
		allowed, ok := arrows[pkg]
		if !ok {
			t.Errorf("%s is not on the map: say in arrows what it may import", pkg)
		}
		for _, imp := range list {
			if strings.HasPrefix(imp, "hearth/") && !slices.Contains(allowed, imp) {
				t.Errorf("%s imports %s, which is not one of its arrows", pkg, imp)
			}
			for library, owner := range hidden {
				hides := func(owner string) bool { return pkg == owner || strings.HasPrefix(pkg, owner+"/") }
				if strings.HasPrefix(imp, library) && !slices.ContainsFunc(strings.Fields(owner), hides) {
					t.Errorf("%s imports %s, which %s hides", pkg, imp, owner)
				}
			}
		}
	}
}

// The engine decides and does nothing: no clock, no disk, no network, no
// goroutine that would need a lock.
func TestRulesTouchNothing(t *testing.T) {
	for _, imp := range imports(t)["hearth/rules"] {
		if slices.Contains([]string{"os", "log", "log/slog", "sync", "sync/atomic", "context", "testing"}, imp) || imp == "net" || strings.HasPrefix(imp, "net/") || strings.HasPrefix(imp, "os/") {
			t.Errorf("rules imports %s", imp)
		}
	}
	out, err := exec.Command("grep", "-nE", `time\.(Now|Since|Until|Sleep|After|AfterFunc|NewTimer|Tick|NewTicker)\b|^\s*go `,
		"--include=*.go", "--exclude=*_test.go", "-r", "../rules").Output()
	if len(out) > 0 {
		t.Errorf("rules reads a clock or starts a goroutine:\n%s", out)
	}
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
		t.Fatal("grep:", err)
	}
}
