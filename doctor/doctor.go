// Package doctor finds out how a house and its machine are doing, and what is to be done
// about that: for the page, for `hearth doctor`, and for whoever reads its JSON.
//
// What the kernel tells is in a [Machine], what the hub or its configuration knows in a
// [Hub]. [Examine] looks at both and decides; it reads nothing itself. What is not known
// is no finding.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Report is all of it.
type Report struct {
	At       time.Time `json:"at"`
	Findings []Finding `json:"findings"` // the worst first
	Machine  Machine   `json:"machine"`
	Hub      Hub       `json:"hub"`
}

// A Finding is one thing that is not as it should be.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"` // a sentence without its point
	Do    string `json:"do"`   // what helps
}

// A Level says how bad a finding is.
type Level string

const (
	Bad     Level = "bad"     // something does not work, or soon won't
	Warning Level = "warning" // it works and should not stay so
	Hint    Level = "hint"    // it could be better
)

// A Machine is what the kernel tells. Zero and nil are what it does not.
type Machine struct {
	Model        string   `json:"model,omitempty"`     // "Raspberry Pi 4 Model B Rev 1.5"
	Uptime       float64  `json:"uptime,omitempty"`    // in seconds
	Memory       int64    `json:"memory,omitempty"`    // in bytes
	Available    int64    `json:"available,omitempty"` // of that
	Temperature  *float64 `json:"temperature,omitempty"`
	Throttled    *uint32  `json:"throttled,omitempty"` // as vcgencmd get_throttled has it
	DiskSize     int64    `json:"disk_size,omitempty"` // where the data is
	DiskFree     int64    `json:"disk_free,omitempty"`
	ReadOnly     bool     `json:"read_only,omitempty"`
	Card         bool     `json:"card,omitempty"` // it is an SD card, which wears out
	Synchronized bool     `json:"synchronized"`   // a time service steers the clock
	Offset       *float64 `json:"offset,omitempty"`
	TimeSource   string   `json:"time_source,omitempty"` // "systemd-timesyncd", "chrony"
	RTC          bool     `json:"rtc,omitempty"`         // it has a clock with a battery
	Watchdog     string   `json:"watchdog,omitempty"`    // "there", "active": somebody feeds it
}

// A Hub is what the hub knows of itself, or its configuration if none runs.
type Hub struct {
	Running    bool      `json:"running"` // what follows to Loop is of a hub that runs
	Version    string    `json:"version,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	Simulated  bool      `json:"simulated,omitempty"`
	ClockKnown bool      `json:"clock_known,omitempty"`
	Resident   int64     `json:"resident,omitempty"` // bytes of memory
	Limit      int64     `json:"limit,omitempty"`    // that it may have
	Written    int64     `json:"written,omitempty"`  // bytes to the disk since it started
	PerDay     int64     `json:"per_day,omitempty"`  // of these, once it has run long enough to tell
	Loop       float64   `json:"loop,omitempty"`     // how long it took to answer, in seconds
	Troubles   []string  `json:"troubles,omitempty"` // that it tells of itself
	Faults     []string  `json:"faults,omitempty"`   // of what is wired
	Crashed    bool      `json:"crashed,omitempty"`  // the run before had no end

	History        bool      `json:"history"` // there is one
	HistoryBytes   int64     `json:"history_bytes,omitempty"`
	HistoryOldest  time.Time `json:"history_oldest,omitzero"`
	HistoryDamaged []string  `json:"history_damaged,omitempty"`
	HistoryLost    int       `json:"history_lost,omitempty"`

	Broker map[string]int64 `json:"broker,omitempty"` // its counters, by name

	Trusts    bool     `json:"trusts_clock,omitempty"` // its owner says that the machine's clock is right
	Watchdog  string   `json:"watchdog,omitempty"`     // the device that it feeds
	Backups   bool     `json:"backups,omitempty"`      // are made by the clock
	Page      string   `json:"page,omitempty"`         // where it listens
	PageOpen  bool     `json:"page_open,omitempty"`    // others than this machine reach it
	PageTLS   bool     `json:"page_tls,omitempty"`
	Anonymous []string `json:"anonymous,omitempty"` // addresses where MQTT needs no login and others reach it
	Held      []string `json:"held,omitempty"`      // pins that are wanted and taken, a sentence each
	Readable  []string `json:"readable,omitempty"`  // files with passwords that everybody on the machine may read

	Certificates []Certificate `json:"certificates,omitempty"` // that page and broker show

	Mistakes int `json:"mistakes,omitempty"` // in the configuration on disk
	Warnings int `json:"warnings,omitempty"`
}

// A Certificate is what browsers and devices know the hub by.
type Certificate struct {
	File string  `json:"file"`
	Left float64 `json:"left"` // seconds until it expires, less than none once it has
}

// Bits of Machine.Throttled: now, and with 16 more since the machine started.
const (
	undervoltage = 1 << 0
	capped       = 1 << 1
	slowed       = 1 << 2
	tooWarm      = 1 << 3
	since        = 16
)

const (
	warm = 75.0 // °C; the firmware slows the processor down from 80 on
	hot  = 80.0
	// What a card is good for is not known. At this a day an ordinary one of 32 GB, with
	// 3,000 writes of each cell, lasts some ten years even if a tenth of it is worn alone.
	muchADay  = 2 << 30
	smallDisk = 200 << 20
	slowLoop  = 0.25
	day       = 24 * 60 * 60.0 // seconds
	renewed   = 21 * day       // left of a certificate, when who renews it has long done so
)

// Examine says what is not as it should be, the worst first.
func Examine(m Machine, h Hub) (all []Finding) {
	say := func(l Level, what, do string) { all = append(all, Finding{l, what, do}) }
	for _, trouble := range h.Troubles {
		say(Bad, trouble, "the log of the hub says more: journalctl -u hearth")
	}
	for _, fault := range h.Faults {
		say(Bad, fault, "look at it on the page of pins; a fault that waits for it is acknowledged there")
	}
	for _, held := range h.Held {
		say(Bad, held, "take another pin, or switch off the driver in /boot/firmware/config.txt and start the machine again; hearth gpio shows who has what")
	}
	if h.Mistakes > 0 {
		say(Bad, fmt.Sprintf("the configuration on disk has %s", count(h.Mistakes, "mistake")), "hearth check tells them")
	} else if h.Warnings > 0 {
		say(Warning, fmt.Sprintf("the configuration on disk has %s", count(h.Warnings, "warning")), "hearth check tells them")
	}
	switch {
	case m.ReadOnly:
		say(Bad, "the disk with the data can only be read", "an SD card does that when it is worn out, or after an error: dmesg tells; make a backup and take a new one")
	case m.DiskSize > 0 && m.DiskFree < smallDisk || m.DiskSize > 0 && m.DiskFree < m.DiskSize/50:
		say(Bad, fmt.Sprintf("the disk with the data is nearly full: %d MB are free", m.DiskFree>>20), "delete what is not needed, or give [history] a smaller max_size")
	}
	if h.PerDay > muchADay && m.Card {
		say(Warning, fmt.Sprintf("the hub writes %.1f GB a day to the SD card", float64(h.PerDay)/1e9), "see in hearth history what changes all the time, and leave it out or give it a band in [history]; or put the data on an SSD")
	}
	if m.Throttled != nil {
		is, was := *m.Throttled, *m.Throttled>>since
		switch {
		case is&undervoltage != 0:
			say(Bad, "the power supply is too weak right now", "take one that is made for this Raspberry Pi, with a short thick cable, and unplug what draws power from USB")
		case was&undervoltage != 0:
			say(Warning, "the power supply was too weak since the machine started", "take one that is made for this Raspberry Pi, with a short thick cable")
		}
		if is&(slowed|tooWarm) != 0 {
			say(Bad, "the processor is slowed down because it is too hot", "give it air, a heat sink or a fan")
		} else if was&(slowed|tooWarm) != 0 {
			say(Warning, "the processor was slowed down because it was too hot since the machine started", "give it air, a heat sink or a fan")
		}
		if is&capped != 0 && is&undervoltage == 0 {
			say(Warning, "the processor is kept from its full speed", "mostly this is the power supply or the heat")
		}
	}
	switch t := m.Temperature; {
	case t == nil:
	case *t >= hot:
		say(Bad, fmt.Sprintf("the processor has %.0f °C", *t), "give it air, a heat sink or a fan")
	case *t >= warm:
		say(Warning, fmt.Sprintf("the processor has %.0f °C", *t), "give it air: from 80 °C on it is slowed down")
	}
	if h.Running && !h.ClockKnown {
		say(Bad, "the clock is not known to be right, so times of day wait", "let systemd-timesyncd or chrony reach a time server, or write clock = \"trust\" under [hub] where the machine has a clock that is right")
	} else if !m.Synchronized && !h.Trusts {
		say(Warning, "no time service steers the clock", "timedatectl set-ntp true")
	}
	if !h.Simulated && h.Watchdog == "" && m.Watchdog == "there" {
		say(Hint, "nothing starts the machine anew if it hangs", "write watchdog = \"/dev/watchdog\" under [hub]")
	}
	if len(h.Anonymous) > 0 {
		for _, at := range h.Anonymous {
			say(Bad, "everybody in the network may do everything over MQTT, without a login, on "+at, "hearth user add NAME, and anonymous = false under [broker] (docs/access.md)")
		}
	}
	if h.PageOpen && !h.PageTLS {
		say(Warning, "passwords for the page go over the network in the clear", "hearth tls init, or a proxy that does TLS (docs/page.md)")
	}
	for _, c := range h.Certificates {
		const renew = "hearth tls renew makes another of the house's own; one of Let's Encrypt its client renews, so see why it did not"
		if c.Left < 0 {
			say(Bad, "the certificate in "+c.File+" has expired", renew)
		} else if c.Left < day {
			say(Bad, "the certificate in "+c.File+" expires today", renew)
		} else if c.Left < renewed {
			say(Warning, fmt.Sprintf("the certificate in %s expires in %s", c.File, count(int(c.Left/day), "day")), renew)
		}
	}
	for _, file := range h.Readable {
		say(Warning, "everybody on this machine may read "+file, "chmod o-rwx "+file)
	}
	for _, damage := range h.HistoryDamaged {
		say(Warning, "the history was found damaged: "+damage, "what could be read is kept; if it comes again, the card is about to fail")
	}
	if h.HistoryLost > 0 {
		say(Warning, fmt.Sprintf("%s of the history went lost since the start", count(h.HistoryLost, "entry")), "the disk is too slow or took nothing for a while: see the log")
	}
	if h.Limit > 0 && h.Resident > h.Limit/10*9 {
		say(Warning, "the hub has used nearly all of the memory that it may have", "give its unit a larger MemoryMax=")
	} else if m.Memory > 0 && m.Available > 0 && m.Available < m.Memory/20 {
		say(Warning, fmt.Sprintf("the machine has only %d MB of memory left", m.Available>>20), "stop what is not needed")
	}
	if h.Loop > slowLoop {
		say(Warning, fmt.Sprintf("the hub took %.0f ms to answer", h.Loop*1000), "something else keeps the processor or the disk busy: top tells")
	}
	if h.Crashed {
		say(Hint, "the run before had no end: the power was cut, or the hub crashed", "pull no plug: sudo poweroff, and wait for the green light; coredumpctl and journalctl -b -1 tell of a crash")
	}
	if h.Running && !h.Backups && !h.Simulated {
		say(Hint, "no backups are made by the clock", "a [backup] table makes one a day (docs/backup.md)")
	}
	order := []Level{Bad, Warning, Hint}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level))
	})
	return all
}

// Worst is the level of the worst of some findings, "" of none.
func Worst(all []Finding) Level {
	if len(all) == 0 {
		return ""
	}
	return all[0].Level
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if what == "entry" {
		what = "entrie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}
