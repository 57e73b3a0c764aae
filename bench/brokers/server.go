package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hearth/broker"
	"hearth/store"
)

// A server is a broker that runs.
type server struct {
	addr string
	cmd  *exec.Cmd
	log  string
}

// A setting is what a measurement asks of the brokers beyond their defaults.
type setting struct {
	limits    string // keys of [broker.limits]
	mosquitto string // lines of mosquitto.conf
}

// start starts one of the peers with an empty folder for its data.
func (p *program) start(peer string, s setting) (*server, error) {
	dir, err := os.MkdirTemp(p.work, peer+"-*")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	var args []string
	binary := p.hearth
	if peer == mosquitto && p.beside != "" {
		peer, binary = hub, p.beside
	}
	switch peer {
	case hub:
		config := filepath.Join(dir, "config.toml")
		text := fmt.Sprintf("[hub]\ndata = %q\n[web]\nlisten = \"\"\n[broker]\nlisten = [%q]\nanonymous = true\n[broker.limits]\n%s\n", filepath.Join(dir, "data"), addr, s.limits)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		args = []string{binary, "serve", "--sim", "--config", config}
	case mosquitto:
		config := filepath.Join(dir, "mosquitto.conf")
		text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nlog_type error\nlog_type warning\n%s\n", port, dir, s.mosquitto)
		if os.Getuid() == 0 {
			text += "user root\n" // else it may not write to its folder
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		args = []string{"mosquitto", "-c", config}
	case withStore:
		args = []string{p.self, "-serve", addr, "-data", filepath.Join(dir, "data")}
	case inMemory:
		args = []string{p.self, "-serve", addr}
	}
	sv := &server{addr: addr, cmd: exec.Command(args[0], args[1:]...), log: filepath.Join(dir, "log")}
	log, err := os.Create(sv.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	sv.cmd.Stdout, sv.cmd.Stderr = log, log
	if err := sv.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; {
		c, err := dial(addr, "first", true)
		if err == nil {
			c.nc.Close()
			time.Sleep(300 * time.Millisecond) // what a start leaves behind is over
			return sv, nil
		}
		if time.Now().After(end) {
			sv.stop()
			said, _ := os.ReadFile(sv.log)
			return nil, fmt.Errorf("%s does not start: %w\n%s", peer, err, said)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { s.cmd.Process.Kill() })
	s.cmd.Wait()
	late.Stop()
}

// rss is the memory that the broker holds, in MB.
func (s *server) rss() float64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	_, after, _ := bytes.Cut(status, []byte("VmRSS:"))
	kib, _, _ := bytes.Cut(bytes.TrimSpace(after), []byte(" "))
	n, _ := strconv.ParseFloat(string(kib), 64)
	return n * 1024 / 1e6
}

// cpu is the time that the broker has computed.
func (s *server) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// serve is the hub's broker alone, with its data in a folder or, without one, in
// memory only.
func serve(addr, dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	opt := broker.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if dir != "" {
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			return err
		}
		defer s.Close()
		opt.Store = s
	}
	b, err := broker.Open(opt)
	if err != nil {
		return err
	}
	any := 0
	ch, err := b.Prepare(broker.Config{Listen: []string{addr}, Limits: broker.Limits{Messages: &any}})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	ch.Commit()
	<-ctx.Done()
	return b.Close()
}
