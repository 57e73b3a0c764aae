package broker

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"hearth/certs"
	"hearth/config"
)

// A ca signs certificates, as the four lines of docs/broker.md do.
type ca struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t testing.TB) *ca {
	c := &ca{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	c.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der := c.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "the house"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, &c.key.PublicKey)
	c.cert, _ = x509.ParseCertificate(der)
	c.pool.AddCert(c.cert)
	c.write("ca.crt", "CERTIFICATE", der)
	return c
}

func (c *ca) sign(template *x509.Certificate, key *ecdsa.PublicKey) []byte {
	c.t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent := c.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

func (c *ca) write(name, kind string, der []byte) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	// As tools that renew do: whole, and then in place of the old one.
	if err := os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// issue writes NAME.crt and NAME.key, of a certificate with that common name.
func (c *ca) issue(name, common string, change ...func(*x509.Certificate)) (cert, key string) {
	c.t.Helper()
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: common}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(template)
	}
	der, _ := x509.MarshalECPrivateKey(private)
	key = c.write(name+".key", "EC PRIVATE KEY", der)
	return c.write(name+".crt", "CERTIFICATE", c.sign(template, &private.PublicKey)), key
}

// client is how one connects that trusts the CA, and shows a certificate if named.
func (c *ca) client(names ...string) *tls.Config {
	c.t.Helper()
	cfg := &tls.Config{RootCAs: c.pool, ServerName: "localhost"}
	for _, name := range names {
		pair, err := tls.LoadX509KeyPair(filepath.Join(c.dir, name+".crt"), filepath.Join(c.dir, name+".key"))
		if err != nil {
			c.t.Fatal(err)
		}
		cfg.Certificates = append(cfg.Certificates, pair)
	}
	return cfg
}

func listenWith(t *testing.T, b *Broker, cfg Config) []string {
	t.Helper()
	ch, err := b.Prepare(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ch.Commit()
	return b.Addrs()
}

// dialTLS connects to one of Addrs; the handshake of TLS 1.3 may still be refused.
func dialTLS(t *testing.T, addr string, cfg *tls.Config) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if strings.HasPrefix(addr, "wss://") {
		ws, _, err := websocket.Dial(ctx, addr+"/mqtt", &websocket.DialOptions{
			Subprotocols: []string{"mqtt"},
			HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}},
		})
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { ws.CloseNow() })
		return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
	}
	nc, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", strings.TrimPrefix(addr, "tls://"))
	if err == nil {
		t.Cleanup(func() { nc.Close() })
	}
	return nc, err
}

// over connects a client by hand over nc.
func over(t *testing.T, nc net.Conn, id string) *client {
	t.Helper()
	c := speak(t, nc, 5)
	c.send(connectPacket(id, 5))
	if pk := c.want(packets.Connack); pk.ReasonCode != 0 {
		t.Fatalf("%s: CONNACK %#x", id, pk.ReasonCode)
	}
	return c
}

// way is how a connected client came in.
func (b *Broker) way(id string) entrance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sessions[id].owner.from
}

func TestTLS(t *testing.T) {
	house := newCA(t)
	cert, key := house.issue("broker", "localhost")
	b := open(t, Options{})
	addrs := listenWith(t, b, Config{Listen: []string{"tls://127.0.0.1:0", "wss://127.0.0.1:0", "127.0.0.1:0"}, TLS: &TLS{Certificate: cert, Key: key}})
	if !strings.HasPrefix(addrs[0], "tls://127.0.0.1:") || !strings.HasPrefix(addrs[1], "wss://127.0.0.1:") {
		t.Fatal(addrs)
	}
	var all []*client
	for i, addr := range addrs[:2] {
		nc, err := dialTLS(t, addr, house.client())
		if err != nil {
			t.Fatal(err)
		}
		c := over(t, nc, addr[:3])
		c.subscribe(1, 0, "hall/+")
		if i == 0 {
			if v := nc.(*tls.Conn).ConnectionState().Version; v != tls.VersionTLS13 {
				t.Error(tls.VersionName(v))
			}
		}
		if way := b.way(addr[:3]); !way.local || way.certificate != "" || !way.addr.IsLoopback() {
			t.Errorf("%+v", way)
		}
		all = append(all, c)
	}
	// A message as large as they come passes through, in both directions.
	large := strings.Repeat("x", 200<<10)
	all[0].publish("hall/lamp", large, 0, 0)
	for _, c := range all {
		c.wantMessage("hall/lamp " + large)
	}

	// What is older than TLS 1.2, does not trust the CA or does not speak TLS at all
	// gets nothing, and disturbs nobody.
	old := house.client()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := dialTLS(t, addrs[0], old); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	if _, err := dialTLS(t, addrs[0], &tls.Config{ServerName: "localhost"}); err == nil {
		t.Error("a stranger's certificate was trusted")
	}
	plain := speak(t, dial(t, strings.TrimPrefix(addrs[0], "tls://")), 5)
	plain.send(connectPacket("plain", 5))
	plain.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	if first, err := plain.r.ReadByte(); err == nil && first>>4 == packets.Connack {
		t.Error("a connection without TLS was served")
	}
	for _, c := range all {
		c.alive()
	}
}

// A renewed certificate serves who connects from then on. Who is there stays, and
// files that can't be used change nothing.
func TestTheCertificateIsRenewed(t *testing.T) {
	house := newCA(t)
	cert, key := house.issue("broker", "first")
	var log lines
	b := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	addr := listenWith(t, b, Config{Listen: []string{"tls://127.0.0.1:0"}, TLS: &TLS{Certificate: cert, Key: key}})[0]
	served := func() string {
		nc, err := dialTLS(t, addr, house.client())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		over(t, nc, "passing").alive()
		return nc.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	nc, err := dialTLS(t, addr, house.client())
	if err != nil {
		t.Fatal(err)
	}
	stays := over(t, nc, "stays")
	if name := served(); name != "first" {
		t.Fatal(name)
	}

	// Only half of it is written yet.
	keep, _ := os.ReadFile(key)
	os.WriteFile(key, []byte("half"), 0o600)
	for end := time.Now().Add(20 * time.Second); !log.has("the old one stays"); {
		if name := served(); name != "first" || time.Now().After(end) {
			t.Fatal(name, log.String())
		}
	}
	if name := served(); name != "first" {
		t.Fatal(name)
	}
	os.WriteFile(key, keep, 0o600)

	house.issue("broker", "second")
	for end := time.Now().Add(20 * time.Second); served() != "second"; {
		if time.Now().After(end) {
			t.Fatal("the new certificate is not served", log.String())
		}
	}
	stays.alive()
	if n := strings.Count(log.String(), "holds no key"); n != 1 {
		t.Errorf("the half file was logged %d times:\n%s", n, log.String())
	}

	// A reload takes it at once, and takes none that is wrong.
	house.issue("broker", "third")
	listenWith(t, b, Config{Listen: []string{"tls://127.0.0.1:0"}, TLS: &TLS{Certificate: cert, Key: key}})
	if name := served(); name != "third" {
		t.Error(name)
	}
	os.Remove(key)
	if _, err := b.Prepare(Config{Listen: []string{"tls://127.0.0.1:0"}, TLS: &TLS{Certificate: cert, Key: key}}); err == nil || !strings.Contains(err.Error(), "broker.tls.key: there is no file "+key) {
		t.Error(err)
	}
	if name := served(); name != "third" {
		t.Error(name)
	}
	stays.alive()
}

// The keeper looks at its files once a second at most, whoever connects.
func TestTheKeeperLooksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := newCA(t)
		cert, key := house.issue("broker", "first", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Minute) })
		var log lines
		k, err := (&TLS{Certificate: cert, Key: key}).files().Open(slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		first := k.Config(now)
		house.issue("broker", "second", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Minute) })
		if k.Config(now.Add(certs.LookEvery-1)) != first {
			t.Error("it looked too early")
		}
		second := k.Config(now.Add(certs.LookEvery))
		if second == first {
			t.Error("it did not look")
		}
		if k.Config(now.Add(-time.Hour)) != second {
			t.Error("a clock that was set back made it forget")
		}
		for i := range 10 {
			k.Config(now.Add(time.Hour + time.Duration(i)*time.Minute))
		}
		if n := strings.Count(log.String(), "expired"); n != 1 {
			t.Errorf("that it expired was said %d times:\n%s", n, log.String())
		}
	})
}

func TestClientCertificates(t *testing.T) {
	house, stranger := newCA(t), newCA(t)
	cert, key := house.issue("broker", "localhost")
	house.issue("kitchen", "kitchen")
	house.issue("late", "late", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	house.issue("server-only", "server-only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	stranger.issue("kitchen", "kitchen")
	shows := map[string]*tls.Config{
		"nothing":     house.client(),
		"kitchen":     house.client("kitchen"),
		"late":        house.client("late"),
		"server-only": house.client("server-only"),
		"stranger":    stranger.client("kitchen"),
	}
	shows["stranger"].RootCAs = house.pool
	for _, cfg := range shows { // whatever the server asks for
		if len(cfg.Certificates) > 0 {
			pair := cfg.Certificates[0]
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
	}
	for _, c := range []struct {
		client, shows string
		in            bool
		name          string
	}{
		{"none", "nothing", true, ""}, {"none", "kitchen", true, ""}, {"none", "stranger", true, ""},
		{"optional", "nothing", true, ""}, {"optional", "kitchen", true, "kitchen"}, {"optional", "late", false, ""},
		{"optional", "stranger", false, ""}, {"optional", "server-only", false, ""},
		{"required", "nothing", false, ""}, {"required", "kitchen", true, "kitchen"}, {"required", "late", false, ""},
		{"required", "stranger", false, ""}, {"required", "server-only", false, ""},
	} {
		t.Run(c.client+" "+c.shows, func(t *testing.T) {
			b := open(t, Options{})
			for _, addr := range listenWith(t, b, Config{
				Listen: []string{"tls://127.0.0.1:0", "wss://127.0.0.1:0"},
				TLS:    &TLS{Certificate: cert, Key: key, ClientCA: filepath.Join(house.dir, "ca.crt"), Client: c.client},
			}) {
				nc, err := dialTLS(t, addr, shows[c.shows].Clone())
				if err == nil {
					nc.SetDeadline(time.Now().Add(10 * time.Second))
					nc.Write(encode(connectPacket("x", 5)))
					_, err = nc.Read(make([]byte, 1))
				}
				if (err == nil) != c.in {
					t.Errorf("%s: let in: %v, %v", addr, err == nil, err)
				}
				if err == nil {
					if way := b.way("x"); way.certificate != c.name {
						t.Errorf("%s: its name is %q", addr, way.certificate)
					}
				}
			}
		})
	}
}

// Whoever begins a handshake and does not go on is let go, and so is who says
// nothing at all, or half a request.
func TestHandshakesMustComeToAnEnd(t *testing.T) {
	house := newCA(t)
	cert, key := house.issue("broker", "localhost")
	b := open(t, Options{})
	addrs := listenWith(t, b, Config{
		Listen: []string{"127.0.0.1:0", "tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0"},
		TLS:    &TLS{Certificate: cert, Key: key},
		Limits: Limits{ConnectTimeout: config.Duration(time.Second)},
	})
	start := time.Now()
	var all []net.Conn
	for _, addr := range addrs {
		_, hostport, found := strings.Cut(addr, "://")
		if !found {
			hostport = addr
		}
		for _, says := range []string{"", "\x10", "\x16\x03\x01\x02\x00\x01", "GET /mqtt HTTP/1.1\r\nHost: a\r\n", "GET /none HTTP/1.1\r\nHost: a\r\n\r\n"} {
			nc := dial(t, hostport)
			nc.Write([]byte(says))
			all = append(all, nc)
		}
	}
	// These have come through the handshake, and then say nothing.
	for _, addr := range []string{addrs[1], addrs[3]} {
		nc, err := dialTLS(t, addr, house.client())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, nc)
	}
	all = append(all, dial(t, addrs[2]))
	for _, nc := range all {
		nc.SetReadDeadline(start.Add(9 * time.Second))
		for {
			if _, err := nc.Read(make([]byte, 1000)); err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Fatal("a connection to", nc.RemoteAddr(), "does not end")
				}
				break
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); b.accepted.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(b.accepted.Load(), "connections are left")
		}
	}
}

func TestTLSMistakes(t *testing.T) {
	house, other := newCA(t), newCA(t)
	house.issue("broker", "localhost")
	house.issue("old", "localhost", func(c *x509.Certificate) { c.NotAfter = time.Date(2020, 2, 3, 0, 0, 0, 0, time.UTC) })
	house.issue("nameless", "localhost", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil })
	other.issue("broker", "localhost")
	key, _ := os.ReadFile(filepath.Join(other.dir, "broker.key"))
	os.WriteFile(filepath.Join(house.dir, "other.key"), key, 0o600)
	os.WriteFile(filepath.Join(house.dir, "empty"), nil, 0o600)
	os.WriteFile(filepath.Join(house.dir, "locked.key"), []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o600)
	os.WriteFile(filepath.Join(house.dir, "huge"), make([]byte, 1<<20+1), 0o600)
	file := filepath.Join(house.dir, "config.toml")

	const good = "certificate = \"broker.crt\"\nkey = \"broker.key\"\n"
	for _, c := range []struct {
		tls     string
		want    string
		warning bool // of Check; Prepare refuses all but the doubts about a certificate
		taken   bool
	}{
		{good, "", false, true},
		{good + "client = \"none\"\nclient_ca = \"ca.crt\"", "", false, true},
		{good + "client = \"required\"\nclient_ca = \"ca.crt\"", "", false, true},
		{"key = \"broker.key\"", "broker.tls.certificate: missing", false, false},
		{"certificate = \"broker.crt\"", "broker.tls.key: missing", false, false},
		{good + "client = \"optional\"", "broker.tls.client_ca: missing", false, false},
		{good + "client_ca = \"ca.crt\"", "broker.tls.client: missing", false, false},
		{good + "client = \"maybe\"\nclient_ca = \"ca.crt\"", `broker.tls.client = "maybe": want "none", "optional" or "required"`, false, true},
		{"certificate = \"none.crt\"\nkey = \"broker.key\"", `broker.tls.certificate = "none.crt": there is no file ` + house.dir, true, false},
		{"certificate = \".\"\nkey = \"broker.key\"", "is no file", true, false},
		{"certificate = \"huge\"\nkey = \"broker.key\"", "is larger than 1MiB", true, false},
		{"certificate = \"empty\"\nkey = \"broker.key\"", "holds no certificate", false, false},
		{"certificate = \"broker.key\"\nkey = \"broker.key\"", "holds no certificate", false, false},
		{"certificate = \"broker.crt\"\nkey = \"broker.crt\"", "broker.tls.key = \"broker.crt\": holds no key", false, false},
		{"certificate = \"broker.crt\"\nkey = \"locked.key\"", "has a passphrase", false, false},
		{"certificate = \"broker.crt\"\nkey = \"other.key\"", "it and the certificate do not fit together: private key does not match public key", false, false},
		{good + "client = \"required\"\nclient_ca = \"empty\"", "broker.tls.client_ca = \"empty\": holds no certificate", false, false},
		{"certificate = \"old.crt\"\nkey = \"old.key\"", "config.toml:4:15: warning: broker.tls.certificate = \"old.crt\": it expired on 2020-02-03", true, true},
		{"certificate = \"nameless.crt\"\nkey = \"nameless.key\"", "names no host", true, true},
	} {
		var cfg struct {
			Broker Config `toml:"broker"`
		}
		text := "[broker]\nlisten = [\"tls://127.0.0.1:0\"]\n[broker.tls]\n" + c.tls + "\n"
		os.WriteFile(file, []byte(text), 0o600)
		doc := config.Load(file, &cfg)
		said := doc.Mistakes()
		if c.warning {
			said = doc.Warnings()
		}
		if c.want == "" && len(doc.Mistakes())+len(doc.Warnings()) > 0 || c.want != "" && (len(said) != 1 || !strings.Contains(said[0].String(), c.want)) || c.warning && doc.Err() != nil {
			t.Errorf("%s\ngot  %v %v\nwant %s", c.tls, doc.Mistakes(), doc.Warnings(), c.want)
		}
		if strings.Contains(c.tls, "maybe") {
			continue
		}
		b := open(t, Options{})
		ch, err := b.Prepare(cfg.Broker)
		if (err == nil) != c.taken {
			t.Errorf("%s\nPrepare: %v", c.tls, err)
		}
		if err == nil {
			ch.Undo()
		}
	}

	// One that nobody uses is a doubt.
	var cfg struct {
		Broker Config `toml:"broker"`
	}
	os.WriteFile(file, []byte("[broker.tls]\n"+good), 0o600)
	if doc := config.Load(file, &cfg); len(doc.Warnings()) != 1 || !strings.Contains(doc.Warnings()[0].String(), "no listener uses it") {
		t.Error(doc.Warnings())
	}
}

// lines is a log that a test looks into.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) has(s string) bool { return strings.Contains(l.String(), s) }

// A client that does not listen holds up nobody who says goodbye to it.
func TestGoodbyeIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		house := newCA(t)
		cert, key := house.issue("broker", "localhost", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(-time.Hour) })
		b := open(t, Options{Log: slog.New(slog.DiscardHandler)})
		defer b.Close()
		k, err := (&TLS{Certificate: cert, Key: key}).files().Open(b.log)
		if err != nil {
			t.Fatal(err)
		}
		l := &listener{b: b, conns: map[*accepted]bool{}}
		here, there := net.Pipe()
		defer here.Close()
		c, why := l.admit(there, time.Now())
		if why != "" {
			t.Fatal(why)
		}
		secure := secured{tls.Server(c, k.Config(time.Now())), c}
		go tls.Client(here, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake()
		if err := secure.Handshake(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		secure.Close()
		if d := time.Since(start); d != goodbye {
			t.Errorf("it took %v", d)
		}
		if n := b.accepted.Load(); n != 0 {
			t.Error(n, "connections are left")
		}
	})
}

// The commands of docs/broker.md make what the broker and its clients take.
func TestTheGuideMakesCertificates(t *testing.T) {
	if version, _ := exec.Command("openssl", "version").Output(); !bytes.HasPrefix(version, []byte("OpenSSL 3")) {
		t.Skipf("no OpenSSL 3 here: %q", version)
	}
	text, err := os.ReadFile("../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(text), "```sh\n")
	script, _, found := strings.Cut(script, "```")
	if !found {
		t.Fatal("the guide has no commands")
	}
	house := &ca{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	sh := exec.Command("sh", "-e", "-c", script)
	sh.Dir = house.dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root, _ := os.ReadFile(filepath.Join(house.dir, "ca.crt"))
	house.pool.AppendCertsFromPEM(root)

	file := filepath.Join(house.dir, "config.toml")
	os.WriteFile(file, []byte("broker = { listen = [\"tls://127.0.0.1:0\"], tls = { certificate = \"broker.crt\", key = \"broker.key\", client = \"required\", client_ca = \"ca.crt\" } }\n"), 0o600)
	var cfg struct {
		Broker Config `toml:"broker"`
	}
	doc := config.Load(file, &cfg)
	if doc.Err() != nil || len(doc.Warnings()) > 0 {
		t.Fatal(doc.Err(), doc.Warnings())
	}
	b := open(t, Options{})
	addr := listenWith(t, b, cfg.Broker)[0]
	nc, err := dialTLS(t, addr, house.client("kitchen"))
	if err != nil {
		t.Fatal(err)
	}
	over(t, nc, "x").alive()
	if name := b.way("x").certificate; name != "kitchen" {
		t.Error(name)
	}
	// The broker's own certificate is none of a client.
	nc, err = dialTLS(t, addr, house.client("broker"))
	if err == nil {
		_, err = nc.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Error("the broker's certificate is taken for a client's:", err)
	}
}
