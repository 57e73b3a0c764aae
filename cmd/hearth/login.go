package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// loginFlags say who the client is to a broker, and whom it trusts to be that
// broker. There is no --password: every user of a machine sees the command lines
// of all programs.
type loginFlags struct {
	User         string `short:"u" env:"HEARTH_USER" placeholder:"NAME" help:"Log in under this name; the password is in $$HEARTH_PASSWORD or a file."`
	PasswordFile string `placeholder:"FILE" help:"File with the password; a line's end behind it does not count."`
	CA           string `name:"ca" env:"HEARTH_CA" placeholder:"FILE" help:"Trust these certificates (PEM) for tls://, and no others; default those of the system."`
	Cert         string `placeholder:"FILE" help:"The client's own certificate (PEM) for tls://, with --key."`
	Key          string `placeholder:"FILE" help:"Its key."`

	secret []byte // the password, once it has been read: what it came from may be a pipe
}

const passwordVariable = "HEARTH_PASSWORD"

// longestPassword is what a CONNECT has room for.
const longestPassword = 65535

// password is what the user logs in with, nil without a user. Errors are mistakes
// of the command line.
func (f *loginFlags) password() (_ []byte, err error) {
	if f.secret == nil {
		f.secret, err = f.readPassword()
	}
	return f.secret, err
}

func (f *loginFlags) readPassword() ([]byte, error) {
	variable, set := os.LookupEnv(passwordVariable)
	switch {
	case f.User == "" && f.PasswordFile != "":
		return nil, usageError{errors.New("--password-file: whose password is it? --user NAME says so")}
	case f.User == "" && set:
		return nil, usageError{errors.New("$" + passwordVariable + " is set: whose password is it? --user NAME or $HEARTH_USER says so")}
	case f.User == "":
		return nil, nil
	case f.PasswordFile == "" && set:
		return []byte(variable), nil
	case f.PasswordFile == "" && f.Cert != "": // which may be all it takes
		return nil, nil
	case f.PasswordFile == "":
		return nil, usageError{fmt.Errorf("--user %s: what is the password? --password-file FILE or $%s says it", f.User, passwordVariable)}
	}
	file, err := os.Open(f.PasswordFile)
	if err != nil {
		return nil, usageError{fmt.Errorf("--password-file: %w", err)}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, longestPassword+3))
	if err != nil {
		return nil, usageError{fmt.Errorf("--password-file: %w", err)}
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) == 0:
		return nil, usageError{fmt.Errorf("--password-file %s: there is nothing in it", f.PasswordFile)}
	case len(text) > longestPassword:
		return nil, usageError{fmt.Errorf("--password-file %s: it has more than %d bytes, which is too long for a password", f.PasswordFile, longestPassword)}
	}
	return text, nil
}

// tls is how to make sure who is at the other end. All errors are mistakes of the
// command line.
func (f loginFlags) tls(host string) (*tls.Config, error) {
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, usageError{fmt.Errorf("--ca: %w", err)}
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, usageError{fmt.Errorf("--ca %s: no certificate in it; want one or more in PEM, which begin with -----BEGIN CERTIFICATE-----", f.CA)}
		}
	}
	if f.Cert != "" {
		own, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, usageError{fmt.Errorf("--cert %s --key %s: %w", f.Cert, f.Key, err)}
		}
		conf.Certificates = []tls.Certificate{own}
	}
	return conf, nil
}

// check says what of the flags goes without the other, or without TLS.
func (f loginFlags) check(secure bool) error {
	switch {
	case (f.Cert == "") != (f.Key == ""):
		return errors.New("--cert FILE and --key FILE belong together")
	case !secure && f.Cert != "":
		return errors.New("--cert is for a broker at tls://host:port")
	case !secure && f.CA != "" && os.Getenv("HEARTH_CA") != f.CA: // set for good it does not say that this broker has TLS
		return errors.New("--ca is for a broker at tls://host:port")
	}
	return nil
}

// notTrusted says what to do about an end that is not whom it claims to be, or
// that does not trust this one; "" if err is about something else.
func (f loginFlags) notTrusted(err error, host string) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		noTLS   tls.RecordHeaderError
		remote  *net.OpError
	)
	switch {
	case errors.As(err, &unknown) && f.CA == "":
		return "nobody whom this machine trusts has signed its certificate: --ca FILE names who did"
	case errors.As(err, &unknown):
		return fmt.Sprintf("none of the certificates in %s has signed its certificate, so it may be somebody else", f.CA)
	case errors.As(err, &name):
		return fmt.Sprintf("its certificate is not for %s but for %s: connect by that name", host, strings.Join(namesIn(name.Certificate), ", "))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("its certificate is valid from %s to %s only, and here it is %s: is this machine's clock right?",
			invalid.Cert.NotBefore.Format("2006-01-02"), invalid.Cert.NotAfter.Format("2006-01-02"), time.Now().Format("2006-01-02 15:04"))
	case errors.As(err, &noTLS), errors.Is(err, errNoTLS):
		return errNoTLS.Error()
	case errors.As(err, &remote) && remote.Op == "remote error":
		why := strings.TrimPrefix(remote.Err.Error(), "tls: ")
		switch {
		case f.Cert == "" && strings.Contains(why, "certificate"):
			return "it wants to see a certificate of this client: --cert FILE --key FILE"
		case why == "certificate required": // it was not even shown, for the broker says whose it accepts
			return fmt.Sprintf("nobody whom it trusts has signed the certificate in %s", f.Cert)
		case strings.Contains(why, "certificate"):
			return fmt.Sprintf("it does not accept the certificate in %s (%s)", f.Cert, why)
		}
		return "it breaks the TLS handshake off: " + why
	}
	return ""
}

// namesIn is whom a certificate is for.
func namesIn(c *x509.Certificate) (names []string) {
	names = append(names, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"nobody that is named in it"}
	}
	return names
}

// notLetIn says what to do about a CONNECT that was refused with a reason that
// another try would not change; "" if there is nothing to say.
func (f loginFlags) notLetIn(code byte) string {
	switch {
	case (code == 0x86 || code == 0x87) && f.User == "" && f.Cert == "":
		return "it wants a login: --user NAME, and --password-file FILE or $" + passwordVariable
	case code == 0x86:
		return fmt.Sprintf("user name or password is wrong (for the user %s)", harmless([]byte(f.User)))
	case code == 0x8a:
		return "too many wrong logins came from here; wait some minutes before the next"
	}
	return ""
}
