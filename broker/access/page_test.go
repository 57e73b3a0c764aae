package access

import "testing"

// Who may do what on the page: a guest uses everything but the doors, the grandmother
// looks, and what a role excepts another may still allow.
func TestThePage(t *testing.T) {
	see, _ := pageRole("see")
	guest := Role{Page: "use", Except: []string{"door/#", "hearth/garage/+"}}
	garage := Role{Page: "see"}
	mqtt := Role{Publish: []string{"#"}, Subscribe: []string{"#"}}
	mine := Role{Page: "use", Except: []string{"room/%c/#"}}
	for _, c := range []struct {
		name  string
		r     *Rights
		most  Page
		topic string
		here  Page
	}{
		{"who looks", rightsOf("", see), See, "hearth/lamp/state", See},
		{"a guest", rightsOf("", guest), Use, "hearth/lamp/set", Use},
		{"a guest at the garage", rightsOf("", guest), Use, "hearth/garage/set", Nothing},
		{"a guest who may look at it", rightsOf("", guest, garage), Use, "hearth/garage/set", See},
		{"a device", rightsOf("", mqtt), Nothing, "hearth/lamp/state", Nothing},
		{"an exception that can't be filled", rightsOf("a/b", mine), Nothing, "hearth/lamp/state", Nothing},
		{"an admin", All, Change, "hearth/garage/set", Change},
		{"nobody", nil, Nothing, "hearth/lamp/state", Nothing},
	} {
		if got := c.r.Page(); got != c.most {
			t.Errorf("%s may at most %q, want %q", c.name, got, c.most)
		}
		for _, p := range []Page{See, Use, Change} {
			if got, want := c.r.On(c.topic, p), p <= c.here; got != want {
				t.Errorf("%s may %s on %s: %v, want %v", c.name, p, c.topic, got, want)
			}
		}
	}
	// They say nothing of MQTT.
	if r := rightsOf("", see, guest); r.Publish("a") || r.Receive("a") || r.Subscribe("#") {
		t.Error("the page's roles allow something over MQTT")
	}
	// The built-in roles are there for names that nobody declared.
	a := new(account)
	if err := a.add("use", nil); err != nil || a.make("anna", "").Page() != Use {
		t.Errorf("%+v %v", a, err)
	}
	if err := a.add("usse", nil); err == nil {
		t.Error("a role that is not there was taken")
	}
}
