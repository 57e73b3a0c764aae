package sensor

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
	"hearth/gpio/bus"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/onewire"
)

// bmp280 is what a BMP280 with the calibration of its data sheet says.
var bmp280 = []i2ctest.IO{
	{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x58}},
	{Addr: 0x76, W: []byte{0x88}, R: append(little(27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000), 0, 0)},
	{Addr: 0x76, W: []byte{0xf4, 0x6c, 0xf5, 0xa0, 0xf4, 0x6c}},
}

// bmp280Measures is one measurement of it: 25.08 °C and 100.653 kPa.
var bmp280Measures = []i2ctest.IO{
	{Addr: 0x76, W: []byte{0xf4, 0x6d}},
	{Addr: 0x76, W: []byte{0xf3}, R: []byte{8}}, // busy
	{Addr: 0x76, W: []byte{0xf3}, R: []byte{0}},
	{Addr: 0x76, W: []byte{0xf7}, R: []byte{0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00}},
}

func little(numbers ...int) (data []byte) {
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint16(data, uint16(n))
	}
	return data
}

func concat(parts ...[]i2ctest.IO) (ops []i2ctest.IO) {
	for _, p := range parts {
		ops = append(ops, p...)
	}
	return ops
}

// The 1-wire bus of a DS2482 at 0x18.
func w1Reset() []i2ctest.IO {
	return []i2ctest.IO{{Addr: 0x18, W: []byte{0xb4}}, {Addr: 0x18, R: []byte{0x02}}}
}

func w1Write(data ...byte) (ops []i2ctest.IO) {
	for _, b := range data {
		ops = append(ops, i2ctest.IO{Addr: 0x18, W: []byte{0xa5, b}}, i2ctest.IO{Addr: 0x18, R: []byte{0}})
	}
	return ops
}

func w1Read(data ...byte) (ops []i2ctest.IO) {
	for _, b := range data {
		ops = append(ops, i2ctest.IO{Addr: 0x18, W: []byte{0x96}, R: []byte{0}}, i2ctest.IO{Addr: 0x18, R: []byte{0}},
			i2ctest.IO{Addr: 0x18, W: []byte{0xe1, 0xe1}, R: []byte{b}})
	}
	return ops
}

// ds18b20Says is one measurement through a DS2483, with these first two bytes.
func ds18b20Says(low, high byte) []i2ctest.IO {
	rom := []byte{0x28, 0x3d, 0x2c, 0x1b, 0x0a, 0, 0}
	rom = append([]byte{0x55}, append(rom, onewire.CalcCRC(rom))...)
	pad := []byte{low, high, 0x4b, 0x46, 0x7f, 0xff, 0x0c, 0x10}
	pad = append(pad, onewire.CalcCRC(pad))
	return concat(
		[]i2ctest.IO{
			{Addr: 0x18, W: []byte{0xf0}},
			{Addr: 0x18, W: []byte{0xe1, 0xf0}, R: []byte{0x18}},
			{Addr: 0x18, W: []byte{0xd2, 0xe1}, R: []byte{0x01}},
			{Addr: 0x18, W: []byte{0xe1, 0xb4}},
			{Addr: 0x18, W: []byte{0xc3, 0x06, 0x26, 0x46, 0x66, 0x86}},
		},
		w1Reset(), w1Write(rom...), w1Write(0xbe), w1Read(pad...), // is it there?
		w1Reset(), w1Write(rom...), []i2ctest.IO{{Addr: 0x18, W: []byte{0xd2, 0xa5}}}, w1Write(0x44),
		w1Reset(), w1Write(rom...), w1Write(0xbe), w1Read(pad...),
	)
}

func aht20Says(data ...byte) []i2ctest.IO {
	return []i2ctest.IO{
		{Addr: 0x38, W: []byte{0x71}, R: []byte{0x18}},
		{Addr: 0x38, W: []byte{0xac, 0x33, 0x00}},
		{Addr: 0x38, R: data},
	}
}

// What each chip says on its bus, and what is made of it.
func TestChips(t *testing.T) {
	for _, test := range []struct {
		name string
		s    Sensor
		ops  []i2ctest.IO
		want map[string]float64 // to 4 decimals
		err  string
	}{
		{name: "bmp280", s: Sensor{Type: "bmp280"}, ops: concat(bmp280, bmp280Measures),
			want: map[string]float64{"temperature": 25.08, "pressure": 1006.5325}},
		{name: "bme280", s: Sensor{Type: "bme280"}, ops: []i2ctest.IO{
			{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x60}},
			{Addr: 0x76, W: []byte{0x88}, R: []byte{0x10, 0x6e, 0x6c, 0x66, 0x32, 0x0, 0x5d, 0x95, 0xb8, 0xd5, 0xd0, 0xb, 0x77, 0x1e, 0x9d, 0xff, 0xf9, 0xff, 0xac, 0x26, 0xa, 0xd8, 0xbd, 0x10, 0x0, 0x4b}},
			{Addr: 0x76, W: []byte{0xe1}, R: []byte{0x6e, 0x1, 0x0, 0x13, 0x5, 0x0, 0x1e}},
			{Addr: 0x76, W: []byte{0xf4, 0x6c, 0xf2, 0x3, 0xf5, 0xa0, 0xf4, 0x6c}},
			{Addr: 0x76, W: []byte{0xf4, 0x6d}},
			{Addr: 0x76, W: []byte{0xf3}, R: []byte{0}},
			{Addr: 0x76, W: []byte{0xf7}, R: []byte{0x4a, 0x52, 0xc0, 0x80, 0x96, 0xc0, 0x7a, 0x76}},
		}, want: map[string]float64{"temperature": 23.72, "pressure": 1009.427, "humidity": 65.3056}},
		{name: "a bmp280 sold as a bme280", s: Sensor{Type: "bme280"}, ops: bmp280, err: `not a bme280 but a bmp280: want type = "bmp280"`},
		{name: "bmp180", s: Sensor{Type: "bmp180"}, ops: []i2ctest.IO{
			{Addr: 0x77, W: []byte{0xd0}, R: []byte{0x55}},
			{Addr: 0x77, W: []byte{0xaa}, R: []byte{35, 136, 251, 103, 199, 169, 135, 91, 98, 137, 80, 22, 25, 115, 0, 46, 128, 0, 209, 246, 10, 123}},
			{Addr: 0x77, W: []byte{0xf4, 0x2e}},
			{Addr: 0x77, W: []byte{0xf6}, R: []byte{0x71, 0xbf}},
			{Addr: 0x77, W: []byte{0xf4, 0xb4}},
			{Addr: 0x77, W: []byte{0xf6}, R: []byte{0xab, 0x96, 0}},
		}, want: map[string]float64{"temperature": 25.3, "pressure": 1005.68}},
		{name: "aht20", s: Sensor{Type: "aht20"}, ops: aht20Says(0x1c, 0x80, 0, 0x06, 0, 0, 0x4e),
			want: map[string]float64{"temperature": 25, "humidity": 50}},
		{name: "aht20 with a wrong check sum", s: Sensor{Type: "aht20"}, ops: aht20Says(0x1c, 0x80, 0, 0x06, 0, 0, 0xa5), err: "CRC8"},
		{name: "bh1750", s: Sensor{Type: "bh1750"}, ops: []i2ctest.IO{
			{Addr: 0x23, W: []byte{0x01}}, {Addr: 0x23, W: []byte{0x07}}, {Addr: 0x23, W: []byte{0x10}}, {Addr: 0x23, W: []byte{0x07}},
			{Addr: 0x23, W: []byte{0x10}},
			{Addr: 0x23, W: []byte{0x10}, R: []byte{0x83, 0x90}},
		}, want: map[string]float64{"illuminance": 28066}},
		{name: "ads1115", s: Sensor{Type: "ads1115", Properties: []string{"voltage1", "voltage2_3"}, Range: 4.096}, ops: []i2ctest.IO{
			{Addr: 0x48, W: []byte{0x01, 0xd3, 0x23}},
			{Addr: 0x48, W: []byte{0x00}, R: []byte{0x11, 0x11}}, // what the driver reads, maybe too early
			{Addr: 0x48, W: []byte{0x00}, R: []byte{0x40, 0x00}},
			{Addr: 0x48, W: []byte{0x01, 0xb3, 0x23}},
			{Addr: 0x48, W: []byte{0x00}, R: []byte{0x11, 0x11}},
			{Addr: 0x48, W: []byte{0x00}, R: []byte{0xe0, 0x00}},
		}, want: map[string]float64{"voltage1": 2.048, "voltage2_3": -1.024}},
		{name: "ads1115 above its range", s: Sensor{Type: "ads1115", Properties: []string{"voltage0"}}, ops: []i2ctest.IO{
			{Addr: 0x48, W: []byte{0x01, 0xc1, 0x23}},
			{Addr: 0x48, W: []byte{0x00}, R: []byte{0x7f, 0xff}},
			{Addr: 0x48, W: []byte{0x00}, R: []byte{0x7f, 0xff}},
		}, err: "more than the range of 6.144 V"},
		{name: "ina219", s: Sensor{Type: "ina219"}, ops: []i2ctest.IO{
			{Addr: 0x40, W: []byte{0x05, 0x10, 0x62}},
			{Addr: 0x40, W: []byte{0x00, 0x1f, 0xff}},
			{Addr: 0x40, W: []byte{0x01}, R: []byte{0x03, 0xe8}},
			{Addr: 0x40, W: []byte{0x02}, R: []byte{0x5d, 0xc0}}, // 3000 * 4 mV
			{Addr: 0x40, W: []byte{0x04}, R: []byte{0x04, 0x00}},
			{Addr: 0x40, W: []byte{0x03}, R: []byte{0x02, 0x66}},
		}, want: map[string]float64{"voltage": 12, "current": 0.1, "power": 1.1992}},
		{name: "ina219 that does not answer", s: Sensor{Type: "ina219"}, ops: nil, err: "address 0x40"},
		{name: "ds18b20", s: Sensor{Type: "ds18b20", W1: "28-00000a1b2c3d"}, ops: ds18b20Says(0x72, 0x01),
			want: map[string]float64{"temperature": 23.125}},
		{name: "ds18b20 without power", s: Sensor{Type: "ds18b20", W1: "28-00000a1b2c3d"}, ops: ds18b20Says(0x50, 0x05), err: "when its power failed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				play := &i2ctest.Playback{DontPanic: true, Ops: test.ops}
				buses := bus.New(bus.Config{}, func(string) (i2c.BusCloser, error) { return play, nil })
				test.s.Bus = "I2C1"
				reader := &chipReader{s: test.s, buses: buses, turns: new(turns)}
				got, err := reader.measure(time.Now().Add(Limit))
				if test.err != "" {
					if err == nil || !strings.Contains(err.Error(), test.err) {
						t.Fatalf("%v, %v; want an error with %q", got, err, test.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for p, v := range got {
					got[p] = math.Round(v*1e4) / 1e4
				}
				maps.DeleteFunc(got, func(p string, _ float64) bool { return test.want[p] == 0 })
				if !maps.Equal(got, test.want) {
					t.Fatalf("got %v, want %v", got, test.want)
				}
				reader.close()
				if err := play.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A chip that always says it is busy is given up, and does not keep a processor
// busy for ever.
func TestAChipThatIsAlwaysBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buses := bus.New(bus.Config{}, func(string) (i2c.BusCloser, error) { return &busy{}, nil })
		reader := &chipReader{s: Sensor{Type: "bmp280", Bus: "I2C1"}, buses: buses, turns: new(turns)}
		_, err := reader.measure(time.Now().Add(Limit))
		if err == nil || !strings.Contains(err.Error(), "took too long") {
			t.Fatal(err)
		}
	})
}

// busy is a BMP280 that never has measured; each of its answers takes a millisecond.
type busy struct{ i2ctest.Playback }

func (b *busy) Tx(addr uint16, w, r []byte) error {
	time.Sleep(time.Millisecond)
	for i := range r {
		r[i] = 0xff
	}
	if len(w) == 1 && w[0] == 0xd0 {
		r[0] = 0x58
	}
	return nil
}

// All that the documentation shows of the types is so in the code.
func TestEachTypeHasAnEntry(t *testing.T) {
	_, doc := parse(`sensor.x = { type = "?" }`)
	words := doc.Err().Error()
	for name, c := range chips {
		if !strings.Contains(words, fmt.Sprintf("%q", name)) {
			t.Errorf("the enum of type lacks %s: %s", name, words)
		}
		for _, p := range c.properties {
			if _, _, ok := kindOf(p); !ok {
				t.Errorf("%s: %s is of no kind", name, p)
			}
		}
	}
	for name, properties := range known {
		for _, p := range properties {
			if _, _, ok := kindOf(p); !ok {
				t.Errorf("%s: %s is of no kind", name, p)
			}
		}
	}
}

func parse(text string) (Config, *config.Doc) {
	var c Config
	doc := config.Parse("config.toml", []byte(text), &c)
	return c, doc
}
