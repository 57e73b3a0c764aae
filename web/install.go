package web

import (
	"encoding/json"
	"net/http"
	"strings"
)

// The page as an app on a phone: a manifest and icons, and a worker that the browser keeps,
// which says that the hub can't be reached where the browser would show an error of its own.
// Browsers allow that over TLS, and on the hub's own machine.

// serveManifest tells browsers how to install the page. The name of the house is told to who
// may see it.
func (s *Server) serveManifest(w http.ResponseWriter, r *http.Request) {
	name := houseName
	if who := s.who(r); who.rights != nil && who.rights.Most() >= See {
		if v, err := s.view(r.Context(), patience); err == nil && v.Name != "" {
			name = v.Name
		}
	}
	type icon struct {
		Src     string `json:"src"`
		Sizes   string `json:"sizes"`
		Type    string `json:"type"`
		Purpose string `json:"purpose,omitempty"`
	}
	w.Header().Set("Content-Type", "application/manifest+json")
	w.Write(asJSON(map[string]any{
		"name": name, "short_name": name, "lang": s.wordsFor(r).language, "id": "/", "start_url": "/", "scope": "/",
		"display": "standalone", "background_color": "#f5f2ec", "theme_color": "#f5f2ec",
		"icons": []icon{
			{assetPath("icons/192.png"), "192x192", "image/png", ""},
			{assetPath("icons/512.png"), "512x512", "image/png", ""},
			{assetPath("icons/maskable.png"), "512x512", "image/png", "maskable"},
			{assetPath("icon.svg"), "any", "image/svg+xml", ""},
		},
	}))
}

// offlinePath is of the page that stands in for the others. It has nothing of the house.
const offlinePath = "/offline"

func (s *Server) serveOffline(w http.ResponseWriter, r *http.Request) {
	if content, ok := s.write(w, r, sheet{Page: "offline"}); ok {
		send(w, r, "text/html; charset=utf-8", content)
	}
}

// serveWorker is js/sw.js with what it keeps: another version of the page is another worker,
// which throws away what the one before it kept.
func (s *Server) serveWorker(w http.ResponseWriter, r *http.Request) {
	shell := []string{offlinePath}
	for _, name := range []string{"style.css", "icon.svg", "js/offline.js", "js/words.js"} {
		shell = append(shell, assetPath(name))
	}
	list, err := json.Marshal(shell)
	if err != nil {
		panic(err) // they are texts
	}
	head := "const kept = 'hearth-" + assets().version + "';\nconst shell = " + string(list) + ";\n"
	w.Header().Set("Cache-Control", "no-cache")
	send(w, r, "text/javascript; charset=utf-8", []byte(head+strings.TrimSpace(string(assets().files["js/sw.js"].content))+"\n"))
}
