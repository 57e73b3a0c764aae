package broker

import (
	"crypto/tls"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"time"

	"hearth/certs"
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

// Check says what is missing, and what is wrong with files that can be read.
func (t *TLS) Check(at config.Place) {
	t.dir = filepath.Dir(at.Position().File)
	t.files().Check(at)
}

func (t *TLS) files() certs.Files {
	return certs.Files{Table: "broker.tls", Of: "broker", Dir: t.dir, Certificate: t.Certificate, Key: t.Key, ClientCA: t.ClientCA, Client: t.Client}
}

// Files are the paths of all that are read, the certificate first.
func (t *TLS) Files() []string { return t.files().Paths() }

// Until is when the certificate expires.
func (t *TLS) Until() (time.Time, error) { return t.files().Until() }

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
