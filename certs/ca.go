package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"hearth/config"
)

// The files of a house's own CA, in a folder of their own.
const (
	CAFile          = "ca.crt" // to be installed on phones and computers
	caKeyFile       = "ca.key"
	CertificateFile = "hearth.crt"
	KeyFile         = "hearth.key"
)

const (
	caValid = 10 * 365 * 24 * time.Hour

	// Phones of Apple refuse a certificate that is valid for more than 825 days, whoever
	// signed it.
	leafValid = 825*24*time.Hour - 2*backdated

	// So much earlier both begin, for clocks that are a little slow.
	backdated = 24 * time.Hour
)

// homes are the domains that are no one's on the internet, where a home's names are.
var homes = []string{"localhost", "local", "home.arpa", "internal", "lan", "home", "fritz.box"}

// homeNetworks are the same of addresses.
var homeNetworks = []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"}

// Init makes a CA in dir, and a certificate for a server with these names and addresses.
// The CA can sign for nothing but a home's own names and networks and the names it was
// made with: whoever steals its key can't pose as a bank to the phones that trust it.
func Init(dir string, names []string, now time.Time) error {
	if err := clockRight(now); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, caKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("there is a CA in %s already, which phones may trust: hearth tls renew makes a new certificate of it", dir))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	ca := &x509.Certificate{
		SerialNumber:                serial(),
		Subject:                     pkix.Name{CommonName: "Hearth of " + host + ", " + now.Format("2006-01-02")},
		NotBefore:                   now.Add(-backdated),
		NotAfter:                    now.Add(caValid),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         slices.Clone(homes),
	}
	for _, text := range homeNetworks {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return err
		}
		ca.PermittedIPRanges = append(ca.PermittedIPRanges, network)
	}
	for _, name := range names {
		ip := net.ParseIP(name)
		switch {
		case ip == nil && !isHostName(name):
			return fmt.Errorf("%q is neither a name nor an address", name)
		case ip == nil && !permittedName(ca, name):
			ca.PermittedDNSDomains = append(ca.PermittedDNSDomains, name)
		case ip != nil && !permittedIP(ca, ip):
			bits := len(ip) * 8
			if four := ip.To4(); four != nil {
				ip, bits = four, 32
			}
			ca.PermittedIPRanges = append(ca.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return err
	}
	if err := config.MakeDir(dir); err != nil {
		return err
	}
	if err := writeKey(dir, caKeyFile, key); err != nil {
		return err
	}
	if err := write(dir, CAFile, 0o644, pemOf("CERTIFICATE", der)); err != nil {
		return err
	}
	return issue(dir, names, now)
}

// Renew makes a new certificate by the CA in dir, for the names that the old one has if
// there are none here. A server that runs takes it up by itself.
func Renew(dir string, names []string, now time.Time) error {
	if err := clockRight(now); err != nil {
		return err
	}
	if len(names) == 0 {
		old, err := readCertificate(filepath.Join(dir, CertificateFile))
		if err != nil {
			return err
		}
		names = slices.Clone(old.DNSNames)
		for _, ip := range old.IPAddresses {
			names = append(names, ip.String())
		}
	}
	return issue(dir, names, now)
}

// issue writes a new key and a certificate of the CA. The key is first: who reads
// between the two finds that they do not fit, and tries again.
func issue(dir string, names []string, now time.Time) error {
	ca, err := readCertificate(filepath.Join(dir, CAFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no CA in %s: hearth tls init makes one", dir)
	} else if err != nil {
		return err
	}
	caKey, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return err
	}
	if now.After(ca.NotAfter) {
		return fmt.Errorf("the CA in %s has expired: move the folder away, and hearth tls init makes another", dir)
	}
	if len(names) == 0 {
		return errors.New("a certificate needs a name")
	}
	leaf := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: names[0]},
		NotBefore:    now.Add(-backdated),
		NotAfter:     now.Add(leafValid),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if leaf.NotAfter.After(ca.NotAfter) {
		leaf.NotAfter = ca.NotAfter
	}
	for _, name := range names {
		ip := net.ParseIP(name)
		switch {
		case ip != nil && permittedIP(ca, ip):
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		case ip == nil && isHostName(name) && permittedName(ca, name):
			leaf.DNSNames = append(leaf.DNSNames, name)
		case ip == nil && !isHostName(name):
			return fmt.Errorf("%q is neither a name nor an address", name)
		default:
			return fmt.Errorf("the CA was not made for %s: move %s away, and hearth tls init with that name makes another, to be installed anew", name, dir)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	if err := writeKey(dir, KeyFile, key); err != nil {
		return err
	}
	return write(dir, CertificateFile, 0o644, pemOf("CERTIFICATE", der))
}

// clockRight refuses what a Pi that has just booted would make: valid in 1970.
func clockRight(now time.Time) error {
	if now.Year() < 2025 {
		return fmt.Errorf("the clock says %s: a certificate of that day is good for nothing, so wait until it is set", now.Format("2006-01-02"))
	}
	return nil
}

func serial() *big.Int {
	n := make([]byte, 16)
	rand.Read(n)
	n[0] &= 0x7f
	return new(big.Int).SetBytes(n)
}

func isHostName(name string) bool {
	return name != "" && len(name) <= 253 && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".") && !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.')
	})
}

// permittedName says whether a CA may sign for a name: a domain permits itself and all
// that is below it.
func permittedName(ca *x509.Certificate, name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(ca.PermittedDNSDomains, func(d string) bool {
		d = strings.ToLower(d)
		return name == d || strings.HasSuffix(name, "."+d)
	})
}

func permittedIP(ca *x509.Certificate, ip net.IP) bool {
	return slices.ContainsFunc(ca.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(ip) })
}

// Names are what this machine is called, and its addresses at home: what a certificate is
// for when nobody says.
func Names() (all []string) {
	if host, err := os.Hostname(); err == nil && isHostName(host) {
		short, _, dotted := strings.Cut(host, ".")
		all = append(all, short+".local", short)
		if dotted && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	all = append(all, "localhost", "127.0.0.1", "::1")
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return all
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if ip := p.Addr().Unmap(); ip.IsPrivate() && !slices.Contains(all, ip.String()) {
			all = append(all, ip.String())
		}
	}
	return all
}

// Made are the files in dir that Init has made, if it has.
func Made(dir string) (all []string) {
	for _, name := range []string{CAFile, caKeyFile, CertificateFile, KeyFile} {
		if file := filepath.Join(dir, name); fileThere(file) {
			all = append(all, file)
		}
	}
	return all
}

func fileThere(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// Until is when the certificate in a file expires.
func Until(file string) (time.Time, error) {
	c, err := readCertificate(file)
	if err != nil {
		return time.Time{}, err
	}
	return c.NotAfter, nil
}

// Until is when the certificate expires.
func (f Files) Until() (time.Time, error) { return Until(f.path(f.Certificate)) }

func readBlock(file, kind string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for { // a key and its certificate may lie in one file
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return nil, fmt.Errorf("%s holds no %s", file, strings.ToLower(kind))
		}
		if block.Type == kind {
			return block.Bytes, nil
		}
	}
}

func readCertificate(file string) (*x509.Certificate, error) {
	der, err := readBlock(file, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	der, err := readBlock(file, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is no key that hearth tls made", file)
	}
	return ec, nil
}

func writeKey(dir, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return write(dir, name, 0o600, pemOf("PRIVATE KEY", der))
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// write replaces a file as a whole, and gives it to who owns its folder.
func write(dir, name string, mode fs.FileMode, text []byte) error {
	return config.Replace(filepath.Join(dir, name), text, mode, dir)
}
