//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// hosts are machines that differ in a directory, $HOST, in which stub services keep their
// state, and in which the scripts of a directory of testdata are installed.
type hosts struct {
	c   *trio
	dir string
}

// install puts the scripts of the testdata and the stubs into the hosts' PATH. Where the
// scripts name /etc, they get the host's.
func install(t *testing.T, c *trio, testdata string, stubs map[string]string) *hosts {
	t.Helper()
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("there is no /bin/bash, which the scripts are for")
	}
	h := &hosts{c: c, dir: t.TempDir()}
	for name, text := range stubs {
		h.script(t, name, "#!/bin/bash\n"+text+"\n")
	}
	files, err := os.ReadDir(filepath.Join("testdata", testdata))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text := read(t, filepath.Join("testdata", testdata, f.Name()))
		text = strings.ReplaceAll(text, "/etc/", "$HOST/etc/")
		text = strings.ReplaceAll(text, "kith run ", "kith run -ttl 10s ") // the machine may be busy with other tests
		h.script(t, f.Name(), text)
	}
	return h
}

func (h *hosts) script(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// at runs a script at a host, as the agent's client.
func (h *hosts) at(t *testing.T, host, agent, script string) *program {
	t.Helper()
	for _, dir := range []string{"etc/init.d", "etc/nova", "ips"} {
		if err := os.MkdirAll(filepath.Join(h.dir, host, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	init := filepath.Join(h.dir, host, "etc/init.d/mysql")
	if err := os.WriteFile(init, []byte("#!/bin/bash\n[ $1 = stop ] && rm -f $HOST/mysql\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := launchWith(t, h.dir, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/bash", []string{"bash", script}
		cmd.Env = append(cmd.Env, "KITH_API="+h.c.api[agent], "KITH_NAME="+host, "HOST="+filepath.Join(h.dir, host),
			"PATH="+h.dir+":"+h.c.bin(t)+":"+os.Getenv("PATH"))
	})
	t.Cleanup(func() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }) // and what the script has left running
	return p
}

// state returns what is in a host's file, "-" if it is not there.
func (h *hosts) state(host, file string) string {
	text, err := os.ReadFile(filepath.Join(h.dir, host, file))
	if err != nil {
		return "-"
	}
	return strings.TrimSpace(string(text))
}

// become waits until the file is like that at every host.
func (h *hosts) become(t *testing.T, file string, want map[string]string) {
	t.Helper()
	for host, text := range want {
		eventually(t, "at "+host+" "+file+" is "+text, func() bool { return h.state(host, file) == text })
	}
}

// testSeedMySQL is hibera's example of a MySQL failover.
func testSeedMySQL(t *testing.T, c *trio) {
	h := install(t, c, "mysql", map[string]string{
		"associate-mysql-master-ips.sh": `ls $HOST/../*/master-ips >> $HOST/../doubled 2>/dev/null; [ -e $HOST/master-ips ] || touch $HOST/master-ips`,
		"remove-mysql-master-ips.sh":    `rm -f $HOST/master-ips`,
		"start-mysql-master.sh":         `echo master > $HOST/mysql`,
		"start-mysql-slave.sh":          `echo slave of $1 > $HOST/mysql`,
	})
	db1 := h.at(t, "db1", "alpha", "run.sh")
	h.become(t, "mysql", map[string]string{"db1": "master"})
	db2 := h.at(t, "db2", "bravo", "run.sh")
	h.become(t, "mysql", map[string]string{"db2": "slave of db1"})
	db3 := h.at(t, "db3", "charlie", "run.sh")
	h.become(t, "mysql", map[string]string{"db3": "slave of db1"})
	h.become(t, "master-ips", map[string]string{"db1": "", "db2": "-", "db3": "-"})

	db1.signal(t, syscall.SIGKILL) // kith is killed outright
	h.become(t, "mysql", map[string]string{"db1": "-", "db2": "master", "db3": "slave of db2"})
	h.become(t, "master-ips", map[string]string{"db1": "-", "db2": "", "db3": "-"})

	h.at(t, "db4", "alpha", "run.sh")
	h.become(t, "mysql", map[string]string{"db4": "slave of db2"})
	db2.signal(t, syscall.SIGTERM) // and an orderly end
	if code := db2.wait(); code != exitOK {
		t.Errorf("db2 ends with %d: %s", code, &db2.err)
	}
	h.become(t, "mysql", map[string]string{"db2": "-", "db3": "master", "db4": "slave of db3"})
	h.become(t, "master-ips", map[string]string{"db2": "-", "db3": "", "db4": "-"})
	if text, err := os.ReadFile(filepath.Join(h.dir, "doubled")); err != nil || len(text) > 0 {
		t.Errorf("a new master found the addresses of the old one: %s, %v", text, err)
	}
	db3.signal(t, syscall.SIGTERM)
	db3.wait()
}

// testSeedOpenStack is hibera's example of three API servers with an address each, and of
// a configuration that is kept in step.
func testSeedOpenStack(t *testing.T, c *trio) {
	h := install(t, c, "openstack", map[string]string{
		"associate.sh":    `touch $HOST/ips/$1`,
		"disassociate.sh": `rm -f $HOST/ips/$1`,
		"service":         `if [ $2 = start ]; then echo running > $HOST/$1; else rm -f $HOST/$1; fi`,
		"restart":         `echo $1 >> $HOST/restarted`,
	})
	setup := h.at(t, "api0", "alpha", "/dev/null")
	setup.wait()
	write(t, filepath.Join(h.dir, "api0/etc/nova/nova.conf"), "verbose=yes\n")
	if setup = h.at(t, "api0", "alpha", "setup.sh"); setup.wait() != exitOK {
		t.Fatalf("the setup fails: %s", &setup.err)
	}
	servers := map[string]*program{}
	for i, host := range []string{"api1", "api2", "api3", "api4"} {
		servers[host] = h.at(t, host, trioNames[i%3], "rc.local")
		h.become(t, "etc/nova/nova.conf", map[string]string{host: "verbose=yes"})
		if i < 3 {
			h.become(t, "nova-api", map[string]string{host: "running"})
		}
	}
	mapped := func(want map[string]string) {
		t.Helper()
		for host, ip := range want {
			eventually(t, host+" has "+ip, func() bool {
				names, _ := filepath.Glob(filepath.Join(h.dir, host, "ips/*"))
				for i, name := range names {
					names[i] = filepath.Base(name)
				}
				return strings.Join(names, " ") == ip
			})
		}
	}
	mapped(map[string]string{"api1": "10.1.1.1", "api2": "10.1.1.2", "api3": "10.1.1.3", "api4": ""})
	h.become(t, "restarted", map[string]string{"api4": "nova-compute\nnova-api\nnova-network\nnova-scheduler"})

	servers["api2"].signal(t, syscall.SIGKILL)
	mapped(map[string]string{"api1": "10.1.1.1", "api2": "", "api3": "10.1.1.2", "api4": "10.1.1.3"})
	h.become(t, "nova-api", map[string]string{"api1": "running", "api2": "-", "api3": "running", "api4": "running"})
	servers["api1"].signal(t, syscall.SIGTERM)
	mapped(map[string]string{"api1": "", "api3": "10.1.1.1", "api4": "10.1.1.2"})
	h.become(t, "nova-api", map[string]string{"api1": "-"})

	if r := cliWith(t, "verbose=no\n", nil, "set", "openstack.config", "--api", c.api["bravo"]); r.code != exitOK {
		t.Error(r.err)
	}
	h.become(t, "etc/nova/nova.conf", map[string]string{"api3": "verbose=no", "api4": "verbose=no"})
	for _, host := range []string{"api3", "api4"} {
		servers[host].signal(t, syscall.SIGTERM)
	}
}
