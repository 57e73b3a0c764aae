package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// icons are the pictures that are made of icon.svg: by name how large, and how much of that
// the drawing takes. What is masked by the phone, or put on a ground of its own choice, has the
// ground of the drawing up to its edge.
var icons = map[string]struct {
	size   int64
	inside float64
}{"192": {192, 1}, "512": {512, 1}, "maskable": {512, 0.8}, "apple": {180, 0.9}}

// go test ./web -run Icons -update draws them anew.
func TestIcons(t *testing.T) {
	svg, err := os.ReadFile("icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	for name, icon := range icons {
		file := "icons/" + name + ".png"
		if *update {
			ground := map[bool]string{true: "#b4471f", false: "transparent"}[icon.inside < 1]
			doc := fmt.Sprintf(`<body style="margin:0;background:%s"><img style="position:fixed;left:%[2]gpx;top:%[2]gpx" width=%[3]g height=%[3]g src="data:image/svg+xml;base64,%[4]s">`, ground,
				float64(icon.size)*(1-icon.inside)/2, float64(icon.size)*icon.inside, base64.StdEncoding.EncodeToString(svg))
			var drawn []byte
			ctx := browser(t)
			do(t, ctx, "drawing", chromedp.EmulateViewport(icon.size, icon.size), chromedp.Navigate("data:text/html;base64,"+base64.StdEncoding.EncodeToString([]byte(doc))),
				chromedp.ActionFunc(func(ctx context.Context) (err error) {
					if err = emulation.SetDefaultBackgroundColorOverride().WithColor(&cdp.RGBA{}).Do(ctx); err == nil {
						drawn, err = page.CaptureScreenshot().Do(ctx)
					}
					return err
				}))
			if err := os.WriteFile(file, drawn, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.DecodeConfig(bytes.NewReader(b))
		if err != nil || int64(picture.Width) != icon.size || int64(picture.Height) != icon.size || len(b) > 20_000 {
			t.Errorf("%s: %dx%d, %d bytes: %v", file, picture.Width, picture.Height, len(b), err)
		}
	}
}

// The manifest names the house to who may see it, and no more than Hearth to strangers; all
// icons that it has are there.
func TestTheManifest(t *testing.T) {
	s := lan(newHouse(), family())
	var m struct {
		Name  string
		Icons []struct{ Src, Sizes string }
	}
	for _, who := range []struct {
		header []string
		name   string
	}{{nil, "Hearth"}, {cookie(t, s, "oma"), "home"}} {
		w := get(s, "/manifest.webmanifest", who.header...)
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != 200 || m.Name != who.name || len(m.Icons) != 4 {
			t.Errorf("%d %s: %v", w.Code, w.Body, err)
		}
		for _, icon := range m.Icons {
			if w := get(s, icon.Src); w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "image/") {
				t.Errorf("%s: %d", icon.Src, w.Code)
			}
		}
	}
	// All that the worker keeps is there for strangers, and none of it is of the house.
	worker := get(s, "/sw.js").Body.String()
	list := worker[strings.Index(worker, "["):]
	var shell []string
	if err := json.Unmarshal([]byte(list[:strings.Index(list, "]")+1]), &shell); err != nil || !strings.Contains(worker, "'hearth-"+assets().version+"'") {
		t.Fatalf("%v in %s", err, worker)
	}
	for _, path := range shell {
		if w := get(s, path); w.Code != 200 || strings.Contains(w.Body.String(), "porch_light\"") || strings.Contains(w.Body.String(), "GPIO17") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if !slices.Contains(shell, offlinePath) {
		t.Error(shell)
	}
}

// The hub goes while nobody looks: who opens the page is told so, and since when, and has it
// back when the hub is. What the browser keeps has nothing of the house.
func TestThePageWithoutAHubInABrowser(t *testing.T) {
	ctx := browser(t)
	house := newHouse()
	s := serve(t, house)
	addr := s.Addr()
	do(t, ctx, "the page comes, and its worker", chromedp.Navigate("http://"+addr), chromedp.WaitVisible("body.live"), until(`navigator.serviceWorker.controller`))
	var kept string
	do(t, ctx, "with it loaded once more", chromedp.Navigate("http://"+addr+"/log"), chromedp.WaitVisible("body.live"),
		chromedp.Evaluate(`window.kept = ''; caches.keys().then((names) => Promise.all(names.map((name) => caches.open(name).then((c) => c.keys())))).then((all) => { window.kept = all.map((one) => one.map((r) => new URL(r.url).pathname).join('\n')).join('\n'); })`, nil),
		until(`window.kept`), chromedp.Evaluate(`window.kept`, &kept))
	for path := range strings.Lines(kept) {
		if !strings.HasPrefix(path, "/assets/") && strings.TrimSpace(path) != offlinePath {
			t.Errorf("the browser keeps %s", path)
		}
	}
	if !strings.Contains(kept, "/js/log.js") {
		t.Errorf("the modules are not kept: %s", kept)
	}
	do(t, ctx, "nobody looks", chromedp.Navigate("about:blank"))
	s.Close()
	do(t, ctx, "the house is gone", chromedp.Navigate("http://"+addr+"/log"), chromedp.WaitVisible("#last"), until(shows("h1", "No connection to the house")), until(shows("#last", "Last seen live: 2026-03-10 12:00")))
	for _, size := range [][2]int64{{320, 640}, {1280, 900}} {
		for _, scheme := range []string{"light", "dark"} {
			do(t, ctx, "a size", chromedp.EmulateViewport(size[0], size[1]), colours(scheme))
			for _, wrong := range audit(t, ctx, axeOf(t)) {
				t.Errorf("%s: %s", scheme, wrong)
			}
			shoot(t, ctx, fmt.Sprintf("offline-%d-%s", size[0], scheme))
		}
	}
	again := New(house, Options{Log: quietLog})
	listenOn(t, again, addr)
	defer again.Close()
	do(t, ctx, "and is back by itself, where one was", chromedp.WaitVisible("body.live"), until(`location.pathname === '/log' && document.body.className === 'live'`), chromedp.Navigate("about:blank"))
}

// Another version of the hub has another worker, which takes over at once and leaves nothing of
// the one before it.
func TestAnotherVersionOfTheWorkerInABrowser(t *testing.T) {
	ctx := browser(t)
	s := New(newHouse(), Options{Log: quietLog})
	defer s.Close()
	var newer atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sw.js" || !newer.Load() {
			s.Handler().ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, strings.Replace(ask(s, "GET", "/sw.js", "").Body.String(), "'hearth-"+assets().version+"'", "'hearth-newer'", 1))
	}))
	defer front.Close()
	names := func(want string) chromedp.Action {
		return until(`(caches.keys().then((names) => { window.names = names.join(); }), window.names === '` + want + `')`)
	}
	do(t, ctx, "the first", chromedp.Navigate(front.URL), chromedp.WaitVisible("body.live"), until(`navigator.serviceWorker.controller`), names("hearth-"+assets().version))
	newer.Store(true)
	do(t, ctx, "another", chromedp.Evaluate(`navigator.serviceWorker.getRegistration().then((r) => r.update())`, nil), names("hearth-newer"))
	do(t, ctx, "and the page comes as ever", chromedp.Navigate(front.URL+"/log"), chromedp.WaitVisible("body.live"), chromedp.Navigate("about:blank"))
}
