package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// trusts is what a phone does that has the CA installed.
func trusts(t *testing.T, dir, name string, now time.Time) error {
	t.Helper()
	ca, err := readCertificate(filepath.Join(dir, CAFile))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := readCertificate(filepath.Join(dir, CertificateFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now})
	return err
}

// A house makes its CA and a certificate. Phones that trust it find the page by its names,
// and are not led astray by whoever steals the key.
func TestAHouseHasItsOwnCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	names := []string{"raspberrypi.local", "raspberrypi", "house.example.org", "localhost", "192.168.1.5", "::1", "203.0.113.7"}
	if err := Init(dir, names, day); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := trusts(t, dir, name, day); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if trusts(t, dir, "bank.example", day) == nil || trusts(t, dir, "raspberrypi.local", day.Add(826*24*time.Hour)) == nil {
		t.Error("it is good for anything and for ever")
	}
	leaf, err := readCertificate(filepath.Join(dir, CertificateFile))
	if err != nil || leaf.NotAfter.Sub(leaf.NotBefore) > 825*24*time.Hour || leaf.IsCA {
		t.Errorf("%v: from %v to %v", err, leaf.NotBefore, leaf.NotAfter)
	}
	for file, mode := range map[string]os.FileMode{caKeyFile: 0o600, KeyFile: 0o600, CAFile: 0o644, CertificateFile: 0o644, "": 0o700} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", file, info.Mode(), err)
		}
	}

	// What a thief signs with the CA's key.
	ca, _ := readCertificate(filepath.Join(dir, CAFile))
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial(), DNSNames: []string{"bank.example"}, NotBefore: day, NotAfter: day.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, own.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(dir, CertificateFile, 0o644, pemOf("CERTIFICATE", der)); err != nil {
		t.Fatal(err)
	}
	if err := trusts(t, dir, "bank.example", day); err == nil {
		t.Error("the house's CA signs for banks")
	}
}

func TestRenewing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if err := Renew(dir, []string{"a.local"}, day); err == nil || !strings.Contains(err.Error(), "hearth tls init makes one") {
		t.Errorf("without a CA: %v", err)
	}
	if err := Init(dir, []string{"a.local", "10.0.0.1"}, day); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(filepath.Join(dir, CAFile))
	later := day.Add(800 * 24 * time.Hour)
	if err := Renew(dir, nil, later); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.local", "10.0.0.1"} {
		if err := trusts(t, dir, name, later.Add(800*24*time.Hour)); err != nil {
			t.Error(err)
		}
	}
	if err := Renew(dir, []string{"b.local", "10.0.0.2"}, later); err != nil || trusts(t, dir, "10.0.0.2", later) != nil {
		t.Errorf("another address of the home: %v", err)
	}
	if err := Renew(dir, []string{"b.example"}, later); err == nil || !strings.Contains(err.Error(), "the CA was not made for b.example") {
		t.Errorf("a name that the CA was not made for: %v", err)
	}
	if err := Init(dir, []string{"a.local"}, later); err == nil || !strings.Contains(err.Error(), "hearth tls renew") {
		t.Errorf("twice: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, CAFile)); !slices.Equal(before, after) {
		t.Error("the CA is another one, which no phone trusts")
	}
	if err := Renew(dir, nil, day.Add(11*365*24*time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("eleven years later: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestWhatIsNoName(t *testing.T) {
	for _, bad := range []string{"", "http://a", "a b", ".local", "a.", "*", "a/b"} {
		dir := filepath.Join(t.TempDir(), "tls")
		if err := Init(dir, []string{bad}, day); err == nil {
			t.Errorf("%q was taken", bad)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%q: something was made all the same", bad)
		}
	}
	if err := Init(filepath.Join(t.TempDir(), "tls"), []string{"a.local"}, time.Unix(1000, 0)); err == nil || !strings.Contains(err.Error(), "the clock says 1970-01-01") {
		t.Errorf("in 1970: %v", err)
	}
	if names := Names(); !slices.Contains(names, "localhost") || !slices.Contains(names, "127.0.0.1") {
		t.Errorf("%q", names)
	}
}

// What was made is what a server shows, also after it was renewed.
func TestAServerShowsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	if err := Init(dir, []string{"localhost"}, now); err != nil {
		t.Fatal(err)
	}
	k, err := Files{Table: "web.tls", Of: "page", Dir: dir, Certificate: CertificateFile, Key: KeyFile}.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if doubts := k.Doubts(now); len(doubts) > 0 {
		t.Error(doubts)
	}
	shown := func(c *tls.Config) string { return c.Certificates[0].Leaf.SerialNumber.String() }
	first := shown(k.Config(now))
	if err := Renew(dir, nil, now); err != nil {
		t.Fatal(err)
	}
	if second := shown(k.Config(now.Add(2 * LookEvery))); second == first {
		t.Error("a renewed certificate is not taken up")
	}
	until, err := Until(filepath.Join(dir, CertificateFile))
	if err != nil || until.Before(now.Add(800*24*time.Hour)) {
		t.Error(until, err)
	}

	// One file may have both, the key first.
	key, _ := os.ReadFile(filepath.Join(dir, KeyFile))
	certificate, _ := os.ReadFile(filepath.Join(dir, CertificateFile))
	both := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(both, append(key, certificate...), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := (Files{Dir: dir, Certificate: "both.pem", Key: "both.pem"}).Until(); err != nil || !again.Equal(until) {
		t.Errorf("of one file for both it says %v, %v", again, err)
	}
}
