package history

import (
	"sync"
	"testing"
	"time"
)

// Retention takes a day away while the file is looked through: that is no damage.
func TestWhatRetentionTakesIsNotLost(t *testing.T) {
	h := newHome(t, fastDir(t), time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Config{})
	defer func() { h.Close() }()
	for range 40 {
		for i := range 50 {
			h.report("x", float64(i))
			h.pass(time.Minute)
		}
		h.flush()
	}
	if err := h.disk.settle(h.cfg.maxSize()); err != nil {
		t.Fatal(err)
	}
	for _, s := range h.segments[:len(h.segments)-1] {
		looked, gone := make(chan struct{}, 1), make(chan struct{})
		var looks sync.WaitGroup
		looks.Go(func() {
			for {
				bad, err := h.disk.inspect(tableChunk, s.id)
				if err != nil || bad.unseen || len(bad.broken) > 0 {
					t.Errorf("segment %d: %+v %v", s.id, bad, err)
				}
				select {
				case <-gone:
					return
				case looked <- struct{}{}:
				default:
				}
			}
		})
		<-looked
		<-looked
		if err := h.removeSegments(1); err != nil {
			t.Error(err)
		}
		close(gone)
		looks.Wait()
	}
}
