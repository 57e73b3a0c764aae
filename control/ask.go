package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// ErrNobody means that no hub answers in a folder.
var ErrNobody = errors.New("no hub answers")

// A Remote is the hub that runs on a data folder, as another process asks it.
// Errors are [ErrNobody], fs.ErrPermission, or what the hub itself says.
type Remote struct{ http, slow *http.Client }

// Ask makes the Remote of a folder. It connects when it is asked something.
func Ask(dir string) *Remote {
	way := &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: workWithin + readWithin,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, done, err := reach(dir)
			if err != nil {
				return nil, err
			}
			defer done()
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		},
	}
	return &Remote{&http.Client{Timeout: workWithin + readWithin, Transport: way}, &http.Client{Transport: way}}
}

// Clients lists the clients, sorted by id.
func (r *Remote) Clients(ctx context.Context) (all []Client, err error) {
	err = r.ask(ctx, "GET", "/clients", nil, &all)
	return all, err
}

// Broker says which broker the house uses instead of its own, if it does.
func (r *Remote) Broker(ctx context.Context) (b Broker, err error) {
	err = r.ask(ctx, "GET", "/broker", nil, &b)
	return b, err
}

// Retained lists the values of topics that match a filter, sorted by topic, with
// so many bytes of each payload; -1 is all.
func (r *Remote) Retained(ctx context.Context, filter string, payload int) (all []Value, err error) {
	query := url.Values{"filter": {filter}}
	if payload >= 0 {
		query.Set("payload", strconv.Itoa(payload))
	}
	err = r.ask(ctx, "GET", "/retained", query, &all)
	return all, err
}

// ClearRetained deletes them, and says how many.
func (r *Remote) ClearRetained(ctx context.Context, filter string) (int, error) {
	var n cleared
	err := r.ask(ctx, "DELETE", "/retained", url.Values{"filter": {filter}}, &n)
	return n.Cleared, err
}

// Devices lists the devices that have announced themselves, by name.
func (r *Remote) Devices(ctx context.Context) (all Devices, err error) {
	err = r.ask(ctx, "GET", "/devices", nil, &all)
	return all, err
}

// ForgetDevice forgets a device that is no more.
func (r *Remote) ForgetDevice(ctx context.Context, name string) error {
	return r.ask(ctx, "DELETE", "/devices", url.Values{"name": {name}}, &struct{}{})
}

// ReplaceDevice puts the device by into the place of the one that is broken.
func (r *Remote) ReplaceDevice(ctx context.Context, broken, by string, force bool) (done Replaced, err error) {
	err = r.ask(ctx, "POST", "/devices/replace", url.Values{"old": {broken}, "new": {by}, "force": {strconv.FormatBool(force)}}, &done)
	return done, err
}

// ReinstateDevice takes back the last replacement of a name.
func (r *Remote) ReinstateDevice(ctx context.Context, name string) (done Replaced, err error) {
	err = r.ask(ctx, "POST", "/devices/reinstate", url.Values{"name": {name}}, &done)
	return done, err
}

// Set tells an output, NAME, or a device's property, NAME.PROPERTY, a value.
func (r *Remote) Set(ctx context.Context, name, value string) (done Answer, err error) {
	err = r.ask(ctx, "POST", "/set", url.Values{"name": {name}, "value": {value}}, &done)
	return done, err
}

// Health asks how the house and its machine are doing. The answer is as package doctor
// writes it.
func (r *Remote) Health(ctx context.Context) (answer json.RawMessage, err error) {
	err = r.ask(ctx, http.MethodGet, "/health", nil, &answer)
	return answer, err
}

// Why asks why something is as it is, or was at a moment as a person types it. The answer
// is JSON, as package why makes it.
func (r *Remote) Why(ctx context.Context, name, at string) (answer json.RawMessage, err error) {
	err = r.ask(ctx, "GET", "/why", url.Values{"name": {name}, "at": {at}}, &answer)
	return answer, err
}

// Reload has the hub read its configuration anew. What speaks against that is in
// the answer.
func (r *Remote) Reload(ctx context.Context) (done Reloaded, err error) {
	err = r.ask(ctx, "POST", "/reload", nil, &done)
	return done, err
}

// Recording is what was recorded since a moment, as package replay reads it. It is to be
// closed.
func (r *Remote) Recording(ctx context.Context, since time.Time) (io.ReadCloser, error) {
	resp, err := r.answer(ctx, r.slow, "GET", "/recording", url.Values{"since": {since.Format(time.RFC3339)}})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Backup writes an archive of the house to w. An error of w itself is handed back as it is.
func (r *Remote) Backup(ctx context.Context, w io.Writer) error {
	resp, err := r.answer(ctx, r.slow, "POST", "/backup", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	into := &noting{w: w}
	_, err = io.Copy(into, resp.Body)
	switch why := resp.Trailer.Get(trailer); {
	case into.err != nil:
		return into.err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return errors.New("the hub ended meanwhile, or was not read from for too long")
	case why != "":
		return errors.New(why)
	}
	return nil
}

// noting keeps what w had to say.
type noting struct {
	w   io.Writer
	err error
}

func (n *noting) Write(b []byte) (int, error) {
	m, err := n.w.Write(b)
	n.err = err
	return m, err
}

func (r *Remote) ask(ctx context.Context, method, path string, query url.Values, into any) error {
	return r.request(ctx, method, path, query, func(d *json.Decoder) error {
		if err := d.Decode(into); err != nil {
			return fmt.Errorf("the hub's answer ended early: %w", err)
		}
		return nil
	})
}

// request has what the hub answers read.
func (r *Remote) request(ctx context.Context, method, path string, query url.Values, read func(*json.Decoder) error) error {
	resp, err := r.answer(ctx, r.http, method, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return read(json.NewDecoder(resp.Body))
}

// answer is what the hub answers, if that is no refusal. Its body is to be closed.
func (r *Remote) answer(ctx context.Context, by *http.Client, method, path string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://hub"+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := by.Do(req)
	var asked *url.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNobody
	case errors.As(err, &asked) && asked.Timeout():
		return nil, errors.New("the hub does not answer")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil, errors.New("the hub ended meanwhile")
	case err != nil:
		return nil, errors.Unwrap(err) // without the address, which is none
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusConflict:
		return resp, nil
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return nil, errors.New("the hub that runs is of another version and does not know this; restart it")
	}
	var why refusal
	if json.NewDecoder(resp.Body).Decode(&why) != nil || why.Error == "" {
		return nil, fmt.Errorf("the hub answers %s", resp.Status)
	}
	return nil, errors.New(why.Error)
}
