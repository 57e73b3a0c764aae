package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"hearth/certs"
)

// tlsCommand makes certificates for a house that has none, so that the page is https.
type tlsCommand struct {
	Init  tlsInit  `cmd:"" help:"Make a CA of the house's own and a certificate for this machine; says how phones come to trust it."`
	Renew tlsRenew `cmd:"" help:"Make a new certificate by the CA that there is, which a hub that runs takes up by itself."`
}

type tlsInit struct {
	userFlags
	Name []string `arg:"" optional:"" help:"Names and addresses by which people reach the page; default: those of this machine."`
}

func (c *tlsInit) Run(std streams) error {
	dir, names, err := tlsFolder(c.userFlags, std, c.Name)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = certs.Names()
	}
	if err := certs.Init(dir, names, time.Now()); err != nil {
		return err
	}
	if err := tellCertificate(std, dir, names); err != nil {
		return err
	}
	fmt.Fprintf(std.out, howToUse, filepath.Join(dir, certs.CertificateFile), filepath.Join(dir, certs.KeyFile), filepath.Join(dir, certs.CAFile))
	return nil
}

const howToUse = `
Write this into the configuration, then call hearth reload:

  [web.tls]
  certificate = %q
  key = %q

Bring %s to each phone and computer, once, and have it trusted:

  iPhone, iPad   open the file; Settings, General, VPN & Device Management: install;
                 Settings, General, About, Certificate Trust Settings: switch it on
  Android        Settings, Security, Encryption & credentials, Install a certificate, CA certificate
  Windows        open the file; Install, Local Machine, Trusted Root Certification Authorities
  macOS          open the file; Keychain Access, System; Get Info, Trust, Always Trust
  Debian         as /usr/local/share/ca-certificates/hearth.crt; sudo update-ca-certificates
  Firefox        Settings, Privacy & Security, View Certificates, Authorities, Import

It is good for names and networks of homes, and those above, and for nothing on the internet.
`

type tlsRenew struct {
	userFlags
	Name []string `arg:"" optional:"" help:"Names and addresses; default: those of the old certificate."`
}

func (c *tlsRenew) Run(std streams) error {
	dir, names, err := tlsFolder(c.userFlags, std, c.Name)
	if err != nil {
		return err
	}
	if err := certs.Renew(dir, names, time.Now()); err != nil {
		return err
	}
	if err := tellCertificate(std, dir, names); err != nil {
		return err
	}
	_, err = io.WriteString(std.out, "A hub that runs shows it from now on.\n")
	return err
}

// tlsFolder is where the CA of a house lies.
func tlsFolder(f userFlags, std streams, names []string) (dir string, _ []string, err error) {
	cfg, err := f.load(std)
	if err != nil {
		return "", nil, err
	}
	dir, err = filepath.Abs(cfg.CADir())
	return dir, names, err
}

func tellCertificate(std streams, dir string, names []string) error {
	until, err := certs.Until(filepath.Join(dir, certs.CertificateFile))
	if err != nil {
		return err
	}
	whom := "the names of the old one"
	if len(names) > 0 {
		whom = strings.Join(names, ", ")
	}
	fmt.Fprintf(std.out, "A certificate for %s is in %s, good until %s.\n", whom, dir, until.Format(time.DateOnly))
	return nil
}
