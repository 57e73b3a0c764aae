package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// A quietHouse has what it is given.
type quietHouse struct {
	clients  []Client
	values   []Value
	done     Reloaded
	asked    chan struct{}   // told when Reload is waiting
	hangs    <-chan struct{} // what ClearRetained waits for
	clearing chan struct{}   // told when it does
	archive  []byte          // what Backup writes before it
	broken   error           // fails
}

func (q *quietHouse) Clients() []Client { return q.clients }
func (q *quietHouse) Broker() Broker    { return Broker{} }

func (q *quietHouse) Retained(filter string) ([]Value, error) {
	if filter == "" {
		return nil, Mistaken(errors.New("the topic is empty"))
	}
	return q.values, nil
}

func (q *quietHouse) ClearRetained(_ context.Context, filter string) (int, error) {
	if filter == "broken" {
		return 0, errors.New("the disk is full")
	}
	if q.hangs != nil {
		q.clearing <- struct{}{}
		<-q.hangs
	}
	return len(q.values), nil
}

func (q *quietHouse) Devices(context.Context) (Devices, error) {
	return Devices{Devices: []Device{{Name: "lamp", Properties: []Property{{Name: "state", Kind: "light", Value: true}}}}}, nil
}

func (*quietHouse) ForgetDevice(_ context.Context, name string) error {
	if name != "lamp" {
		return Mistaken(errors.New("nothing here is named " + name))
	}
	return nil
}

func (q *quietHouse) ReplaceDevice(_ context.Context, broken, by string, force bool) (Replaced, error) {
	if broken != "lamp" || !force {
		return Replaced{}, Mistaken(errors.New("nothing here is named " + broken))
	}
	return Replaced{Name: broken, Old: "homie/old", Now: by}, nil
}

func (q *quietHouse) ReinstateDevice(_ context.Context, name string) (Replaced, error) {
	return Replaced{Name: name, Old: "homie/new", Now: "homie/old"}, nil
}

func (q *quietHouse) Set(_ context.Context, name, value string) (Answer, error) {
	if name != "lamp" {
		return Answer{}, Mistaken(errors.New("nothing here is named " + name))
	}
	return Answer{Name: "lamp.state", Topic: "lamp/set", Payload: value, Reported: true}, nil
}

func (*quietHouse) Health(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"findings":[]}`), nil
}

func (q *quietHouse) Why(_ context.Context, name, _ string) (json.RawMessage, error) {
	if name == "" {
		return nil, Mistaken(errors.New("want a name"))
	}
	return json.RawMessage(`{"name":"` + name + `"}`), nil
}

func (q *quietHouse) Record(_ context.Context, since time.Time, w io.Writer) error {
	if since.Year() < 2000 {
		return Mistaken(errors.New("nothing was recorded then"))
	}
	if _, err := io.WriteString(w, "since "+since.UTC().Format(time.DateTime)); err != nil || since.Year() < 2026 {
		return errors.Join(err, errors.New("the disk is broken"))
	}
	return nil
}

func (q *quietHouse) Backup(_ context.Context, w io.Writer) error {
	if len(q.archive) == 0 {
		return q.broken
	}
	_, err := w.Write(q.archive)
	return errors.Join(err, q.broken)
}

func (q *quietHouse) Reload(ctx context.Context) (Reloaded, error) {
	if q.asked != nil {
		close(q.asked)
		<-ctx.Done()
		return Reloaded{}, context.Cause(ctx)
	}
	return q.done, nil
}

func open(t *testing.T, dir string, house House) *Server {
	t.Helper()
	s := New(dir, house, slog.New(slog.DiscardHandler))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.End(); s.Wait() })
	return s
}

func TestAnAdministratorAsks(t *testing.T) {
	dir, now := t.TempDir(), time.Now().Round(0)
	house := &quietHouse{
		clients: []Client{{ID: "plug", Version: "3.1.1", Connected: true, Since: now, Queued: 3, QueuedBytes: 40}, {ID: "tablet", Expires: now}},
		values: []Value{
			{Topic: "a", Size: 6, Payload: Payload("äöü"), At: now},
			{Topic: "b", Size: 2, Payload: Payload{0xff, 0}},
		},
		done: Reloaded{Now: "2 outputs"},
	}
	open(t, dir, house)
	hub, ctx := Ask(dir), context.Background()

	clients, err := hub.Clients(ctx)
	if err != nil || len(clients) != 2 || !clients[0].Since.Equal(now) || clients[0].QueuedBytes != 40 || !clients[1].Expires.Equal(now) {
		t.Errorf("clients: %+v, %v", clients, err)
	}
	values, err := hub.Retained(ctx, "#", -1)
	if err != nil || len(values) != 2 || string(values[0].Payload) != "äöü" || !bytes.Equal(values[1].Payload, Payload{0xff, 0}) {
		t.Errorf("values: %+v, %v", values, err)
	}
	// A beginning of text is text, and of what is none it is exact.
	values, err = hub.Retained(ctx, "#", 3)
	if err != nil || string(values[0].Payload) != "ä" || values[0].Size != 6 || len(values[1].Payload) != 2 {
		t.Errorf("beginnings: %+v, %v", values, err)
	}
	if n, err := hub.ClearRetained(ctx, "#"); n != 2 || err != nil {
		t.Errorf("cleared %d, %v", n, err)
	}
	if all, err := hub.Devices(ctx); err != nil || len(all.Devices) != 1 || all.Devices[0].Properties[0].Value != true {
		t.Errorf("devices: %+v, %v", all, err)
	}
	if done, err := hub.Set(ctx, "lamp", "ON"); err != nil || done.Payload != "ON" || done.Reported != true {
		t.Errorf("set: %+v, %v", done, err)
	}
	if _, err := hub.Set(ctx, "lump", "ON"); err == nil || err.Error() != "nothing here is named lump" {
		t.Error("set what is not there:", err)
	}
	if done, err := hub.ReplaceDevice(ctx, "lamp", "homie/new", true); err != nil || done.Now != "homie/new" || done.Old != "homie/old" {
		t.Errorf("replaced: %+v, %v", done, err)
	}
	if _, err := hub.ReplaceDevice(ctx, "lamp", "homie/new", false); err == nil {
		t.Error("replaced without force")
	}
	if done, err := hub.ReinstateDevice(ctx, "lamp"); err != nil || done.Name != "lamp" || done.Now != "homie/old" {
		t.Errorf("taken back: %+v, %v", done, err)
	}
	if done, err := hub.Reload(ctx); !reflect.DeepEqual(done, house.done) || err != nil {
		t.Errorf("reload: %+v, %v", done, err)
	}
	house.done = Reloaded{Said: []string{"config.toml:1:1: no"}, Error: "config.toml has 1 mistake"}
	if done, err := hub.Reload(ctx); !reflect.DeepEqual(done, house.done) || err != nil {
		t.Errorf("reload with a mistake: %+v, %v", done, err)
	}

	// What goes wrong is said.
	if _, err := hub.Retained(ctx, "", -1); err == nil || err.Error() != "the topic is empty" {
		t.Error("no filter:", err)
	}
	if _, err := hub.ClearRetained(ctx, "broken"); err == nil || err.Error() != "the disk is full" {
		t.Error("a disk that is full:", err)
	}
	if err := hub.ask(ctx, "GET", "/weather", nil, nil); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error("what this hub does not know:", err)
	}
	if err := hub.ask(ctx, "PUT", "/clients", nil, nil); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Error("what can't be done:", err)
	}
}

// An empty list is one too.
func TestNobodyIsThere(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, &quietHouse{})
	if all, err := Ask(dir).Clients(context.Background()); err != nil || all == nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestTheSocketIsTheOwnersAlone(t *testing.T) {
	dir := t.TempDir()
	defer syscall.Umask(syscall.Umask(0))
	open(t, dir, &quietHouse{})
	info, err := os.Lstat(filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
		t.Errorf("mode %v, want %v", got, want)
	}
}

func TestAFolderWithALongName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30), strings.Repeat("er", 60))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := New(dir, &quietHouse{values: make([]Value, 4)}, slog.New(slog.DiscardHandler))
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	if n, err := Ask(dir).ClearRetained(context.Background(), "#"); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	s.End()
	s.Wait()
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := Ask(dir).Clients(context.Background()); !errors.Is(err, ErrNobody) {
		t.Error("after the end:", err)
	}
}

// A hub that was killed leaves its socket; the next one takes its place.
func TestAfterAKill(t *testing.T) {
	dir := t.TempDir()
	old, err := net.Listen("unix", filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	old.Close()
	if _, err := Ask(dir).Clients(context.Background()); !errors.Is(err, ErrNobody) {
		t.Error("before:", err)
	}
	open(t, dir, &quietHouse{values: make([]Value, 1)})
	if n, err := Ask(dir).ClearRetained(context.Background(), "#"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// An archive comes through as it is, and with the reason where it is not whole, whichever side it
// lies on.
func TestABackupComesThrough(t *testing.T) {
	ctx := context.Background()
	save := func(house *quietHouse, w io.Writer) error {
		dir := t.TempDir()
		open(t, dir, house)
		return Ask(dir).Backup(ctx, w)
	}
	large := bytes.Repeat([]byte("0123456789"), 200_000)
	var got bytes.Buffer
	if err := save(&quietHouse{archive: large}, &got); err != nil || !bytes.Equal(got.Bytes(), large) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	full := errors.New("no space left")
	if err := save(&quietHouse{archive: large}, fullWriter{full}); !errors.Is(err, full) {
		t.Error(err)
	}
	if err := save(&quietHouse{archive: large, broken: errors.New("the card is\nbroken")}, io.Discard); err == nil || err.Error() != "the card is broken" {
		t.Error(err)
	}
	if err := save(&quietHouse{broken: errors.New("nothing could be read")}, io.Discard); err == nil || err.Error() != "nothing could be read" {
		t.Error(err)
	}
	if err := Ask(t.TempDir()).Backup(ctx, io.Discard); !errors.Is(err, ErrNobody) {
		t.Error(err)
	}
}

type fullWriter struct{ err error }

func (w fullWriter) Write([]byte) (int, error) { return 0, w.err }

// Whatever has the socket's name is no reason to delete it, if it is none.
func TestAFileInTheWay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, Name)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(dir, &quietHouse{}, slog.New(slog.DiscardHandler))
	if err := s.Open(); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil { // the next reload
		t.Fatal(err)
	}
	s.End()
	s.Wait()
}

// Open again changes nothing while the socket is there, and makes it anew when
// somebody removed it. A server that has ended stays that way.
func TestOpenAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &quietHouse{})
	path := filepath.Join(dir, Name)
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		t.Error("it was made anew:", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := Ask(dir).Clients(context.Background()); err != nil {
		t.Error(err)
	}
	s.End()
	s.Wait()
	if err := s.Open(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("after the end:", err)
	}
}

// The end cuts off whoever waits for an answer, and waits for what it can't cut.
func TestTheEnd(t *testing.T) {
	dir := t.TempDir()
	disk := make(chan struct{})
	house := &quietHouse{asked: make(chan struct{}), hangs: disk, clearing: make(chan struct{})}
	s := open(t, dir, house)
	failed := make(chan error, 2)
	go func() { _, err := Ask(dir).Reload(context.Background()); failed <- err }()
	go func() { _, err := Ask(dir).ClearRetained(context.Background(), "#"); failed <- err }()
	<-house.asked
	<-house.clearing
	s.End()
	for range 2 {
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "ended meanwhile") {
			t.Error(err)
		}
	}
	waited := make(chan struct{})
	go func() { s.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("it did not wait for the deletion")
	case <-time.After(10 * time.Millisecond): // a moment in which a faulty one would be found out, mostly
	}
	close(disk)
	<-waited
}

func TestWhatIsTooMuch(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, &quietHouse{})
	hub := Ask(dir)
	resp, err := hub.http.Post("http://hub/reload", "text/plain", strings.NewReader("now"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Error("a body:", resp.Status)
	}
	_, err = hub.Retained(context.Background(), strings.Repeat("a", 32<<10), -1)
	if err == nil || !strings.Contains(err.Error(), "431") {
		t.Error("a filter of 32 KiB:", err)
	}
}

func TestPayloads(t *testing.T) {
	for _, tt := range []struct {
		in   string
		json string
	}{
		{"21.5", `"21.5"`}, {"", `""`}, {"\x00\u00fc", `"\u0000ü"`}, {"\xff", `{"base64":"/w=="}`},
	} {
		b, err := json.Marshal(Payload(tt.in))
		var back Payload
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || string(b) != tt.json || string(back) != tt.in {
			t.Errorf("%q: %s, back %q, %v", tt.in, b, back, err)
		}
	}
}

// A payload comes through JSON as it was, and cut it is its beginning, text if
// it was text.
func FuzzPayload(f *testing.F) {
	f.Add([]byte("äöü"), 3)
	f.Add([]byte{0xf0, 0x9f, 0x94}, 2)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		var back Payload
		b, err := json.Marshal(Payload(in))
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || !bytes.Equal(back, in) {
			t.Fatalf("%q came back as %q: %v", in, back, err)
		}
		if n < 0 {
			return
		}
		short := Payload(in).cut(n)
		if len(short) > n || !bytes.HasPrefix(in, short) || len(short) < min(n, len(in))-3 {
			t.Fatalf("%q cut at %d is %q", in, n, short)
		}
		if utf8.Valid(in) && !utf8.Valid(short) {
			t.Fatalf("%q cut at %d is %q, half a character", in, n, short)
		}
	})
}

// What was recorded comes as a stream. One that fails before it has begun says why; one that
// fails in the midst of it is cut off, so that nobody takes it for the whole.
func TestARecordingIsAStream(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, new(quietHouse))
	hub := Ask(dir)
	read := func(year int) (string, error) {
		body, err := hub.Recording(t.Context(), time.Date(year, 3, 1, 10, 0, 0, 0, time.UTC))
		if err != nil {
			return "", err
		}
		defer body.Close()
		b, err := io.ReadAll(body)
		return string(b), err
	}
	if got, err := read(2026); got != "since 2026-03-01 10:00:00" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := read(1990); err == nil || err.Error() != "nothing was recorded then" {
		t.Errorf("want why, got %v", err)
	}
	if got, err := read(2010); err == nil {
		t.Errorf("got %q as if it were the whole", got)
	}
}

func TestHealth(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, new(quietHouse))
	if got, err := Ask(dir).Health(t.Context()); err != nil || string(got) != `{"findings":[]}` {
		t.Errorf("%s, %v", got, err)
	}
}
