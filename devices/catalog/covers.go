package catalog

import "strings"

// Some covers say how they move and that they stopped, but never that they are closed: of
// those a Shelly of the first generation is one. How they stand is in their position.

// stands is how a cover stands that reports word: at rest it is closed at 0 % and open
// above. It says "stopped" where nobody knows, as after a move of which the position has not
// come yet: the old one is where it was. rests says that the position decides.
func (s *State) stands(cover *Property, word any) (stands any, rests bool) {
	if word != "stopped" {
		return word, false
	}
	was := s.Values[cover.Name]
	unsure := was.Value == "opening" || was.Value == "closing" || was.Value == "stopped" && was.rests
	for i := range s.Properties {
		p := &s.Properties[i]
		at := s.Values[p.Name]
		level, known := at.Value.(float64)
		if !p.positionOf(cover) || !known || at.Bad != "" || unsure && at.At.Before(was.At) {
			continue
		}
		if level <= 0 {
			return "closed", true
		}
		return "open", true
	}
	return word, true
}

// positionOf says whether p is where a cover is.
func (p *Property) positionOf(cover *Property) bool {
	return p.Of == cover.Name && p.Unit == "%" && strings.Contains(p.Name, "position")
}

// restsAt gives the cover of which p is the position, if it rests and stands otherwise by it now.
func (s *State) restsAt(p *Property) *Property {
	cover, err := s.Property(p.Of)
	if p.Of == "" || err != nil || cover.Kind != Cover || !p.positionOf(cover) {
		return nil
	}
	is := s.Values[cover.Name]
	if stands, _ := s.stands(cover, "stopped"); !is.rests || is.Bad != "" || stands == is.Value {
		return nil
	}
	return cover
}
