package template

import "errors"

// ErrMissing is the error of a payload that does not have what the template is about.
// Most such are updates of something else.
var ErrMissing = errors.New("the payload has not what the template shows")

// missing is such an error, which says what there is not.
type missing struct{ error }

func (missing) Is(target error) bool { return target == ErrMissing }

func (f *frame) missing(offset int, format string, args ...any) val {
	if f.err == nil {
		f.err = missing{at(f.text, offset, format, args...)}
	}
	return val{k: undefined}
}
