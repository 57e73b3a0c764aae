package broker

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

// TLS is [broker.tls], of the listeners tls:// and wss://. Files are relative to
// the one that names them. A revoked client certificate is not known as such:
// remove the user, or take a new client_ca.
type TLS struct {
	Certificate string `toml:"certificate" eg:"\"broker.crt\""`      // PEM, with those between it and its CA behind it
	Key         string `toml:"key" eg:"\"broker.key\""`              // PEM, without a passphrase
	ClientCA    string `toml:"client_ca" eg:"\"ca.crt\""`            // who signs the certificates of clients
	Client      string `toml:"client" enum:"none,optional,required"` // whether clients show one; default "none"

	dir string // of the file it is written in
}

// Check says what is missing, and what is wrong with files that can be read. That
// one can't be is a doubt only, for it may be so on another machine, or for
// another user, than the broker's; Prepare refuses it.
func (t *TLS) Check(at config.Place) {
	t.dir = filepath.Dir(at.Position().File)
	sound := true
	for _, m := range t.missing() {
		at.Key(m.key).Mistake("%v", m.err)
		sound = false
	}
	if !sound {
		return
	}
	c, err := t.load()
	var m *tlsMistake
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

// A tlsMistake is one of a key of [broker.tls].
type tlsMistake struct {
	key    string
	err    error
	unread bool // the file could not be read
}

func (m *tlsMistake) Error() string { return fmt.Sprintf("broker.tls.%s: %v", m.key, m.err) }
func (m *tlsMistake) Unwrap() error { return m.err }

// missing is what the keys say together, without a look at the files.
func (t *TLS) missing() (all []*tlsMistake) {
	say := func(key, text string) { all = append(all, &tlsMistake{key: key, err: errors.New(text)}) }
	switch {
	case t.Certificate == "":
		say("certificate", `missing, want the file of the broker's certificate, such as certificate = "broker.crt"`)
	case t.Key == "":
		say("key", `missing, want the file of the certificate's key, such as key = "broker.key"`)
	}
	switch asks := t.Client == "optional" || t.Client == "required"; {
	case asks && t.ClientCA == "":
		say("client_ca", `missing, want the file of the CA whose certificates clients show, such as client_ca = "ca.crt"`)
	case t.ClientCA != "" && t.Client == "":
		say("client", `missing, want client = "required", or "optional" if clients may also come without a certificate`)
	}
	return all
}

func (t *TLS) path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(t.dir, name)
}

// Files are the paths of all that are read.
func (t *TLS) Files() []string {
	all := []string{t.path(t.Certificate), t.path(t.Key)}
	if t.Client == "optional" || t.Client == "required" {
		all = append(all, t.path(t.ClientCA))
	}
	return all
}

// A credential is what the broker shows, and how it looks at what clients show.
type credential struct {
	config *tls.Config
	leaf   *x509.Certificate
}

// load reads the files.
func (t *TLS) load() (credential, error) {
	certPEM, err := readPEM(t.path(t.Certificate))
	if err != nil {
		return credential{}, &tlsMistake{"certificate", err, true}
	}
	if !holds(certPEM, "CERTIFICATE") {
		return credential{}, &tlsMistake{key: "certificate", err: errors.New("holds no certificate, want a PEM file with -----BEGIN CERTIFICATE-----")}
	}
	keyPEM, err := readPEM(t.path(t.Key))
	if err != nil {
		return credential{}, &tlsMistake{"key", err, true}
	}
	switch {
	case strings.Contains(string(keyPEM), "ENCRYPTED"):
		return credential{}, &tlsMistake{key: "key", err: errors.New("has a passphrase, which nobody could type at a start: want it without, as openssl pkey -in KEY -out NEW makes it")}
	case !holds(keyPEM, "PRIVATE KEY"):
		return credential{}, &tlsMistake{key: "key", err: errors.New("holds no key, want a PEM file with -----BEGIN PRIVATE KEY-----")}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		// Which of the two is wrong only the owner knows.
		return credential{}, &tlsMistake{key: "key", err: fmt.Errorf("it and the certificate do not fit together: %s", strings.TrimPrefix(err.Error(), "tls: "))}
	}
	c := credential{leaf: pair.Leaf, config: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	if t.Client != "optional" && t.Client != "required" {
		return c, nil
	}
	caPEM, err := readPEM(t.path(t.ClientCA))
	if err != nil {
		return credential{}, &tlsMistake{"client_ca", err, true}
	}
	c.config.ClientCAs = x509.NewCertPool()
	if !c.config.ClientCAs.AppendCertsFromPEM(caPEM) {
		return credential{}, &tlsMistake{key: "client_ca", err: errors.New("holds no certificate, want a PEM file with -----BEGIN CERTIFICATE-----")}
	}
	c.config.ClientAuth = tls.VerifyClientCertIfGiven
	if t.Client == "required" {
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
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("this user may not read %s", path)
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
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

// lookEvery is how often the files are looked at, and so how soon new ones serve.
const lookEvery = time.Second

// A keeper has the credential and takes a new one when the files are others, such
// as after a renewal. It looks when somebody connects, and costs nothing before.
type keeper struct {
	tls TLS
	log *slog.Logger

	mu      sync.Mutex
	current credential
	stamps  []fs.FileInfo // of the files of current
	looked  time.Time
	said    map[string]bool // what was logged of current, so that it is not logged again
}

func openKeeper(t TLS, log *slog.Logger) (*keeper, error) {
	if missing := t.missing(); len(missing) > 0 {
		return nil, missing[0]
	}
	k := &keeper{tls: t, log: log, stamps: stamps(t.Files()), looked: time.Now(), said: map[string]bool{}}
	var err error
	if k.current, err = t.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// config is for a connection that begins now.
func (k *keeper) config(now time.Time) *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if since := now.Sub(k.looked); since < 0 || since >= lookEvery {
		k.looked = now
		k.look()
	}
	if now.After(k.current.leaf.NotAfter) {
		k.say("broker: the certificate has expired", "certificate", k.tls.path(k.tls.Certificate), "on", k.current.leaf.NotAfter)
	}
	return k.current.config
}

// look takes what is in the files, if it is another and sound. Certificate and key
// are not written in one moment: what does not fit is tried again at the next look.
func (k *keeper) look() {
	is := stamps(k.tls.Files())
	if same(is, k.stamps) {
		return
	}
	c, err := k.tls.load()
	if err != nil {
		k.say("broker: the new certificate can't be used, so the old one stays", "err", err)
		return
	}
	k.current, k.stamps, k.said = c, is, map[string]bool{}
	k.log.Info("broker: a new certificate is in use", "certificate", k.tls.path(k.tls.Certificate), "until", c.leaf.NotAfter)
}

func (k *keeper) say(what string, args ...any) {
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

// A secured connection says goodbye when it is closed, as TLS wants it, but not for
// the 5 seconds that the library would take if the client does not listen.
type secured struct {
	*tls.Conn
	below *accepted
}

const goodbye = 250 * time.Millisecond

func (s secured) Close() error {
	late := time.AfterFunc(goodbye, func() { s.below.Close() })
	defer late.Stop()
	return s.Conn.Close()
}

// shown is the common name of the certificate that a client has shown and that was
// found good, "" if none was.
func shown(nc *tls.Conn) string {
	if chains := nc.ConnectionState().VerifiedChains; len(chains) > 0 {
		return chains[0][0].Subject.CommonName
	}
	return ""
}

// handshakeTrouble puts what went wrong in words the owner can act on.
func handshakeTrouble(err error) string {
	var header tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &header):
		return "it does not speak TLS"
	case errors.As(err, &alert):
		return "the client says: " + strings.TrimPrefix(alert.Error(), "tls: ")
	case errors.Is(err, io.EOF):
		return "the client has gone"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}
