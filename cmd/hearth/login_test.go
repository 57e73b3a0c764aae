package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate and writes both parts of it, the key only where it
// has a name. Without an authority it becomes one.
func issue(ts *testscript.TestScript, by *authority, what x509.Certificate, file string) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	what.SerialNumber = big.NewInt(time.Now().UnixNano())
	if what.NotAfter.IsZero() {
		what.NotBefore, what.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	if by == nil {
		what.IsCA, what.BasicConstraintsValid, what.KeyUsage = true, true, x509.KeyUsageCertSign
		by = &authority{&what, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &what, by.cert, key.Public(), by.key)
	ts.Check(err)
	cert, err := x509.ParseCertificate(der)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(file+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(file+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return authority{cert, key}
}

func gate(ts *testscript.TestScript, neg bool, args []string) {
	want := strings.Join(args, " ")
	if neg || want != "" && want != "certificate" && want != "expired" {
		ts.Fatalf("usage: gate [certificate|expired]")
	}
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	house := issue(ts, nil, x509.Certificate{Subject: pkix.Name{CommonName: "house"}}, "ca")
	stranger := issue(ts, nil, x509.Certificate{Subject: pkix.Name{CommonName: "nobody"}}, "nobody")
	issue(ts, &house, x509.Certificate{Subject: pkix.Name{CommonName: "anna"}, ExtKeyUsage: client}, "client")
	issue(ts, &stranger, x509.Certificate{Subject: pkix.Name{CommonName: "anna"}, ExtKeyUsage: client}, "stranger")
	own := x509.Certificate{IPAddresses: here, DNSNames: []string{"hub.example"}}
	if want == "expired" {
		own.NotBefore, own.NotAfter = time.Unix(0, 0).UTC(), time.Unix(86400, 0).UTC()
	}
	server := issue(ts, &house, own, "server")
	conf := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}},
		ClientCAs:    x509.NewCertPool(),
	}
	conf.ClientCAs.AddCert(house.cert)
	if want == "certificate" {
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
	addr := before(ts, conf)
	ts.Setenv("TLS", "tls://"+addr)
	ts.Setenv("TLS_BY_NAME", "tls://"+strings.Replace(addr, "127.0.0.1", "localhost", 1))
}

// before listens with TLS in front of $BROKER.
func before(ts *testscript.TestScript, conf *tls.Config) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr = l.Addr().String()
	l = tls.NewListener(l, conf)
	broker := ts.Getenv("BROKER")
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	carry := func(c net.Conn) {
		defer c.Close()
		if t, ok := c.(*tls.Conn); ok && t.Handshake() != nil {
			return
		}
		b, err := net.Dial("tcp", broker)
		if err != nil {
			return
		}
		defer b.Close()
		all.Go(func() { io.Copy(c, b); c.Close() })
		io.Copy(b, c)
	}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(patience))
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() { carry(c) })
		}
	})
	ts.Defer(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return addr
}
