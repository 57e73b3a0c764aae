package replay

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"hearth/devices"
	"hearth/history"
	"hearth/rules"
)

// A recording as a file is gzip of lines, each a JSON object, so that whoever is to send
// one can read with zcat what is in it:
//
//	{"hearth recording":1,...}     what is recorded, an About
//	{"event":{...}}                an Entry; readings that are no UTF-8 beside it
//	{"decision":{...}}
//	...
//	{"lines":1234,"sha256":"..."}  how many lines came before, and their checksum
//
// It comes from strangers, too. So nothing in it is believed: a file that is cut, was
// changed, or would unpack to far more than such lines do is refused, and memory is only
// ever that of one line.

const (
	// version of the form. A reader refuses a later one.
	version = 1

	// maxLine is the longest line, in bytes: that of a checkpoint of a very large house.
	maxLine = 16 << 20

	// Lines become this many times smaller at most; what is packed better is no recording,
	// but is meant to fill a memory or a day. The slack is for short files.
	maxRatio = 400
	slack    = 4 << 20
)

// An About says what is recorded.
type About struct {
	Version int       `json:"hearth recording"`
	Hearth  string    `json:"hearth,omitempty"` // the version that wrote it
	Made    time.Time `json:"made,omitzero"`
	Zone    string    `json:"zone,omitempty"`    // the house's
	Config  string    `json:"config,omitempty"`  // the name that checkpoints have for the configuration
	Text    string    `json:"text,omitempty"`    // of it, without what nobody else is to know
	Secrets bool      `json:"secrets,omitempty"` // it has some, which are "***" here
}

// line is one line of the file.
type line struct {
	Event    *rules.Event     `json:"event,omitempty"`
	Decision *rules.Decision  `json:"decision,omitempty"`
	Refused  []string         `json:"refused,omitempty"`
	Seen     *devices.Reading `json:"seen,omitempty"`
	Unit     string           `json:"unit,omitempty"` // of seen
	Note     *history.Note    `json:"note,omitempty"`

	// At is when it happened, if not as the clock said that is within.
	At   time.Time `json:"at,omitzero"`
	Sure bool      `json:"sure,omitempty"`

	// Raw is texts that are no UTF-8, which JSON can't carry: of the readings of an event,
	// by their place, or of the one of the others at 0.
	Raw map[int][]byte `json:"raw,omitempty"`
}

// end is the last line.
type end struct {
	Lines  int    `json:"lines"`
	SHA256 string `json:"sha256"`
}

// Write writes a recording and returns the number of its entries. It leaves nothing out:
// for others to see it is made of [Masked] entries.
func Write(w io.Writer, about About, entries Entries) (n int, err error) {
	z := gzip.NewWriter(w)
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(z, sum), 64<<10)
	put := func(v any) error {
		b, err := json.Marshal(v)
		if err == nil && len(b) > maxLine {
			err = fmt.Errorf("one entry has %d bytes, which is more than a recording can hold", len(b))
		}
		if err == nil {
			out.Write(b)
			err = out.WriteByte('\n')
		}
		return err
	}
	about.Version = version
	if err := put(about); err != nil {
		return 0, err
	}
	for e, err := range entries {
		if err != nil {
			return n, err
		}
		if err := put(lineOf(e)); err != nil {
			return n, err
		}
		n++
	}
	if err := out.Flush(); err != nil {
		return n, err
	}
	b, err := json.Marshal(end{n + 1, hex.EncodeToString(sum.Sum(nil))})
	if err == nil {
		_, err = z.Write(append(b, '\n'))
	}
	return n, errors.Join(err, z.Close())
}

func lineOf(e Entry) line {
	l := line{Event: e.Event, Decision: e.Decision, Refused: e.Refused, Seen: e.Seen, Unit: e.Unit, Note: e.Note, Sure: e.Sure}
	if !e.At.IsZero() && !e.At.Equal(clockOf(e).Wall) {
		l.At = e.At
	}
	raw := func(i int, r *devices.Reading) {
		if r != nil && !utf8.ValidString(r.Text) {
			if l.Raw == nil {
				l.Raw = make(map[int][]byte)
			}
			l.Raw[i] = []byte(r.Text)
		}
	}
	switch {
	case e.Event != nil:
		for i := range e.Event.Readings {
			raw(i, &e.Event.Readings[i])
		}
	case e.Decision != nil:
		raw(0, e.Decision.Cause)
	default:
		raw(0, e.Seen)
	}
	return l
}

// entry is what a line says; an error if it is none.
func (l line) entry() (Entry, error) {
	e := Entry{Event: l.Event, Decision: l.Decision, Refused: l.Refused, Seen: l.Seen, Unit: l.Unit, Note: l.Note, At: l.At, Sure: l.Sure}
	raw := func(i int, r *devices.Reading) {
		if b, ok := l.Raw[i]; ok && r != nil {
			if r.Text = string(b); r.Value != nil {
				if _, text := r.Value.(string); text {
					r.Value = r.Text
				}
			}
		}
	}
	switch n := count(l.Event != nil, l.Decision != nil, l.Seen != nil, l.Note != nil); {
	case n != 1:
		return e, errors.New("want one of event, decision, seen and note")
	case e.Event != nil:
		for i := range e.Event.Readings {
			raw(i, &e.Event.Readings[i])
		}
		untoggle(&e.Event.Value)
		return e, sound(e.Event)
	case e.Decision != nil:
		raw(0, e.Decision.Cause)
		for i := range e.Decision.Commands {
			untoggle(&e.Decision.Commands[i].Value)
		}
	case e.Seen != nil:
		raw(0, e.Seen)
	}
	return e, nil
}

func count(all ...bool) (n int) {
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

// untoggle gives a Toggle back what it is: in JSON it is an empty object, which nothing
// is told.
func untoggle(v *any) {
	if m, ok := (*v).(map[string]any); ok && len(m) == 0 {
		*v = devices.Toggle{}
	}
}

// sound reports what an engine can't take.
func sound(ev *rules.Event) error {
	switch ev.Kind {
	case rules.Open, rules.Reload:
		if ev.State == nil {
			return fmt.Errorf("an event %q has no state", ev.Kind)
		}
	case rules.Current:
		if ev.State == nil || ev.State.Exact == nil {
			return fmt.Errorf("an event %q has no exact state", ev.Kind)
		}
	case rules.Ask:
		if len(ev.Readings) != 1 {
			return fmt.Errorf("an event %q has %d readings, want one", ev.Kind, len(ev.Readings))
		}
	case rules.Report, rules.Pass, rules.Begin, rules.Resume, rules.Enable, rules.Tell, rules.Refuse, rules.Post, rules.Answer, rules.Forget:
	default:
		return fmt.Errorf("there is no event %q: it may be of a later version of Hearth", ev.Kind)
	}
	if !plausible(ev.At) {
		return fmt.Errorf("an event %q has clocks that no machine has", ev.Kind)
	}
	if ev.State != nil && ev.Kind != rules.Open && ev.Kind != rules.Reload && ev.Kind != rules.Current {
		return fmt.Errorf("an event %q has a state", ev.Kind)
	}
	return nil
}

// plausible reports whether clocks may be those of a machine. A rule for each second has something
// to do in each second until then, which from the year 1 on, or to the year 9999, has no end.
func plausible(at devices.Now) bool {
	return at.Mono >= 0 && at.Mono < 100*366*24*time.Hour && at.Wall.After(time.Unix(-24*60*60, 0)) && at.Wall.Before(time.Unix(1<<33, 0))
}

// longestGap is how long nothing may happen in a recording while the machine runs.
const longestGap = 400 * 24 * time.Hour

// A Recording is one that is read.
type Recording struct {
	About
	Lines int // entries; 0 if that is not known yet

	from func() (io.Reader, error) // its beginning
	rest iter.Seq2[*Entry, error]  // of one that can be had once
}

// Open reads a recording through, and refuses it with a reason if it is not whole or none.
func Open(from io.ReadSeeker) (*Recording, error) {
	r := &Recording{from: func() (io.Reader, error) {
		_, err := from.Seek(0, io.SeekStart)
		return from, err
	}}
	for e, err := range r.lines() {
		if err != nil {
			return nil, err
		}
		if e != nil {
			r.Lines++
		}
	}
	return r, nil
}

// Receive reads the beginning of a recording that comes from somewhere. Its Entries can be
// had once; that it is cut off or damaged they tell when they come there.
func Receive(from io.Reader) (*Recording, error) {
	again := bufio.NewReaderSize(from, 64<<10)
	r := &Recording{from: func() (io.Reader, error) { return again, nil }}
	next, stop := iter.Pull2(r.lines())
	_, err, _ := next() // what is recorded
	if err != nil {
		stop()
		return nil, err
	}
	r.rest = func(yield func(*Entry, error) bool) {
		defer stop()
		for {
			e, err, ok := next()
			if !ok || !yield(e, err) {
				return
			}
		}
	}
	return r, nil
}

// Entries are what is recorded.
func (r *Recording) Entries() Entries {
	return func(yield func(Entry, error) bool) {
		lines := r.rest
		if lines == nil {
			lines = r.lines()
		}
		for e, err := range lines {
			switch {
			case err != nil:
				yield(Entry{}, err)
				return
			case e != nil && !yield(*e, nil):
				return
			}
		}
	}
}

// lines reads the file from its beginning. The first line goes into About, and no entry
// comes of it.
func (r *Recording) lines() iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		refuse := func(format string, args ...any) { yield(nil, fmt.Errorf(format, args...)) }
		from, err := r.from()
		if err != nil {
			refuse("%w", err)
			return
		}
		packed := &counted{r: from}
		z, err := gzip.NewReader(bufio.NewReader(packed))
		if err != nil {
			refuse("this is no recording: %v", noGzip(err))
			return
		}
		z.Multistream(false)
		sum := sha256.New()
		unpacked := &bounded{r: z, packed: packed}
		scan := bufio.NewScanner(unpacked)
		scan.Buffer(make([]byte, 0, 64<<10), maxLine)
		n := 0
		var mono time.Duration // of the last event
		for scan.Scan() {
			b := scan.Bytes()
			switch n++; {
			case n == 1:
				var about About
				if json.Unmarshal(b, &about) != nil || about.Version == 0 {
					refuse("this is no recording of Hearth")
					return
				}
				if about.Version > version {
					refuse("the recording is of a later version of Hearth (its form is %d, this one knows %d)", about.Version, version)
					return
				}
				if r.About = about; !yield(nil, nil) {
					return
				}
			case bytes.HasPrefix(b, []byte(`{"lines":`)):
				var last end
				switch err := json.Unmarshal(b, &last); {
				case err != nil:
					refuse("line %d: %v", n, err)
				case last.Lines != n-1:
					refuse("the recording is not whole: it has %d lines of %d", n-1, last.Lines)
				case last.SHA256 != hex.EncodeToString(sum.Sum(nil)):
					refuse("the recording was changed: its checksum is wrong")
				case scan.Scan():
					refuse("line %d: something follows the end", n+1)
				case scan.Err() != nil:
					refuse("%s", broken(scan.Err()))
				}
				return
			default:
				var l line
				if err := json.Unmarshal(b, &l); err != nil && unpacked.err != nil { // the rest of the line is missing
					refuse("%s", broken(unpacked.err))
					return
				} else if err != nil {
					refuse("line %d: %v", n, err)
					return
				}
				e, err := l.entry()
				if err != nil {
					refuse("line %d: %v", n, err)
					return
				}
				if e.Event != nil {
					if mono > 0 && e.Event.At.Mono-mono > longestGap {
						refuse("line %d: nothing happened before it for %d days", n, int((e.Event.At.Mono-mono)/(24*time.Hour)))
						return
					}
					mono = e.Event.At.Mono
				}
				if !yield(&e, nil) {
					return
				}
			}
			sum.Write(b)
			sum.Write([]byte{'\n'})
		}
		refuse("%s", broken(scan.Err()))
	}
}

// broken says why a recording ended where it must not.
func broken(err error) string {
	switch {
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "the recording is cut off: its end is missing"
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Sprintf("a line has more than %d bytes", maxLine)
	case errors.Is(err, errBomb):
		return err.Error()
	}
	return "the recording is damaged: " + err.Error()
}

// noGzip is why gzip does not take something for its own.
func noGzip(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it is empty or cut off"
	}
	return err.Error()
}

// counted counts what was read of the file.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

var errBomb = fmt.Errorf("this is no recording: it unpacks to more than %d times its size", maxRatio)

// bounded refuses what unpacks to too much.
type bounded struct {
	r      io.Reader
	packed *counted
	n      int64
	err    error // why there is no more
}

func (x *bounded) Read(b []byte) (int, error) {
	n, err := x.r.Read(b)
	if x.n += int64(n); x.n > slack+maxRatio*x.packed.n {
		n, err = 0, errBomb
	}
	x.err = cmp.Or(x.err, err)
	return n, err
}

// Hidden stands for what nobody else is to know.
const Hidden = "***"

// URL is an address without what may be a secret of whoever asks there: of it the path
// and what follows, and who logs in.
func URL(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return Hidden
	}
	host, _, path := strings.Cut(rest, "/")
	if i := strings.IndexAny(host, "?#"); i >= 0 {
		host, path = host[:i], true
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if path {
		host += "/" + Hidden
	}
	return scheme + "://" + host
}

// Masked is entries without what nobody else is to know: commands that hold secrets, of
// requests all but the host to which they go, and who connected from where. Values that are compared with a secret are
// recorded without it in the first place. hashes are the names that definitions have in
// the configuration of the recording, by those that they have in the one in force, where
// they differ.
func Masked(entries Entries, hashes map[string]string) Entries {
	return func(yield func(Entry, error) bool) {
		for e, err := range entries {
			if !yield(masked(e, hashes), err) {
				return
			}
		}
	}
}

func masked(e Entry, hashes map[string]string) Entry {
	if n := e.Note; n != nil && n.Kind == "client" {
		e.Note = &history.Note{At: n.At, Kind: n.Kind, Name: Hidden, Text: Hidden}
	}
	if d := e.Decision; d != nil && len(d.Commands) > 0 {
		own := *d
		own.Commands = make([]devices.Command, len(d.Commands))
		for i, c := range d.Commands {
			own.Commands[i] = maskedCommand(c)
		}
		e.Decision = &own
	}
	if d := e.Decision; d != nil && d.Rule == "page" {
		own := *d
		if _, did, ok := strings.Cut(d.Why, " switched "); ok { // who did is nobody's business
			own.Why = "somebody switched " + did
		}
		e.Decision = &own
	}
	if d := e.Decision; d != nil && strings.Contains(d.Why, "://") {
		own := *d
		words := strings.Split(d.Why, " ")
		for i, w := range words {
			if strings.Contains(w, "://") {
				bare := strings.TrimRight(w, ":;,")
				words[i] = URL(bare) + w[len(bare):]
			}
		}
		own.Why = strings.Join(words, " ")
		e.Decision = &own
	}
	if ev := e.Event; ev != nil && ev.State != nil {
		own, state := *ev, *ev.State
		state.States = maps.Clone(state.States)
		for key, s := range state.States {
			state.States[key] = maskedState(s, hashes)
		}
		own.State = &state
		e.Event = &own
	}
	return e
}

func maskedState(s rules.State, hashes map[string]string) rules.State {
	if other, ok := hashes[s.Hash]; ok {
		s.Hash = other
	}
	s.Requests = append([]rules.RequestState(nil), s.Requests...)
	for i := range s.Requests {
		s.Requests[i].HTTP = *maskedCommand(devices.Command{HTTP: &s.Requests[i].HTTP, Secret: s.Requests[i].Secret}).HTTP
	}
	s.Triggers = append([]rules.TriggerState(nil), s.Triggers...)
	for i := range s.Triggers {
		owed := append([]devices.Command(nil), s.Triggers[i].Owed...)
		for j := range owed {
			owed[j] = maskedCommand(owed[j])
		}
		s.Triggers[i].Owed = owed
	}
	return s
}

func maskedCommand(c devices.Command) devices.Command {
	if c.HTTP != nil {
		http := *c.HTTP
		http.URL, http.Header = URL(http.URL), maps.Clone(http.Header)
		for name := range http.Header {
			http.Header[name] = Hidden
		}
		if c.Secret {
			http.URL, http.Body = Hidden, Hidden
		}
		c.HTTP = &http
	}
	if c.Secret {
		if c.Payload = Hidden; c.Shown != "" {
			c.Topic = c.Shown
		}
		if c.Value != nil {
			c.Value = Hidden
		}
	}
	return c
}
