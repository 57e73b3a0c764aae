package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Broker is the one of the house.
type Broker interface {
	// Clients are those that are connected or remembered, by their ids.
	Clients(ctx context.Context) ([]Client, error)

	// Subscriptions are the filters of one, at most so many.
	Subscriptions(id string, most int) []string

	// Disconnect ends the connection of one. The error says that there is none.
	Disconnect(ctx context.Context, id string) error
}

// A Client is one of MQTT that is connected, or whose session is kept.
type Client struct {
	ID            string    `json:"id"`
	User          string    `json:"user,omitempty"`
	Own           bool      `json:"own,omitempty"` // a bridge of the hub itself
	Version       string    `json:"version"`       // of MQTT: "3.1.1"
	Connected     bool      `json:"connected"`
	Address       string    `json:"address,omitempty"`
	Listener      string    `json:"listener,omitempty"`
	Since         time.Time `json:"since,omitzero"` // connected or away
	LastSeen      time.Time `json:"last_seen,omitzero"`
	Expires       time.Time `json:"expires,omitzero"` // of a session whose client is away
	KeepAlive     int       `json:"keep_alive"`       // in seconds; 0: none
	Subscriptions int       `json:"subscriptions"`
	Queued        int       `json:"queued"` // messages that wait for it
	QueuedBytes   int64     `json:"queued_bytes"`
	Unacked       int       `json:"unacknowledged"`
	Received      int64     `json:"received"` // from it
	Sent          int64     `json:"sent"`     // to it
	Dropped       int64     `json:"dropped"`  // for it, because too many waited
	Refused       int64     `json:"refused"`  // what it may not publish

	Key string `json:"-"` // its id as it is asked for, which may be no text
}

func (c Client) clean() Client {
	c.ID, c.User, c.Version, c.Address, c.Listener = asName(c.ID), asName(c.User), mended(c.Version, 20), asName(c.Address), asName(c.Listener)
	c.Since, c.LastSeen, c.Expires = sane(c.Since), sane(c.LastSeen), sane(c.Expires)
	return c
}

// Escaped is its id in characters that can stand anywhere.
func (c Client) Escaped() string { return url.PathEscape(c.Key) }

// Slow says that messages for it wait or were dropped.
func (c Client) Slow() bool { return c.Dropped > 0 || c.Queued > 100 }

// A clientSheet is what is on the page of clients.
type clientSheet struct {
	Clients   []Client `json:"clients"`
	Connected int      `json:"connected"`

	// Of the one that was asked for.
	Client  string   `json:"client,omitempty"`
	Filters []string `json:"filters,omitempty"`
	Change  bool     `json:"-"` // who looks may disconnect them
}

// Away are the rest.
func (c clientSheet) Away() int { return len(c.Clients) - c.Connected }

// mostFilters is how many subscriptions of a client are shown.
const mostFilters = 200

// clients are told to those who may see the whole house: who is there and who reads slowly is
// of all of it.
func (s *Server) clients(r *http.Request) (sheet clientSheet, err error) {
	who := visitorOf(r).rights
	if !who.Whole(See) {
		return sheet, errSeeWhole
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	all, err := s.house.Clients(ctx)
	if err != nil {
		return sheet, err
	}
	sheet.Clients = make([]Client, 0, len(all))
	for _, c := range all {
		if c.Key = c.ID; c.Connected {
			sheet.Connected++
		}
		sheet.Clients = append(sheet.Clients, c.clean())
	}
	slices.SortStableFunc(sheet.Clients, func(a, b Client) int { // who is there, and first whom something is wrong with
		rank := func(c Client) int {
			return map[bool]int{true: 0, false: 2}[c.Connected] + map[bool]int{true: 0, false: 1}[c.Slow()]
		}
		return rank(a) - rank(b)
	})
	if id := r.URL.Query().Get("client"); id != "" {
		sheet.Client, sheet.Filters = asName(id), each(s.house.Subscriptions(id, mostFilters), asName)
	}
	sheet.Change = who.Whole(Change)
	return sheet, nil
}

func (s *Server) clientsPage(r *http.Request, v View) (any, error) { return s.clients(r) }

func (s *Server) serveClients(w http.ResponseWriter, r *http.Request) {
	sheet, err := s.clients(r)
	if err != nil {
		refuseFor(w, err)
		return
	}
	send(w, r, "application/json", asJSON(sheet))
}

const wantClient = `{"client":"its id"}`

// takeDisconnect ends the connection of {"client": "id"}.
func (s *Server) takeDisconnect(w http.ResponseWriter, r *http.Request) {
	var told struct {
		Client string `json:"client"`
	}
	err := readJSON(w, r, 1<<18, wantClient, &told)
	switch {
	case err != nil:
	case told.Client == "":
		err = Mistaken("want " + wantClient)
	case !visitorOf(r).rights.Whole(Change):
		err = errChangeWhole
	}
	if err != nil {
		refuseFor(w, err)
		return
	}
	ctx, done := context.WithTimeout(r.Context(), patience)
	defer done()
	if err := s.house.Disconnect(ctx, told.Client); err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
