package web

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write anew what tests compare with: openapi.json, and testdata")

// A said is what openapi.json says of a route that programs use, beside what the table of
// routes and the Go types say themselves: paths, methods, levels, fields and their comments.
type saidOf struct {
	does  string            // a sentence
	more  string            // paragraphs in Markdown
	query map[string]string // what may stand behind the question mark, and what that does

	body any    // a value of the type that is posted; nil: nothing is, or anything
	eg   string // one that the house of the tests takes

	answer any    // a value of the type that is answered; nil: 204, without a body
	kind   string // of an answer that is not JSON
	events map[string]any

	refuses []int // beside 401, 403 and 503

}

// A tryLine is a line of a trial.
type tryLine struct {
	Progress float64 `json:"progress,omitempty"` // from 0 to 1
	Trial    *Trial  `json:"trial,omitempty"`    // of the last line, if it came to an end
	Error    string  `json:"error,omitempty"`    // of the last line, if not
}

// said has each of these routes. Whoever adds a route adds it here and runs go test ./web -run OpenAPI -update.
var saidOfRoutes = map[string]saidOf{
	"GET /api/v1/house": {does: "The whole house at this moment.", answer: View{}},
	"GET /api/v1/events": {does: "What happens in the house, as server-sent events.", kind: "text/event-stream",
		query: map[string]string{"only": "`things` leaves out readings, decisions and rules, and adds sparks; `rules` leaves out all but these, and what is wrong with pins; `log` leaves out things at the beginning, and of readings all but the newest 500"},
		more: "The stream begins with an event named `house`, which carries a whole View. What happens afterwards follows as events without a name, each an Event; one may tell what the View before it knew already. " +
			"Every 15 seconds an event named `status` repeats the View without its lists, so who hears nothing for longer has lost the hub. " +
			"One named `sparks` carries the last day of each number, by its name, in 48 stretches: each is a digit or letter, from 0 for the least value of the day to z for the greatest, or a space where nothing is known. It comes soon after the first and every five minutes. " +
			"While much happens it is told five to ten times a second, and of each thing the newest. A watcher that reads too slowly is cut off; it comes back and begins with a whole View again.",
		events: map[string]any{"house": View{}, "status": View{}, "sparks": map[string]string{}, "": Event{}}},
	"GET /api/v1/readings": {does: "What devices reported last: the newest, at most 500, by name.", query: map[string]string{"find": "only those with this in their name, the name of their device or room, or their value"}, answer: ReadingList{}},
	"GET /api/v1/history":  {does: "What was recorded, by name.", answer: SeriesList{}},
	"GET /api/v1/history/{name...}": {does: "What a series was in some time: in cells, each with its least, mean, greatest and last value; or each reading.",
		more: "At most 10,000 readings are answered at a time; `next` is from when on there are more. A name with `.csv` behind it is that series as CSV.",
		query: map[string]string{"from": "a time (RFC 3339) or a date; a day before `to` if it is not given", "to": "the same; now if it is not given", "points": "how many cells, 1 to 2000, 300 if it is not given",
			"raw": "`true`: each reading", "format": "`csv`: a file", "by": "of a CSV: `hour` or `day`"},
		answer: Stretch{}, refuses: []int{400, 404, 429}},
	"POST /api/v1/thing/{name}": {does: "Tells a thing, or behind a point one of its properties, a value: `porch_light`, `blind.position`.",
		more: "204 is that it was told, not that it is so: the stream tells that.",
		body: struct {
			Value any `json:"value"` // true or false, a number, or a text
		}{}, eg: `{"value":true}`, refuses: []int{400, 404, 409, 413, 415}},
	"POST /api/v1/output/{name}":         {does: "Switches an output.", body: onOff, eg: `{"on":true}`, refuses: []int{400, 404, 409, 413, 415}},
	"POST /api/v1/input/{name}":          {does: "Sets a simulated input.", body: onOff, eg: `{"on":true}`, refuses: []int{400, 404, 409, 413, 415}},
	"GET /api/v1/openapi.json":           {does: "This file.", answer: map[string]any{}},
	"POST /hook/{name...}":               {does: "Anything, for the rules with this webhook. It needs no login: the path is as good as a password as it is hard to guess.", refuses: []int{400, 404, 413}},
	"GET /api/v1/pins":                   {does: "The header of the board: what each pin is for, how it is, and which are free.", answer: Board{}},
	"POST /api/v1/acknowledge/{name}":    {does: "Acknowledges the fault of an output or input.", more: "An output that stays off because of it may be switched again. Any other fault stays in the lists and is not loud until it is another one.", refuses: []int{404, 409, 415}},
	"GET /api/v1/devices":                {does: "The devices that have announced themselves.", answer: Devices{}},
	"GET /api/v1/devices/{name}":         {does: "All of one device.", answer: Device{}, refuses: []int{404}},
	"POST /api/v1/devices/{name}/forget": {does: "Forgets a device that is no more.", refuses: []int{409, 415}},
	"GET /api/v1/topics": {does: "What is published over MQTT, as server-sent events.", kind: "text/event-stream", query: map[string]string{"filter": "an MQTT filter; all topics without it"},
		more:   "The stream begins with an event named `retained`. Then comes, four times a second at most, an event without a name with the newest of each topic on which something was said. Only topics that may be seen are there, and payloads that are secret are `***`.",
		events: map[string]any{"retained": hearing{}, "": hearing{}}, refuses: []int{400}},
	"POST /api/v1/publish": {does: "Publishes a message by hand.", more: "It needs the rights of an MQTT client to publish on the topic and to use it on the page, or to change the house.",
		body: byHand{}, eg: `{"topic":"cmnd/lamp/POWER","payload":"ON","qos":0,"retain":false}`, refuses: []int{400, 409, 413, 415}},
	"GET /api/v1/clients": {does: "The MQTT clients that are connected or remembered.", query: map[string]string{"client": "the id of one, to be told its subscriptions as well"}, answer: clientSheet{}},
	"POST /api/v1/clients/disconnect": {does: "Ends the connection of an MQTT client, which may come again.", body: struct {
		Client string `json:"client"` // its id
	}{}, eg: `{"client":"tablet"}`, refuses: []int{400, 409, 413, 415}},
	"GET /api/v1/health": {does: "How the house and its machine are doing, and what is to be done about that.", answer: checkup{}},
	"GET /healthz":       {does: "Whether the house answers within a second.", kind: "text/plain"},
	"GET /metrics":       {does: "All there is to measure, for Prometheus.", kind: "text/plain", refuses: []int{404}},
	"GET /api/v1/why/{name...}": {does: "Why something is as it is, or was at a moment: `porch_light`, `blind.position`, a topic, `rule.stairs`.",
		more:  "Who may see a part of the house is told the state alone.",
		query: map[string]string{"at": "the moment: `07:30`, `yesterday 22:15`, `2h` ago, or RFC 3339; without it now"}, answer: Why{}, refuses: []int{400, 404}},
	"GET /api/v1/rules":        {does: "All rules, links and machines, and where each stands.", answer: ruleList{}},
	"GET /api/v1/rules/{name}": {does: "One of them taken apart, with its last runs and how it is written: `rule.stairs`.", answer: RuleDetail{}, refuses: []int{404}},
	"POST /api/v1/rules/{name}": {does: "Lets a rule run, or no longer.", more: "It takes who may publish on `hearth/rule/NAME/set`.",
		body: struct {
			Enabled bool `json:"enabled"`
		}{}, eg: `{"enabled":true}`, refuses: []int{400, 404, 409, 413, 415}},
	"GET /api/v1/config": {does: "What the owner wrote, as it stands in the files, for those who may change the whole house, as all that follows of it. A secret stands there as `***1`.",
		query: map[string]string{"at": "asks where that is written: `rule.heater`"}, answer: Configuration{}, refuses: []int{400}},
	"POST /api/v1/config/check": {does: "What is wrong with the configuration, if a file of it were another.", more: "200 whatever that is; 409 if the file can't be edited here.",
		body: Draft{}, eg: draftOfDesktop, answer: Checked{}, refuses: []int{400, 404, 409, 413, 415}},
	"POST /api/v1/config/try": {does: "What would have been different over the last days, with a file that is another. Nothing is switched.",
		more: "The answer is lines of JSON, each an object: `{\"progress\":0.1}` while it goes on, and at last `{\"trial\":…}` with the whole, or `{\"error\":\"…\"}`. Who goes away ends it. One at a time; 422 if the file has mistakes.",
		body: tryDraft{}, eg: draftOfDesktop, answer: tryLine{}, kind: "application/x-ndjson", refuses: []int{400, 404, 409, 413, 415, 422}},
	"POST /api/v1/config/save": {does: "Writes a file and has the hub obey it.", more: "422, with the fields of Saved, if there are mistakes in it or the hub can't obey it; then all is as before. 409 if the file was changed since `version` was read, or can't be written.",
		body: Draft{}, eg: draftOfDesktop, answer: Saved{}, refuses: []int{400, 404, 409, 413, 415, 422}},
	"POST /api/v1/config/remove": {does: "Removes a file in which nothing is.", more: "409 for the main file, one in which something is, and one that was changed since `version` was read; else as `save`.",
		body: Draft{}, eg: `{"file":"` + emptyFile + `","version":"` + nameOfText("") + `","text":""}`, answer: Saved{}, refuses: []int{400, 404, 409, 413, 415, 422}},
	"GET /api/v1/config/versions":      {does: "The configurations that were in force.", answer: versionList{}},
	"GET /api/v1/config/version/{id}":  {does: "One of them, with what it changed and what it would change now.", answer: VersionDetail{}, refuses: []int{404}},
	"POST /api/v1/config/version/{id}": {does: "Brings one into force again, as if its texts were saved.", body: restoring{}, eg: `{"sum":"` + nameOfText(desktop) + `"}`, answer: Saved{}, refuses: []int{400, 404, 409, 413, 415, 422}},
}

var draftOfDesktop = func() string {
	b, _ := json.Marshal(Draft{File: "config.toml", Version: nameOfText(desktop), Text: desktop})
	return string(b)
}()

var onOff = struct {
	On bool `json:"on"`
}{}

// usedByPrograms says whether openapi.json has a route.
func usedByPrograms(r route) bool {
	return forPrograms(r.path) || strings.HasPrefix(r.path, "/hook/") || r.path == "/healthz"
}

type object = map[string]any

// describe makes openapi.json. It fails for a route that says nothing of, and for what is said
// of a route that there is none of.
func describe(t *testing.T, s *Server) []byte {
	t.Helper()
	types := schemas{comments: typeComments(t), all: object{}}
	types.all["Error"] = object{"type": "object", "required": []string{"error"}, "properties": object{"error": object{"type": "string", "description": "why not, in one sentence"}}}
	refused := object{"application/json": object{"schema": object{"$ref": "#/components/schemas/Error"}}}
	paths, left := object{}, maps.Clone(saidOfRoutes)
	for _, r := range s.table {
		key := r.method + " " + r.path
		said, ok := left[key]
		delete(left, key)
		switch {
		case !usedByPrograms(r) && !ok:
			continue
		case !ok:
			t.Errorf("%s: saidOfRoutes says nothing of it", key)
			continue
		}
		op := object{"summary": said.does, "operationId": strings.Trim(regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(strings.ToLower(r.method)+strings.TrimPrefix(r.path, "/api/v1"), "_"), "_")}
		if said.more != "" {
			op["description"] = said.more
		}
		var parameters []object
		for _, v := range regexp.MustCompile(`\{([a-z_]+)(\.\.\.)?\}`).FindAllStringSubmatch(r.path, -1) {
			parameters = append(parameters, object{"name": v[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		for _, name := range slices.Sorted(maps.Keys(said.query)) {
			parameters = append(parameters, object{"name": name, "in": "query", "description": said.query[name], "schema": object{"type": "string"}})
		}
		if strings.HasPrefix(r.path, "/api/") {
			parameters = append(parameters, object{"$ref": "#/components/parameters/language"})
		}
		if parameters != nil {
			op["parameters"] = parameters
		}
		if said.body != nil {
			content := object{"schema": types.of(reflect.TypeOf(said.body))}
			if said.eg != "" {
				content["example"] = json.RawMessage(said.eg)
			}
			op["requestBody"] = object{"required": true, "content": object{"application/json": content}}
		} else if r.method != "GET" {
			op["requestBody"] = object{"content": object{"*/*": object{}}}
		}
		answers := object{}
		switch {
		case said.events != nil:
			// OpenAPI 3.1 has no words for a stream of events: the schema is of what each one carries.
			var any []object
			for _, name := range slices.Sorted(maps.Keys(said.events)) {
				if one := types.of(reflect.TypeOf(said.events[name])); !slices.ContainsFunc(any, func(o object) bool { return reflect.DeepEqual(o, one) }) {
					any = append(any, one)
				}
			}
			answers["200"] = object{"description": "the stream", "content": object{said.kind: object{"schema": object{"anyOf": any}}}}
		case said.kind != "" && said.answer != nil:
			answers["200"] = object{"description": "OK", "content": object{said.kind: object{"schema": types.of(reflect.TypeOf(said.answer))}}}
		case said.kind != "":
			answers["200"] = object{"description": "OK", "content": object{said.kind: object{"schema": object{"type": "string"}}}}
		case said.answer != nil:
			answers["200"] = object{"description": "OK", "content": object{"application/json": object{"schema": types.of(reflect.TypeOf(said.answer))}}}
		default:
			answers["204"] = object{"description": "done"}
		}
		refuses := append([]int{503}, said.refuses...)
		op["security"] = []object{}
		if r.needs > Nothing {
			refuses = append(refuses, 401, 403)
			op["security"] = []object{{"token": []string{}}, {"cookie": []string{}}}
			op["x-needs"] = r.needs.String()
		}
		for _, status := range refuses {
			answers[fmt.Sprint(status)] = object{"description": http.StatusText(status), "content": refused}
		}
		op["responses"] = answers
		path := strings.ReplaceAll(r.path, "...}", "}")
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path].(object)[strings.ToLower(r.method)] = op
	}
	for key := range left {
		t.Errorf("%s: saidOfRoutes says something of it, and there is no such route", key)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(object{
		"openapi": "3.1.0",
		"info": object{"title": "Hearth", "version": "1", "license": object{"name": "see the LICENSE of Hearth"},
			"description": "The house as programs see and use it. Names and meanings of fields are stable within /api/v1; fields, routes and events may be added, so ignore what you do not know. " +
				"Times are RFC 3339, in the zone of the house. What a token or a login may not see is not there; `x-needs` is the least that it has to be allowed to: see, use or change."},
		"servers": []object{{"url": "/"}},
		"paths":   paths,
		"components": object{"schemas": types.all, "parameters": object{
			"language": object{"name": "language", "in": "query", "description": "the language of sentences, such as what is wrong and why something was done: `en`, as without it, or `de`", "schema": object{"type": "string"}}}, "securitySchemes": object{
			"token":  object{"type": "http", "scheme": "bearer", "description": "of `hearth token add` or the page of users. On the hub's own machine none is needed, unless web.anonymous = false."},
			"cookie": object{"type": "apiKey", "in": "cookie", "name": "hearth", "description": "of the login; over TLS its name is __Host-hearth"}}},
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// schemas are made of Go types, with the comments of their fields.
type schemas struct {
	comments map[string]string // of "Type" and "Type.Field"
	all      object
}

func (s schemas) of(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{} // JSON as it is
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
	default:
		return object{"type": "integer"}
	}
	if t == reflect.TypeFor[time.Time]() {
		return object{"type": "string", "format": "date-time"}
	}
	name := t.Name()
	ref := object{"$ref": "#/components/schemas/" + name}
	if name != "" && s.all[name] != nil {
		return ref
	}
	properties, required := object{}, []string{}
	schema := object{"type": "object", "properties": properties}
	if name != "" {
		s.all[name] = schema
	}
	if c := s.comments[name]; c != "" && name != "" {
		schema["description"] = c
	}
	var walk func(t reflect.Type)
	walk = func(of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			tag, how, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && tag == "":
				walk(f.Type) // as JSON has it
				continue
			case !f.IsExported() || tag == "-":
				continue
			case tag == "":
				tag = f.Name
			}
			one := s.of(f.Type)
			if c := s.comments[of.Name()+"."+f.Name]; c != "" {
				one["description"] = c
			}
			properties[tag] = one
			if !strings.Contains(how, "omit") {
				required = append(required, tag)
			}
		}
	}
	walk(t)
	if len(required) > 0 {
		schema["required"] = required
	}
	if name != "" {
		return ref
	}
	return schema
}

// typeComments reads what the sources say of types and fields.
func typeComments(t *testing.T) map[string]string {
	all := map[string]string{}
	sources, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	tidy := func(groups ...*ast.CommentGroup) string {
		var text []string
		for _, g := range groups {
			if c := strings.Join(strings.Fields(g.Text()), " "); c != "" {
				text = append(text, c)
			}
		}
		return strings.Join(text, "; ")
	}
	for _, source := range sources {
		if !strings.HasSuffix(source.Name(), ".go") || strings.HasSuffix(source.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				all[ts.Name.Name] = tidy(g.Doc, ts.Doc)
				if st, ok := ts.Type.(*ast.StructType); ok {
					for _, f := range st.Fields.List {
						for _, name := range f.Names {
							all[ts.Name.Name+"."+name.Name] = tidy(f.Comment)
						}
					}
				}
			}
		}
	}
	return all
}

// unfit says what of a value is not as a schema has it; fields that it does not have are wrong.
func unfit(root object, schema object, v any, at string) (wrong []string) {
	if ref, ok := schema["$ref"].(string); ok {
		parts := strings.Split(ref, "/")
		return unfit(root, root["components"].(object)["schemas"].(object)[parts[len(parts)-1]].(object), v, at)
	}
	bad := func(want string) []string { return []string{fmt.Sprintf("%s is %.40v, want %s", at, v, want)} }
	switch schema["type"] {
	case "object":
		o, ok := v.(object)
		if !ok {
			return bad("an object")
		}
		if required, ok := schema["required"].([]any); ok {
			for _, name := range required {
				if _, has := o[name.(string)]; !has {
					wrong = append(wrong, at+" lacks "+name.(string))
				}
			}
		}
		properties, _ := schema["properties"].(object)
		others, open := schema["additionalProperties"].(object)
		for name, field := range o {
			if p, ok := properties[name].(object); ok {
				wrong = append(wrong, unfit(root, p, field, at+"."+name)...)
			} else if open {
				wrong = append(wrong, unfit(root, others, field, at+"."+name)...)
			} else {
				wrong = append(wrong, at+" has "+name+", of which the file does not tell")
			}
		}
	case "array":
		list, ok := v.([]any)
		if !ok {
			return bad("a list")
		}
		for i, one := range list {
			wrong = append(wrong, unfit(root, schema["items"].(object), one, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "string":
		s, ok := v.(string)
		if !ok {
			return bad("a text")
		}
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, s); err != nil {
				return bad("a time")
			}
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return bad("true or false")
		}
	case "number", "integer":
		n, ok := v.(float64)
		if !ok || schema["type"] == "integer" && n != float64(int64(n)) {
			return bad("a number")
		}
	}
	return wrong
}

// What openapi.json says is so: of each route that programs use and of no other, and of what
// the house answers.
func TestOpenAPI(t *testing.T) {
	house := furnished()
	house.recall(t)
	s := serve(t, house)
	want := describe(t, s)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is, err := os.ReadFile("openapi.json")
	if err != nil || !bytes.Equal(is, want) {
		t.Fatalf("openapi.json is not as the routes and types are; run go test ./web -run OpenAPI -update and read the difference: %v", err)
	}
	if *update {
		return // what is served is of before
	}
	w := ask(s, "GET", "/api/v1/openapi.json", "")
	if w.Code != 200 || w.Body.String() != string(want) {
		t.Errorf("it is served with %d, and as another one", w.Code)
	}
	var root object
	if err := json.Unmarshal(want, &root); err != nil {
		t.Fatal(err)
	}
	fits := func(what string, schema any, text []byte) {
		t.Helper()
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Errorf("%s: %v: %.100s", what, err, text)
			return
		}
		for _, wrong := range unfit(root, schema.(object), v, what) {
			t.Error(wrong)
		}
	}
	ofJSON := func(o any) any {
		return o.(object)["content"].(object)["application/json"].(object)["schema"]
	}
	for _, r := range s.table {
		said, ok := saidOfRoutes[r.method+" "+r.path]
		if !ok || said.events != nil {
			continue
		}
		op := root["paths"].(object)[strings.ReplaceAll(r.path, "...}", "}")].(object)[strings.ToLower(r.method)].(object)
		what := r.method + " " + r.path
		body := said.eg
		if said.body != nil {
			fits(what, op["requestBody"].(object)["content"].(object)["application/json"].(object)["schema"], []byte(body))
		}
		path := sample(r)
		switch r.path {
		case "/api/v1/input/{name}":
			path = "/api/v1/input/pir"
		case "/hook/{name...}":
			path = "/hook/doorbell"
		}
		w := ask(s, r.method, path, body)
		answers := op["responses"].(object)
		answer, ok := answers[fmt.Sprint(w.Code)].(object)
		switch {
		case !ok || w.Code >= 300:
			t.Errorf("%s answers %d: %s", what, w.Code, w.Body)
		case said.kind != "":
			if !strings.HasPrefix(w.Header().Get("Content-Type"), said.kind) {
				t.Errorf("%s answers with %s", what, w.Header().Get("Content-Type"))
			}
			for line := range strings.Lines(w.Body.String()) {
				if said.answer != nil {
					fits(what, answer["content"].(object)[said.kind].(object)["schema"], []byte(line))
				}
			}
		case said.answer != nil:
			fits(what, ofJSON(answer), w.Body.Bytes())
		case w.Body.Len() > 0:
			t.Errorf("%s answers %s", what, w.Body)
		}
		if r.needs > Nothing {
			w := ask(s, r.method, path, body, "Authorization", "Bearer hearth_none")
			fits(what+" refused", ofJSON(answers["401"]), w.Body.Bytes())
		}
		if r.method == "POST" && said.body != nil {
			if w := ask(s, r.method, path, `{"nothing":1}`); w.Code != 400 {
				t.Errorf("%s takes what it does not know: %d", what, w.Code)
			}
		}
	}

	// The stream: its beginning, something of each kind, and a sign of life.
	beat := s.beat
	s.beat = 50 * time.Millisecond
	defer func() { s.beat = beat }()
	resp, err := http.Get("http://" + s.Addr() + "/api/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	carried := root["paths"].(object)["/api/v1/events"].(object)["get"].(object)["responses"].(object)["200"].(object)["content"].(object)["text/event-stream"].(object)["schema"].(object)["anyOf"].([]any)
	schemaOf := map[string]any{}
	for _, one := range carried {
		ref, _ := one.(object)["$ref"].(string)
		schemaOf[ref] = one // "": of sparks, which are no type of their own
	}
	lines := bufio.NewReader(resp.Body)
	event, seen := "", map[string]bool{}
	for len(seen) < 6 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err, seen)
		}
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		if event == "" {
			fits("an event", schemaOf["#/components/schemas/Event"], []byte(data))
			var e map[string]json.RawMessage
			json.Unmarshal([]byte(data), &e)
			for kind := range e {
				seen[kind] = true
			}
		} else {
			fits("the event "+event, schemaOf["#/components/schemas/View"], []byte(data))
			seen[event] = true
		}
		if event == "house" {
			house.Switch(t.Context(), "heater", false)
			house.Drive(t.Context(), "pir", true)
			house.report(Reading{Source: "a/b", Text: "1", At: noon})
		}
		event = ""
	}
	things, _ := watchOn(t, s.Addr(), "things")
	things.next()
	second := things.next()
	for strings.HasPrefix(second, "status ") { // of a beat this short
		second = things.next()
	}
	if name, data, _ := strings.Cut(second, " "); name != "sparks" {
		t.Errorf("the second event of things is %q", name)
	} else {
		fits("the event sparks", schemaOf[""], []byte(data))
	}
}
