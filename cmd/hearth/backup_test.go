package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/store"
)

// A house of some megabytes, so that saving and restoring it take a while.
func largeHouse(t *testing.T, word string) (config string) {
	t.Helper()
	config = filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(config, []byte("[hub]\ndata = \"data\"\nname = \""+word+"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(filepath.Join(filepath.Dir(config), "data"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 2000)
	for i := range 3000 {
		for j := range noise {
			noise[j] = byte(rand.Uint32())
		}
		s.Put(store.Record{Kind: store.Retained, Key: fmt.Sprint(word, i), Value: noise}, 0, nil)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return config
}

// killed runs hearth and kills it after so long, unless it has ended by then.
func killed(t *testing.T, after time.Duration, args ...string) (whole bool, said string) {
	t.Helper()
	cmd := exec.Command("hearth", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer timer.Stop()
	return cmd.Wait() == nil, out.String()
}

// A backup that is killed at any moment leaves the one before, whole.
func TestAKilledBackupLeavesTheOlderOne(t *testing.T) {
	config := largeHouse(t, "mill")
	dir := t.TempDir()
	name := filepath.Join(dir, "house.tar.gz")
	began := time.Now()
	if ok, said := killed(t, time.Minute, "backup", name, "--config", config); !ok {
		t.Fatal(said)
	}
	takes, ends := time.Since(began), 0
	for range 25 {
		if ok, _ := killed(t, time.Duration(rand.Int64N(int64(takes))), "backup", name, "--config", config); ok {
			ends++
		}
		if _, err := readBackup(name); err != nil {
			t.Fatal(err)
		}
	}
	if ok, said := killed(t, time.Minute, "backup", name, "--config", config); !ok {
		t.Fatal(said)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	t.Logf("of 25 that were killed within %v %d had ended", takes.Round(time.Millisecond), ends)
}

// A restore that is killed at any moment leaves the house that was there, or the new one is there;
// in between, which takes moments, no hub starts and --undo brings the old one back.
func TestAKilledRestoreLeavesTheOldHouse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "house.tar.gz")
	if ok, said := killed(t, time.Minute, "backup", name, "--config", largeHouse(t, "new")); !ok {
		t.Fatal(said)
	}
	config := largeHouse(t, "old")
	dir := filepath.Dir(config)
	// house is whose configuration and whose values are there.
	house := func() string {
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		snap, damage, err := store.Read(filepath.Join(dir, "data"))
		if err != nil || len(damage) > 0 {
			t.Fatal(damage, err)
		}
		var log bytes.Buffer
		snap.WriteTo(&log)
		for _, word := range []string{"old", "new"} {
			if strings.Contains(string(text), word) && bytes.Contains(log.Bytes(), []byte(word+"17")) {
				return word
			}
		}
		return "mixed"
	}
	began := time.Now()
	copied := t.TempDir()
	if ok, said := killed(t, time.Minute, "restore", name, "--config", filepath.Join(copied, "config.toml")); !ok {
		t.Fatal(said)
	}
	takes := time.Since(began)
	for i := range 40 {
		ok, said := killed(t, takes*time.Duration(i)/30, "restore", name, "--config", config, "--force")
		if ok {
			if house() != "new" {
				t.Fatal(house(), said)
			}
			break
		}
		plan, err := os.Stat(filepath.Join(dir, "data", ".hearth-restore", "plan.json"))
		if err == nil {
			t.Log("killed in between:", plan.Name())
			if out, err := exec.Command("hearth", "restore", "--undo", "--config", config, "--data", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		if is := house(); is == "new" {
			break
		} else if is != "old" {
			t.Fatal(is, said)
		}
	}
	if out, err := exec.Command("hearth", "restore", name, "--config", config, "--force").CombinedOutput(); err != nil || house() != "new" {
		t.Fatalf("%v: %s", err, out)
	}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d.Name() == ".hearth-restore" {
			t.Error("left:", path)
		}
		return err
	})
}
