package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/config"
)

// An Editor lets those who may change the whole house edit what its owner wrote. Errors that
// [Refusal] makes say with which status they are answered. What it says of secrets is "***1"
// and so on, by which it knows them when it is given a text back.
type Editor interface {
	// Configuration is what stands on disk. at, as "rule.heater", asks where that is
	// written; "" does not.
	Configuration(ctx context.Context, at string) (Configuration, error)

	// CheckDraft says what is wrong with the configuration if a file of it were another.
	CheckDraft(ctx context.Context, d Draft) (Checked, error)

	// TryDraft says what would have been different over so many days. It may take minutes,
	// tells progress, from 0 to 1, how far it is, and ends with ctx.
	TryDraft(ctx context.Context, d Draft, days int, progress func(float64)) (Trial, error)

	// SaveDraft writes a file and has the hub obey it. If it can't, all is as before, and
	// Saved says why.
	SaveDraft(ctx context.Context, d Draft) (Saved, error)

	// NewConfigFile is one as somebody begins to write it, who saves it as a Draft without a
	// Version; RemoveFile removes one in which nothing is, as SaveDraft writes one.
	NewConfigFile(ctx context.Context, name string) (ConfigFile, error)
	RemoveFile(ctx context.Context, d Draft) (Saved, error)

	// ConfigVersions are those that were in force, the newest first; ConfigVersion is one
	// with what it changed, and what it would change now; RestoreVersion saves it again.
	// sum names what is on disk, as Configuration does.
	ConfigVersions(ctx context.Context) ([]Version, error)
	ConfigVersion(ctx context.Context, id int) (VersionDetail, error)
	RestoreVersion(ctx context.Context, id int, sum, note string) (Saved, error)
}

// Configuration is the owner's files.
type Configuration struct {
	Sum     string       `json:"sum"`              // names the text of all files
	InForce bool         `json:"in_force"`         // it is what the hub obeys; else the files were changed and not read since
	Files   []ConfigFile `json:"files"`            // the main one first
	NewIn   string       `json:"new_in,omitempty"` // the folder of which includes take all files, such as "rules/"; for new ones
	At      *ConfigPlace `json:"at,omitempty"`
}

// A ConfigPlace is a line in a file, from 1.
type ConfigPlace struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// A ConfigFile is one of them.
type ConfigFile struct {
	Name    string `json:"name"`              // as seen from the folder of the main one
	Version string `json:"version"`           // names its text
	Text    string `json:"text"`              // without the mark that some editors put before it
	Hidden  string `json:"hidden,omitempty"`  // why its text is not shown
	Locked  string `json:"locked,omitempty"`  // why it can't be saved, and what would allow it
	Secrets int    `json:"secrets,omitempty"` // how many stand in it as "***1" and so on
	New     bool   `json:"-"`                 // it is in no file yet
}

// Label is its name fit to be shown.
func (f ConfigFile) Label() string { return mended(f.Name, mostName) }

// file is the one of that name, or the main one for "".
func (c Configuration) file(name string) (ConfigFile, bool) {
	for _, f := range c.Files {
		if name == "" || f.Name == name {
			return f, true
		}
	}
	return ConfigFile{}, false
}

// A Draft is a file as somebody wants it.
type Draft struct {
	File    string `json:"file"`
	Version string `json:"version"` // of the text that was edited; "": the file is to be made
	Text    string `json:"text"`
	Note    string `json:"note,omitempty"` // of who saves it, for later
}

// A ConfigMistake is what `hearth check` says of one place.
type ConfigMistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Key     string `json:"key,omitempty"`
	Found   string `json:"found,omitempty"`
	Text    string `json:"text"`              // what would be right
	Message string `json:"message"`           // all of that, as hearth check prints it
	Warning bool   `json:"warning,omitempty"` // it can be run, and is hardly meant
}

// Checked is what a check found.
type Checked struct {
	OK       bool            `json:"ok"`
	Mistakes []ConfigMistake `json:"mistakes"`
	More     int             `json:"more,omitempty"` // beyond those
	Whole    bool            `json:"whole"`          // every file could be read; else there may be more
}

// Saved is what became of a draft.
type Saved struct {
	Checked
	Saved   bool     `json:"saved"`
	Why     string   `json:"error,omitempty"`   // why it is not
	Said    []string `json:"said,omitempty"`    // by the hub, when it took it over
	Version string   `json:"version,omitempty"` // of the file now
}

// A Version is a configuration that was in force.
type Version struct {
	ID      int       `json:"id"`
	At      time.Time `json:"at"`
	By      string    `json:"by,omitempty"`
	How     string    `json:"how"` // "page", "restore", "reload" or "start"
	Note    string    `json:"note,omitempty"`
	Now     bool      `json:"now,omitempty"` // it is in force
	Changed []string  `json:"changed"`       // files that are others than in the version before
}

// A VersionDetail is one with what differs.
type VersionDetail struct {
	Version
	Sum      string     `json:"sum"`      // of what is on disk now
	Since    []FileDiff `json:"since"`    // what it changed in the version before
	Restores []FileDiff `json:"restores"` // what would be others on disk if it were restored
}

// A FileDiff is what differs in a file.
type FileDiff struct {
	Name   string     `json:"name"`
	Lines  []DiffLine `json:"lines"`
	Veiled bool       `json:"veiled,omitempty"` // something differs that is not shown
}

// A DiffLine is a line of one of two texts or of both; of Kind "@" it stands for lines that
// are the same.
type DiffLine struct {
	Kind string `json:"kind"` // " ", "-", "+" or "@"
	A    int    `json:"a,omitempty"`
	B    int    `json:"b,omitempty"`
	Text string `json:"text"`
}

// around is how many lines are shown before and after what differs.
const around = 3

// Unified is what differs between two texts, with the lines around it.
func Unified(a, b string) (lines []DiffLine) {
	all := config.Diff(a, b)
	near := make([]bool, len(all))
	for i, c := range all {
		if c.Kind != ' ' {
			for j := max(0, i-around); j <= min(len(all)-1, i+around); j++ {
				near[j] = true
			}
		}
	}
	for i, c := range all {
		switch {
		case near[i]:
			lines = append(lines, DiffLine{string(c.Kind), c.A, c.B, mended(strings.ReplaceAll(c.Line, "\t", "    "), mostText)})
		case len(lines) > 0 && lines[len(lines)-1].Kind != "@" && slices.Contains(near[i:], true):
			lines = append(lines, DiffLine{Kind: "@"})
		}
	}
	return lines
}

// A Trial is what would have been different, with other rules.
type Trial struct {
	From        time.Time         `json:"from"`
	To          time.Time         `json:"to"`
	Asked       time.Time         `json:"asked"` // from when on it was to be
	Events      int               `json:"events"`
	Same        bool              `json:"same"`
	Differences []TrialDifference `json:"differences"`
	Others      int               `json:"others,omitempty"` // beyond those
	Silent      int               `json:"silent,omitempty"` // decisions that differ and of which nothing comes
	Outputs     []TrialOutput     `json:"outputs"`
	Covers      []TrialCover      `json:"covers"`
	Changed     []string          `json:"changed,omitempty"` // rules of another definition than recorded
	Veiled      int               `json:"veiled,omitempty"`  // messages that are compared with secrets, so that nothing can be told of them
	Unheard     []string          `json:"unheard,omitempty"` // sources of which nothing is recorded
}

// A TrialDifference is something that would have been done, or would not.
type TrialDifference struct {
	At      time.Time `json:"at"`
	Rule    string    `json:"rule"`
	Would   bool      `json:"would"`
	Done    []string  `json:"done"`
	Because string    `json:"because,omitempty"`
	Instead string    `json:"instead,omitempty"`
	Follows string    `json:"follows,omitempty"`
	Outputs []string  `json:"outputs,omitempty"` // that it is about
}

// A TrialOutput is how an output was on and would have been, in spells of milliseconds from
// the beginning.
type TrialOutput struct {
	Name     string     `json:"name"`
	Was      float64    `json:"on_s"`
	Would    float64    `json:"would_on_s"`
	Switches int        `json:"switches"`
	Would2   int        `json:"would_switches"`
	On       [][2]int64 `json:"on,omitempty"`
	WouldOn  [][2]int64 `json:"would_on,omitempty"`
	Differs  bool       `json:"differs"`
}

// A TrialCover is how a cover stood and would have stood.
type TrialCover struct {
	Name       string       `json:"name"`
	Was        float64      `json:"open_pct"` // on average
	Would      float64      `json:"would_open_pct"`
	Runs       int          `json:"runs"`
	WouldRuns  int          `json:"would_runs"`
	Apart      float64      `json:"apart_s"` // for how long it would have stood elsewhere
	Stood      []TrialStand `json:"stood,omitempty"`
	WouldStand []TrialStand `json:"would_stand,omitempty"`
	Differs    bool         `json:"differs"`
}

// A TrialStand is where a cover stands from one moment to another, in milliseconds from the
// beginning: 0 is closed, 100 is open.
type TrialStand [3]int64

// MaxDraft is how long a file may be to be edited in the page, in bytes: twenty times that of
// a large house, and little enough that no text keeps the hub from its work.
const MaxDraft = 256 << 10

// maxConfigBody is how long a request with one may be: as JSON each byte may take six.
const maxConfigBody = 6*MaxDraft + 4096

const wantDraft = `JSON such as {"file":"config.toml","version":"…","text":"…"}`

var errLongDraft = Refusal(http.StatusRequestEntityTooLarge, "a file may have %d bytes to be edited in the page: split it with include, or edit it on the machine", MaxDraft)

// wholeHouse lets those pass who may change the whole house: what is in a configuration is about
// all of it.
func wholeHouse(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !visitorOf(r).rights.Whole(Change) {
			refuse(w, http.StatusForbidden, "the configuration is for those who may change the whole house")
			return
		}
		handle(w, r)
	}
}

// draftOf reads a draft. False: it was refused.
func draftOf(w http.ResponseWriter, r *http.Request, d *Draft) (ok bool) {
	err := readJSON(w, r, maxConfigBody, wantDraft, d)
	if err == nil && len(d.Text) > MaxDraft {
		err = errLongDraft
	}
	if err != nil {
		refuseFor(w, err)
		return false
	}
	d.Note = mended(strings.TrimSpace(d.Note), mostName)
	return true
}

func (s *Server) serveConfig(w http.ResponseWriter, r *http.Request) {
	c, err := s.house.Configuration(r.Context(), r.URL.Query().Get("at"))
	if err != nil {
		refuseFor(w, err)
		return
	}
	answer(w, http.StatusOK, c.clean().in(s.wordsFor(r)))
}

// clean has no list nil, and what is not to be sent back fit to be shown.
func (c Configuration) clean() Configuration {
	c.Files = each(c.Files, func(f ConfigFile) ConfigFile {
		f.Hidden, f.Locked = mended(f.Hidden, mostText), mended(f.Locked, 2*mostText)
		return f
	})
	return c
}

// takeCheck says what is wrong with a draft: 200, whatever that is.
func (s *Server) takeCheck(w http.ResponseWriter, r *http.Request) {
	var d Draft
	if !draftOf(w, r, &d) {
		return
	}
	c, err := s.house.CheckDraft(r.Context(), d)
	if err != nil {
		refuseFor(w, err)
		return
	}
	answer(w, http.StatusOK, c.clean())
}

// clean has no list nil, and all of it fit to be shown.
func (c Checked) clean() Checked {
	c.Mistakes = each(c.Mistakes, func(m ConfigMistake) ConfigMistake {
		m.File, m.Key, m.Found, m.Text, m.Message = mended(m.File, mostText), mended(m.Key, mostName), mended(m.Found, mostName), mended(m.Text, 2*mostText), mended(m.Message, 3*mostText)
		return m
	})
	return c
}

func (s *Server) takeSave(w http.ResponseWriter, r *http.Request) {
	s.changeFile(w, r, s.house.SaveDraft)
}

// takeRemove removes a file in which nothing is.
func (s *Server) takeRemove(w http.ResponseWriter, r *http.Request) {
	s.changeFile(w, r, s.house.RemoveFile)
}

// changeFile has the house do something with a draft, and says what came of it.
func (s *Server) changeFile(w http.ResponseWriter, r *http.Request, do func(context.Context, Draft) (Saved, error)) {
	var d Draft
	if !draftOf(w, r, &d) {
		return
	}
	s.patient(w)
	saved, err := do(r.Context(), d)
	answerSaved(w, s.wordsFor(r), saved, err)
}

// patient gives an answer more time: what is saved is obeyed before it is said to be.
func (s *Server) patient(w http.ResponseWriter) {
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
}

func answerSaved(w http.ResponseWriter, words *words, saved Saved, err error) {
	switch {
	case err != nil:
		refuseFor(w, err)
	case !saved.Saved:
		saved.Checked, saved.Why, saved.Said = saved.clean(), mended(saved.Why, 3*mostText), each(saved.Said, sentence)
		saved.Why = words.say(saved.Why)
		answer(w, http.StatusUnprocessableEntity, saved)
	default:
		saved.Checked, saved.Said = saved.clean(), each(saved.Said, sentence)
		answer(w, http.StatusOK, saved)
	}
}

// A tryDraft is a draft that is to be tried on so many days, 7 if they are not given.
type tryDraft struct {
	Draft
	Days int `json:"days,omitempty"`
}

// A restoring brings a version into force again; Sum is that of the VersionDetail.
type restoring struct {
	Sum  string `json:"sum"`
	Note string `json:"note,omitempty"`
}

// takeTry answers with lines of JSON: {"progress":0.1} and so on, and at last {"trial":…} or
// {"error":…}. Who goes away ends it.
func (s *Server) takeTry(w http.ResponseWriter, r *http.Request) {
	var asked tryDraft
	if err := readJSON(w, r, maxConfigBody, wantDraft, &asked); err != nil {
		refuseFor(w, err)
		return
	}
	switch {
	case len(asked.Text) > MaxDraft:
		refuseFor(w, errLongDraft)
		return
	case asked.Days == 0:
		asked.Days = 7
	case asked.Days < 1 || asked.Days > 31:
		refuse(w, http.StatusBadRequest, "want days from 1 to 31")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := stream{w: w, control: http.NewResponseController(w), limit: s.limit}
	out.err = out.control.SetReadDeadline(time.Time{})
	begun, words := false, s.wordsFor(r)
	line := func(v any) {
		if !begun {
			begun = true
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("X-Accel-Buffering", "no")
			w.WriteHeader(http.StatusOK)
		}
		out.write(asJSON(v))
		if out.flush(); out.err != nil {
			cancel()
		}
	}
	var told time.Time
	trial, err := s.house.TryDraft(ctx, asked.Draft, asked.Days, func(done float64) {
		if now := time.Now(); now.Sub(told) > 200*time.Millisecond {
			told = now
			line(map[string]float64{"progress": min(1, max(0, done))})
		}
	})
	switch {
	case err != nil && !begun:
		refuseFor(w, err)
	case err != nil:
		line(map[string]string{"error": words.say(mended(err.Error(), 3*mostText))})
	default:
		line(map[string]Trial{"trial": trial.clean().in(words)})
	}
}

func (t Trial) clean() Trial {
	t.Differences = each(t.Differences, func(d TrialDifference) TrialDifference {
		d.Rule, d.Because, d.Instead, d.Follows = mended(d.Rule, mostName), sentence(d.Because), sentence(d.Instead), mended(d.Follows, mostName)
		d.Done, d.At = each(d.Done, sentence), sane(d.At)
		return d
	})
	t.Outputs = each(t.Outputs, func(o TrialOutput) TrialOutput { return o })
	t.Covers = each(t.Covers, func(c TrialCover) TrialCover { return c })
	t.Unheard, t.Changed = each(t.Unheard, sentence), each(t.Changed, sentence)
	return t
}

func (s *Server) serveConfigVersions(w http.ResponseWriter, r *http.Request) {
	all, err := s.house.ConfigVersions(r.Context())
	if err != nil {
		refuseFor(w, err)
		return
	}
	answer(w, http.StatusOK, versionList{each(all, Version.clean)})
}

// A versionList is all of them.
type versionList struct {
	Versions []Version `json:"versions"` // the newest first
}

func (v Version) clean() Version {
	v.By, v.Note, v.Changed = mended(v.By, mostName), mended(v.Note, mostName), each(v.Changed, func(name string) string { return mended(name, mostName) })
	return v
}

func (s *Server) versionOf(r *http.Request, id string) (VersionDetail, error) {
	n, err := strconv.Atoi(id)
	if err != nil || n < 1 {
		return VersionDetail{}, Refusal(http.StatusNotFound, "there is no such version")
	}
	v, err := s.house.ConfigVersion(r.Context(), n)
	v.Version, v.Since, v.Restores = v.Version.clean(), each(v.Since, FileDiff.clean), each(v.Restores, FileDiff.clean)
	return v, err
}

func (d FileDiff) clean() FileDiff {
	d.Name = mended(d.Name, mostName)
	d.Lines = each(d.Lines, func(l DiffLine) DiffLine { return l }) // which Unified has mended
	return d
}

func (s *Server) serveConfigVersion(w http.ResponseWriter, r *http.Request) {
	v, err := s.versionOf(r, r.PathValue("id"))
	if err != nil {
		refuseFor(w, err)
		return
	}
	answer(w, http.StatusOK, v)
}

func (s *Server) takeRestore(w http.ResponseWriter, r *http.Request) {
	var asked restoring
	if err := readJSON(w, r, maxConfigBody, `{"sum":"…"}`, &asked); err != nil {
		refuseFor(w, err)
		return
	}
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		refuse(w, http.StatusNotFound, "there is no such version")
		return
	}
	s.patient(w)
	saved, err := s.house.RestoreVersion(r.Context(), id, asked.Sum, mended(strings.TrimSpace(asked.Note), mostName))
	answerSaved(w, s.wordsFor(r), saved, err)
}

// --- The pages ---

// An editSheet is what the page of the editor shows.
type editSheet struct {
	Configuration
	File  ConfigFile
	Line  int // to begin with; 0: none
	Asked string
	Wrong string // with the name of a file that was to be made
	Ready []readyMade
}

// Removable says that the file may be removed once nothing is in it.
func (s editSheet) Removable() bool { return !s.File.New && s.File.Name != s.Files[0].Name }

// Address is that of the page for another file.
func (editSheet) Address(file string) string { return "/edit?file=" + url.QueryEscape(file) }

// A readyMade is an example to be put in.
type readyMade struct{ Name, Text string }

// readyMades are small, whole, and to be changed by who puts them in.
var readyMades = []readyMade{
	{"relay", "[output.porch_light]\npin = \"GPIO17\"\nactive_low = true      # most relay boards are on when the pin is low\n"},
	{"input", "[input.doorbell]\npin = \"GPIO27\"\npull = \"up\"\nactive_low = true      # the button leads to ground\n"},
	{"link", "[link.hall_light]\nfrom = \"zigbee2mqtt/hall_motion:occupancy\"\nto = \"porch_light\"\n"},
	{"rule", "[rule.stairs]           # every new motion starts the minute afresh\ntrigger = { state = \"zigbee2mqtt/hall_motion:occupancy\", is = true }\ncondition = { sun = \"down\" }\naction = { pulse = \"porch_light\", for = \"60s\" }\nmode = \"restart\"\n"},
	{"thermostat", "[rule.heater]           # begins below 19, ends above 20.2\ntrigger = { state = \"zigbee2mqtt/study_climate:temperature\", below = 19, until = 20.2 }\naction = { set = \"heater\", on = true, off = false }\n"},
	{"time", "[rule.evening]\ntrigger = { time = \"22:30\", days = \"mon-fri\" }\naction = { set = \"porch_light\", to = false }\n"},
}

func (s *Server) editPage(r *http.Request, v View) (any, error) {
	asked := r.URL.Query()
	c, err := s.house.Configuration(r.Context(), asked.Get("at"))
	if err != nil {
		return nil, err
	}
	sheet := editSheet{Configuration: c.clean().in(s.wordsFor(r)), Ready: readyMades}
	name := asked.Get("file")
	if at := asked.Get("at"); at != "" {
		if sheet.Asked = mended(at, mostName); c.At != nil && (name == "" || name == c.At.File) {
			name, sheet.Line = c.At.File, c.At.Line
		}
	}
	if n, err := strconv.Atoi(asked.Get("line")); err == nil && n > 0 {
		sheet.Line = n
	}
	if wanted := strings.TrimSpace(asked.Get("new")); wanted != "" {
		if sheet.File, err = s.house.NewConfigFile(r.Context(), wanted); err == nil {
			return sheet, nil
		}
		sheet.Wrong = mended(err.Error(), 2*mostText)
	}
	var ok bool
	if sheet.File, ok = sheet.file(name); !ok {
		return nil, Refusal(http.StatusNotFound, "no file of the configuration is named %q", mended(name, mostName))
	}
	return sheet, nil
}

// A versionsSheet is the page of the versions: all of them, and one with what differs.
type versionsSheet struct {
	Versions []Version
	One      *VersionDetail
}

func (s *Server) versionsPage(r *http.Request, v View) (any, error) {
	all, err := s.house.ConfigVersions(r.Context())
	if err != nil {
		return nil, err
	}
	sheet := versionsSheet{Versions: each(all, Version.clean)}
	if id := r.URL.Query().Get("of"); id != "" {
		one, err := s.versionOf(r, id)
		if err != nil {
			return nil, err
		}
		sheet.One = &one
	}
	return sheet, nil
}
