package rules

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"hearth/devices"
)

// A request is an HTTP call that waits for its answer, or to be made again. The
// run that made it does not wait for it.
type request struct {
	inst   *instance
	http   devices.Request
	gaps   []time.Duration // that are left
	tries  int
	due    *timer
	notify bool
	secret bool
	by     uint64 // the decision that made it
}

// request makes the call or notification of an instruction.
func (e *Engine) request(in *instr, inst *instance, ctx *context, now devices.Now, d *Decision) {
	if in.http == nil {
		text, ok := e.eval(in.on, in, inst, ctx, now, d)
		if !ok {
			return
		}
		d.Commands = e.emit(d.Commands, devices.Command{Topic: in.target.plain, Payload: valueText(text), Retain: in.retain,
			Notify: true, Journal: true, Secret: in.on.secret, Origin: ctx.origin})
		return
	}
	url, ok := e.eval(in.http.url, in, inst, ctx, now, d)
	if !ok {
		return
	}
	q := &request{by: d.ID, inst: inst, gaps: in.http.retry, notify: in.op == opNotify, secret: in.http.url.secret || in.http.body.secret}
	q.http = devices.Request{Method: in.http.method, URL: valueText(url)}
	if in.http.body.kind != none {
		body, ok := e.eval(in.http.body, in, inst, ctx, now, d)
		if !ok {
			return
		}
		q.http.Body = valueText(body)
	}
	e.asked++
	for _, name := range slices.Sorted(maps.Keys(in.http.header)) {
		v := in.http.header[name]
		text, ok := e.eval(v, in, inst, ctx, now, d)
		if !ok {
			return
		}
		if q.http.Header == nil {
			q.http.Header = make(map[string]string)
		}
		q.http.Header[name] = valueText(text)
		q.secret = q.secret || v.secret
	}
	// A reload counts from 0 again, and the answer to an old one may be on its way.
	q.http.ID = fmt.Sprintf("%s#%d@%d", inst.key(), e.asked, now.Mono)
	e.requests[q.http.ID] = q
	d.Commands = e.emit(d.Commands, e.ask(q, ctx.origin))
}

// maxRequests is how many may wait for an answer; those that a hub does not
// answer must not pile up.
const maxRequests = 1000

func (e *Engine) ask(q *request, origin devices.Origin) devices.Command {
	q.tries++
	if len(e.requests) > maxRequests {
		delete(e.requests, q.http.ID)
	}
	ask := q.http
	return devices.Command{HTTP: &ask, Notify: q.notify, Journal: q.notify, Secret: q.secret, Origin: origin}
}

// Answer is the result of an HTTP command, by its ID: the status, or 0 and why
// there is none. A server's trouble (5xx) or none at all is tried again after the
// action's retry gaps.
func (e *Engine) Answer(id string, status int, problem string, now devices.Now) []Decision {
	e.now, e.derived = now, 0
	e.pass(now)
	q := e.requests[id]
	if q == nil {
		return e.settle()
	}
	if status >= 200 && status < 400 {
		delete(e.requests, id)
		return e.settle()
	}
	if problem == "" {
		problem = fmt.Sprintf("it answered %d", status)
	}
	what := q.http.Method + " " + q.http.URL
	if q.secret {
		what = "the request"
	}
	d := e.decision(q.inst, now, "", nil, Went)
	d.Follows = q.by
	if status != 0 && status < 500 || len(q.gaps) == 0 {
		delete(e.requests, id)
		d.Why = fmt.Sprintf("%s failed after %d tries: %s", what, q.tries, problem)
		if q.tries == 1 {
			d.Why = fmt.Sprintf("%s failed: %s", what, problem)
		}
		q.inst.rule.errors++
		q.inst.rule.err = d.Why
		e.decide(d)
		return e.settle()
	}
	gap := q.gaps[0]
	q.gaps = q.gaps[1:]
	e.timers.set(&q.due, timer{inst: q.inst, request: q, kind: retryDue}, now.Mono+gap)
	e.moved(q.inst)
	d.Why = fmt.Sprintf("%s: %s; again in %s", what, problem, span(gap))
	e.decide(d)
	return e.settle()
}

// retry makes a request once more.
func (e *Engine) retry(q *request, now devices.Now) {
	q.due = nil
	d := e.decision(q.inst, now, "", nil, Went)
	d.Why, d.Follows = fmt.Sprintf("try %d", q.tries+1), q.by
	d.Commands = e.emit(d.Commands, e.ask(q, devices.Origin{By: "time"}.Then(q.inst.rule.name)))
	e.decide(d)
}
