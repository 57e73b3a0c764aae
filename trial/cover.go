package trial

import (
	"hearth/devices"
	"hearth/gpio"
	"hearth/rules"
)

// beginCovers are covers where the last life left them.
func (p *play) beginCovers(places map[string]gpio.Place) {
	p.covers = gpio.NewCovers(p.house.Pins)
	for name, place := range places {
		p.covers.Started(name, place)
	}
}

// places are where the covers are, as the store knows them.
func (p *play) places() map[string]gpio.Place {
	places := make(map[string]gpio.Place)
	for _, name := range p.house.Pins.Cover.Names() {
		places[name] = p.covers.Place(name)
	}
	return recall(places)
}

// seen is an output at the start or stop of the hub.
func (p *play) seen(output string, on bool) {
	now := p.now().Mono
	p.covers.Told(output, on, now)
	p.covers.Level(output, on, now) // what is off wants nothing
}

// drove is an output that the guard has decided about, and that at once is so.
func (p *play) drove(d gpio.Drive, from told) {
	now := p.now().Mono
	if cover := p.covers.Drove(p.guard, d, now); cover != "" {
		p.told[cover] = from
	}
	turns := p.covers.Level(d.Output, p.levels[d.Output], now)
	p.later(func() {
		p.turn(turns)
		p.tellCovers()
	})
}

// turn tells outputs what their cover wants.
func (p *play) turn(turns []gpio.Turn) {
	for _, t := range turns {
		p.told[t.Output] = p.told[t.Cover]
		drives, err := p.guard.Command(t.Output, t.On, p.now().Mono)
		if err != nil {
			p.note(step{sent: "not carried out: " + err.Error()})
			continue
		}
		p.driveAll(drives, nil)
	}
}

func (p *play) commandCover(c devices.Command, d *rules.Decision) {
	turns, err := p.covers.Command(c.Output, c.Value, p.now().Mono)
	if err != nil {
		p.note(step{sent: "not carried out: " + err.Error()})
		return
	}
	p.told[c.Output] = told{c.Origin, d}
	p.turn(turns)
	p.tellCovers()
}

// tellCovers reports where covers are, if that is news.
func (p *play) tellCovers() {
	for _, n := range p.covers.News(p.now().Mono) {
		for _, r := range n.Readings() {
			r.At, r.Initial, r.Origin = p.now(), n.First, p.told[n.Cover].origin
			p.later(func() {
				p.sayCover(n.Cover, r)
				p.obey(p.happen(reports(r)))
			})
		}
	}
}

// sayCovers is the last that the hub tells of them before it stops.
func (p *play) sayCovers() {
	for _, n := range p.covers.News(p.now().Mono) {
		for _, r := range n.Readings() {
			p.sayCover(n.Cover, r)
		}
	}
}

func (p *play) sayCover(name string, r devices.Reading) {
	what := "state"
	if r.Source != name {
		what = "moving"
	}
	p.say(topic(name, "availability"), "online", r.Origin, r.Initial)
	p.say(topic(name, what), r.Text, r.Origin, r.Initial)
}
