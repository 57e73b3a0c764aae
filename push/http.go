package push

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// address is where the lines go.
func (t Target) address() string {
	query := url.Values{"precision": {"ns"}}
	path := "/write"
	if t.Bucket != "" {
		path = "/api/v2/write"
		query.Set("bucket", t.Bucket)
		if t.Org != "" {
			query.Set("org", t.Org)
		}
	} else {
		query.Set("db", t.Database)
	}
	return strings.TrimSuffix(t.URL, "/") + path + "?" + query.Encode()
}

// post sends lines. The error is a refusal where the database understood the request and
// will not take the lines, a retryAfter where it said when to try again.
//
// https://docs.influxdata.com/influxdb/v2/write-data/troubleshoot/ tells what its answers mean.
func (p *pusher) post(ctx context.Context, lines []byte) error {
	var body bytes.Buffer
	zip := gzip.NewWriter(&body)
	zip.Write(lines)
	if err := zip.Close(); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.address(), &body)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "hearth")
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Content-Encoding", "gzip")
	switch {
	case p.cfg.Token != "":
		req.Header.Set("Authorization", "Token "+p.secret)
	case p.cfg.User != "":
		req.SetBasicAuth(p.cfg.User, p.secret)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // without the address, which the owner knows
		}
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("it answers %s%s", cmp.Or(strings.TrimSpace(resp.Status), strconv.Itoa(resp.StatusCode)), because(said))
	switch code := resp.StatusCode; code {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return refusal{error: err}
	case http.StatusRequestEntityTooLarge:
		return refusal{err, true}
	default:
		if after, no := strconv.Atoi(resp.Header.Get("Retry-After")); no == nil && after > 0 {
			return retryAfter{err, time.Duration(min(after, 24*60*60)) * time.Second}
		}
		return err
	}
}

// because is what a database says of why not.
func because(body []byte) string {
	var told struct{ Message, Error string }
	json.Unmarshal(body, &told)
	text := fieldText(strings.Join(strings.Fields(cmp.Or(told.Message, told.Error, string(body))), " "))
	if text == "" {
		return ""
	}
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return ": " + text
}
