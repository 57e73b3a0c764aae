package gpio

import "strconv"

// A HeaderPin is one of the 40 pins of a Raspberry Pi's header.
type HeaderPin struct {
	Number  int    // its place: 1 is the corner with the square pad, odd ones are the inner row
	Name    string // "3V3", "5V", "GND", or the line: "GPIO17"
	Role    string // what else it can be, such as "SDA1"; "" if nothing that matters
	PowerUp string // what pulls a line from power-on until somebody changes that: "up" or "down"
	Caution string // what to know before something is wired to it, as a sentence; "" if nothing
}

var headerNames = [40]string{
	"3V3", "5V", "GPIO2", "5V", "GPIO3", "GND", "GPIO4", "GPIO14", "GND", "GPIO15",
	"GPIO17", "GPIO18", "GPIO27", "GND", "GPIO22", "GPIO23", "3V3", "GPIO24", "GPIO10", "GND",
	"GPIO9", "GPIO25", "GPIO11", "GPIO8", "GND", "GPIO7", "GPIO0", "GPIO1", "GPIO5", "GND",
	"GPIO6", "GPIO12", "GPIO13", "GND", "GPIO19", "GPIO16", "GPIO26", "GPIO20", "GND", "GPIO21",
}

const (
	cautionEEPROM = "the firmware reads the EEPROM of an add-on board here at power-on: better left free"
	cautionI2C    = "I2C, if dtparam=i2c_arm=on; a 1.8 kΩ resistor on the board pulls it up for good"
	cautionUART   = "the serial console, where that is on: an output would chatter while the Pi boots"
	cautionSPI    = "SPI, if dtparam=spi=on: then the kernel holds it"
)

var headerRoles = map[int]struct{ role, caution string }{
	0:  {"ID_SD", cautionEEPROM},
	1:  {"ID_SC", cautionEEPROM},
	2:  {"SDA1", cautionI2C},
	3:  {"SCL1", cautionI2C + ", and low here starts a Pi that was shut down"},
	4:  {"1-Wire", "for sensors such as DS18B20, if dtoverlay=w1-gpio names no other line"},
	7:  {"CE1", cautionSPI},
	8:  {"CE0", cautionSPI},
	9:  {"MISO", cautionSPI},
	10: {"MOSI", cautionSPI},
	11: {"SCLK", cautionSPI},
	12: {"PWM0", ""},
	13: {"PWM1", ""},
	14: {"TXD", cautionUART},
	15: {"RXD", cautionUART},
	18: {"PWM0", ""},
	19: {"PWM1", ""},
}

// Header is the 40 pins in order, as all models of the Raspberry Pi but the
// very first have them.
func Header() []HeaderPin {
	var pins []HeaderPin
	for i, name := range headerNames {
		pin := HeaderPin{Number: i + 1, Name: name}
		if line, ok := headerLine(name); ok {
			pin.Role, pin.Caution = headerRoles[line].role, headerRoles[line].caution
			// Which is in the chip's data sheet, and so before any software runs.
			pin.PowerUp = "down"
			if line <= 8 {
				pin.PowerUp = "up"
			}
		}
		pins = append(pins, pin)
	}
	return pins
}

func headerLine(name string) (int, bool) {
	if !goodGPIO.MatchString(name) {
		return 0, false
	}
	line, err := strconv.Atoi(name[len("GPIO"):])
	return line, err == nil
}
