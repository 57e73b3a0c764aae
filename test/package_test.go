package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// An installed is this machine with a package, and without what is done to it: a layer over its
// root, for dpkg to install to. What systemd adds it has not.
type installed struct{ root string }

func newInstalled(t *testing.T) installed {
	t.Helper()
	dir := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "none", dir)
	m := installed{filepath.Join(dir, "root")}
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("mount", "-t", "overlay", "overlay", "-o", fmt.Sprintf("lowerdir=/,upperdir=%s/upper,workdir=%s/work", dir, dir), m.root).CombinedOutput(); err != nil {
		missing(t, "file system of layers: %s", out)
	}
	run(t, "mount", "-t", "proc", "proc", filepath.Join(m.root, "proc"))
	t.Cleanup(func() {
		exec.Command("umount", filepath.Join(m.root, "proc")).Run()
		exec.Command("umount", m.root).Run()
		exec.Command("umount", dir).Run()
	})
	m.sh(t, "mkdir -p /dev && rm -rf /etc/hearth /var/lib/hearth && mkdir -m 755 /var/lib/hearth")
	return m
}

// command is one that runs there, as root or as somebody else.
func (m installed) command(who string, args ...string) []string {
	if who != "" {
		args = append([]string{"setpriv", "--reuid", who, "--regid", who, "--init-groups"}, args...)
	}
	return append([]string{"chroot", m.root}, args...)
}

func (m installed) as(t *testing.T, who, script string) (string, error) {
	t.Helper()
	args := m.command(who, "sh", "-c", script)
	out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (m installed) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := m.as(t, "", script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// modes is whose files and folders are, with their modes, and that of nothing else.
func (m installed) modes(t *testing.T, names ...string) string {
	t.Helper()
	return m.sh(t, "cd /etc && stat -c '%A %U:%G %n' "+strings.Join(names, " "))
}

// serve runs the hub as the unit does, with simulated pins.
func (m installed) serve(t *testing.T) *life {
	t.Helper()
	m.sh(t, "chown hearth: /var/lib/hearth && chmod 700 /var/lib/hearth")
	h := &house{log: new(transcript), env: []string{"STATE_DIRECTORY=/var/lib/hearth"}}
	h.showLog(t)
	start := unitSays(t, "ExecStart")
	args := m.command("hearth", append([]string{"sh", "-c", "umask " + unitSays(t, "UMask")[0] + ` && exec "$@"`, "sh"}, slices.Insert(start, 2, "--sim")...)...)
	return h.run(t, args[0], args[1:]...).mustBeReady(t)
}

// edit saves a file on the page.
func (l *life) edit(t *testing.T, name string, change func(text string) string) {
	t.Helper()
	var c struct {
		Files []struct{ Name, Version, Text, Locked string }
	}
	if err := l.config("GET", "", nil, &c); err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Files {
		if f.Name == name {
			if f.Locked != "" {
				t.Fatalf("%s: %s", name, f.Locked)
			}
			if err := l.config("POST", "/save", map[string]string{"file": name, "version": f.Version, "text": change(f.Text)}, nil); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no file %s in %+v", name, c.Files)
}

// packageOf makes a package of the program that is tested.
func packageOf(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"dpkg", "setpriv", "systemd-sysusers"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "%s", tool)
		}
	}
	config, err := filepath.Abs("../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "hearth.deb")
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=tools/go.mod", "nfpm", "package", "-f", "systemd/nfpm.yaml", "-p", "deb", "-t", file)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "DEB_ARCH="+runtime.GOARCH, "DEB_VERSION=1.0.0", "BINARY="+program, "CONFIG="+config)
	if out, err := cmd.CombinedOutput(); err != nil {
		missing(t, "nfpm to make a package: %v\n%s", err, out)
	}
	return file
}

// install has dpkg install the package.
func (m installed) install(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.root, "hearth.deb"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	m.sh(t, "dpkg --force-confold --force-architecture -i /hearth.deb")
}

const quiet = "[broker]\\nlisten = [\\\"127.0.0.1:0\\\", \\\"ws://127.0.0.1:0\\\"]\\n[web]\\nlisten = \\\"127.0.0.1:0\\\"\\n"

// Of a package that was just installed the page edits the configuration, the owner does so with
// an editor of root's as well, and nobody else reads it.
func TestAPackagesConfigurationCanBeEdited(t *testing.T) {
	if !alone(t) {
		return
	}
	file := packageOf(t)
	m := newInstalled(t)
	m.install(t, file)
	if got := m.modes(t, "hearth", "hearth/config.toml"); got != "drwxrws--- root:hearth hearth\n-rw-r----- root:hearth hearth/config.toml" {
		t.Errorf("after the installation:\n%s", got)
	}
	unit, err := os.ReadFile("../systemd/hearth.service")
	if err != nil || !strings.Contains(string(unit), "\nReadWritePaths=-/etc/hearth\n") || !strings.Contains(string(unit), "\nConfigurationDirectoryMode=2770\n") {
		t.Errorf("the unit lets the hub write nothing there: %v", err)
	}
	m.sh(t, `printf "`+quiet+`" >/etc/hearth/config.toml`)
	l := m.serve(t)
	l.edit(t, "config.toml", func(text string) string { return text + "# from the page\n" })
	if got := m.modes(t, "hearth/config.toml"); got != "-rw-r----- hearth:hearth hearth/config.toml" {
		t.Errorf("after the page:\n%s", got)
	}
	m.sh(t, "echo '# from root' >>/etc/hearth/config.toml")
	l.edit(t, "config.toml", func(text string) string { return text + "# from the page again\n" })
	if got := m.sh(t, "tail -n 3 /etc/hearth/config.toml"); got != "# from the page\n# from root\n# from the page again" {
		t.Error(got)
	}
	l.stop(t)
	if out, err := m.as(t, "games", "cat /etc/hearth/config.toml"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("games reads %v %s", err, out)
	}

	if out, err := m.as(t, "games", "cd / && hearth check"); err == nil || !strings.Contains(out, "/etc/hearth/config.toml is for root and the hub alone to read, for there may be passwords in it; try again with sudo") {
		t.Errorf("games checks: %v %s", err, out)
	}
	if out := m.sh(t, "cd / && hearth check"); !strings.Contains(out, "/etc/hearth/config.toml is in order") {
		t.Error(out)
	}

	// What the hub could have made of its folder an update gives it nothing for.
	m.sh(t, "cp /etc/shadow /key && chmod 600 /key && mkdir -m 755 /roots")
	if out, err := m.as(t, "hearth", "cd /etc/hearth && mv config.toml was && ln -s /key config.toml && ln -s /roots rules"); err != nil {
		t.Fatal(err, out)
	}
	m.install(t, file)
	if got := m.modes(t, "/key", "/roots", "hearth"); got != "-rw------- root:root /key\ndrwxr-xr-x root:root /roots\ndrwxrws--- root:hearth hearth" {
		t.Errorf("after an update behind links:\n%s", got)
	}
	// And who took the folder back keeps it.
	m.sh(t, "chmod 750 /etc/hearth")
	m.install(t, file)
	if got := m.modes(t, "hearth"); got != "drwxr-s--- root:hearth hearth" && got != "drwxr-x--- root:hearth hearth" {
		t.Errorf("after it was taken back:\n%s", got)
	}
	// One in which no house is described is the hub's all the same.
	m.sh(t, "rm -r /etc/hearth/* && chown root: /etc/hearth && chmod 755 /etc/hearth")
	m.install(t, file)
	if got := m.modes(t, "hearth"); !strings.HasPrefix(got, "drwxrws") || !strings.HasSuffix(got, " root:hearth hearth") {
		t.Errorf("after an update without a configuration:\n%s", got)
	}
}

// A house from before the page could save is updated: now it can, also in folders, and nobody
// else may more than before.
func TestAnOlderPackageIsUpdated(t *testing.T) {
	if !alone(t) {
		return
	}
	file := packageOf(t)
	m := newInstalled(t)
	m.sh(t, `umask 022; mkdir -p /etc/hearth/rules /etc/hearth/.git/hooks /etc/hearth/closed /etc/hearth/annas
		printf "include = [\"rules/*.toml\"]\n`+quiet+`" >/etc/hearth/config.toml
		echo '# none yet' >/etc/hearth/rules/a.toml; echo x >/etc/hearth/tls.key
		chmod 600 /etc/hearth/tls.key; chmod 700 /etc/hearth/closed; chown nobody: /etc/hearth/annas`)
	names := []string{"hearth", "hearth/config.toml", "hearth/rules", "hearth/rules/a.toml", "hearth/tls.key", "hearth/closed", "hearth/annas", "hearth/.git/hooks"}
	m.install(t, file)
	want := strings.Join([]string{
		"drwxrwsr-x root:hearth hearth", "-rw-r--r-- root:hearth hearth/config.toml", "drwxrwsr-x root:hearth hearth/rules", "-rw-r--r-- root:root hearth/rules/a.toml",
		"-rw------- root:root hearth/tls.key", "drwx------ root:root hearth/closed", "drwxr-xr-x nobody:nogroup hearth/annas", "drwxr-xr-x root:root hearth/.git/hooks",
	}, "\n")
	for range 2 {
		if got := m.modes(t, names...); got != want {
			t.Errorf("want\n%s\ngot\n%s", want, got)
		}
		m.install(t, file) // once more changes nothing
	}
	l := m.serve(t)
	l.edit(t, "rules/a.toml", func(text string) string { return text + "# one\n" })
	l.edit(t, "config.toml", func(text string) string { return text + "# two\n" })
	if got := m.modes(t, "hearth/config.toml", "hearth/rules/a.toml"); got != "-rw-r--r-- hearth:hearth hearth/config.toml\n-rw-r--r-- hearth:hearth hearth/rules/a.toml" {
		t.Error(got)
	}
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	<-l.ended
}
