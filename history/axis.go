package history

import "math"

// Axis is where the axis of a chart begins and ends that holds all from low to high, and how
// far apart its labels are, of which there are about as many as steps: all three are 1, 2 or 5
// times a power of ten, or multiples of step.
func Axis(low, high, steps float64) (from, to, step float64) {
	if high-low < 1e-9*max(math.Abs(low), math.Abs(high), 1e-3) { // a line that is straight
		by := max(math.Abs(high)*0.05, 0.5)
		low, high = low-by, high+by
	}
	step = roundStep((high - low) / steps)
	return math.Floor(low/step+1e-9) * step, math.Ceil(high/step-1e-9) * step, step
}

// roundStep is the least of 1, 2, 5, 10, 20... that is no less than v.
func roundStep(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, by := range []float64{1, 2, 5} {
		if by*unit >= v*(1-1e-9) {
			return by * unit
		}
	}
	return 10 * unit
}
