package bridge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/coder/websocket"
)

// dial opens a connection to the other broker, as its address says.
func (b *Bridge) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	scheme, host, at, err := parseAddress(b.cfg.Address)
	if err != nil {
		return nil, err
	}
	var secure *tls.Config
	if scheme == "tls" || scheme == "wss" {
		if secure, err = b.tls(host); err != nil {
			return nil, err
		}
	}
	network := "tcp"
	if scheme == "unix" {
		network = "unix"
	}
	if scheme == "ws" || scheme == "wss" {
		return b.dialWeb(ctx, at, secure)
	}
	conn, err := b.opt.Dial(ctx, network, at)
	if err != nil || secure == nil {
		return conn, err
	}
	t := tls.Client(conn, secure)
	if err := t.HandshakeContext(ctx); err != nil {
		conn.Close()
		if hungUp(err) {
			err = errors.New("it closed the connection instead of answering: does it speak TLS there?")
		}
		return nil, err
	}
	return t, nil
}

// dialWeb opens MQTT over WebSocket.
func (b *Bridge) dialWeb(ctx context.Context, at string, secure *tls.Config) (net.Conn, error) {
	transport := &http.Transport{DialContext: b.opt.Dial, TLSClientConfig: secure}
	defer transport.CloseIdleConnections()
	c, resp, err := websocket.Dial(ctx, at, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("it answered %s: is MQTT at this path?", resp.Status)
		}
		return nil, err
	}
	c.SetReadLimit(maxPacket + 1024)
	return websocket.NetConn(context.Background(), c, websocket.MessageBinary), nil
}

// tls is read anew for each connection: certificates are renewed while a house runs.
func (b *Bridge) tls(host string) (*tls.Config, error) {
	t := b.cfg.TLS
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CA != "" {
		pem, err := os.ReadFile(b.path(t.CA))
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca: there is no certificate in %s", b.path(t.CA))
		}
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(b.path(t.Certificate), b.path(t.Key))
		if err != nil {
			return nil, fmt.Errorf("tls.certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// password is that of the config, or the first line of its file.
func (b *Bridge) password() ([]byte, error) {
	switch {
	case b.cfg.PasswordFile != "":
		text, err := os.ReadFile(b.path(b.cfg.PasswordFile))
		if err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		return bytes.TrimSuffix(line, []byte("\r")), nil
	case b.cfg.Password != "":
		return []byte(b.cfg.Password), nil
	}
	return nil, nil
}

// path is that of a file that the config names relative to itself.
func (b *Bridge) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(b.opt.Dir, name)
}

// hint says what to look at when a connection failed; "" if the error says it.
func (b *Bridge) hint(err error) string {
	var (
		no      *refusal
		unknown *net.DNSError
		signer  x509.UnknownAuthorityError
		name    x509.HostnameError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &no) && (no.code == 0x86 || no.code == 4 || no.code == 0x87 || no.code == 5):
		return "look at user and password of " + b.table()
	case errors.As(err, &no) && (no.code == 0x85 || no.code == 2):
		return "give " + b.table() + " another client_id"
	case errors.As(err, &unknown) && unknown.IsNotFound:
		return "no host has this name: look at address of " + b.table()
	case errors.As(err, &signer):
		return "its certificate is signed by nobody who is known here: give tls.ca of " + b.table()
	case errors.As(err, &name):
		return "its certificate is for another name: give tls.server_name of " + b.table()
	case errors.As(err, &record):
		return "it does not speak TLS there: is it another port?"
	}
	return ""
}
