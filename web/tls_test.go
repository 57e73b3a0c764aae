package web

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/certs"
)

// A phone trusts the CA of the house in dir, and follows no redirect.
func phone(t *testing.T, dir string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, certs.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func houseCA(t *testing.T) (dir string, cfg *TLS) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "tls")
	if err := certs.Init(dir, []string{"localhost", "127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir, &TLS{Certificate: certs.CertificateFile, Key: certs.KeyFile, dir: dir}
}

// The page over TLS: the login's cookie is for this host alone, and who types the address
// without https:// is led there.
func TestThePageOverTLS(t *testing.T) {
	dir, cfg := houseCA(t)
	s := New(newHouse(), Options{People: family(), Log: quietLog})
	defer s.Close()
	listen, no := "127.0.0.1:0", false
	move := func(cfg Config) {
		t.Helper()
		c, err := s.Prepare(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.Commit()
	}
	move(Config{Listen: &listen, Anonymous: &no, TLS: cfg})
	browser := phone(t, dir)
	if s.Scheme() != "https" {
		t.Error(s.Scheme())
	}
	resp, err := browser.PostForm("https://"+s.Addr()+"/login", url.Values{"user": {"anna"}, "password": {"correct horse"}, "next": {"/"}})
	if err != nil || resp.StatusCode != 303 {
		t.Fatal(resp, err)
	}
	c := resp.Cookies()[0]
	if c.Name != "__Host-hearth" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%v", c)
	}
	req, _ := http.NewRequest("GET", "https://"+s.Addr()+"/api/v1/house", nil)
	req.AddCookie(c)
	if resp, err := browser.Do(req); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}

	// In the clear.
	plain, err := browser.Get("http://" + s.Addr() + "/rules?a=b")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(plain.Body)
	if to := "https://" + s.Addr() + "/rules?a=b"; plain.StatusCode != 307 || plain.Header.Get("Location") != to || string(body) != "This page is at "+to+"\n" {
		t.Errorf("%d %v %s", plain.StatusCode, plain.Header, body)
	}
	posted, err := browser.PostForm("http://"+s.Addr()+"/login", url.Values{"user": {"anna"}, "password": {"correct horse"}})
	if err != nil {
		t.Fatal(err)
	}
	if posted.StatusCode != 400 || posted.Header.Get("Location") != "" || len(posted.Cookies()) > 0 {
		t.Errorf("a password in the clear: %d %v", posted.StatusCode, posted.Header)
	}
	for _, sent := range []string{"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "GET //evil.example/ HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost:1@evil.example\r\n\r\n"} {
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(nc, sent)
		answer, _ := io.ReadAll(nc)
		nc.Close()
		if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || strings.Contains(string(answer), "evil") {
			t.Errorf("%q: %s", sent, answer)
		}
	}
	for _, sent := range []string{"SSH-2.0-x\r\n", "\x16", "\x00\x00"} { // who speaks neither
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(nc, sent)
		nc.(*net.TCPConn).CloseWrite()
		io.ReadAll(nc)
		nc.Close()
	}

	// A certificate that was renewed is shown without a reload.
	shown := func() string {
		nc, err := tls.Dial("tcp", s.Addr(), browser.Transport.(*http.Transport).TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	if err := certs.Renew(dir, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the renewed certificate is shown", func() bool { return shown() != first })

	// Without TLS again, on the same port, and back.
	here := s.Addr()
	move(Config{Listen: &here, Anonymous: &no})
	if resp, err := browser.Get("http://" + here + "/healthz"); err != nil || resp.StatusCode != 200 || s.Scheme() != "http" {
		t.Error(resp, err)
	}
	move(Config{Listen: &here, Anonymous: &no, TLS: cfg})
	if resp, err := browser.Get("https://" + here + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
	// One that can't be read changes nothing.
	if _, err := s.Prepare(Config{Listen: &here, Anonymous: &no, TLS: &TLS{Certificate: "nothing.crt", Key: "nothing.key", dir: dir}}); err == nil || !strings.Contains(err.Error(), "web.tls.certificate: there is no file") {
		t.Errorf("%v", err)
	}
	if resp, err := browser.Get("https://" + here + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Error(resp, err)
	}
}

func TestMistakesInTLS(t *testing.T) {
	for more, want := range map[string]string{
		"tls = {}":                      `config.toml:3:7: web.tls.certificate: missing, want the file of the page's certificate, such as certificate = "page.crt"`,
		"tls = { certificate = \"a\" }": `config.toml:3:7: web.tls.key: missing, want the file of the certificate's key, such as key = "page.key"`,
	} {
		if got := mistakes("0.0.0.0:8443", more); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
