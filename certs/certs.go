// Package certs reads the certificate that a server of the house shows, the broker or the
// page, and takes a new one as soon as its files are others. It also is the small CA of a
// house that has none ([Init]).
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hearth/config"
)

// Files are those of one server. What is empty is not used.
type Files struct {
	Table string // in which they are configured, "broker.tls"
	Of    string // whose they are, "broker"
	Dir   string // what relative ones are relative to

	Certificate string // PEM, with those between it and its CA behind it
	Key         string // PEM, without a passphrase
	ClientCA    string // who signs the certificates of clients
	Client      string // "optional" or "required": clients show one
}

// Check says what is missing, and what is wrong with files that can be read. That
// one can't be is a doubt only, for it may be so on another machine, or for
// another user, than the server's; Open refuses it.
func (f Files) Check(at config.Place) {
	sound := true
	for _, m := range f.missing() {
		at.Key(m.key).Mistake("%v", m.err)
		sound = false
	}
	if !sound {
		return
	}
	c, err := f.load()
	var m *mistake
	switch {
	case !errors.As(err, &m):
		for _, doubt := range c.doubts(time.Now()) {
			at.Key("certificate").Warn("%s", doubt)
		}
	case m.unread:
		at.Key(m.key).Warn("%v", m.err)
	default:
		at.Key(m.key).Mistake("%v", m.err)
	}
}

// A mistake is one of a key of the table.
type mistake struct {
	table, key string
	err        error
	unread     bool // the file could not be read
}

func (m *mistake) Error() string { return fmt.Sprintf("%s.%s: %v", m.table, m.key, m.err) }
func (m *mistake) Unwrap() error { return m.err }

func (f Files) wrong(key, text string, args ...any) *mistake {
	return &mistake{table: f.Table, key: key, err: fmt.Errorf(text, args...)}
}

func (f Files) unread(key string, err error) *mistake {
	return &mistake{table: f.Table, key: key, err: err, unread: true}
}

// missing is what the keys say together, without a look at the files.
func (f Files) missing() (all []*mistake) {
	say := func(key, text string, args ...any) { all = append(all, f.wrong(key, text, args...)) }
	switch {
	case f.Certificate == "":
		say("certificate", `missing, want the file of the %s's certificate, such as certificate = "%[1]s.crt"`, f.Of)
	case f.Key == "":
		say("key", `missing, want the file of the certificate's key, such as key = "%s.key"`, f.Of)
	}
	switch asks := f.Client == "optional" || f.Client == "required"; {
	case asks && f.ClientCA == "":
		say("client_ca", `missing, want the file of the CA whose certificates clients show, such as client_ca = "ca.crt"`)
	case f.ClientCA != "" && f.Client == "":
		say("client", `missing, want client = "required", or "optional" if clients may also come without a certificate`)
	}
	return all
}

func (f Files) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.Dir, name)
}

// Paths are those of all that are read.
func (f Files) Paths() []string {
	all := []string{f.path(f.Certificate), f.path(f.Key)}
	if f.Client == "optional" || f.Client == "required" {
		all = append(all, f.path(f.ClientCA))
	}
	return all
}

// A credential is what the server shows, and how it looks at what clients show.
type credential struct {
	config *tls.Config
	leaf   *x509.Certificate
}

// load reads the files.
func (f Files) load() (credential, error) {
	certPEM, err := readPEM(f.path(f.Certificate))
	if err != nil {
		return credential{}, f.unread("certificate", err)
	}
	if !holds(certPEM, "CERTIFICATE") {
		return credential{}, f.wrong("certificate", "holds no certificate, want a PEM file with -----BEGIN CERTIFICATE-----")
	}
	keyPEM, err := readPEM(f.path(f.Key))
	if err != nil {
		return credential{}, f.unread("key", err)
	}
	switch {
	case strings.Contains(string(keyPEM), "ENCRYPTED"):
		return credential{}, f.wrong("key", "has a passphrase, which nobody could type at a start: want it without, as openssl pkey -in KEY -out NEW makes it")
	case !holds(keyPEM, "PRIVATE KEY"):
		return credential{}, f.wrong("key", "holds no key, want a PEM file with -----BEGIN PRIVATE KEY-----")
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		// Which of the two is wrong only the owner knows.
		return credential{}, f.wrong("key", "it and the certificate do not fit together: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	c := credential{leaf: pair.Leaf, config: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	if f.Client != "optional" && f.Client != "required" {
		return c, nil
	}
	caPEM, err := readPEM(f.path(f.ClientCA))
	if err != nil {
		return credential{}, f.unread("client_ca", err)
	}
	c.config.ClientCAs = x509.NewCertPool()
	if !c.config.ClientCAs.AppendCertsFromPEM(caPEM) {
		return credential{}, f.wrong("client_ca", "holds no certificate, want a PEM file with -----BEGIN CERTIFICATE-----")
	}
	c.config.ClientAuth = tls.VerifyClientCertIfGiven
	if f.Client == "required" {
		c.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	// A session that is taken up again would be looked at less closely.
	c.config.SessionTicketsDisabled = true
	return c, nil
}

const maxPEM = 1 << 20 // bytes

// readPEM reads a file, and nothing that would keep it waiting.
func readPEM(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", path)
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("this user may not read %s", path)
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(text) > maxPEM {
		err = fmt.Errorf("%s is larger than %v", path, config.Size(maxPEM))
	}
	return text, err
}

// holds says whether there is a block whose type ends so: "EC PRIVATE KEY".
func holds(text []byte, kind string) bool {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return false
		}
		if strings.HasSuffix(block.Type, kind) {
			return true
		}
	}
}

// doubts are what clients will hardly like of the certificate. The clock may be
// wrong where a Pi has just booted, so none of it is a reason not to start.
func (c credential) doubts(now time.Time) (all []string) {
	const day = "2006-01-02"
	switch {
	case now.After(c.leaf.NotAfter):
		all = append(all, "it expired on "+c.leaf.NotAfter.Format(day)+", and most clients will refuse it")
	case now.Before(c.leaf.NotBefore):
		all = append(all, "it is not valid before "+c.leaf.NotBefore.Format(day)+"; is the clock right?")
	}
	if len(c.leaf.DNSNames)+len(c.leaf.IPAddresses) == 0 {
		all = append(all, "it names no host (subjectAltName), which most clients want")
	}
	return all
}

// LookEvery is how often the files are looked at, and so how soon new ones serve.
const LookEvery = time.Second

// A Keeper has the credential and takes a new one when the files are others, such
// as after a renewal. It looks when somebody connects, and costs nothing before.
type Keeper struct {
	files Files
	log   *slog.Logger

	mu      sync.Mutex
	current credential
	stamps  []fs.FileInfo // of the files of current
	looked  time.Time
	said    map[string]bool // what was logged of current, so that it is not logged again
}

// Open reads the files.
func (f Files) Open(log *slog.Logger) (*Keeper, error) {
	if missing := f.missing(); len(missing) > 0 {
		return nil, missing[0]
	}
	k := &Keeper{files: f, log: log, stamps: stamps(f.Paths()), looked: time.Now(), said: map[string]bool{}}
	var err error
	if k.current, err = f.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// Doubts are what clients will hardly like of the certificate that was read first.
func (k *Keeper) Doubts(now time.Time) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current.doubts(now)
}

// Config is for a connection that begins now.
func (k *Keeper) Config(now time.Time) *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if since := now.Sub(k.looked); since < 0 || since >= LookEvery {
		k.looked = now
		k.look()
	}
	if now.After(k.current.leaf.NotAfter) {
		k.say(k.files.Of+": the certificate has expired", "certificate", k.files.path(k.files.Certificate), "on", k.current.leaf.NotAfter)
	}
	return k.current.config
}

// look takes what is in the files, if it is another and sound. Certificate and key
// are not written in one moment: what does not fit is tried again at the next look.
func (k *Keeper) look() {
	is := stamps(k.files.Paths())
	if same(is, k.stamps) {
		return
	}
	c, err := k.files.load()
	if err != nil {
		k.say(k.files.Of+": the new certificate can't be used, so the old one stays", "err", err)
		return
	}
	k.current, k.stamps, k.said = c, is, map[string]bool{}
	k.log.Info(k.files.Of+": a new certificate is in use", "certificate", k.files.path(k.files.Certificate), "until", c.leaf.NotAfter)
}

func (k *Keeper) say(what string, args ...any) {
	if text := what + fmt.Sprint(args...); !k.said[text] {
		k.said[text] = true
		k.log.Warn(what, args...)
	}
}

// stamps tell whether a file is another; nil is one that is not there.
func stamps(files []string) []fs.FileInfo {
	all := make([]fs.FileInfo, len(files))
	for i, f := range files {
		all[i], _ = os.Stat(f)
	}
	return all
}

func same(a, b []fs.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != b[i] {
				return false
			}
			continue
		}
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}
