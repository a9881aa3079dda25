package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard decides who may ask.
type guard struct {
	open bool // no token: this machine only
	// sum is the digest of the token. Digests are compared, so that the time
	// taken tells nothing, not even the token's length.
	sum [sha256.Size]byte
}

func newGuard(token string) guard {
	return guard{open: token == "", sum: sha256.Sum256([]byte(token))}
}

// refusal is the answer to a request that the guard turns away.
type refusal struct {
	code    int
	message string
}

func (e *refusal) write(w http.ResponseWriter) {
	if e.code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="kith"`)
	}
	writeError(w, e.code, e.message)
}

// check returns nil if r may be answered.
func (g guard) check(r *http.Request) *refusal {
	if g.open {
		if !isLoopbackHost(r.Host) {
			return &refusal{http.StatusForbidden, fmt.Sprintf(
				"the Host header %q does not name the loopback, and without a token this API serves its own machine only: "+
					"ask 127.0.0.1 or localhost, or start the agent with --http-token-file", r.Host)}
		}
		if from := foreignPage(r); from != "" {
			return &refusal{http.StatusForbidden, fmt.Sprintf(
				"the request comes from a web page elsewhere (%s), and without a token this API is for this machine's own programs: "+
					"type the address into the browser, or start the agent with --http-token-file", from)}
		}
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token == "" || !strings.EqualFold(scheme, "Bearer") {
		return &refusal{http.StatusUnauthorized, "a token is needed: send Authorization: Bearer TOKEN (kith: --token-file or $KITH_TOKEN_FILE)"}
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if subtle.ConstantTimeCompare(sum[:], g.sum[:]) != 1 {
		return &refusal{http.StatusUnauthorized, "the token is wrong: it must be the one the agent was started with (--http-token-file)"}
	}
	return nil
}

// foreignPage returns the header by which a browser tells that a page of another
// origin makes the request, "" for none. Such a page could not read the answer,
// but it could hold event streams open. [http.CrossOriginProtection] lets every
// GET pass.
func foreignPage(r *http.Request) string {
	if origin := r.Header.Get("Origin"); origin != "" {
		// Whatever lies between changes neither header, so they agree for a page
		// of this API.
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return fmt.Sprintf("Origin: %q", origin)
		}
	}
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return "Sec-Fetch-Site: cross-site"
	}
	return ""
}

// isLoopbackHost reports whether a Host header names this machine by a name or
// literal that no DNS server can redirect.
func isLoopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
