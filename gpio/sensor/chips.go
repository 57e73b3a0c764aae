package sensor

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"hearth/gpio/bus"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/onewire"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/ads1x15"
	"periph.io/x/devices/v3/aht20"
	"periph.io/x/devices/v3/bh1750"
	"periph.io/x/devices/v3/bmxx80"
	"periph.io/x/devices/v3/ds18b20"
	"periph.io/x/devices/v3/ds248x"
	"periph.io/x/devices/v3/ina219"
)

// A chip is what there is to know of one type.
type chip struct {
	addresses  []bus.Address // that it can have, the usual one first
	properties []string
}

var adsNames = []string{"voltage0", "voltage1", "voltage2", "voltage3", "voltage0_1", "voltage0_3", "voltage1_3", "voltage2_3"}

var chips = map[string]chip{
	"bme280":  {[]bus.Address{0x76, 0x77}, []string{"temperature", "pressure", "humidity"}},
	"bmp280":  {[]bus.Address{0x76, 0x77}, []string{"temperature", "pressure"}},
	"bmp180":  {[]bus.Address{0x77}, []string{"temperature", "pressure"}},
	"aht20":   {[]bus.Address{0x38}, []string{"temperature", "humidity"}},
	"bh1750":  {[]bus.Address{0x23, 0x5c}, []string{"illuminance"}},
	"ads1115": {[]bus.Address{0x48, 0x49, 0x4a, 0x4b}, adsNames[:4]},
	"ds18b20": {[]bus.Address{0x18, 0x19, 0x20, 0x21}, []string{"temperature"}}, // of its DS2482
	"ina219":  {inaAddresses(), []string{"voltage", "current", "power"}},
}

func inaAddresses() (all []bus.Address) {
	for a := bus.Address(0x40); a <= 0x4f; a++ {
		all = append(all, a)
	}
	return all
}

// measure is one measurement of a chip that is set up.
type measure func() (map[string]float64, error)

// open sets a chip up.
func (s Sensor) open(b i2c.Bus) (measure, error) {
	switch s.Type {
	case "aht20":
		return openAHT20(b)
	case "bh1750":
		return openBH1750(b, s)
	case "ads1115":
		return openADS1115(b, s)
	case "ds18b20":
		return openDS18B20(b, s)
	case "ina219":
		return openINA219(b, s)
	}
	return openBosch(b, s)
}

// A chipReader sets its chip up, measures, and sets it up anew after anything that
// went wrong, for its power may have failed.
type chipReader struct {
	s     Sensor
	buses *bus.Buses
	turns *turns
	path  string // of the bus

	talk   *conversation
	values measure // nil while the chip is not set up
}

func (c *chipReader) close() {
	if c.talk != nil {
		c.talk.handle.Close()
	}
	c.talk, c.values = nil, nil
}

func (c *chipReader) measure(until time.Time) (values map[string]float64, err error) {
	defer func() {
		if err == nil {
			return
		}
		// Drivers say what they wanted; the bus knows why it went wrong.
		if c.talk != nil && c.talk.err != nil {
			err = c.talk.err
		}
		c.close()
	}()
	if c.s.Type == "ds18b20" { // the bus master can't serve two at once
		defer c.turns.take(c.path + c.s.address().String())()
	}
	if c.talk == nil {
		handle, err := c.buses.Open(c.s.Bus)
		if err != nil {
			return nil, err
		}
		c.talk = &conversation{handle: handle}
	}
	c.talk.until, c.talk.err = until, nil
	if c.values == nil {
		if c.values, err = c.s.open(c.talk); err != nil {
			return nil, err
		}
	}
	return c.values()
}

// A conversation is the bus as a driver sees it during one measurement. It ends
// when that is given up, for some drivers ask a chip for ever that says it is busy.
type conversation struct {
	handle bus.Bus
	until  time.Time
	err    error // of the newest transaction
}

func (c *conversation) String() string                    { return c.handle.String() }
func (c *conversation) SetSpeed(f physic.Frequency) error { return c.handle.SetSpeed(f) }

func (c *conversation) Tx(addr uint16, w, r []byte) error {
	if !time.Now().Before(c.until) {
		c.err = errors.New("the measurement took too long")
		return c.err
	}
	c.err = c.handle.Tx(addr, w, r)
	return c.err
}

// turns are locks by name.
type turns struct{ locks sync.Map }

// take waits for its turn and gives back what ends it.
func (t *turns) take(name string) (end func()) {
	lock, _ := t.locks.LoadOrStore(name, make(chan struct{}, 1))
	lock.(chan struct{}) <- struct{}{}
	return func() { <-lock.(chan struct{}) }
}

func celsius(t physic.Temperature) float64 {
	return float64(t-physic.ZeroCelsius) / float64(physic.Celsius)
}

// openBosch serves three chips that periph tells apart by what they say they are.
func openBosch(b i2c.Bus, s Sensor) (measure, error) {
	dev, err := bmxx80.NewI2C(b, uint16(s.address()), &bmxx80.DefaultOpts)
	if err != nil {
		return nil, err
	}
	is, _, _ := strings.Cut(strings.ToLower(dev.String()), "{")
	if is != s.Type {
		return nil, fmt.Errorf("the chip is not a %s but a %s: want type = %q", s.Type, is, is)
	}
	return func() (map[string]float64, error) {
		var e physic.Env
		if err := dev.Sense(&e); err != nil {
			return nil, err
		}
		t := celsius(e.Temperature)
		if t < -40 || t > 85 { // what it can measure; a chip that lost its power tells nonsense
			return nil, fmt.Errorf("it says %.2f °C, which it can't measure", t)
		}
		return map[string]float64{
			"temperature": t,
			"pressure":    float64(e.Pressure) / float64(100*physic.Pascal),
			"humidity":    float64(e.Humidity) / float64(physic.PercentRH),
		}, nil
	}, nil
}

func openAHT20(b i2c.Bus) (measure, error) {
	dev, err := aht20.NewI2C(b, &aht20.DefaultOpts)
	if err != nil {
		return nil, err
	}
	return func() (map[string]float64, error) {
		var e physic.Env
		if err := dev.Sense(&e); err != nil {
			return nil, err
		}
		t := celsius(e.Temperature)
		if t < -40 || t > 85 {
			return nil, fmt.Errorf("it says %.2f °C, which it can't measure", t)
		}
		return map[string]float64{"temperature": t, "humidity": float64(e.Humidity) / float64(physic.PercentRH)}, nil
	}, nil
}

func openBH1750(b i2c.Bus, s Sensor) (measure, error) {
	// The driver means to switch the chip on, but sends another command.
	if err := b.Tx(uint16(s.address()), []byte{0x01}, nil); err != nil {
		return nil, err
	}
	dev, err := bh1750.NewI2C(b, uint16(s.address()))
	if err != nil {
		return nil, err
	}
	return func() (map[string]float64, error) {
		lux, err := dev.Sense()
		if err != nil {
			return nil, err
		}
		return map[string]float64{"illuminance": float64(lux) / float64(physic.Lumen)}, nil
	}, nil
}

var adsChannels = map[string]ads1x15.Channel{
	"voltage0": ads1x15.Channel0, "voltage1": ads1x15.Channel1, "voltage2": ads1x15.Channel2, "voltage3": ads1x15.Channel3,
	"voltage0_1": ads1x15.Channel0Minus1, "voltage0_3": ads1x15.Channel0Minus3,
	"voltage1_3": ads1x15.Channel1Minus3, "voltage2_3": ads1x15.Channel2Minus3,
}

// adsRanges are the ranges of an ads1115, in volts.
var adsRanges = []float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256}

func openADS1115(b i2c.Bus, s Sensor) (measure, error) {
	dev, err := ads1x15.NewADS1115(b, &ads1x15.Opts{I2cAddress: uint16(s.address())})
	if err != nil {
		return nil, err
	}
	volts := cmp.Or(s.Range, adsRanges[0])
	pins := map[string]ads1x15.PinADC{}
	for _, p := range s.Measures() {
		pins[p], err = dev.PinForChannel(adsChannels[p], physic.ElectricPotential(math.Round(volts*1000))*physic.MilliVolt, 16*physic.Hertz, ads1x15.BestQuality)
		if err != nil {
			return nil, err
		}
	}
	return func() (map[string]float64, error) {
		values := map[string]float64{}
		for _, p := range s.Measures() {
			if _, err := pins[p].Read(); err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			// The driver waits for as long as a conversion takes by the book, but the
			// chip's clock may be a tenth slower: what it then reads may be the
			// channel before this one.
			time.Sleep(time.Second / 16 / 8)
			var data [2]byte
			if err := b.Tx(uint16(s.address()), []byte{0x00}, data[:]); err != nil {
				return nil, fmt.Errorf("%s: %w", p, err)
			}
			raw := int16(binary.BigEndian.Uint16(data[:]))
			if raw == math.MaxInt16 || raw == math.MinInt16 {
				return nil, fmt.Errorf("%s: more than the range of %v V", p, volts)
			}
			values[p] = float64(raw) / (1 << 15) * volts
		}
		return values, nil
	}, nil
}

func openINA219(b i2c.Bus, s Sensor) (measure, error) {
	shunt := cmp.Or(s.Shunt, 0.1)
	dev, err := ina219.New(b, &ina219.Opts{
		Address:       int(s.address()),
		SenseResistor: physic.ElectricResistance(shunt * float64(physic.Ohm)),
		MaxCurrent:    physic.ElectricCurrent(0.32 / shunt * float64(physic.Ampere)), // at 320 mV, the most that it measures
	})
	if err != nil {
		return nil, err
	}
	return func() (map[string]float64, error) {
		pm, err := dev.Sense()
		if err != nil {
			return nil, err
		}
		return map[string]float64{
			"voltage": float64(pm.Voltage) / float64(physic.Volt),
			"current": float64(pm.Current) / float64(physic.Ampere),
			"power":   float64(pm.Power) / float64(physic.Watt),
		}, nil
	}, nil
}

// openDS18B20 talks to a thermometer through a DS2482 or DS2483. That is set up for
// each measurement, for other thermometers use it too.
func openDS18B20(b i2c.Bus, s Sensor) (measure, error) {
	t := newThermometer(s.W1)
	return func() (map[string]float64, error) {
		master, err := ds248x.New(b, uint16(s.address()), &ds248x.DefaultOpts)
		if err != nil {
			return nil, err
		}
		dev, err := ds18b20.New(master, w1Address(s.W1), 12)
		if err != nil {
			return nil, err
		}
		var e physic.Env
		if err := dev.Sense(&e); err != nil {
			return nil, err
		}
		return t.says(celsius(e.Temperature)) // the driver's own look at 85 °C compares it with 85 K
	}, nil
}

// w1Address is the number on the bus of what the kernel calls "28-00000a1b2c3d".
func w1Address(name string) onewire.Address {
	family, id, _ := strings.Cut(name, "-")
	n, _ := strconv.ParseUint(id+family, 16, 56) // checked by w1Name
	var data [8]byte
	binary.LittleEndian.PutUint64(data[:], n)
	return onewire.Address(n | uint64(onewire.CalcCRC(data[:7]))<<56)
}
