package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"hearth/replay"
	"hearth/web"
)

// What would have been, had a draft of the configuration been in force: one replay at a time,
// of bounded time and memory.

const (
	// How long a replay may take, and how much the heap may grow meanwhile.
	maxTrial      = 5 * time.Minute
	maxTrialBytes = 64 << 20
	// How many differences and outputs a trial tells of, and in how many spells.
	maxTrialDifferences = 500
	maxTrialOutputs     = 24
	maxTrialSpells      = 800
)

var heapSample = "/memory/classes/heap/objects:bytes"

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: heapSample}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// TryDraft lets the last days happen to a draft.
func (p page) TryDraft(ctx context.Context, draft web.Draft, days int, progress func(float64)) (trial web.Trial, err error) {
	e := p.editing
	if p.past == nil {
		return trial, web.Refusal(http.StatusConflict, "nothing can be tried: %s", cmp.Or(p.pastTrouble, "nothing is recorded"))
	}
	leave, err := enter(ctx, e.trying, time.Second, "somebody else tries a change just now: one at a time")
	if err != nil {
		return trial, err
	}
	defer leave()
	unlock, err := enter(ctx, e.checking, checkPatience, "others have the hub check something: try again")
	if err != nil {
		return trial, err
	}
	d := e.onDisk()
	_, texts, wrong, err := e.draftTexts(d, draft)
	var cfg *Config
	var checked web.Checked
	if err == nil {
		cfg, checked, err = e.check(d, texts, wrong)
	}
	unlock()
	switch {
	case err != nil:
		return trial, err
	case !checked.OK:
		return trial, web.Refusal(http.StatusUnprocessableEntity, "there are mistakes in it, so it can't be tried: mend them first")
	}
	cfg.texts = nil
	ctx, done := p.untilEnded(ctx, maxTrial)
	defer done()
	now := p.Hub.now().Wall
	since := now.AddDate(0, 0, -days)
	house := cfg.Replay()
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("the replay has a bug that this meets: %v", bug)
		}
	}()
	o, err := replay.Try(politely(ctx, p.past.Entries(since), func(at time.Time) {
		progress(float64(at.Sub(since)) / float64(now.Sub(since)))
	}), house, time.Time{})
	switch {
	case errors.Is(err, replay.ErrNoCheckpoint):
		return trial, web.Refusal(http.StatusConflict, "nothing is recorded yet that could happen again: an hour after the start there is")
	case err != nil:
		return trial, err
	}
	return webTrial(o, since, cfg.Output.Names()), nil
}

// politely is a recording that ends with ctx, or when what is made of it takes too much
// memory, and lets others have the processor now and then.
func politely(ctx context.Context, entries replay.Entries, at func(time.Time)) replay.Entries {
	return func(yield func(replay.Entry, error) bool) {
		began, n := heapBytes(), 0
		rested := time.Now()
		for entry, err := range entries {
			if n++; n%256 == 0 {
				if !entry.At.IsZero() {
					at(entry.At)
				}
				if time.Since(rested) > 20*time.Millisecond {
					time.Sleep(2 * time.Millisecond)
					rested = time.Now()
				}
				if heapBytes() > began+maxTrialBytes {
					err = errors.New("that took too much memory: try fewer days")
				}
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if !yield(entry, err) || err != nil {
				return
			}
		}
	}
}

func webTrial(o *replay.Outlook, asked time.Time, outputs []string) web.Trial {
	t := web.Trial{From: o.From, To: o.To, Asked: asked, Events: o.Events, Same: o.Same(), Others: o.Others, Silent: o.Silent,
		Changed: o.Changed, Veiled: o.Veiled, Unheard: o.Unheard}
	for _, d := range o.Differences {
		if len(t.Differences) == maxTrialDifferences {
			t.Others++
			continue
		}
		one := web.TrialDifference{At: d.At, Rule: d.Rule + d.Instance, Would: d.Would, Done: d.Done, Because: d.Because, Instead: d.Instead, Follows: d.Follows}
		for _, done := range d.Done {
			if name, _, _ := strings.Cut(done, " "); slices.Contains(outputs, name) && !slices.Contains(one.Outputs, name) {
				one.Outputs = append(one.Outputs, name)
			}
		}
		t.Differences = append(t.Differences, one)
	}
	drawn := 0
	for _, u := range o.Outputs {
		one := web.TrialOutput{Name: u.Output, Was: u.Was.Seconds(), Would: u.Is.Seconds(), Switches: u.Switches, Would2: u.Would}
		one.Differs = u.Was.Round(time.Second) != u.Is.Round(time.Second) || u.Switches != u.Would
		if one.Differs {
			if drawn++; drawn <= maxTrialOutputs {
				one.On, one.WouldOn = spells(u.On, o.From, o.To), spells(u.WouldOn, o.From, o.To)
			}
		}
		t.Outputs = append(t.Outputs, one)
		t.Same = t.Same && !one.Differs // as of a pulse that is longer: what was done is the same
	}
	for _, c := range o.Covers {
		one := web.TrialCover{Name: c.Cover, Was: c.Was, Would: c.Is, Runs: c.Runs, WouldRuns: c.Would, Apart: c.Apart.Seconds(), Differs: c.Differs()}
		if one.Differs {
			if drawn++; drawn <= maxTrialOutputs {
				one.Stood, one.WouldStand = stands(c.Stood, o.From), stands(c.Stand, o.From)
			}
		}
		t.Covers = append(t.Covers, one)
		t.Same = t.Same && !one.Differs
	}
	return t
}

// stands are as replay knows them, of which there are not too many to be drawn.
func stands(all []replay.Stand, from time.Time) (list []web.TrialStand) {
	for _, s := range all {
		list = append(list, web.TrialStand{s.From.Sub(from).Milliseconds(), s.To.Sub(from).Milliseconds(), int64(s.Open)})
	}
	return list
}

// spells are as many as can be drawn: those that are so near that nobody could see it are one.
func spells(all []replay.Spell, from, to time.Time) [][2]int64 {
	list := [][2]int64{}
	near := to.Sub(from).Milliseconds() / maxTrialSpells
	for _, s := range all {
		a, b := s.From.Sub(from).Milliseconds(), s.To.Sub(from).Milliseconds()
		if n := len(list); n > 0 && a-list[n-1][1] < near {
			list[n-1][1] = b
			continue
		}
		list = append(list, [2]int64{a, b})
	}
	return list
}
