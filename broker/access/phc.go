package access

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What a password costs here: OWASP's second choice, small enough for a machine
// with 512 MB.
const (
	memory = 19 << 10 // KiB
	passes = 2
	lanes  = 1
)

// What is believed of a hash that somebody else made. More would let a line in a
// file stop the hub.
const (
	mostMemory = 64 << 10 // KiB
	mostPasses = 16
	mostLanes  = 4
	mostWork   = 256 << 10 // KiB times passes
	mostRounds = 500_000   // of PBKDF2
)

// A phc is a password's hash in the form of the Password Hashing Competition:
//
//	$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH
//
// or in one of the two of Mosquitto, whose base64 has its padding. They cost who has
// stolen them little, so the first login replaces them in the users file.
//
//	$7$101$SALT$HASH    PBKDF2 with HMAC-SHA512, 101 rounds, 64 bytes
//	$6$SALT$HASH        SHA512 of the password and the salt behind it
type phc struct {
	kind   kind
	rounds uint32 // of PBKDF2
	memory uint32 // KiB
	passes uint32
	lanes  uint8
	salt   []byte
	sum    []byte
}

// A kind is a way to hash.
type kind string

const (
	argon kind = "" // argon2id, which Hash makes
	kind7 kind = "7"
	kind6 kind = "6"
)

// Hash makes the text that stands for a password in the files.
func Hash(password []byte) string {
	p := phc{memory: memory, passes: passes, lanes: lanes, salt: make([]byte, 16)}
	rand.Read(p.salt)
	p.sum = p.of(password, 32)
	return p.String()
}

func (p *phc) of(password []byte, size int) []byte {
	switch p.kind {
	case kind7:
		sum, err := pbkdf2.Key(sha512.New, string(password), p.salt, int(p.rounds), size)
		if err != nil { // only a FIPS mode that refuses short salts: then nothing fits
			return nil
		}
		return sum
	case kind6:
		sum := sha512.Sum512(append(append([]byte(nil), password...), p.salt...))
		return sum[:]
	}
	return argon2.IDKey(password, p.salt, p.passes, p.memory, p.lanes, uint32(size))
}

// fits says whether password is the one of the hash.
func (p *phc) fits(password []byte) bool {
	return subtle.ConstantTimeCompare(p.of(password, len(p.sum)), p.sum) == 1
}

func (p *phc) String() string {
	b64 := base64.StdEncoding
	switch p.kind {
	case kind7:
		return fmt.Sprintf("$7$%d$%s$%s", p.rounds, b64.EncodeToString(p.salt), b64.EncodeToString(p.sum))
	case kind6:
		return fmt.Sprintf("$6$%s$%s", b64.EncodeToString(p.salt), b64.EncodeToString(p.sum))
	}
	b64 = base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes, b64.EncodeToString(p.salt), b64.EncodeToString(p.sum))
}

var errHash = errors.New("want a hash, $argon2id$..., as `hearth user add` and `hearth user passwd` make it")

// parsePHC reads a hash. Its errors say what is wanted and never what was found,
// which may be a password in plain text.
func parsePHC(s string) (*phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) > 3 && parts[0] == "" && (parts[1] == "6" || parts[1] == "7") {
		return parseMosquitto(kind(parts[1]), parts[2:])
	}
	if len(parts) > 2 && parts[0] == "" && parts[1] != "argon2id" && strings.Trim(parts[1], "abcdefghijklmnopqrstuvwxyz0123456789-") == "" {
		return nil, errors.New("this kind of hash is not known: want $argon2id$..., as `hearth user passwd` makes it")
	}
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return nil, errHash
	}
	if parts[2] != "v=19" {
		return nil, errors.New("want version 19 of argon2id, which begins with $argon2id$v=19$")
	}
	p := new(phc)
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return nil, errors.New("want the costs as m=19456,t=2,p=1")
	}
	for i, c := range []struct {
		key         string
		least, most uint64
		set         func(uint64)
	}{
		{"m", 8, mostMemory, func(n uint64) { p.memory = uint32(n) }},
		{"t", 1, mostPasses, func(n uint64) { p.passes = uint32(n) }},
		{"p", 1, mostLanes, func(n uint64) { p.lanes = uint8(n) }},
	} {
		text, ok := strings.CutPrefix(costs[i], c.key+"=")
		n, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || strconv.FormatUint(n, 10) != text {
			return nil, errors.New("want the costs as m=19456,t=2,p=1")
		}
		if n < c.least || n > c.most {
			return nil, fmt.Errorf("%s=%d is not done here: want %s from %d to %d, or the usual m=19456,t=2,p=1", c.key, n, c.key, c.least, c.most)
		}
		c.set(n)
	}
	if p.memory < 8*uint32(p.lanes) {
		return nil, fmt.Errorf("want an m of at least %d with p=%d", 8*p.lanes, p.lanes)
	}
	if uint64(p.memory)*uint64(p.passes) > mostWork {
		return nil, fmt.Errorf("m=%d and t=%d together would take too long: want m times t of at most %d, such as m=19456,t=2,p=1", p.memory, p.passes, mostWork)
	}
	var err error
	if p.salt, err = decode(parts[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return nil, errors.New("its fourth part is no salt: want 8 to 64 bytes in base64 without =")
	}
	if p.sum, err = decode(parts[5]); err != nil || len(p.sum) < 16 || len(p.sum) > 64 {
		return nil, errors.New("its last part is no hash: want 16 to 64 bytes in base64 without =; was it copied whole?")
	}
	return p, nil
}

// parseMosquitto reads the rest of a hash of mosquitto_passwd.
func parseMosquitto(k kind, parts []string) (*phc, error) {
	p := &phc{kind: k}
	if k == kind7 {
		n, err := strconv.ParseUint(parts[0], 10, 32)
		if err != nil || strconv.FormatUint(n, 10) != parts[0] || n == 0 {
			return nil, errors.New("want a number of rounds after $7$, as mosquitto_passwd writes it")
		}
		if n > mostRounds {
			return nil, fmt.Errorf("%d rounds would take too long: want at most %d, or a hash that `hearth user passwd` makes", n, mostRounds)
		}
		p.rounds, parts = uint32(n), parts[1:]
	}
	if len(parts) != 2 {
		return nil, errors.New("want a salt and a hash, as mosquitto_passwd writes them; was it copied whole?")
	}
	strict := base64.StdEncoding.Strict()
	var err error
	if p.salt, err = strict.DecodeString(parts[0]); err != nil || strings.ContainsAny(parts[0], "\r\n") || len(p.salt) < 8 || len(p.salt) > 64 {
		return nil, errors.New("before the last $ is no salt: want 8 to 64 bytes in base64, as mosquitto_passwd writes them")
	}
	if p.sum, err = strict.DecodeString(parts[1]); err != nil || strings.ContainsAny(parts[1], "\r\n") || len(p.sum) != sha512.Size {
		return nil, errors.New("its last part is no hash: want 64 bytes in base64, as mosquitto_passwd writes them; was it copied whole?")
	}
	return p, nil
}

// decode reads base64 in the one way to write it: Go's decoder skips line breaks.
func decode(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errHash
	}
	return base64.RawStdEncoding.Strict().DecodeString(s)
}

// RandomPassword makes one of 20 characters, none of which looks like another: some
// 100 bits.
func RandomPassword() string {
	const alphabet = "abcdefghijkmnpqrstuvwxyz23456789" // 32, so that no byte is favoured
	b := make([]byte, 20)
	rand.Read(b)
	for i := range b {
		b[i] = alphabet[b[i]%32]
	}
	return string(b)
}
