package hub

import (
	"hearth/gpio"
	"hearth/gpio/bus"
	"hearth/store"
)

// Free says which process runs a hub on the data folder of a configuration, as an
// error; nil if none does, or if this user can't tell.
func (c *Config) Free() error { return store.Free(c.DataDir()) }

// WithExpanders is a bank with the pins of the expanders of a configuration. Their
// buses are opened when one of these pins is taken, and closed by the func. An
// interrupt that the bank does not have leaves its expander without one.
func (c *Config) WithExpanders(bank gpio.Bank) (all gpio.Bank, closeBuses func()) {
	buses := bus.New(c.Buses, nil)
	all, _ = gpio.Join(bank, c.Pins, buses.Open)
	return all, buses.Close
}
