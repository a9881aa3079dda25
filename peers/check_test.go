package peers

import (
	"errors"
	"strings"
	"testing"
)

func TestValidateFile(t *testing.T) {
	list, err := LoadFrom("testdata/faults.json")
	if err != nil {
		t.Fatal(err)
	}
	err = list.Validate()
	invalid, ok := errors.AsType[*InvalidError](err)
	if !ok || invalid.Path != "testdata/faults.json" {
		t.Fatalf("error is %v", err)
	}
	matchFaults(t, invalid.Faults, []string{
		`5:6: peer "alpha" (pid 1): pid: 1 is also the pid of "alpha"`,
		`5:16: peer "alpha" (pid 1): name: peer 1 of the list has the same`,
		`5:59: peer "alpha" (pid 1): port: the message port 4000 is also the message port of "alpha" at 10.0.0.1`,
		`6:6: peer 3 of the list: pid: missing or 0`,
		`6:16: peer 3 of the list: name: missing`,
		`6:28: peer 3 of the list: ip_address: "apollo.example.com" is no IP address: write a host name into hostname or domain`,
		`6:5: peer 3 of the list: port: missing or 0`,
		`6:64: peer 3 of the list: prot: unknown key: did you mean "port"?`,
		`7:16: peer "a b" (pid 4): name: ' ' cannot be in a name`,
		`7:5: peer "a b" (pid 4): ip_address: the peer has no address`,
		`7:5: peer "a b" (pid 4): control_port: the default, 65000+1000 = 66000, is above 65535: set control_port`,
		`8:58: peer "echo" (pid 5): port: the message port 5000 is also the control port of "alpha" at 10.0.0.1`,
		`9:35: peer "foxtrot" (pid 6): ip_address: 0.0.0.0 is an address to listen on`,
		`9:74: peer "foxtrot" (pid 6): control_port: 6000 is the message port of the same peer`,
		`10:55: peer "golf" (pid 8): ip_address: "10.0.0.300" is no IP address`,
		`10:16: peer "golf" (pid 8): pid: the key occurs twice`,
		`10:42: peer "golf" (pid 8): host: unknown key: did you mean "hostname"?`,
	})
	if text := err.Error(); !strings.HasPrefix(text, "peers: the list has 17 faults:\ntestdata/faults.json:5:6: peer") {
		t.Errorf("the text is %s", text)
	}
	matchFaults(t, list.Warnings(), []string{`8:72: peer "echo" (pid 5): rack: unknown key: kept`})
}

func TestValidateOldest(t *testing.T) {
	list, err := LoadFrom("testdata/oldest.json")
	if err != nil {
		t.Fatal(err)
	}
	err = list.Validate()
	for _, want := range []string{
		`address: unknown key: did you mean "ip_address"?`,
		`host: unknown key: did you mean "hostname"?`,
		`ipaddr: unknown key: did you mean "ip_address"?`,
		`ip_address: the peer has no address`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
}

// valid is a peer to spoil.
func valid() *Peer { return &Peer{PID: 1, Name: "alpha", IPAddr: "10.0.0.1", Port: 4000} }

func TestValidatePeer(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Peer)
		want  string // empty if valid
	}{
		{"nothing", func(p *Peer) {}, ""},
		{"IPv6", func(p *Peer) { p.IPAddr = "2001:db8::1" }, ""},
		{"IPv6 in brackets", func(p *Peer) { p.IPAddr = "[2001:db8::1]" }, ""},
		{"IPv6 with zone", func(p *Peer) { p.IPAddr = "fe80::1%eth0" }, ""},
		{"domain", func(p *Peer) { p.IPAddr, p.Domain = "", "alpha.example.com." }, ""},
		{"host name", func(p *Peer) { p.IPAddr, p.Hostname = "", "kith_alpha-1" }, ""},
		{"odd host name beside an address", func(p *Peer) { p.Hostname = "Ada's laptop" }, ""},
		{"highest ports", func(p *Peer) { p.Port = 64535 }, ""},
		{"highest ports, given", func(p *Peer) { p.Port, p.ControlPort = 65535, 65534 }, ""},
		{"longest name", func(p *Peer) { p.Name = strings.Repeat("n", MaxNameLen) }, ""},
		{"all letters", func(p *Peer) { p.Name = "_A.b-9" }, ""},

		{"pid", func(p *Peer) { p.PID = 0 }, "pid: missing or 0"},
		{"no name", func(p *Peer) { p.Name = "" }, "name: missing"},
		{"long name", func(p *Peer) { p.Name = strings.Repeat("n", MaxNameLen+1) }, "name: 129 bytes long"},
		{"name with slash", func(p *Peer) { p.Name = "a/b" }, "name: '/' cannot be in a name"},
		{"name upwards", func(p *Peer) { p.Name = ".." }, "name: begins with '.'"},
		{"name like a flag", func(p *Peer) { p.Name = "-v" }, "name: begins with '-'"},
		{"name with accent", func(p *Peer) { p.Name = "café" }, "name: 'é' cannot be in a name"},
		{"name not UTF-8", func(p *Peer) { p.Name = "a\xff" }, "name: not UTF-8"},
		{"description not UTF-8", func(p *Peer) { p.Description = "\xff" }, "description: not UTF-8"},
		{"aws not UTF-8", func(p *Peer) { p.AWSInstance = map[string]string{"a": "\xff"} }, "aws_instance: not UTF-8"},
		{"no address", func(p *Peer) { p.IPAddr = "" }, "ip_address: the peer has no address"},
		{"address with port", func(p *Peer) { p.IPAddr = "10.0.0.1:4000" }, "write the port into port"},
		{"address with prefix", func(p *Peer) { p.IPAddr = "10.0.0.1/24" }, "leave out the length"},
		{"address a URL", func(p *Peer) { p.IPAddr = "tcp://10.0.0.1" }, "give the host alone"},
		{"name in address", func(p *Peer) { p.IPAddr = "localhost" }, "write a host name into hostname or domain"},
		{"name and port in address", func(p *Peer) { p.IPAddr = "apollo:4000" }, "host into hostname or domain, the port into port"},
		{"three bytes", func(p *Peer) { p.IPAddr = "10.0.1" }, `"10.0.1" is no IP address: an example`},
		{"any", func(p *Peer) { p.IPAddr = "::" }, "an address to listen on"},
		{"multicast", func(p *Peer) { p.IPAddr = "224.0.0.1" }, "multicast"},
		{"bad domain", func(p *Peer) { p.IPAddr, p.Domain = "", "a..b" }, `domain: "a..b" is no host name`},
		{"host name with blank", func(p *Peer) { p.IPAddr, p.Hostname = "", "a b" }, `hostname: "a b" is no host name`},
		{"no port", func(p *Peer) { p.Port = 0 }, "port: missing or 0"},
		{"no room for control", func(p *Peer) { p.Port = 64536 }, "64536+1000 = 65536, is above 65535: set control_port"},
		{"same ports", func(p *Peer) { p.ControlPort = 4000 }, "control_port: 4000 is the message port of the same peer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := valid()
			test.spoil(p)
			err := (&Peers{Peers: []*Peer{p}}).Validate()
			switch {
			case test.want == "":
				if err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), test.want):
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestValidateCollisions(t *testing.T) {
	other := func(change func(*Peer)) *Peer {
		p := &Peer{PID: 2, Name: "bravo", IPAddr: "10.0.0.1", Port: 4002}
		change(p)
		return p
	}
	for _, test := range []struct {
		name  string
		other *Peer
		want  string
	}{
		{"none", other(func(p *Peer) {}), ""},
		{"other host", other(func(p *Peer) { p.IPAddr, p.Port = "10.0.0.2", 4000 }), ""},
		{"name", other(func(p *Peer) { p.Name = "alpha" }), "name: peer 1 of the list has the same"},
		{"pid", other(func(p *Peer) { p.PID = 1 }), `pid: 1 is also the pid of "alpha"`},
		{"message ports", other(func(p *Peer) { p.Port, p.ControlPort = 4000, 1 }), `port: the message port 4000 is also the message port of "alpha" at 10.0.0.1: give one`},
		{"control ports", other(func(p *Peer) { p.ControlPort = 5000 }), `control_port: the control port 5000 is also the control port of "alpha"`},
		{"message and control", other(func(p *Peer) { p.Port = 5000 }), `port: the message port 5000 is also the control port of "alpha"`},
		{"control and message", other(func(p *Peer) { p.Port = 3000 }), `port: the control port 4000 is also the message port of "alpha" at 10.0.0.1: set control_port`},
		{"other spelling", other(func(p *Peer) { p.IPAddr, p.Port, p.ControlPort = "::ffff:10.0.0.1", 4000, 1 }), `port: the message port 4000`},
	} {
		err := (&Peers{Peers: []*Peer{valid(), test.other}}).Validate()
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: error is %v, want %q", test.name, err, test.want)
		}
	}
	local := &Peers{Peers: []*Peer{
		{PID: 1, Name: "a", IPAddr: "127.0.0.1", Port: 4000},
		{PID: 2, Name: "b", Hostname: "LOCALHOST", Port: 4000},
	}}
	if err := local.Validate(); err == nil || !strings.Contains(err.Error(), "message port of \"a\"") {
		t.Errorf("localhost and 127.0.0.1: %v", err)
	}
	if err := new(Peers).Validate(); err == nil || !strings.Contains(err.Error(), "the list is empty") {
		t.Errorf("empty list: %v", err)
	}
}

func TestRepeatedKeys(t *testing.T) {
	list := new(Peers)
	err := list.Load(inDir(t, `{
		"info": {"a": 1, "b": [{"c": 1, "c": 2}], "a": {"b": 1}},
		"replicas": [
			{"pid": 1, "name": "alpha", "hostname": "h", "port": 1, "rack": {"a": {}, "b": 1, "a": 2}, "aws_instance": {"x": "1", "x": "2"}},
			{"pid": 2, "name": "bravo", "hostname": "h", "port": 2, "Port": 3, "rack": 1, "rack": 2}
		],
		"zone": 1, "zone": 2
	}`))
	if err != nil {
		t.Fatal(err)
	}
	invalid, _ := errors.AsType[*InvalidError](list.Validate())
	if invalid == nil {
		t.Fatal("valid")
	}
	matchFaults(t, invalid.Faults, []string{
		"7:14: zone: the key occurs twice",
		"2:35: info.c: the key occurs twice",
		"2:45: info.a: the key occurs twice",
		`4:86: peer "alpha" (pid 1): rack.a: the key occurs twice`,
		`4:122: peer "alpha" (pid 1): aws_instance.x: the key occurs twice`,
		`5:60: peer "bravo" (pid 2): port: the key occurs twice`,
		`5:82: peer "bravo" (pid 2): rack: the key occurs twice`,
	})
	if text := string(encoded(t, list)); strings.Count(text, `"zone"`) != 1 || strings.Contains(text, `"zone": 1`) {
		t.Errorf("written as\n%s", text)
	}
}

func TestWarnings(t *testing.T) {
	list := new(Peers)
	if err := list.Load(inDir(t, `{"info": {"num_replicas": 3}, "owner": "us",
		"replicas": [{"PID": 1, "name": "alpha", "hostname": "h", "port": 1, "role": "x"}]}`)); err != nil {
		t.Fatal(err)
	}
	if err := list.Validate(); err != nil {
		t.Errorf("odd, and refused: %v", err)
	}
	matchFaults(t, list.Warnings(), []string{
		"1:2: info: num_replicas is 3, but the list has 1",
		"1:31: owner: unknown key",
		`2:17: peer "alpha" (pid 1): pid: the key is written "PID": write "pid"`,
		`2:72: peer "alpha" (pid 1): role: unknown key`,
	})
}

func TestMeantKey(t *testing.T) {
	for key, want := range map[string]string{
		"prot": "port", "por": "port", "ports": "port", "prt": "port", "PROT": "port",
		"controlPort": "control_port", "control-port": "control_port", "contrl_prot": "control_port",
		"ipAddress": "ip_address", "ip_adress": "ip_address", "ip": "ip_address", "addr": "ip_address",
		"address": "ip_address", "ipaddr": "ip_address", "ip_addr": "ip_address",
		"host": "hostname", "Host": "hostname", "hostnmae": "hostname", "host_name": "hostname",
		"desciption": "description", "awsInstance": "aws_instance", "naem": "name", "dpi": "", "ipd": "pid",
		// These have a meaning of their own.
		"id": "", "kid": "", "uid": "", "role": "", "rack": "", "zone": "", "weight": "", "region": "", "tags": "", "peers": "",
		strings.Repeat("port", 1000): "",
	} {
		if got := meantKey(peerKeys, key); got != want {
			t.Errorf("%.40q means %q, want %q", key, got, want)
		}
	}
	for key, want := range map[string]string{"peers": "replicas", "replica": "replicas", "Info_": "info", "host": "", "owner": ""} {
		if got := meantKey(listKeys, key); got != want {
			t.Errorf("in the list %q means %q, want %q", key, got, want)
		}
	}
}
