package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"hearth/devices"
	"hearth/gpio"
	"hearth/hub"
)

// The drawing fits a terminal whatever names there are, and its colours change
// nothing else.
func TestDrawHeader(t *testing.T) {
	tags := map[string]tag{
		"GPIO17": {text: "heater ON", mark: '#', on: true},
		"GPIO18": {text: strings.Repeat("ä", 60), mark: 'x'},
		"GPIO27": {text: strings.Repeat("b", 60), mark: '#'},
	}
	var plain, coloured bytes.Buffer
	drawHeader(&plain, tags, false)
	drawHeader(&coloured, tags, true)
	rows := strings.Split(strings.TrimSuffix(plain.String(), "\n"), "\n")
	if len(rows) != 20 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		if n := utf8.RuneCountInString(row); n > 79 {
			t.Errorf("%d columns: %s", n, row)
		}
	}
	if got, want := rows[5], "                  heater ON GPIO17 11 # x 12 GPIO18 "+strings.Repeat("ä", 26)+"…"; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if !strings.Contains(coloured.String(), "\x1b[1;32m#\x1b[0m") {
		t.Error("what is on is not green")
	}
	bare := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured.String(), "")
	if bare != plain.String() {
		t.Errorf("without its colours it is\n%s, want\n%s", bare, plain.String())
	}
}

// A line that another program holds stands out.
func TestHeldByAnother(t *testing.T) {
	bank := gpio.NewSim()
	b := board{
		Chips: []gpio.Chip{{Path: "/dev/gpiochip0", Label: "pinctrl-sim", Lines: []gpio.ChipLine{
			{ID: "sim:22", Name: "GPIO22", Direction: "output", Used: true, Consumer: "other\x1b[2J"},
			{ID: "sim:23", Name: "GPIO23", Direction: "input", Used: true},
			{ID: "sim:24", Name: "GPIO24", Direction: "input"},
		}}},
		Uses: []use{{gpio.Use{Name: "heater", Table: "output", Pin: "GPIO22"}.On(bank), "?"}},
		Kept: []string{"heater"},
	}
	var out bytes.Buffer
	b.show(&out, bank, false)
	for _, want := range []string{
		`output heater; held by other\x1b[2J`, `HELD BY`, "held by the kernel", "and 1 line that nobody uses",
		"after a crash of the hub this kernel leaves heater as it was", "dtparam=strict_gpiod",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}

// Ctrl-C while the output is on switches it off before the program ends.
func TestInterruptedTest(t *testing.T) {
	cfg, doc := hub.Parse("house.toml", []byte("[output.heater]\npin = \"GPIO22\"\nactive_low = true"))
	if doc.Err() != nil {
		t.Fatal(doc.Err())
	}
	alone, err := cfg.Alone("heater")
	if err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	bank, answers := gpio.NewSim(), make(chan string)
	said, screen := io.Pipe()
	try := &tryout{
		gpioTestCommand: &gpioTestCommand{Name: "heater", For: time.Hour},
		cfg:             cfg, alone: alone, bank: bank, out: screen, lines: answers, heard: make(chan devices.Reading, 64),
	}
	go func() {
		for range 3 { // take it, is it off, switch it on
			answers <- ""
		}
	}()
	wasOn := make(chan bool, 1)
	go func() {
		var text strings.Builder
		for b := make([]byte, 1024); ; {
			n, err := said.Read(b)
			text.Write(b[:n])
			if strings.Contains(text.String(), "by itself") {
				select {
				case wasOn <- !bool(bank.Level("GPIO22")):
				default:
				}
				interrupt()
			}
			if err != nil {
				return
			}
		}
	}()
	if err := try.output(ctx); !errors.Is(err, errStopped) {
		t.Errorf("it ended with %v", err)
	}
	screen.Close()
	if !<-wasOn {
		t.Error("it never was on")
	}
	if !bool(bank.Level("GPIO22")) || bank.Held("GPIO22") {
		t.Errorf("after it the pin is %v, held %v; want High, which is off, and free", bank.Level("GPIO22"), bank.Held("GPIO22"))
	}
}

// A terminal that is closed while the output is on ends the test as Ctrl-C does.
func TestATerminalThatEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "house.toml")
	if err := os.WriteFile(path, []byte("[output.heater]\npin = \"GPIO22\""), 0o644); err != nil {
		t.Fatal(err)
	}
	said, screen := io.Pipe()
	answers, keys := io.Pipe()
	go io.WriteString(keys, "\n\n\n")
	var text strings.Builder
	over := make(chan struct{})
	go func() {
		defer close(over)
		for b := make([]byte, 1024); ; {
			n, err := said.Read(b)
			was := strings.Contains(text.String(), "by itself")
			text.Write(b[:n])
			if !was && strings.Contains(text.String(), "by itself") {
				syscall.Kill(os.Getpid(), syscall.SIGHUP)
			}
			if err != nil {
				return
			}
		}
	}()
	try := &gpioTestCommand{Name: "heater", For: time.Hour, pinFlags: pinFlags{Config: path, Sim: true}}
	if err := try.Run(t.Context(), streams{answers, screen, io.Discard}); !errors.Is(err, errStopped) {
		t.Errorf("it ended with %v", err)
	}
	screen.Close()
	<-over
	if !strings.Contains(text.String(), "heater is in its safe state, OFF") {
		t.Error(text.String())
	}
}
