package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// What one line of an answer may take to be read: somebody may page through it.
	readWithin = 20 * time.Second
	// A reload waits for pins and listeners, a deletion for the disk.
	workWithin = 60 * time.Second
)

// A House is the hub, as its administrator sees it. Its methods may be called
// from any goroutine. An error that is a [Mistake] is one of whoever asked.
type House interface {
	Clients() []Client
	Broker() Broker
	// Retained lists the values of topics that match a filter, sorted by topic.
	Retained(filter string) ([]Value, error)
	// ClearRetained deletes them and returns how many when that is on disk.
	ClearRetained(ctx context.Context, filter string) (int, error)
	Devices(ctx context.Context) (Devices, error)
	// ForgetDevice forgets a device that is no more.
	ForgetDevice(ctx context.Context, name string) error
	// ReplaceDevice puts one device into the place of another, which has broken; force
	// though it lacks what rules use.
	ReplaceDevice(ctx context.Context, broken, by string, force bool) (Replaced, error)
	// ReinstateDevice takes back the last replacement of a name.
	ReinstateDevice(ctx context.Context, name string) (Replaced, error)
	// Set tells an output or a device's property a value.
	Set(ctx context.Context, name, value string) (Answer, error)
	// Why says in JSON why something is as it is, or was at a moment, "" for now.
	Why(ctx context.Context, name, at string) (json.RawMessage, error)
	// Health says in JSON how the house and its machine are doing.
	Health(ctx context.Context) (json.RawMessage, error)
	// Record writes what was recorded since a moment.
	Record(ctx context.Context, since time.Time, w io.Writer) error
	// Past is what history knows. What is wrong with a question is a [Mistake].
	Past
	// Backup writes an archive of the house. It may take minutes.
	Backup(ctx context.Context, w io.Writer) error
	// Reload reads the configuration anew. The error says that it could not even
	// be asked for.
	Reload(ctx context.Context) (Reloaded, error)
}

// A Server answers on the socket of one data folder. Its methods may be called
// from any goroutine.
type Server struct {
	dir   string
	house House
	log   *slog.Logger

	mu     sync.Mutex
	now    *socket // nil: not open
	closed bool
	ended  sync.WaitGroup // of every socket there was
}

// New makes the server of a folder. It does not listen yet.
func New(dir string, house House, log *slog.Logger) *Server {
	return &Server{dir: dir, house: house, log: log}
}

// Open makes the socket, unless it is there. Only the process that holds the
// store of the folder may call it.
func (s *Server) Open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.now != nil && s.now.there() {
		return nil
	}
	next, err := bind(s.dir)
	if err != nil {
		return fmt.Errorf("control socket in %s: %w", s.dir, err)
	}
	if s.now != nil { // somebody removed it; who is connected is answered still
		s.now.net.Close()
	}
	s.now = next
	s.serve(next)
	return nil
}

// End takes the socket away and cuts off who is connected. It does not wait.
func (s *Server) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if s.now != nil {
		s.now.end()
	}
}

// Wait returns when all that the server started has ended, after End.
func (s *Server) Wait() { s.ended.Wait() }

// A socket is one that is bound, and what serves it.
type socket struct {
	path string
	file fs.FileInfo // to know it again
	net  net.Listener
	http *http.Server
	stop context.CancelFunc // of every request
}

// bind replaces the socket of an earlier hub.
func bind(dir string) (*socket, error) {
	s := &socket{path: filepath.Join(dir, Name)}
	switch info, err := os.Lstat(s.path); {
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there and no socket: remove it", Name)
	case err == nil:
		if err := os.Remove(s.path); err != nil {
			return nil, fmt.Errorf("remove the one an earlier hub left: %w", err)
		}
	}
	path, done, err := reach(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	// The kernel gives the file the mode that the socket has when it is bound. A
	// chmod afterwards would be a moment too late.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if failed := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); failed != nil {
			return failed
		}
		return err
	}}
	l, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // path may be one that ends with done
	s.net = l
	if s.file, err = os.Lstat(s.path); err != nil {
		l.Close()
		return nil, err
	}
	return s, nil
}

// reach is a path to the socket that fits into an address; it is good until done.
func reach(dir string) (path string, done func(), err error) {
	if path = filepath.Join(dir, Name); len(path) <= longest {
		return path, func() {}, nil
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, Name), func() { unix.Close(fd) }, nil
}

// longest is what the kernel takes as a socket's path.
const longest = 107

// there reports whether the socket is still in its folder.
func (s *socket) there() bool {
	info, err := os.Lstat(s.path)
	return err == nil && os.SameFile(info, s.file)
}

func (s *socket) end() {
	if s.there() {
		os.Remove(s.path)
	}
	s.http.Close() // first, so that nobody is told half of it
	s.stop()
}

func (s *Server) serve(k *socket) {
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.http = &http.Server{
		Handler:           s.routes(),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      readWithin, // put off by what takes longer
		IdleTimeout:       5 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew: // told by the loop that accepts, which has a place in ended itself
				s.ended.Add(1)
			case http.StateClosed:
				s.ended.Done()
			}
		},
	}
	s.ended.Go(func() {
		err := k.http.Serve(k.net)
		if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("the control socket is gone", "err", err)
		}
	})
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /clients", func(w http.ResponseWriter, r *http.Request) {
		list(w, s.house.Clients())
	})
	mux.HandleFunc("GET /broker", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, s.house.Broker())
	})
	mux.HandleFunc("GET /retained", s.retained)
	mux.HandleFunc("DELETE /retained", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		n, err := s.house.ClearRetained(r.Context(), r.URL.Query().Get("filter"))
		if err != nil {
			refuse(w, err)
			return
		}
		s.log.Info("retained values were cleared by hand", "filter", r.URL.Query().Get("filter"), "values", n)
		answer(w, http.StatusOK, cleared{n})
	})
	mux.HandleFunc("GET /devices", func(w http.ResponseWriter, r *http.Request) {
		all, err := s.house.Devices(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, all)
	})
	mux.HandleFunc("DELETE /devices", func(w http.ResponseWriter, r *http.Request) {
		if err := s.house.ForgetDevice(r.Context(), r.URL.Query().Get("name")); err != nil {
			refuse(w, err)
			return
		}
		s.log.Info("a device was forgotten by hand", "device", r.URL.Query().Get("name"))
		answer(w, http.StatusOK, struct{}{})
	})
	replaced := func(w http.ResponseWriter, done Replaced, err error) {
		if err != nil {
			refuse(w, err)
			return
		}
		s.log.Info("a device has the place of another, by hand", "name", done.Name, "old", done.Old, "now", done.Now)
		answer(w, http.StatusOK, done)
	}
	mux.HandleFunc("POST /devices/replace", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		query := r.URL.Query()
		done, err := s.house.ReplaceDevice(r.Context(), query.Get("old"), query.Get("new"), query.Get("force") == "true")
		replaced(w, done, err)
	})
	mux.HandleFunc("POST /devices/reinstate", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		done, err := s.house.ReinstateDevice(r.Context(), r.URL.Query().Get("name"))
		replaced(w, done, err)
	})
	mux.HandleFunc("POST /set", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		done, err := s.house.Set(r.Context(), r.URL.Query().Get("name"), r.URL.Query().Get("value"))
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, done)
	})
	mux.HandleFunc("GET /why", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		why, err := s.house.Why(r.Context(), r.URL.Query().Get("name"), r.URL.Query().Get("at"))
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, why)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		health, err := s.house.Health(r.Context())
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, health)
	})
	mux.HandleFunc("GET /recording", s.recording)
	servePast(mux, s.house)
	mux.HandleFunc("POST /backup", s.backup)
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		putOff(w, workWithin)
		ctx, cancel := context.WithTimeoutCause(r.Context(), workWithin, errors.New("the hub takes too long; its log will say what came of it"))
		defer cancel()
		done, err := s.house.Reload(ctx)
		switch {
		case err != nil:
			refuse(w, err)
		case done.Error != "":
			answer(w, http.StatusConflict, done)
		default:
			answer(w, http.StatusOK, done)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			refuse(w, Mistaken(errors.New("nothing here takes a body")))
			return
		}
		// All has been read. Left as it is the deadline would count as the end of
		// whoever waits for the answer.
		http.NewResponseController(w).SetReadDeadline(time.Time{})
		mux.ServeHTTP(w, r)
	})
}

// recording answers with what was recorded, as it is read. Where that fails in the midst of
// it the answer is cut off, so that nobody takes it for the whole.
func (s *Server) recording(w http.ResponseWriter, r *http.Request) {
	since, err := time.Parse(time.RFC3339, r.URL.Query().Get("since"))
	if err != nil {
		refuse(w, Mistaken(errors.New("since: want a moment as RFC 3339 has it")))
		return
	}
	out := &slowly{w: w}
	switch err := s.house.Record(r.Context(), since, out); {
	case err == nil:
	case !out.begun:
		refuse(w, err)
	default:
		s.log.Error("a recording was not sent to its end", "err", err)
		panic(http.ErrAbortHandler)
	}
}

// slowly is an answer that may take as long as it is read.
type slowly struct {
	w     http.ResponseWriter
	begun bool
}

func (s *slowly) Write(b []byte) (int, error) {
	if !s.begun {
		s.w.Header().Set("Content-Type", "application/gzip")
		s.begun = true
	}
	putOff(s.w, readWithin)
	return s.w.Write(b)
}

type cleared struct {
	Cleared int `json:"cleared"`
}

func (s *Server) retained(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	values, err := s.house.Retained(query.Get("filter"))
	if err != nil {
		refuse(w, err)
		return
	}
	if query.Has("payload") {
		n, err := strconv.Atoi(query.Get("payload"))
		if err != nil || n < 0 {
			refuse(w, Mistaken(errors.New("payload: want a number of bytes")))
			return
		}
		for i, v := range values {
			values[i].Payload = v.Payload.cut(n)
		}
	}
	list(w, values)
}

// backup answers with an archive. That one was cut short it says of itself, and why, the trailer.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Trailer", trailer)
	out := &patient{w: w}
	err := s.house.Backup(r.Context(), out)
	switch {
	case err != nil && !out.begun:
		w.Header().Del("Trailer")
		refuse(w, err)
	case err != nil:
		w.Header().Set(trailer, strings.Join(strings.Fields(err.Error()), " "))
		s.log.Warn("a backup was not made", "err", err)
	default:
		s.log.Info("a backup was made by hand")
	}
}

const trailer = "Error"

// patient gives each piece of an answer as long as a slow stick takes for what it was given before.
type patient struct {
	w     http.ResponseWriter
	begun bool
}

func (p *patient) Write(b []byte) (int, error) {
	p.begun = true
	putOff(p.w, workWithin)
	return p.w.Write(b)
}

// list answers with an array. It is written piece by piece, for all retained
// values together may be more than a small computer wants to hold twice.
func list[T any](w http.ResponseWriter, all []T) {
	w.Header().Set("Content-Type", "application/json")
	before := "[\n"
	for _, one := range all {
		b, err := json.Marshal(one)
		if err != nil {
			panic(err) // a bug: all of these types can be written
		}
		putOff(w, readWithin)
		if _, err := fmt.Fprintf(w, "%s%s", before, b); err != nil {
			return
		}
		before = ",\n"
	}
	if len(all) == 0 {
		fmt.Fprint(w, "[")
	}
	fmt.Fprint(w, "]\n")
}

// putOff gives an answer longer to be read.
func putOff(w http.ResponseWriter, d time.Duration) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d + readWithin))
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if errors.As(err, new(Mistake)) {
		status = http.StatusBadRequest
	}
	answer(w, status, refusal{err.Error()})
}

type refusal struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, status int, what any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(what)
}
