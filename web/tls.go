package web

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// overTLS is what a listener accepts, over TLS with the certificate that counts then. The
// handshake is with the first read, on the connection's own goroutine.
func (s *Server) overTLS(l net.Listener) net.Listener {
	return tls.NewListener(plainly{l, s}, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		keeper := s.set.Load().keeper
		if keeper == nil {
			return nil, errors.New("the page is without TLS now")
		}
		return keeper.Config(time.Now()), nil
	}})
}

// plainly accepts connections that lead who speaks plain HTTP to the page over TLS. People
// type an address without https://, and what the library says to that is one line.
type plainly struct {
	net.Listener
	s *Server
}

func (p plainly) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &firstLook{Conn: c, s: p.s}, nil
}

// A firstLook looks at the first byte that comes: TLS begins with 22, the kind of record
// that a handshake is, and HTTP with the letter of a method. Only the connection's own
// goroutine reads.
type firstLook struct {
	net.Conn
	s      *Server
	looked bool
}

const tlsHandshake = 22

func (c *firstLook) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.looked || n == 0 {
		return n, err
	}
	c.looked = true
	if b[0] != tlsHandshake {
		c.lead(b[:n])
		return 0, errPlain
	}
	return n, err
}

var errPlain = errors.New("it does not speak TLS")

// lead answers a request in plain HTTP. Nothing is done of what it asks for: the answer
// tells where to ask. A name that is not ours is not repeated.
func (c *firstLook) lead(begun []byte) {
	rest := io.MultiReader(bytes.NewReader(begun), io.LimitReader(c.Conn, 16<<10))
	r, err := http.ReadRequest(bufio.NewReader(rest)) // the server has set a deadline for it
	if err != nil {
		return
	}
	answer := &http.Response{
		StatusCode: http.StatusBadRequest, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
	}
	text := "This page is https:// only.\n"
	if c.s.isOwn(hostOf(r), c.s.set.Load()) {
		to := "https://" + r.Host + localPath(r.URL.RequestURI())
		text = "This page is at " + to + "\n"
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			answer.StatusCode = http.StatusTemporaryRedirect // it may be without TLS again one day
			answer.Header.Set("Location", to)
		}
	}
	answer.ContentLength = int64(len(text))
	answer.Body = io.NopCloser(strings.NewReader(text))
	answer.Write(c.Conn)
}

// handshakes writes what the server of the library has to say to the log. That a handshake
// came to nothing is not worth a line on the card: phones that do not know the house's CA
// do so with each look, and strangers as often as they like.
type handshakes struct{ log *slog.Logger }

func (h handshakes) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.Contains(text, "TLS handshake error") {
		h.log.Debug("the page: " + text)
	} else {
		h.log.Warn("the page: " + text)
	}
	return len(line), nil
}
