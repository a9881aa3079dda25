package peers

import (
	"slices"
	"strings"
)

// oldKeys are names of old files, and names that come to mind first.
var oldKeys = map[string]string{
	"host":    "hostname",
	"ipaddr":  "ip_address",
	"address": "ip_address",
	"addr":    "ip_address",
	"ip":      "ip_address",
	"peers":   "replicas",
}

func isKnown(known []string, key string) bool { return slices.Contains(known, key) }

// meantKey returns the known key that somebody meant by key, empty if it seems
// to be one of its own.
func meantKey(known []string, key string) string {
	const longest = 24 // no known key is near that long
	if len(key) > longest {
		return ""
	}
	key = plain(key)
	if meant := oldKeys[key]; isKnown(known, meant) {
		return meant
	}
	for _, k := range known {
		if isMisspelt(plain(k), key) {
			return k
		}
	}
	return ""
}

var separators = strings.NewReplacer("_", "", "-", "", " ", "")

// plain removes what people vary in the spelling of keys.
func plain(key string) string { return strings.ToLower(separators.Replace(key)) }

// isMisspelt reports whether got is want with one slip of the finger: a letter
// missing, added, wrong or changed places with the next; two slips in a long
// word. In a word of three letters only the last kind counts, for "id" and "kid"
// are not "pid".
func isMisspelt(want, got string) bool {
	if got == want {
		return true
	}
	if len(want) < 4 && len(want) != len(got) {
		return false
	}
	slips := distance(want, got)
	switch {
	case len(want) < 4:
		return slips == 1 && sameLetters(want, got)
	case len(want) < 8:
		return slips == 1
	default:
		return slips <= 2
	}
}

func sameLetters(a, b string) bool {
	x, y := []byte(a), []byte(b)
	slices.Sort(x)
	slices.Sort(y)
	return string(x) == string(y)
}

// distance counts the slips that make b of a: the optimal string alignment
// distance, on bytes.
func distance(a, b string) int {
	// d holds the rows for the last two letters of a and the current one.
	d := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range d[1] {
		d[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		d[2][0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[2][j] = min(d[1][j]+1, d[2][j-1]+1, d[1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[2][j] = min(d[2][j], d[0][j-2]+1)
			}
		}
		d[0], d[1], d[2] = d[1], d[2], d[0]
	}
	return d[1][len(b)]
}
