package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

// How it is said why not: a refusal is an error that knows its status, made here or by the
// house, and any other error is the house's trouble. refuse and refuseFor say it to programs,
// fail and failFor (pages.go) to people as well.

// A refusal is an error that has a status of its own.
type refusal struct {
	status int
	why    string
}

func (r refusal) Error() string { return r.why }

// Refusal is an error that is answered with a status of its own.
func Refusal(status int, format string, args ...any) error {
	return refusal{status, fmt.Sprintf(format, args...)}
}

// NotFound is the error of what is not there.
func NotFound(why string) error { return refusal{http.StatusNotFound, why} }

// Mistaken is the error of a question that can't be answered.
func Mistaken(why string) error { return refusal{http.StatusBadRequest, why} }

// Conflict is the error of what can't be done as things are.
func Conflict(why string) error { return refusal{http.StatusConflict, cmp.Or(why, "not now")} }

// StatusOf is the status with which an error is answered.
func StatusOf(err error) int {
	if no, ok := errors.AsType[refusal](err); ok {
		return no.status
	}
	return http.StatusServiceUnavailable
}

// refuse says in one sentence why not, in the language of the answer.
func refuse(w http.ResponseWriter, status int, why string) {
	if words := allWords()[w.Header().Get("Content-Language")]; words != nil {
		why = words.say(why)
	}
	answer(w, status, map[string]string{"error": mended(why, mostText)})
}

// refuseFor says why not, by the status of a refusal or else as the house's trouble.
func refuseFor(w http.ResponseWriter, err error) { refuse(w, StatusOf(err), err.Error()) }

// What is told of the whole house, or changes it, is for those alone who may do so everywhere.
var (
	errSeeWhole    = refusal{http.StatusForbidden, "this is for those who may see the whole house"}
	errChangeWhole = refusal{http.StatusForbidden, "this is for those who may change the whole house"}
)

// isJSON refuses what was posted and does not say that it is that, which no form of another
// site can.
func isJSON(r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refusal{http.StatusUnsupportedMediaType, "want Content-Type: application/json"}
	}
	return nil
}

// readJSON reads what was posted, at most so many bytes, into v. The error is a refusal; want
// says in it what would be right.
func readJSON(w http.ResponseWriter, r *http.Request, most int64, want string, v any) error {
	if err := isJSON(r); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return Refusal(http.StatusRequestEntityTooLarge, "want at most %d bytes: %s", most, want)
	} else if err != nil {
		return Refusal(http.StatusBadRequest, "the request broke off: %v", err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil || d.More() {
		return Mistaken("want " + want)
	}
	return nil
}
