package devices

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Shown is how people are shown a thing that the configuration declares, where that is not how
// it is called there. Rules, topics and addresses know it by its own name alone.
type Shown struct {
	Name Label `toml:"name" eg:"\"Ceiling lamp\""`
	Room Label `toml:"room" eg:"\"Hall\""`
}

// AsShown is what whatever embeds it says of itself.
func (s *Shown) AsShown() *Shown { return s }

// A Label is text that people read on one line: "Ceiling lamp".
type Label string

// mostLabel is how many characters one may have.
const mostLabel = 100

// UnmarshalText takes what can be read, and nothing that only looks like another.
func (l *Label) UnmarshalText(text []byte) error {
	s := string(text)
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("want a text that people can read, or leave it out")
	case strings.TrimSpace(s) != s:
		return errors.New("want it without spaces at its ends")
	case strings.ContainsFunc(s, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) }):
		return errors.New("want one line of text, without control characters")
	case utf8.RuneCountInString(s) > mostLabel:
		return fmt.Errorf("want at most %d characters, it has %d", mostLabel, utf8.RuneCountInString(s))
	}
	*l = Label(s)
	return nil
}
