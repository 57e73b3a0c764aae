package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"hearth/config"
)

// A Token lets a program use the page's JSON API, in place of a login. MQTT knows none.
type Token struct {
	Hash  TokenHash `toml:"hash"` // SHA-256 of what the program shows
	Roles []string  `toml:"roles" eg:"[\"see\"]"`
}

// A TokenHash is kept in place of a token. A plain SHA-256 does, unlike for a password:
// a token is 32 random bytes, of which nobody can try enough.
type TokenHash string

var errTokenHash = errors.New("want the hash that hearth token add writes: 64 hexadecimal digits")

// DecodeTOML reads a hash, and doesn't show it: somebody may have written the token itself.
func (h *TokenHash) DecodeTOML(v any, at config.Place) {
	at = at.Hidden()
	s, ok := v.(string)
	if !ok {
		at.Mistake("%v", errTokenHash)
		return
	}
	*h = TokenHash(s)
	if _, err := h.sum(); err != nil {
		at.Mistake("%v", err)
	}
}

func (h TokenHash) sum() (sum [sha256.Size]byte, err error) {
	b, err := hex.DecodeString(string(h))
	if err != nil || len(b) != len(sum) {
		return sum, errTokenHash
	}
	return [sha256.Size]byte(b), nil
}

// tokenBegins tells people, and programs that look for secrets in what is published, what
// they have before them.
const tokenBegins = "hearth_"

// NewToken makes a token: what a program shows, and what is kept of it.
func NewToken() (secret string, hash TokenHash) {
	b := make([]byte, 32)
	rand.Read(b)
	secret = tokenBegins + base64.RawURLEncoding.EncodeToString(b)
	sum := sha256.Sum256([]byte(secret))
	return secret, TokenHash(hex.EncodeToString(sum[:]))
}

// Token gives the name and the rights of the token that a program shows; nil if there is
// none. How long it takes tells nothing: what is looked up is a hash, which nobody can
// bring closer to another by steps.
func (d *Door) Token(secret string) (name string, rights *Rights) {
	if !strings.HasPrefix(secret, tokenBegins) {
		return "", nil
	}
	a := d.table.Load().tokens[sha256.Sum256([]byte(secret))]
	if a == nil {
		return "", nil
	}
	return a.name, a.rights(a.name, "")
}

// A change of tokens fails with one of these, or because of the disk.
var (
	ErrTokenExists  = errors.New("there is a token of this name already")
	ErrTokenMissing = errors.New("there is no token of this name")
)

// AddToken writes a new token to the users file, which it makes if there is none.
func AddToken(file, name string, hash TokenHash, roles []string) error {
	if fault := nameFault(name); fault != "" {
		return errors.New(fault)
	}
	return edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		if _, ok := has.Token[name]; ok {
			return "", ErrTokenExists
		}
		if has.Token == nil {
			has.Token = make(map[string]Token)
		}
		has.Token[name] = Token{hash, roles}
		if text == "" {
			text = head
		} else {
			text = strings.TrimRight(text, "\n") + "\n\n"
		}
		text += fmt.Sprintf("[token.%s]\nhash = %s\n", key(name), quote(string(hash)))
		return text + rolesLine(roles), nil
	})
}

// RemoveToken takes a token out of the users file.
func RemoveToken(file, name string) error {
	return edit(file, func(text string, has *Kept, doc *config.Doc) (string, error) {
		if _, ok := has.Token[name]; !ok {
			return "", ErrTokenMissing
		}
		delete(has.Token, name)
		return cut(text, doc.Root().Key("token").Key(name))
	})
}

// Check reports what is wrong with the names of tokens.
func (k *Kept) Check(at config.Place) {
	for name := range k.Token {
		if fault := nameFault(name); fault != "" {
			at.Key("token").Key(name).OfKey().Mistake("%s", fault)
		}
	}
}
