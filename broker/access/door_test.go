package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hearth/config"
)

// cheap is a hash that costs next to nothing.
func cheap(password string) string {
	p := phc{memory: 8, passes: 1, lanes: 1, salt: []byte("somesalt")}
	p.sum = p.of([]byte(password), 16)
	return p.String()
}

// house is a config's [broker].
func house(t testing.TB, text string) Config {
	t.Helper()
	var cfg struct {
		Broker Config `toml:"broker"`
	}
	doc := config.Parse("config.toml", []byte("[broker]\n"+text), &cfg)
	cfg.Broker.LoadUsers("", doc.Root().Key("broker"))
	if err := doc.Err(); err != nil {
		t.Fatal(err)
	}
	return cfg.Broker
}

func user(name, password string, roles ...string) string {
	text := fmt.Sprintf("[broker.user.%s]\nroles = [", name)
	for _, r := range roles {
		text += fmt.Sprintf("%q,", r)
	}
	text += "]\n"
	if password != "" {
		text += fmt.Sprintf("password = %q\n", cheap(password))
	}
	return text
}

func open(t testing.TB, text string) *Door {
	t.Helper()
	d, err := New(house(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func reload(t *testing.T, d *Door, text string) {
	t.Helper()
	table, err := d.Prepare(house(t, text))
	if err != nil {
		t.Fatal(err)
	}
	d.Use(table)
}

// slow makes each hash take 40 ms and counts them.
func slow(d *Door) *int {
	n := new(int)
	d.check = func(p *phc, password []byte) bool {
		*n++
		time.Sleep(40 * time.Millisecond) // of the bubble
		return p.fits(password)
	}
	return n
}

var (
	kitchen = netip.MustParseAddr("192.168.1.20")
	guest   = netip.MustParseAddr("192.168.1.66")
)

// Who is let in, and as whom.
func TestLogins(t *testing.T) {
	const (
		closed = ""
		open   = "anonymous = true\n"
	)
	users := user("anna", "secret") + user("lamp", "") // lamp has a certificate
	for _, c := range []struct {
		story, house string
		a            Attempt
		want         string
		err          error
	}{
		{"the right password", closed, Attempt{User: "anna", Password: []byte("secret")}, "anna", nil},
		{"a wrong one", closed, Attempt{User: "anna", Password: []byte("secreT")}, "", ErrWrong},
		{"an empty one", closed, Attempt{User: "anna", Password: []byte{}}, "", ErrWrong},
		{"none", closed, Attempt{User: "anna"}, "", ErrNoLogin},
		{"none, from this machine", open, Attempt{User: "anna", Local: true}, "", ErrNoLogin},
		{"a wrong one, from this machine", open, Attempt{User: "anna", Password: []byte("x"), Local: true}, "", ErrWrong},
		{"nobody's name", closed, Attempt{User: "bert", Password: []byte("secret")}, "", ErrWrong},
		{"the name of one without a password", closed, Attempt{User: "lamp", Password: []byte("")}, "", ErrWrong},
		{"a name that is too long", closed, Attempt{User: strings.Repeat("x", 4000), Password: []byte("secret")}, "", ErrWrong},
		{"no login", closed, Attempt{}, "", ErrNoLogin},
		{"no login, from this machine", closed, Attempt{Local: true}, "", ErrNoLogin},
		{"no login, from this machine, by choice", open, Attempt{Local: true}, "", nil},
		{"no login, from elsewhere", open, Attempt{Addr: kitchen}, "", ErrNoLogin},
		{"a certificate", closed, Attempt{Certificate: "lamp"}, "lamp", nil},
		{"a certificate and its name", closed, Attempt{Certificate: "lamp", User: "lamp"}, "lamp", nil},
		{"a certificate of somebody with a password", closed, Attempt{Certificate: "anna"}, "anna", nil},
		{"and the password", closed, Attempt{Certificate: "anna", Password: []byte("secret")}, "anna", nil},
		{"and a wrong password", closed, Attempt{Certificate: "anna", User: "anna", Password: []byte("x")}, "", ErrWrong},
		{"a certificate that nobody knows", closed, Attempt{Certificate: "stranger"}, "", ErrNoLogin},
		{"the same from this machine", open, Attempt{Certificate: "stranger", Local: true}, "", nil},
		{"a certificate of another", closed, Attempt{Certificate: "lamp", User: "anna"}, "", ErrNoLogin},
		{"a certificate of another and the right password", closed, Attempt{Certificate: "lamp", User: "anna", Password: []byte("secret")}, "anna", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			d, err := New(house(t, c.house+users))
			if err != nil {
				t.Fatal(err)
			}
			got, err := d.Login(t.Context(), c.a)
			if !errors.Is(err, c.err) || err != nil && got != "" || err == nil && got != c.want {
				t.Errorf("%s: %q, %v; want %q, %v", c.story, got, err, c.want, c.err)
			}
		})
	}
}

// What users may do follows from their roles, and from nothing else.
func TestRoles(t *testing.T) {
	d := open(t, `anonymous = true
[broker.role.sensor]
publish = ["tele/%c/#"]
subscribe = ["cmnd/%c/#"]
[broker.role.reader]
subscribe = ["tele/#"]
[broker.role.own]
publish = ["home/%u/#"]
`+user("plug", "x", "sensor")+user("anna", "x", "reader", "own")+user("root", "x", "admin")+user("idle", "x"))
	for _, c := range []struct {
		user, client, action, topic string
		want                        bool
	}{
		{"plug", "plug_1", "publish", "tele/plug_1/STATE", true},
		{"plug", "plug_1", "publish", "tele/plug_2/STATE", false},
		{"plug", "plug_1", "subscribe", "cmnd/plug_1/#", true},
		{"plug", "plug_1", "subscribe", "cmnd/#", false},
		{"plug", "+", "subscribe", "cmnd/+/#", false},
		{"plug", "#", "publish", "tele/#", false},
		{"plug", "plug_1", "receive", "tele/plug_1/STATE", false},
		{"anna", "phone", "receive", "tele/plug_1/STATE", true},
		{"anna", "phone", "publish", "tele/plug_1/STATE", false},
		{"anna", "phone", "publish", "home/anna/x", true},
		{"anna", "phone", "publish", "home/root/x", false},
		{"anna", "phone", "receive", "home/anna/x", false},
		{"root", "any", "publish", "a", true},
		{"root", "any", "receive", "$SYS/uptime", true},
		{"root", "any", "subscribe", "#", true},
		{"idle", "any", "publish", "a", false},
		{"idle", "any", "subscribe", "a", false},
		{"", "any", "subscribe", "#", true},
	} {
		r := d.Rights(c.user, c.client)
		got := map[string]func(string) bool{"publish": r.Publish, "subscribe": r.Subscribe, "receive": r.Receive}[c.action](c.topic)
		if got != c.want {
			t.Errorf("user %q, client %q, %s %s: %v, want %v", c.user, c.client, c.action, c.topic, got, c.want)
		}
	}
	if d.Rights("nobody", "x") != nil {
		t.Error("there are rights of nobody")
	}
	if d.Rights("anna", "a") != d.Rights("anna", "b") || d.Rights("plug", "a") == d.Rights("plug", "b") {
		t.Error("rights that are the same for all clients are to be made once, and others not")
	}

	// With a role of that name clients without a login may do only that.
	reload(t, d, "anonymous = true\n[broker.role.anonymous]\nsubscribe = [\"public/#\"]\n")
	if r := d.Rights("", "x"); r.Publish("public/a") || !r.Subscribe("public/#") || r.Subscribe("#") {
		t.Error("the role anonymous does not count")
	}
	reload(t, d, "anonymous = false\n")
	if d.Rights("", "x") != nil {
		t.Error("clients without a login still have rights")
	}
}

// After a reload the core sees who is gone, and whose password is another one.
func TestReloads(t *testing.T) {
	d := open(t, user("anna", "one")+user("bert", "two", "admin"))
	anna, bert := d.Stamp("anna"), d.Stamp("bert")
	if anna == "" || anna == bert || d.Stamp("nobody") != "" || d.Stamp("") != "" {
		t.Fatal("stamps")
	}
	if strings.Contains(anna, cheap("one")) {
		t.Error("a stamp tells the hash")
	}
	before := d.Rights("bert", "x")
	reload(t, d, "anonymous = true\n"+user("anna", "three")+user("bert", "two"))
	if d.Stamp("anna") == anna {
		t.Error("another password, the same stamp")
	}
	if d.Stamp("bert") != bert {
		t.Error("other roles are no other password")
	}
	if d.Stamp("") == "" {
		t.Error("anonymous logins have no stamp")
	}
	if !before.Publish("a") || d.Rights("bert", "x").Publish("a") {
		t.Error("rights change only by asking for others")
	}
	reload(t, d, "")
	if d.Stamp("anna") != "" || d.Rights("anna", "x") != nil {
		t.Error("anna is gone and still there")
	}

	// What can't be put in force changes nothing.
	bad := house(t, user("anna", "one"))
	bad.Accounts.User["bert"] = User{Password: "plain", Roles: []string{"none"}}
	if _, err := d.Prepare(bad); err == nil || !strings.Contains(err.Error(), "bert") || strings.Contains(err.Error(), "plain") {
		t.Errorf("%v", err)
	}
	if d.Rights("anna", "x") != nil {
		t.Error("a table that was only prepared is in force")
	}
}

// A guest guesses anna's password; anna's own devices do not notice.
func TestAGuestLocksNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "secret"))
		slow(d)
		try := func(from netip.Addr, password string) error {
			_, err := d.Login(t.Context(), Attempt{User: "anna", Password: []byte(password), Addr: from})
			return err
		}
		var banned bool
		for i := range 20 {
			if errors.Is(try(guest, fmt.Sprint("guess ", i)), ErrBanned) {
				banned = true
			}
			time.Sleep(time.Second) // of the bubble
		}
		if !banned {
			t.Error("the guest was never banned")
		}
		if err := try(guest, "secret"); !errors.Is(err, ErrBanned) {
			t.Errorf("the guest is let in by a lucky guess while banned: %v", err)
		}
		began := time.Now()
		if err := try(kitchen, "secret"); err != nil {
			t.Errorf("anna from the kitchen: %v", err)
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		// And having been right once, also from where the guest sits.
		began = time.Now()
		if err := try(guest, "secret"); err != nil || time.Since(began) != 0 {
			t.Errorf("a known login after %v: %v", time.Since(began), err)
		}
	})
}

// The ban of a name at an address doubles, and ends.
func TestBansGrowAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "secret"))
		n := 0
		fail := func() error {
			n++
			_, err := d.Login(t.Context(), Attempt{User: "anna", Password: fmt.Append(nil, n), Addr: guest})
			return err
		}
		for range banAfter {
			if err := fail(); !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
		}
		var bans []time.Duration
		for range 8 {
			began := time.Now()
			for errors.Is(fail(), ErrBanned) {
			}
			bans = append(bans, time.Since(began).Round(time.Second))
		}
		for i, want := range []time.Duration{11, 21, 41, 81, 161, 321, 601, 601} {
			if got := bans[i] / time.Second; got < want-1 || got > want+1 {
				t.Errorf("ban %d took %v, want about %d s", i+1, bans[i], want)
			}
		}
		// The owner gives anna the password that the device has: that counts at once.
		reload(t, d, user("anna", "the device's"))
		if _, err := d.Login(t.Context(), Attempt{User: "anna", Password: []byte("the device's"), Addr: guest}); err != nil {
			t.Error("after the password was changed:", err)
		}
	})
}

// A device that was set up wrong tries the same for ever: it costs nothing and is
// not banned, so it gets in as soon as somebody corrects it.
func TestTheSameMistakeAgainCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "secret"))
		hashes := slow(d)
		for range 200 {
			if _, err := d.Login(t.Context(), Attempt{User: "anna", Password: []byte("secert"), Addr: kitchen}); !errors.Is(err, ErrWrong) {
				t.Fatal(err)
			}
		}
		if *hashes != 1 {
			t.Errorf("%d hashes", *hashes)
		}
		if _, err := d.Login(t.Context(), Attempt{User: "anna", Password: []byte("secret"), Addr: kitchen}); err != nil {
			t.Error(err)
		}
	})
}

// Whether a name exists is not told by the time that a refusal takes.
func TestNobodysNameTakesAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "secret")+user("lamp", ""))
		var costs []phcCosts
		d.check = func(p *phc, _ []byte) bool {
			costs = append(costs, p.costs())
			time.Sleep(time.Duration(40+len(costs)) * time.Millisecond) // of the bubble; that of another program's hash is shorter, too
			return false
		}
		for i, name := range []string{"anna", "nobody", "lamp"} {
			began := time.Now()
			at := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			if _, err := d.Login(t.Context(), Attempt{User: name, Password: []byte("x"), Addr: at}); !errors.Is(err, ErrWrong) {
				t.Error(name, err)
			}
			if took := time.Since(began); took != slowed {
				t.Errorf("%s: %v", name, took)
			}
		}
		if costs[0] != costs[1] || costs[0] != costs[2] {
			t.Errorf("they cost %v", costs)
		}
	})
}

// After a power cut all devices come at once: each login is checked once, one after
// the other; when they come again nothing is.
func TestAReconnectStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var users strings.Builder
		for i := range 50 {
			users.WriteString(user(fmt.Sprintf("dev%d", i), fmt.Sprint("secret", i)))
		}
		d := open(t, users.String())
		hashes := slow(d)
		storm := func() time.Duration {
			began := time.Now()
			var wg sync.WaitGroup
			for i := range 500 { // ten clients of each
				wg.Go(func() {
					a := Attempt{User: fmt.Sprintf("dev%d", i%50), Password: fmt.Append(nil, "secret", i%50),
						Addr: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
					if _, err := d.Login(t.Context(), a); err != nil {
						t.Error(a.User, err)
					}
				})
			}
			wg.Wait()
			return time.Since(began)
		}
		if took := storm(); *hashes != 50 || took != 50*40*time.Millisecond {
			t.Errorf("%d hashes in %v", *hashes, took)
		}
		if took := storm(); *hashes != 50 || took != 0 {
			t.Errorf("again: %d hashes in %v", *hashes, took)
		}
		if len(d.addresses) != 0 {
			t.Errorf("%d addresses are remembered for nothing", len(d.addresses))
		}
	})
}

// Who goes away while waiting, or waits behind too many, costs nothing.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "secret"))
		hashes := slow(d)
		ctx, gone := context.WithCancel(t.Context())
		results := make(chan error, 300)
		for i := range 300 {
			go func() {
				_, err := d.Login(ctx, Attempt{User: fmt.Sprint(i), Password: []byte("x"), Addr: kitchen})
				results <- err
			}()
		}
		synctest.Wait()
		if n := d.waiting.Len(); n != mostOfOne-1 { // and one is at it
			t.Errorf("%d of one address wait", n)
		}
		gone()
		for range 300 {
			if err := <-results; err == nil {
				t.Error("somebody got in")
			}
		}
		if *hashes != 1 || d.waiting.Len() != 0 || d.hashing || d.slowing != 0 {
			t.Errorf("%d hashes, %d wait, %d are slowed", *hashes, d.waiting.Len(), d.slowing)
		}
	})
}

// A flood of guesses, a hundred at a time, from one address and from twenty: what it
// costs, and what others notice.
func TestAFloodOfGuesses(t *testing.T) {
	for _, addresses := range []int{1, 20} {
		t.Run(fmt.Sprint(addresses), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := open(t, user("anna", "secret")+user("bert", "hidden"))
				hashes := slow(d)
				if _, err := d.Login(t.Context(), Attempt{User: "bert", Password: []byte("hidden"), Addr: guest}); err != nil {
					t.Fatal(err)
				}
				*hashes = 0
				began := time.Now()
				var flood sync.WaitGroup
				for i := range 100 {
					from := netip.AddrFrom4([4]byte{192, 168, 1, byte(66 + i%addresses)})
					flood.Go(func() {
						for j := range 100 {
							_, err := d.Login(t.Context(), Attempt{User: fmt.Sprint("user", i%7), Password: fmt.Append(nil, i, j), Addr: from})
							if err == nil {
								t.Error("a guess was right")
							}
						}
					})
				}
				for i := range 50 {
					time.Sleep(time.Second + time.Duration(i)*7*time.Millisecond) // of the bubble
					for _, a := range []Attempt{
						{User: "anna", Password: []byte("secret"), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})},
						{User: "bert", Password: []byte("hidden"), Addr: guest},
					} {
						d.mu.Lock()
						delete(d.known, "anna") // as if each time were the first
						d.mu.Unlock()
						at := time.Now()
						if _, err := d.Login(t.Context(), a); err != nil {
							t.Errorf("%s: %v", a.User, err)
						}
						if took := time.Since(at); took > 200*time.Millisecond {
							t.Errorf("%s waited %v", a.User, took)
						}
					}
				}
				flood.Wait()
				took := time.Since(began)
				core := float64(*hashes-50) * 40 / float64(took.Milliseconds()) // 50 were anna's
				limit := 0.12
				if addresses > 1 {
					limit = 0.2 // with what each has before it is a suspect
				}
				if core > limit {
					t.Errorf("%d hashes in %v: %.0f %% of a core", *hashes-50, took, 100*core)
				}
				t.Logf("%d hashes in %v: %.1f %% of a core", *hashes-50, took, 100*core)
			})
		})
	}
}

// The same with real hashes on real time, for a moment: a thousand guesses.
func TestAThousandGuessesForReal(t *testing.T) {
	d, err := New(Config{Accounts: Accounts{User: map[string]User{
		"anna": {Password: Password(Hash([]byte("secret")))},
		"bert": {Password: Password(Hash([]byte("hidden")))},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Login(t.Context(), Attempt{User: "bert", Password: []byte("hidden"), Addr: guest}); err != nil {
		t.Fatal(err)
	}
	before, began := cpu(t), time.Now()
	var flood sync.WaitGroup
	for i := range 500 {
		flood.Go(func() {
			for j := range 2 {
				d.Login(t.Context(), Attempt{User: "anna", Password: fmt.Append(nil, i, j), Addr: guest})
			}
		})
	}
	worst := time.Duration(0)
	for i, a := range []Attempt{
		{User: "anna", Password: []byte("secret"), Addr: kitchen},
		{User: "bert", Password: []byte("hidden"), Addr: guest},
	} {
		at := time.Now()
		if _, err := d.Login(t.Context(), a); err != nil {
			t.Error(i, err)
		}
		worst = max(worst, time.Since(at))
	}
	flood.Wait()
	took := time.Since(began)
	core := (cpu(t) - before).Seconds() / took.Seconds()
	t.Logf("%.1f %% of a core in %v; a good login took %v at most", 100*core, took, worst)
	// 500 ms and 20 % are for a machine that has nothing else to do, and a program
	// without the race detector.
	if worst > 5*time.Second || core > 0.5 {
		t.Errorf("a good login took %v, the guesses %.0f %% of a core", worst, 100*core)
	}
}

// cpu is what this process has used.
func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Names and addresses without end are not remembered without end.
func TestTablesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, "")
		d.check = func(*phc, []byte) bool { return false }
		for i := range mostKnown + 500 {
			at := pair{network(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), fmt.Sprint(i)}
			d.hash(at, seal(fmt.Sprint(i)), "", nil, false)
		}
		if len(d.pairs) > mostKnown || len(d.addresses) > mostKnown {
			t.Errorf("%d pairs, %d addresses", len(d.pairs), len(d.addresses))
		}
		time.Sleep(2 * forgotten) // of the bubble
		d.failed(pair{network(kitchen), "new"}, "", time.Now(), 0)
		if len(d.pairs) != 1 || len(d.addresses) != 1 {
			t.Errorf("after two hours: %d pairs, %d addresses", len(d.pairs), len(d.addresses))
		}
	})
}

func TestNetworks(t *testing.T) {
	same := func(a, b string) bool {
		return network(netip.MustParseAddr(a)) == network(netip.MustParseAddr(b))
	}
	if !same("2001:db8::1", "2001:db8::ffff:1") || same("2001:db8::1", "2001:db8:0:1::1") || same("10.0.0.1", "10.0.0.2") ||
		!same("10.0.0.1", "::ffff:10.0.0.1") || !same("fe80::1%eth0", "fe80::2%eth1") {
		t.Error("networks")
	}
	if network(netip.Addr{}) != (netip.Prefix{}) {
		t.Error("a pipe has a network")
	}
}

// A password that changes while it is checked does not let the old one in.
func TestAPasswordChangesMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "old"))
		slow(d)
		result := make(chan error)
		go func() {
			_, err := d.Login(t.Context(), Attempt{User: "anna", Password: []byte("old")})
			result <- err
		}()
		synctest.Wait() // it is at it
		before := d.Table()
		reload(t, d, user("anna", "new"))
		if d.Table() == before {
			t.Error("the table in force is the old one")
		}
		if err := <-result; !errors.Is(err, ErrWrong) {
			t.Error("the old password:", err)
		}
		if len(d.known) != 0 {
			t.Error("it is remembered")
		}
	})
}

// Many at once, with reloads in between: for the race detector.
func TestAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, user("anna", "secret"))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for j := range 20 {
					password := "secret"
					if (i+j)%3 == 0 {
						password = fmt.Sprint(j % 5)
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(j)*100*time.Millisecond)
					d.Login(ctx, Attempt{User: "anna", Password: []byte(password), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i % 4)})})
					cancel()
					d.Rights("anna", "c").Publish("a")
					d.Stamp("anna")
				}
			})
		}
		wg.Go(func() {
			for i := range 20 {
				time.Sleep(100 * time.Millisecond) // of the bubble
				reload(t, d, user("anna", []string{"secret", "other"}[i%2]))
			}
		})
		wg.Wait()
		if d.hashing || d.waiting.Len()+d.slowing != 0 {
			t.Error("somebody still waits")
		}
		for at, a := range d.addresses {
			if a.waiting != 0 {
				t.Errorf("%d wait at %v", a.waiting, at)
			}
		}
	})
}

func BenchmarkKnownLogin(b *testing.B) {
	d := open(b, user("anna", "secret"))
	a := Attempt{User: "anna", Password: []byte("secret"), Addr: kitchen}
	for b.Loop() {
		if _, err := d.Login(b.Context(), a); err != nil {
			b.Fatal(err)
		}
	}
}
