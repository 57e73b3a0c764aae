package catalog

// conventions are all there are, those that know most first.
func conventions() []convention {
	return []convention{
		newZigbee2MQTT(),
		newShelly(),
		newHomie(),
		newHomeassistant(),
		newESPHome(),
		newTasmota(),
	}
}
