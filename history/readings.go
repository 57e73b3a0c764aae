package history

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"time"

	"hearth/devices"
)

// The readings of one series in one segment are rows of their own, each readable
// without the others. A row begins with the order number and the monotonic time, in
// microseconds, from which its entries count on. An entry is
//
//	flags      the code of the value and what else follows
//	more       of a few entries: further flags
//	order      how many entries of any kind the house had since the last of this row
//	time       by how much the time since the last one differs from the time before
//	what the further flags announce, then the value, then its text
//
// Texts are numbered within a row; a number of 0 is a new one, which follows.
const (
	codeSame    = iota // the value and text of the last one
	codeDelta          // a decimal: how much more than the last, in units of the scale
	codeRescale        // a decimal: the scale, then the number in its units
	codeFalse
	codeTrue
	codeText
	codeOther // see the others
	codeBits  // a float64 as it is

	flagJoins = 1 << 3 // it is of the same event as the entry before it
	flagSeen  = 1 << 4 // no rule looked at it
	flagMore  = 1 << 5
	flagText  = 1 << 6 // the text is not the usual one of the value, and follows
	flagWith  = 1 << 7 // it has the event's message
)

// The others of codeOther.
const (
	otherNil   = iota
	otherLarge // the whole reading is a record of the series largeSeries
)

const (
	moreInitial = 1 << iota
	moreGone
	moreEvent
	moreBad      // why follows
	moreOrigin   // it differs from the last one's and follows
	moreTopic    // the same
	moreCaptured // the same
	moreAt       // how much later in microseconds the event is than the reading
)

const (
	maxTexts = 120 // that a row numbers
	maxPlain = 400 // the most bytes of all texts of a reading that is not large
)

// A decimal is a number as it was written: digits, and how many of them stand behind
// the point.
type decimal struct {
	digits int64
	scale  uint8
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

var wholePowers = [...]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

const maxDigits = 15 // so many are exact in a float64

func (d decimal) float() float64 { return float64(d.digits) / powers[d.scale] }

// parseDecimal takes what looks as appendDecimal would write it, and nothing else.
func parseDecimal(s string) (d decimal, ok bool) {
	i := 0
	if i < len(s) && s[i] == '-' {
		i++
	}
	first, point := i, -1
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			d.digits = d.digits*10 + int64(c-'0')
		case c == '.' && point < 0 && i > first:
			point = i
		default:
			return d, false
		}
		if i-first > maxDigits {
			return d, false
		}
	}
	whole := i - first
	if point >= 0 {
		whole = point - first
		d.scale = uint8(i - point - 1)
	}
	switch {
	case whole == 0, point == i-1, s[first] == '0' && whole > 1, i-first-int(min(1, d.scale)) > maxDigits:
		return d, false
	case first == 1 && d.digits == 0: // the float64 is another than 0
		return d, false
	case first == 1:
		d.digits = -d.digits
	}
	return d, true
}

// appendDecimal writes all digits behind the point, or without trim only those that
// count.
func appendDecimal(b []byte, d decimal, trim bool) []byte {
	if trim {
		d = d.trimmed()
	}
	n := d.digits
	if n < 0 {
		b = append(b, '-')
		n = -n
	}
	b = strconv.AppendInt(b, n/wholePowers[d.scale], 10)
	if d.scale > 0 {
		var digits [maxDigits]byte
		rest := n % wholePowers[d.scale]
		for i := int(d.scale) - 1; i >= 0; i-- {
			digits[i] = byte('0' + rest%10)
			rest /= 10
		}
		b = append(append(b, '.'), digits[:d.scale]...)
	}
	return b
}

func (d decimal) trimmed() decimal {
	for d.scale > 0 && d.digits%10 == 0 {
		d.digits /= 10
		d.scale--
	}
	return d
}

// to is the same number in another scale, where it can be.
func (d decimal) to(scale uint8) (decimal, bool) {
	for d.scale < scale {
		if d.digits > wholePowers[maxDigits]/10 || d.digits < -wholePowers[maxDigits]/10 {
			return d, false
		}
		d.digits *= 10
		d.scale++
	}
	return d, d.scale == scale
}

// A coder is what both who writes and who reads a row has to remember from one
// entry to the next.
type coder struct {
	order    uint64
	mono     int64
	step     int64 // between the last two
	scale    uint8
	trim     bool // texts of decimals have no zeros at their end
	digits   int64
	some     bool // there has been a value
	value    any
	text     string
	origin   devices.Origin
	topic    string
	captured *devices.Capture
	texts    []string
}

// A builder makes the rows of one series in one segment.
type builder struct {
	coder
	full    [][]byte // payloads that are done
	b       []byte   // the one that is being made
	entries int      // in all
}

// An entry is a reading and its place in the order of the house.
type entry struct {
	*devices.Reading
	order   uint64
	joins   bool
	seen    bool
	with    bool          // the message is the event's
	large   bool          // the reading itself is kept elsewhere
	eventAt time.Duration // when the event was taken, on the monotonic clock
}

// usual reports whether a reading can be an entry by itself: the clock with which it
// came is that of its event, and its texts are short.
func usual(r *devices.Reading, at devices.Now) bool {
	if r.Restored || r.At.Known != at.Known || len(r.Text)+len(r.Topic)+len(r.Bad) > maxPlain {
		return false
	}
	if r.At.Wall.UnixMicro()-r.At.Mono.Microseconds() != at.Wall.UnixMicro()-at.Mono.Microseconds() {
		return false
	}
	switch v := r.Value.(type) {
	case nil, bool:
	case float64:
		if math.IsNaN(v) {
			return false
		}
	case string:
		if len(v) > maxPlain {
			return false
		}
	default:
		return false
	}
	n := len(r.Origin.By)
	for _, rule := range r.Origin.Rules {
		n += len(rule)
	}
	if r.Captured != nil {
		n += len(r.Captured.Source)
		for _, v := range r.Captured.Values {
			n += len(v)
		}
	}
	return n <= 2*maxPlain
}

func sameOrigin(a, b *devices.Origin) bool {
	return a.Decision == b.Decision && a.By == b.By && (a.Rules == nil) == (b.Rules == nil) && slices.Equal(a.Rules, b.Rules)
}

func sameCapture(a, b *devices.Capture) bool {
	return a == b || a != nil && b != nil && a.Source == b.Source && (a.Values == nil) == (b.Values == nil) && slices.Equal(a.Values, b.Values)
}

// add appends an entry. It reports whether there was room for it: a segment has so
// many parts of one series and no more.
func (w *builder) add(e entry) bool {
	before, length := w.coder, len(w.b)
	if length > 0 {
		w.append(e)
		if len(w.b) <= maxBody {
			w.entries++
			return true
		}
		w.coder, w.b = before, w.b[:length]
		if len(w.full) >= maxPart {
			return false
		}
		w.full = append(w.full, w.b)
		w.b = nil
	}
	w.coder = coder{order: e.order, mono: e.At.Mono.Microseconds(), texts: w.texts[:0]}
	w.b = append(w.b, formatReadings)
	w.b = binary.AppendUvarint(w.b, w.order)
	w.b = binary.AppendVarint(w.b, w.mono)
	w.append(e)
	w.entries++
	return true
}

const formatReadings = 1

func (w *builder) append(e entry) {
	r := e.Reading
	var flags, more byte
	code, scale, trim, digits := w.code(e)
	text := r.Text
	switch code {
	case codeSame, codeOther:
		if e.large || code == codeSame || text == "" {
			text = ""
		} else {
			flags |= flagText
		}
	case codeDelta, codeRescale: // of which code has seen whether the text is usual
		if !w.usualDecimal(r, decimal{digits, scale}, trim) {
			flags |= flagText
		}
	case codeFalse, codeTrue:
		if text != devices.Text(r.Value) {
			flags |= flagText
		}
	case codeText:
		if text != r.Value.(string) {
			flags |= flagText
		}
	case codeBits:
		if text != devices.Text(r.Value) {
			flags |= flagText
		}
	}
	flags |= byte(code)
	if e.joins {
		flags |= flagJoins
	}
	if e.seen {
		flags |= flagSeen
	}
	if e.with {
		flags |= flagWith
	}
	late := int64(0)
	if !e.joins && !e.seen {
		late = e.eventAt.Microseconds() - r.At.Mono.Microseconds()
	}
	if !e.large {
		if r.Initial {
			more |= moreInitial
		}
		if r.Gone {
			more |= moreGone
		}
		if r.Event {
			more |= moreEvent
		}
		if r.Bad != "" {
			more |= moreBad
		}
		if !sameOrigin(&r.Origin, &w.origin) {
			more |= moreOrigin
		}
		if r.Topic != w.topic {
			more |= moreTopic
		}
		if !sameCapture(r.Captured, w.captured) {
			more |= moreCaptured
		}
	}
	if late != 0 {
		more |= moreAt
	}
	if more != 0 {
		flags |= flagMore
	}
	b := append(w.b, flags)
	if more != 0 {
		b = append(b, more)
	}
	b = binary.AppendUvarint(b, e.order-w.order)
	mono := r.At.Mono.Microseconds()
	b = binary.AppendVarint(b, mono-w.mono-w.step)
	w.order, w.step, w.mono = e.order, mono-w.mono, mono
	if more&moreBad != 0 {
		b = w.appendText(b, r.Bad)
	}
	if more&moreOrigin != 0 {
		b = binary.AppendVarint(b, int64(r.Origin.Decision-w.origin.Decision))
		b = w.appendText(b, r.Origin.By)
		b = w.appendTexts(b, r.Origin.Rules)
		w.origin = r.Origin
	}
	if more&moreTopic != 0 {
		b = w.appendText(b, r.Topic)
		w.topic = r.Topic
	}
	if more&moreCaptured != 0 {
		if r.Captured == nil {
			b = append(b, 0)
		} else {
			b = append(b, 1)
			b = w.appendText(b, r.Captured.Source)
			b = w.appendTexts(b, r.Captured.Values)
		}
		w.captured = r.Captured
	}
	if more&moreAt != 0 {
		b = binary.AppendVarint(b, late)
	}
	switch code {
	case codeDelta:
		b = binary.AppendVarint(b, digits-w.digits)
	case codeRescale:
		c := scale << 1
		if trim {
			c |= 1
		}
		b = binary.AppendVarint(append(b, c), digits)
		w.scale, w.trim = scale, trim
	case codeText:
		b = w.appendText(b, r.Value.(string))
	case codeBits:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(r.Value.(float64)))
	case codeOther:
		if e.large {
			b = append(b, otherLarge)
		} else {
			b = append(b, otherNil)
		}
	}
	if code == codeDelta || code == codeRescale {
		w.digits = digits
	}
	if flags&flagText != 0 {
		b = w.appendText(b, text)
	}
	if code != codeSame && !e.large {
		w.some, w.value, w.text = true, r.Value, r.Text
	}
	w.b = b
}

// code chooses how a value is written.
func (w *builder) code(e entry) (code int, scale uint8, trim bool, digits int64) {
	if e.large {
		return codeOther, 0, false, 0
	}
	r := e.Reading
	switch v := r.Value.(type) {
	case nil:
		if w.some && w.value == nil && w.text == r.Text {
			return codeSame, 0, false, 0
		}
		return codeOther, 0, false, 0
	case bool:
		if last, ok := w.value.(bool); ok && last == v && w.text == r.Text {
			return codeSame, 0, false, 0
		}
		if v {
			return codeTrue, 0, false, 0
		}
		return codeFalse, 0, false, 0
	case string:
		if last, ok := w.value.(string); ok && last == v && w.text == r.Text {
			return codeSame, 0, false, 0
		}
		return codeText, 0, false, 0
	case float64:
		if last, ok := w.value.(float64); ok && math.Float64bits(last) == math.Float64bits(v) && w.text == r.Text {
			return codeSame, 0, false, 0
		}
		d, ok := parseDecimal(r.Text)
		plain := ok && math.Float64bits(d.float()) == math.Float64bits(v)
		if !plain {
			var b [32]byte
			if d, ok = parseDecimal(string(strconv.AppendFloat(b[:0], v, 'f', -1, 64))); !ok || math.Float64bits(d.float()) != math.Float64bits(v) {
				return codeBits, 0, false, 0
			}
		}
		short := d.trimmed() == d
		in, fits := d.to(w.scale)
		switch _, number := w.value.(float64); {
		case number && fits && (w.trim && short || !w.trim && d.scale == w.scale):
			return codeDelta, w.scale, w.trim, in.digits
		case number && w.trim && short && d.scale > w.scale:
			return codeRescale, d.scale, true, d.digits
		}
		// The first is taken for one of those that have as many digits behind the
		// point as they need, until one shows that it is not.
		return codeRescale, d.scale, short && !w.some, d.digits
	}
	return codeOther, 0, false, 0
}

// usualDecimal reports whether a decimal's text is what a reader makes of it.
func (w *builder) usualDecimal(r *devices.Reading, d decimal, trim bool) bool {
	var b [40]byte
	return string(appendDecimal(b[:0], d, trim)) == r.Text
}

func (w *builder) appendText(b []byte, s string) []byte {
	for i, t := range w.texts {
		if t == s {
			return binary.AppendUvarint(b, uint64(i+1))
		}
	}
	if len(w.texts) < maxTexts {
		w.texts = append(w.texts, s)
	}
	return appendText(append(b, 0), s)
}

// appendTexts tells a list that is not there from one that is empty.
func (w *builder) appendTexts(b []byte, list []string) []byte {
	if list == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(list)+1))
	for _, s := range list {
		b = w.appendText(b, s)
	}
	return b
}

// parts are the payloads so far. The last one is a copy where the builder goes on.
func (w *builder) parts(goesOn bool) [][]byte {
	last := w.b
	if len(last) == 0 {
		return w.full
	}
	if goesOn {
		last = slices.Clone(last)
	}
	return append(slices.Clip(w.full), last)
}

// A scanner reads the entries of one row. What it gives is good until the next.
type scanner struct {
	coder
	reader
	e entry
	r devices.Reading

	buf []byte
}

// scan begins with a row.
func (s *scanner) scan(body []byte, zone *time.Location) {
	texts := s.texts[:0]
	s.reader = reader{b: body, zone: zone}
	s.coder = coder{texts: texts}
	if s.byte() != formatReadings {
		s.fail()
		return
	}
	s.order = s.uint()
	s.mono = s.int()
}

func (s *scanner) ref() string {
	n := s.uint()
	switch {
	case n == 0:
		t := s.str()
		if len(s.texts) < maxTexts {
			s.texts = append(s.texts, t)
		}
		return t
	case n > uint64(len(s.texts)):
		s.fail()
		return ""
	}
	return s.texts[n-1]
}

func (s *scanner) refs() []string {
	n := s.uint()
	if n == 0 {
		return nil
	}
	if n-1 > uint64(len(s.b)) {
		s.fail()
		return nil
	}
	list := make([]string, n-1)
	for i := range list {
		list[i] = s.ref()
	}
	return list
}

// next is the next entry; false at the end, and where the row is not as it should
// be: then bad says so. The wall clock of its time is for the caller to find.
func (s *scanner) next() bool {
	if len(s.b) == 0 {
		return false
	}
	flags := s.byte()
	more := byte(0)
	if flags&flagMore != 0 {
		more = s.byte()
	}
	s.order += s.uint()
	s.step += s.int()
	s.mono += s.step
	at := time.Duration(s.mono) * time.Microsecond
	s.r = devices.Reading{At: devices.Now{Mono: at}}
	s.e = entry{Reading: &s.r, order: s.order, joins: flags&flagJoins != 0, seen: flags&flagSeen != 0, with: flags&flagWith != 0, eventAt: at}
	r := &s.r
	r.Initial, r.Gone, r.Event = more&moreInitial != 0, more&moreGone != 0, more&moreEvent != 0
	if more&moreBad != 0 {
		r.Bad = s.ref()
	}
	if more&moreOrigin != 0 {
		s.origin.Decision += uint64(s.int())
		s.origin.By = s.ref()
		s.origin.Rules = s.refs()
	}
	if more&moreTopic != 0 {
		s.topic = s.ref()
	}
	if more&moreCaptured != 0 {
		s.captured = nil
		if s.byte() != 0 {
			s.captured = &devices.Capture{Source: s.ref(), Values: s.refs()}
		}
	}
	if more&moreAt != 0 {
		s.e.eventAt += time.Duration(s.int()) * time.Microsecond
	}
	r.Origin, r.Topic, r.Captured = s.origin, s.topic, s.captured
	code := flags & 7
	switch code {
	case codeSame:
		r.Value, r.Text = s.value, s.text
	case codeDelta, codeRescale:
		if code == codeRescale {
			c := s.byte()
			s.scale, s.trim = c>>1, c&1 != 0
			s.digits = 0
			if s.scale > maxDigits {
				s.fail()
				return false
			}
		}
		s.digits += s.int()
		d := decimal{s.digits, s.scale}
		r.Value = d.float()
		if flags&flagText == 0 {
			s.buf = appendDecimal(s.buf[:0], d, s.trim)
			r.Text = string(s.buf)
		}
	case codeFalse, codeTrue:
		r.Value = code == codeTrue
		r.Text = devices.Text(r.Value)
	case codeText:
		r.Text = s.ref()
		r.Value = r.Text
	case codeBits:
		f := s.float()
		r.Value = f
		r.Text = devices.Text(f)
	case codeOther:
		if s.byte() == otherLarge {
			s.e.large = true
		}
	}
	if flags&flagText != 0 {
		r.Text = s.ref()
	}
	if code != codeSame && !s.e.large {
		s.value, s.text = r.Value, r.Text
	}
	return !s.bad
}
