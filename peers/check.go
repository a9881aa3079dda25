package peers

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MaxNameLen is the longest name of a peer, in bytes.
const MaxNameLen = 128

// Validate returns every fault of the list in one [*InvalidError], or the first
// 1000 of them, and nil if there is none. It resolves nothing and looks at no network.
//
// A valid list has at least one peer. Each has a pid above 0 and a name that no
// other has; a name is made of letters, digits, dot, dash and underscore, begins
// with neither dot nor dash, and is at most [MaxNameLen] bytes long. Each has an
// address that others can dial: an IP address in ip_address, else a domain or a
// host name. Each has a message port and a control port, and no two ports at one
// address are the same. No key occurs twice in an object, and none is another
// one misspelt, such as "prot", or of the oldest files, such as "host".
//
// Lines are those of the file as it was loaded, whatever was edited since.
func (p *Peers) Validate() error {
	faults, _ := check(p)
	if len(faults) == 0 {
		return nil
	}
	invalid := &InvalidError{Path: p.Source(), Faults: faults}
	if invalid.Path == "" && p != nil && p.origin != nil {
		invalid.Path = p.origin.name
	}
	return invalid
}

// Warnings returns what is odd about the list but no reason to refuse it, such
// as keys that this package does not know. The slice belongs to the caller.
func (p *Peers) Warnings() []Fault {
	_, warnings := check(p)
	return warnings
}

// checker looks through a list once; the maps make that linear.
type checker struct {
	names    map[string]int // name → position of the first peer that has it
	pids     map[uint32]*Peer
	ports    map[portAt]claim
	faults   []Fault
	warnings []Fault
}

// portAt is a port of a host.
type portAt struct {
	host host
	port uint16
}

// host is an address, the same for all ways to spell it. The zero host is none.
type host struct {
	addr netip.Addr
	name string
}

// claim says whose a port is.
type claim struct {
	peer *Peer
	what string // "message port" or "control port"
}

func check(p *Peers) (faults, warnings []Fault) {
	n := len(p.entries())
	c := &checker{
		names: make(map[string]int, n),
		pids:  make(map[uint32]*Peer, n),
		ports: make(map[portAt]claim, 2*n),
	}
	c.list(p)
	for i, peer := range p.entries() {
		if peer == nil {
			c.faults = appendFault(c.faults, Fault{Index: i, Problem: "there is nothing where a peer belongs"})
			continue
		}
		c.peer(i, peer)
	}
	return c.faults, c.warnings
}

func (c *checker) list(p *Peers) {
	if p == nil {
		p = new(Peers)
	}
	fault := func(key, problem, hint string) Fault {
		return Fault{Index: -1, Field: key, Problem: problem, Hint: hint}.at(p.origin.find(key))
	}
	if !validJSON(p.Info) {
		c.faults = append(c.faults, fault("info", "not UTF-8", ""))
	}
	if len(p.Peers) == 0 {
		c.faults = append(c.faults, fault("replicas", "the list is empty", "give at least one peer"))
	}
	if n, ok := p.Info[infoCount].(float64); ok && n != float64(len(p.Peers)) {
		c.warnings = append(c.warnings, fault("info",
			fmt.Sprintf("%s is %v, but the list has %d", infoCount, n, len(p.Peers)), ""))
	}
	c.keys(p.origin, listKeys, Fault{Index: -1})
}

func (c *checker) peer(i int, p *Peer) {
	blank := Fault{Peer: p.Name, PID: p.PID, Index: i}
	fault := func(key, problem, hint string) {
		f := blank
		f.Field, f.Problem, f.Hint = key, problem, hint
		c.faults = appendFault(c.faults, f.at(p.origin.find(key)))
	}

	if key := p.notUTF8(); key != "" {
		fault(key, "not UTF-8", "")
	}
	if p.PID == 0 {
		fault("pid", "missing or 0", "give each peer a number of its own, from 1")
	} else if first, twice := c.pids[p.PID]; twice {
		fault("pid", fmt.Sprintf("%d is also the pid of %q", p.PID, first.Name), "give each peer a number of its own")
	} else {
		c.pids[p.PID] = p
	}
	if problem, hint := nameProblem(p.Name); problem != "" {
		fault("name", problem, hint)
	} else if first, twice := c.names[p.Name]; twice {
		fault("name", fmt.Sprintf("peer %d of the list has the same", first+1), "give each peer a name of its own")
	} else {
		c.names[p.Name] = i
	}
	if key, problem, hint := addressProblem(p); problem != "" {
		fault(key, problem, hint)
	}
	c.checkPorts(p, fault)
	c.keys(p.origin, peerKeys, blank)
}

// nameProblem says why a name is unfit, if it is. Names become the names of
// gossip nodes and of directories, and arguments of commands.
func nameProblem(name string) (problem, hint string) {
	const allowed = "use letters, digits, dot, dash and underscore"
	switch {
	case name == "":
		return "missing", "give each peer a name of its own"
	case len(name) > MaxNameLen:
		return fmt.Sprintf("%d bytes long", len(name)), fmt.Sprintf("use at most %d", MaxNameLen)
	case name[0] == '.' || name[0] == '-':
		return fmt.Sprintf("begins with %q", name[0]), "begin with a letter, a digit or an underscore"
	}
	for _, r := range name {
		if !nameRune(r) {
			return fmt.Sprintf("%q cannot be in a name", r), allowed
		}
	}
	return "", ""
}

func nameRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
		r == '.' || r == '-' || r == '_'
}

// addressProblem says what is wrong with the address at which others dial p.
func addressProblem(p *Peer) (key, problem, hint string) {
	key, host := p.address()
	if host == "" {
		return "ip_address", "the peer has no address", "give ip_address, or else domain or hostname"
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.IsUnspecified():
		return key, host + " is an address to listen on, not one to dial", "give the address of the machine"
	case err == nil && addr.IsMulticast():
		return key, host + " is a multicast address", "give the address of the machine"
	case err == nil:
		return "", "", ""
	case key != "ip_address" && isHostName(host):
		return "", "", ""
	}
	problem = fmt.Sprintf("%q is no host name", host)
	if key == "ip_address" {
		problem = fmt.Sprintf("%q is no IP address", host)
	}
	return key, problem, addressHint(host)
}

// addressHint guesses what was meant by something that is no address.
func addressHint(host string) string {
	if _, err := netip.ParseAddrPort(host); err == nil {
		return "write the port into port"
	}
	if _, err := netip.ParsePrefix(host); err == nil {
		return "leave out the length of the prefix"
	}
	if strings.Contains(host, "://") {
		return "give the host alone"
	}
	if name, port, ok := strings.Cut(host, ":"); ok && isHostName(name) && isNumber(port) {
		return "write the host into hostname or domain, the port into port"
	}
	if isHostName(host) {
		return "write a host name into hostname or domain"
	}
	return "an example is 10.0.0.1"
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// isHostName reports whether a resolver could take s for a name. Underscores
// occur in the names of containers. Digits and dots alone are an IP address
// gone wrong.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 || strings.Trim(s, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' {
			return false
		}
	}
	for _, r := range s {
		if !nameRune(r) {
			return false
		}
	}
	return true
}

// checkPorts looks at the two ports of p, and at whose they are already.
func (c *checker) checkPorts(p *Peer, fault func(key, problem, hint string)) {
	at := hostOf(p)
	free := false
	if p.Port == 0 {
		fault("port", "missing or 0", "give the message port, 1 to 65535")
	} else {
		free = c.claimPort(p, portAt{at, p.Port}, "message port", "port", fault)
	}
	switch control := p.Control(); {
	case control != 0 && p.ControlPort == 0 && !free:
		// It follows from a port that has to change anyway.
	case control != 0 && control == p.Port:
		fault("control_port", fmt.Sprintf("%d is the message port of the same peer", control),
			"give another one, or leave it out")
	case control != 0:
		key := "control_port"
		if p.ControlPort == 0 {
			key = "port" // which it follows from
		}
		c.claimPort(p, portAt{at, control}, "control port", key, fault)
	case p.Port != 0:
		fault("control_port", fmt.Sprintf("the default, %d+%d = %d, is above 65535",
			p.Port, controlOffset, int(p.Port)+controlOffset), "set control_port")
	}
}

// claimPort notes that a port is in use, or reports whose it was before.
func (c *checker) claimPort(p *Peer, at portAt, what, key string, fault func(key, problem, hint string)) (free bool) {
	if at.host == (host{}) {
		return true // no address, which is a fault of its own
	}
	first, taken := c.ports[at]
	if !taken {
		c.ports[at] = claim{p, what}
		return true
	}
	hint := "give one of them another port"
	if what == "control port" && p.ControlPort == 0 {
		hint = "set control_port"
	}
	fault(key, fmt.Sprintf("the %s %d is also the %s of %q at %s", what, at.port, first.what, first.peer.Name, p.Host()), hint)
	return false
}

func hostOf(p *Peer) host {
	name := p.Host()
	if addr, err := netip.ParseAddr(name); err == nil {
		return host{addr: addr.Unmap()}
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "localhost" {
		return host{addr: netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return host{name: name}
}

// keys reports the keys of one object that occur twice or are not known. The
// blank is a fault of that object.
func (c *checker) keys(o *origin, known []string, blank Fault) {
	if o == nil {
		return
	}
	report := func(to *[]Fault, k keyPlace, problem, hint string) {
		f := blank
		f.Field, f.Problem, f.Hint = k.key, problem, hint
		*to = appendFault(*to, f.at(k.place))
	}
	for _, k := range o.repeated {
		report(&c.faults, k, "the key occurs twice, and only the last value counts", "remove one of them")
	}
	for _, k := range o.keys {
		if k.written != "" {
			report(&c.warnings, k, fmt.Sprintf("the key is written %q", k.written), fmt.Sprintf("write %q", k.key))
			continue
		}
		if isKnown(known, k.key) {
			continue
		}
		if meant := meantKey(known, k.key); meant != "" {
			report(&c.faults, k, "unknown key", fmt.Sprintf("did you mean %q?", meant))
			continue
		}
		report(&c.warnings, k, "unknown key", "kept, and not used")
	}
}
