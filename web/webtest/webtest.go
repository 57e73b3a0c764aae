// Package webtest looks at pages in a real browser, a headless Chromium, for the tests of web
// and of the whole program.
package webtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Browser starts one, with a tab that fails the test when the script of a page does. Without a
// Chromium the test is skipped, but not in CI; and where HEARTH_BROWSER is "no".
func Browser(t testing.TB, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	if os.Getenv("HEARTH_BROWSER") == "no" {
		t.Skip("no browser this time: HEARTH_BROWSER=no")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("HEARTH_CI") == "1" {
			t.Fatal("CI has to test the page in a browser:", err)
		}
		t.Skip("NOT TESTED: the page in a browser, for there is no chromium (Debian's package chromium):", err)
	}
	ctx, end := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(end)
	ctx, end = chromedp.NewExecAllocator(ctx, slices.Concat(chromedp.DefaultExecAllocatorOptions[:], []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(program), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(time.Minute), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true)}, more)...)
	t.Cleanup(end)
	ctx = Tab(t, ctx)
	Do(t, ctx, "the browser starts")
	return ctx
}

// Tab opens one, beside that of a context that Browser or Tab returned.
func Tab(t testing.TB, beside context.Context) context.Context {
	ctx, end := chromedp.NewContext(beside)
	t.Cleanup(func() { chromedp.Cancel(ctx); end() })
	chromedp.ListenTarget(ctx, func(event any) {
		if e, ok := event.(*runtime.EventExceptionThrown); ok {
			t.Errorf("the script failed: %s", e.ExceptionDetails.Error())
		}
	})
	return ctx
}

// Do runs actions in a tab, or ends the test with what it was and what the page shows.
func Do(t testing.TB, ctx context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var seen string
		chromedp.Run(ctx, chromedp.Evaluate(`document.body.innerText`, &seen))
		t.Fatalf("%s: %v; the page shows:\n%s", what, err, seen)
	}
}

// Until waits for a condition, also in a page that is only being loaded.
func Until(condition string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) (err error) {
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			var is bool
			if err = chromedp.Evaluate("Boolean("+condition+")", &is).Do(ctx); is || ctx.Err() != nil {
				return err
			}
		}
		return fmt.Errorf("never: %s (%v)", condition, err)
	})
}

// Shows is the condition that an element has a text somewhere.
func Shows(selector, text string) string {
	return fmt.Sprintf(`document.querySelector(%q).innerText.includes(%q)`, selector, text)
}

// Sizes are those at which pages are looked at, in CSS pixels.
var Sizes = []struct {
	Name          string
	Width, Height int64
}{{"small", 320, 640}, {"phone", 390, 844}, {"tablet", 800, 1000}, {"desktop", 1280, 900}}

// Scheme has the pages be "light" or "dark".
func Scheme(name string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
}

// Keep keeps a picture of the whole page for eyes, if HEARTH_SCREENSHOTS names a folder.
func Keep(t testing.TB, ctx context.Context, name string) {
	t.Helper()
	dir := os.Getenv("HEARTH_SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	Do(t, ctx, "a screenshot", chromedp.FullScreenshot(&png, 100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}
