package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hearth/config"
	"hearth/devices"
)

// HTTP is where rules may send requests.
type HTTP struct {
	// Allow lists the private addresses that may be asked, each an address or a
	// network. Those of the internet need no leave; but what is in the house
	// often has no login, and a rule that puts a device's words into an address
	// must not become a way to it.
	Allow config.List[string] `toml:"allow" eg:"\"192.168.1.5\""`
}

// Check reads the addresses.
func (c HTTP) Check(at config.Place) {
	for i, text := range c.Allow {
		if _, err := network(text); err != nil {
			at.Key("allow").Index(i).Mistake(`want an address or a network, such as "192.168.1.5" or "192.168.1.0/24"`)
		}
	}
}

func network(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

const (
	callers     = 4                // requests at once
	callQueue   = 100              // that wait; more are refused
	callTimeout = 10 * time.Second // for one, from the name to the last byte
	callAnswer  = 64 << 10         // bytes of an answer that are read, and thrown away
)

// A caller makes the requests of rules, a few at once, and says how each went.
// One that does not answer delays only those behind it.
type caller struct {
	answer func(id string, status int, problem string)
	queue  chan devices.Request
	allow  atomic.Pointer[[]netip.Prefix]
	client *http.Client
	end    context.CancelFunc
	done   sync.WaitGroup
}

func newCaller(answer func(id string, status int, problem string)) *caller {
	ctx, end := context.WithCancel(context.Background())
	c := &caller{answer: answer, queue: make(chan devices.Request, callQueue), end: end}
	c.permit(HTTP{})
	dial := &net.Dialer{Timeout: callTimeout, Control: c.mayDial}
	c.client = &http.Client{
		Timeout:   callTimeout,
		Transport: &http.Transport{DialContext: dial.DialContext, MaxIdleConns: 16, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: callTimeout},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return errors.New("redirected more than 3 times")
			}
			req.Header.Del("Referer") // the address may hold a secret
			return nil
		},
	}
	for range callers {
		c.done.Go(func() { c.work(ctx) })
	}
	return c
}

// permit puts a configuration into force.
func (c *caller) permit(cfg HTTP) {
	var list []netip.Prefix
	for _, text := range cfg.Allow {
		if p, err := network(text); err == nil {
			list = append(list, p)
		}
	}
	c.allow.Store(&list)
	if c.client != nil {
		c.client.CloseIdleConnections() // to what may be allowed no longer
	}
}

// put takes a request up, without waiting.
func (c *caller) put(r devices.Request) error {
	select {
	case c.queue <- r:
		return nil
	default:
		return fmt.Errorf("%d requests wait already", callQueue)
	}
}

// finish gives up what has not been answered and waits for the goroutines.
func (c *caller) finish() {
	c.end()
	c.done.Wait()
	c.client.CloseIdleConnections()
}

func (c *caller) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-c.queue:
			status, err := c.call(ctx, r)
			if ctx.Err() != nil {
				return
			}
			problem := ""
			if err != nil {
				problem = err.Error()
			}
			c.answer(r.ID, status, problem)
		}
	}
}

// call makes one request.
func (c *caller) call(ctx context.Context, r devices.Request) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return 0, errors.New("it is no address")
	}
	req.Header.Set("User-Agent", "hearth")
	if r.Body != "" {
		kind := "text/plain; charset=utf-8"
		if b := strings.TrimSpace(r.Body); strings.HasPrefix(b, "{") || strings.HasPrefix(b, "[") {
			kind = "application/json"
		}
		req.Header.Set("Content-Type", kind)
	}
	for name, text := range r.Header {
		req.Header.Set(name, text)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, plainly(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, callAnswer)) // so that the connection can be used again
	return resp.StatusCode, nil
}

// plainly is an error without the address, which may hold a secret.
func plainly(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// mayDial refuses private addresses that are not listed. It sees what a name
// stands for at this moment, so no name leads round it.
func (c *caller) mayDial(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	addr := at.Addr().Unmap().WithZone("")
	for _, p := range *c.allow.Load() {
		if p.Contains(addr) {
			return nil
		}
	}
	if addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast() || shared.Contains(addr) {
		return fmt.Errorf("%s is a private address and not listed: add [http] allow = [%q]", addr, addr)
	}
	return nil
}

// shared is the address space of providers behind one address (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")
