package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// syncTimeout bounds a whole request, from the look-up of the name to the last
// byte of the list.
const syncTimeout = 5 * time.Second

const maxRedirects = 10

// Sync is a helper function that performs a [SyncFrom] but looks up the url and
// api key from the environment, as [SyncEnv] does.
func Sync() (*Peers, error) {
	url, key, err := SyncEnv()
	if err != nil {
		return nil, err
	}
	return SyncFrom(url, key)
}

// SyncEnv returns what the environment says about synchronization: both empty
// and an error when no URL is set, so that nobody asked for it; the URL and an
// error when only the key is missing:
//
//   - $PEERS_SYNC_URL: url endpoint for the GET request
//   - $PEERS_SYNC_APIKEY: key to add to the headers as X-Api-Key
func SyncEnv() (url, apikey string, err error) {
	if url = os.Getenv("PEERS_SYNC_URL"); url == "" {
		return "", "", errors.New("could not find $PEERS_SYNC_URL")
	}
	if apikey = os.Getenv("PEERS_SYNC_APIKEY"); apikey == "" {
		return url, "", errors.New("could not find $PEERS_SYNC_APIKEY")
	}
	return url, apikey, nil
}

// SyncFrom is a remote entry point for the peers package: [SyncContext] without
// a context. It blocks for 5 s at most.
func SyncFrom(url, apikey string) (*Peers, error) {
	return SyncContext(context.Background(), url, apikey)
}

// SyncContext fetches the peers collection from a URL with a GET request that
// carries the api key as X-Api-Key. It blocks until the whole list is there, ctx
// ends, or 5 s have passed.
//
// Only the status 200 is success; for any other the error is like "could not
// synchronize peers: 403 Forbidden". A list above [MaxFileSize], unpacked, is
// [ErrTooLarge]; one that cannot be read is an [*InvalidError]. As with
// [LoadFrom], whether the list makes sense is not looked at. A redirect is
// followed on the same host only, and never from https to http: the key would go
// with it.
func SyncContext(ctx context.Context, url, apikey string) (*Peers, error) {
	answer, err := newFetcher(url, apikey, nil).fetch(ctx, validators{})
	if err != nil {
		return nil, err
	}
	return answer.list, nil
}

// fetcher asks one server for its list.
type fetcher struct {
	url     string
	apikey  string
	client  *http.Client
	timeout time.Duration
}

// validators are what a server says of a version of the list, and is asked
// later whether there is a newer one.
type validators struct{ etag, lastModified string }

// answer is a list and its validators; the list is nil if it is still the one
// that was asked about.
type answer struct {
	list *Peers
	validators
}

func newFetcher(url, apikey string, client *http.Client) *fetcher {
	own := http.Client{Transport: lonelyTransport()}
	if client != nil {
		own = *client
	}
	own.CheckRedirect = sameHostOnly(own.CheckRedirect)
	return &fetcher{url: url, apikey: apikey, client: &own, timeout: syncTimeout}
}

// lonelyTransport is the default transport without idle connections: nobody
// would close them, and once a minute is no reason to keep one.
func lonelyTransport() http.RoundTripper {
	shared, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport // the program's own
	}
	transport := shared.Clone()
	transport.DisableKeepAlives = true
	return transport
}

// sameHostOnly refuses redirects that would take the key elsewhere. Of the
// headers net/http keeps back only those it knows, and X-Api-Key is not one.
func sameHostOnly(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		from, to := via[len(via)-1].URL, req.URL
		switch {
		case len(via) >= maxRedirects:
			return fmt.Errorf("%d redirects are too many", len(via))
		case from.Scheme == "https" && to.Scheme != "https":
			return fmt.Errorf("the redirect to %s would send the key in the clear", redact(to))
		case !strings.EqualFold(from.Hostname(), to.Hostname()) || port(from) != port(to) && !isUpgrade(from, to):
			return fmt.Errorf("the redirect to another host would send the key there: if that is right, use %s", redact(to))
		case next != nil:
			return next(req, via)
		}
		return nil
	}
}

// isUpgrade reports whether to is the usual https place of a usual http one.
func isUpgrade(from, to *url.URL) bool {
	return from.Scheme == "http" && port(from) == "80" && to.Scheme == "https" && port(to) == "443"
}

func port(u *url.URL) string {
	byScheme := map[string]string{"http": "80", "https": "443"}
	return cmp.Or(u.Port(), byScheme[u.Scheme])
}

// parseURL accepts the URLs that can be fetched.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if wrong, ok := errors.AsType[*url.Error](err); ok {
		err = wrong.Err // the text around it repeats the URL, password and all
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("bad URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("bad URL: it must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("bad URL: it names no host")
	}
	return u, nil
}

// redact returns the URL without what may be secret in it: user, password and
// the values of the query.
func redact(u *url.URL) string {
	shown := *u
	if shown.User != nil {
		shown.User = url.User("xxxxx")
	}
	if shown.RawQuery != "" {
		shown.RawQuery = "xxxxx"
	}
	return shown.String()
}

func (f *fetcher) fetch(ctx context.Context, old validators) (answer, error) {
	u, err := parseURL(f.url)
	if err != nil {
		return answer{}, fmt.Errorf("peers: could not synchronize peers: %w", err)
	}
	timedOut := fmt.Errorf("no complete answer within %v", f.timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, timedOut)
	defer cancel()

	got, err := f.request(ctx, u, old)
	if status, ok := errors.AsType[*statusError](err); ok {
		return answer{}, status
	}
	if err == nil {
		return got, nil
	}
	if wrong, ok := errors.AsType[*url.Error](err); ok {
		err = wrong.Err // the text around it repeats the URL, user and all
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return answer{}, fmt.Errorf("peers: could not synchronize peers from %s: %w", redact(u), err)
}

// statusError is an answer other than 200. Programs match its exact text, so it
// has no prefix.
type statusError struct{ status string }

func (e *statusError) Error() string { return "could not synchronize peers: " + e.status }

func (f *fetcher) request(ctx context.Context, u *url.URL, old validators) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-Api-Key", f.apikey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if old.etag != "" {
		req.Header.Set("If-None-Match", old.etag)
	}
	if old.lastModified != "" {
		req.Header.Set("If-Modified-Since", old.lastModified)
	}

	resp, err := f.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && old != (validators{}) {
		return answer{validators: old}, nil
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, &statusError{resp.Status}
	}
	if resp.ContentLength > MaxFileSize {
		return answer{}, fmt.Errorf("the answer is %w", ErrTooLarge)
	}
	data, err := readLimited(resp.Body)
	if errors.Is(err, ErrTooLarge) {
		return answer{}, fmt.Errorf("the answer is %w", err)
	}
	if err != nil {
		return answer{}, fmt.Errorf("the answer broke off: %w", err)
	}
	list, err := decodePeers(data, redact(u))
	if err != nil {
		return answer{}, fmt.Errorf("the answer (%s) is no list of peers: %w",
			cmp.Or(resp.Header.Get("Content-Type"), "without Content-Type"), err)
	}
	list.path = "" // it came from no file, so Dump("") has none to go to
	return answer{list, validators{resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")}}, nil
}
