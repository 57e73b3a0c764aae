package history

import "time"

// A Bucket is what a series was in a stretch of time. Min, Max, Mean and Last are of
// numbers; of a switch on counts as 1 and off as 0. A value holds until the next one,
// until nothing is known of it any more, or until the hub stopped.
type Bucket struct {
	From, To time.Time
	N        int           // readings in it
	Held     time.Duration // how long of it a value was known; with N 0 too the bucket is empty
	Min, Max float64
	Mean     float64 // weighted by time
	Last     float64
	On       time.Duration // how long the value was on, or above 0
	Switches int           // from off to on and from on to off
}

// Stats is a series in numbers.
type Stats struct {
	Bucket
	Energy float64 // in kWh, where the unit is W or kW; else 0
}

func (h *History) tidy() error      { return nil }
func (h *History) dropOldest() bool { return false }
