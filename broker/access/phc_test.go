package access

import (
	"strings"
	"testing"
)

const b64 = "c29tZXNhbHQ$dGhpcyBpcyBzaXh0ZWVuISEh" // a salt and a hash, of no password

// What other programs make is taken, whatever it costs: this is from the tests of
// argon2 itself.
func TestForeignHashes(t *testing.T) {
	p, err := parsePHC("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !p.fits([]byte("password")) || p.fits([]byte("passworD")) {
		t.Error("it fits the wrong password")
	}
}

// mosquitto_passwd made these, of "secret", with and without -H sha512.
func TestHashesOfMosquitto(t *testing.T) {
	for _, h := range []string{
		"$7$101$O5O1UXZK0A+QKBd5$q07n+vlX+gkKO/6a59KNjecgM15hBsXbegYKP3gy6LJ4awAWi37k2lwhSbzmR65GBd/2jKfzLzNikQFqFBdF5w==",
		"$6$o8B2gmMEanQpNkuD$iJ++aRFhSr0XntdSE4xSrEjhDXjLOXa2qrI0zgwZZhBFAB5K9rAQnggLfCtT9W9chGPHpgBT7SieuhU7pXGfng==",
	} {
		p, err := parsePHC(h)
		if err != nil {
			t.Fatal(err)
		}
		if !p.fits([]byte("secret")) || p.fits([]byte("Secret")) || p.fits(nil) {
			t.Errorf("%s fits the wrong password", h)
		}
		if p.String() != h {
			t.Errorf("%s became %s", h, p)
		}
	}
}

func TestAHashFitsItsPassword(t *testing.T) {
	h := Hash([]byte("correct horse"))
	if !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Error(h)
	}
	p, err := parsePHC(h)
	if err != nil {
		t.Fatal(err)
	}
	if p.String() != h {
		t.Errorf("%s became %s", h, p)
	}
	if !p.fits([]byte("correct horse")) || p.fits([]byte("correct horsf")) || p.fits(nil) {
		t.Error("it fits the wrong password")
	}
	if other := Hash([]byte("correct horse")); other == h {
		t.Error("two hashes of one password are the same")
	}
}

func TestHashesThatAreNone(t *testing.T) {
	for in, want := range map[string]string{
		"":             "want a hash",
		"secret":       "want a hash",
		"$5$salt$hash": "this kind of hash is not known",
		"$6$salt$hash": "no salt",
		"$6$c29tZXNhbHQ=$dGhpcyBpcyBzaXh0ZWVuISEh":        "no hash",
		"$7$101$c29tZXNhbHQ=":                             "was it copied whole",
		"$7$0$c29tZXNhbHQ=$eA==":                          "number of rounds",
		"$7$9999999$c29tZXNhbHQ=$eA==":                    "9999999 rounds would take too long",
		"$argon2i$v=19$m=19456,t=2,p=1$" + b64:            "this kind of hash is not known",
		"$argon2id$v=16$m=19456,t=2,p=1$" + b64:           "want version 19",
		"$argon2id$m=19456,t=2,p=1$" + b64:                "want a hash",
		"$argon2id$v=19$m=65537,t=1,p=1$" + b64:           "m=65537 is not done here: want m from 8 to 65536",
		"$argon2id$v=19$m=65536,t=5,p=1$" + b64:           "together would take too long",
		"$argon2id$v=19$m=19456,t=0,p=1$" + b64:           "t=0 is not done here",
		"$argon2id$v=19$m=19456,t=17,p=1$" + b64:          "t=17 is not done here",
		"$argon2id$v=19$m=19456,t=2,p=255$" + b64:         "p=255 is not done here",
		"$argon2id$v=19$m=8,t=2,p=4$" + b64:               "want an m of at least 32",
		"$argon2id$v=19$m=+19456,t=2,p=1$" + b64:          "want the costs as",
		"$argon2id$v=19$m=019456,t=2,p=1$" + b64:          "want the costs as",
		"$argon2id$v=19$t=2,m=19456,p=1$" + b64:           "want the costs as",
		"$argon2id$v=19$m=19456,t=2$" + b64:               "want the costs as",
		"$argon2id$v=19$m=99999999999,t=2,p=1$" + b64:     "want the costs as",
		"$argon2id$v=19$m=19456,t=2,p=1$$dGhpcw":          "no salt",
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$":     "no hash",
		"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$dGhp": "was it copied whole",
		"$argon2id$v=19$m=19456,t=2,p=1$" + b64 + "$":     "want a hash",
		"$argon2id$v=19$m=19456,t=2,p=1$" + b64 + "=":     "no hash",
	} {
		if _, err := parsePHC(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

// What is read is bounded, and reads the same when it is written again.
func FuzzPHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$" + b64)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$" + b64)
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := parsePHC(s + "hunter2"); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("the error tells what may be a password: %v", err)
		}
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.memory > mostMemory || p.passes > mostPasses || p.lanes > mostLanes || uint64(p.memory)*uint64(p.passes) > mostWork ||
			p.memory < 8 || p.passes < 1 || p.lanes < 1 || len(p.salt) > 64 || len(p.sum) > 64 {
			t.Fatalf("%+v", p)
		}
		if p.String() != s {
			t.Fatalf("%s became %s", s, p)
		}
	})
}

func TestRandomPasswords(t *testing.T) {
	seen := make(map[rune]int)
	for range 1000 {
		p := RandomPassword()
		if len(p) != 20 || strings.ContainsAny(p, "l1o0") {
			t.Fatal(p)
		}
		for _, r := range p {
			seen[r]++
		}
	}
	if len(seen) != 32 {
		t.Errorf("%d characters in use, want 32", len(seen))
	}
	for r, n := range seen {
		if n < 400 || n > 900 { // 625 expected, ±25 usual
			t.Errorf("%c comes %d times of 20000", r, n)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	p, _ := parsePHC(Hash([]byte("x")))
	for b.Loop() {
		p.fits([]byte("y"))
	}
}
