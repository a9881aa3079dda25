package rules

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/kith-go/kith"

// layers lists, for each package, which of ours it may import. A package that
// is missing here fails the test, so that adding one means deciding.
var layers = map[string][]string{
	"peers":           {},
	"kithtest/memnet": {},
	"internal/leak":   {},
	"internal/bubble": {},
	"internal/secret": {},
	"internal/rules":  {},
	"internal/link":   {"internal/secret"},
	"membership":      {},

	"internal/outcome":       {},
	"internal/planted":       {},
	"internal/check":         {"internal/outcome"},
	"internal/disk":          {},
	"internal/disk/memdisk":  {"internal/disk"},
	"internal/wal":           {"internal/disk", "internal/planted"},
	"internal/snapshot":      {"internal/disk"},
	"internal/founding":      {"internal/disk"},
	"internal/state/statepb": {},
	"internal/state":         {"internal/planted", "internal/state/statepb"},
	"internal/consensus": {
		"internal/disk", "internal/link", "internal/outcome", "internal/planted",
		"internal/snapshot", "internal/state", "internal/state/statepb", "internal/wal",
	},
	"kv":                   {"internal/outcome", "internal/state", "internal/state/statepb"},
	"internal/queue":       {"internal/outcome", "internal/planted", "internal/state", "internal/state/statepb"},
	"lock":                 {"internal/outcome", "internal/queue", "internal/state", "internal/state/statepb"},
	"group":                {"internal/outcome", "internal/queue", "internal/state", "internal/state/statepb"},
	"internal/replicatest": {"internal/outcome", "internal/queue", "internal/state", "internal/state/statepb"},
	"internal/boottime":    {},

	"transport":               {"internal/outcome"},
	"transport/inproc":        {"transport"},
	"transport/transporttest": {"internal/bubble", "internal/outcome", "transport"},
	"transport/zmq":           {"internal/secret", "transport"},

	".": {
		"group", "internal/boottime", "internal/consensus", "internal/disk", "internal/founding", "internal/link",
		"internal/outcome", "internal/queue", "internal/secret", "internal/state", "internal/state/statepb",
		"kv", "lock", "membership", "peers", "transport", "transport/zmq",
	},
	"httpapi":         {".", "group", "internal/boottime", "internal/outcome", "kv", "lock", "membership", "peers", "transport"},
	"kithtest":        {".", "internal/bubble", "internal/disk", "internal/disk/memdisk", "kithtest/memnet", "membership", "peers", "transport", "transport/inproc"},
	"internal/proof":  {},
	"cmd/kith":        {".", "group", "httpapi", "internal/boottime", "internal/secret", "kv", "membership", "peers", "transport"},
	"examples/config": {".", "kv"},

	"examples/failover":          {".", "group"},
	"examples/three-of-n":        {".", "group"},
	"examples/cron-once":         {".", "kv", "lock"},
	"examples/fenced-writer":     {".", "lock"},
	"examples/internal/replicas": {"internal/leak", "peers"},

	"examples/replica": {".", "membership", "peers"},
}

// onlyIn lists dependencies with a strong flavour and the one room of each.
var onlyIn = map[string]string{
	"github.com/hashicorp/":        "membership",
	"github.com/fsnotify/fsnotify": "peers",
	"github.com/spf13/cobra":       "cmd/kith",
	"go.etcd.io/raft":              "internal/consensus",
	"github.com/tidwall/btree":     "internal/state",
	"github.com/anishathalye/":     "internal/check",
	"github.com/pebbe/zmq4":        "transport/zmq",
}

// mayBeUnsafe lists who may import unsafe, and what for.
var mayBeUnsafe = map[string]bool{
	"internal/boottime":      true, // a raw system call
	"internal/disk":          true, // C
	"internal/link":          true, // raw system calls
	"internal/state/statepb": true, // generated
	"transport/zmq":          true, // C
}

type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists the packages of the module with their imports, tests left out.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// room is the directory of an import path of ours, "." for the root.
func room(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := room(p.ImportPath)
		allowed, known := layers[name]
		if !known {
			t.Errorf("package %s is in no layer: add it to layers, with what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			if other, ours := room(imported); ours && !slices.Contains(allowed, other) {
				t.Errorf("%s imports %s, which is not below it", name, other)
			}
			for prefix, home := range onlyIn {
				if strings.HasPrefix(imported, prefix) && name != home {
					t.Errorf("%s imports %s, which belongs in %s alone", name, imported, home)
				}
			}
		}
	}
}

// TestLayersHaveNoCycle: the table itself must be a hierarchy.
func TestLayersHaveNoCycle(t *testing.T) {
	var visit func(name string, path []string)
	visit = func(name string, path []string) {
		if slices.Contains(path, name) {
			t.Fatalf("cycle: %s", strings.Join(append(path, name), " → "))
		}
		for _, below := range layers[name] {
			visit(below, append(path, name))
		}
	}
	for name := range layers {
		visit(name, nil)
	}
}

// TestLibraryLeavesTheProcessAlone: no exits, signals, flags or globals of
// others in anything but the command.
func TestLibraryLeavesTheProcessAlone(t *testing.T) {
	for _, p := range packages(t) {
		name, _ := room(p.ImportPath)
		if strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "examples/") {
			continue
		}
		for _, banned := range []string{"os/signal", "flag", "expvar", "unsafe"} {
			if slices.Contains(p.Imports, banned) && !(banned == "unsafe" && mayBeUnsafe[name]) {
				t.Errorf("%s imports %s: that is the program's business", name, banned)
			}
		}
		fortests := strings.HasPrefix(name, "kithtest") || name == "internal/leak" || name == "internal/bubble" || name == "transport/transporttest"
		if slices.Contains(p.Imports, "testing") && !fortests {
			t.Errorf("%s imports testing outside of a test", name)
		}
	}
}
