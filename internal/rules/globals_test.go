package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constant lists the calls whose results nobody changes: what they make may be
// kept in a package-level variable.
var constant = []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "strings.NewReplacer", "time.Date"}

// seams lists the variables that only tests have to do with.
var seams = []string{
	"peers/dump.go: renameFile", "peers/dump.go: fsync",
	"internal/planted/planted_on.go: inForce", // in builds with deliberate bugs only
	"internal/link/order_race.go: order",      // in builds with the race detector only
}

// mutableGlobals returns the package-level variables of file that can hold state:
// all but error sentinels, filled tables, regular expressions and the like.
func mutableGlobals(file *ast.File) (found []string) {
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.VAR {
			continue
		}
		for _, spec := range d.Specs {
			s := spec.(*ast.ValueSpec)
			for i, name := range s.Names {
				if name.Name != "_" && (len(s.Values) != len(s.Names) || !isTable(s.Values[i])) {
					found = append(found, name.Name)
				}
			}
		}
	}
	return found
}

func isTable(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.CompositeLit:
		return len(v.Elts) > 0 // an empty one waits to be filled
	case *ast.SelectorExpr: // another package's sentinel, passed on
		return strings.HasPrefix(v.Sel.Name, "Err")
	case *ast.CallExpr:
		return slices.Contains(constant, selector(v.Fun))
	}
	return false
}

// selector returns "pkg.Name" for such an expression, "" for others.
func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if pkg, ok := s.X.(*ast.Ident); ok {
			return pkg.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// processWide lists what reads or changes what a whole process shares.
var processWide = []string{
	"slog.SetDefault", "slog.Default", "slog.With", "slog.SetLogLoggerLevel",
	"slog.Debug", "slog.Info", "slog.Warn", "slog.Error", "slog.Log", "slog.LogAttrs",
	"slog.DebugContext", "slog.InfoContext", "slog.WarnContext", "slog.ErrorContext",
	"http.Handle", "http.HandleFunc", "http.DefaultServeMux",
}

func processWideUses(file *ast.File) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok && slices.Contains(processWide, selector(e)) {
			found = append(found, selector(e))
		}
		return true
	})
	return found
}

// foreignTypes returns what other modules' packages lend to the exported
// declarations of file.
func foreignTypes(file *ast.File) (found []string) {
	foreign := map[string]bool{} // by the name in this file
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		domain, _, _ := strings.Cut(path, "/")
		if !strings.Contains(domain, ".") || path == module || strings.HasPrefix(path, module+"/") {
			continue // the standard library's, or ours
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		foreign[name] = true
	}
	inspect := func(root ast.Node) {
		ast.Inspect(root, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Field: // of a struct, an interface, parameters, results
				_, inStruct := root.(*ast.StructType)
				if inStruct && len(n.Names) > 0 && !slices.ContainsFunc(n.Names, (*ast.Ident).IsExported) {
					return false
				}
			case *ast.SelectorExpr:
				if pkg, _, _ := strings.Cut(selector(n), "."); foreign[pkg] {
					found = append(found, selector(n))
				}
			}
			return true
		})
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && exportedReceiver(d) {
				inspect(d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() {
						inspect(s.Type)
					}
				case *ast.ValueSpec:
					if s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
						inspect(s.Type)
					}
				}
			}
		}
	}
	return found
}

// TestLibraryKeepsNothingGlobal: two nodes in one process share no variable, no
// default logger and no default mux; and users see no type of a dependency.
func TestLibraryKeepsNothingGlobal(t *testing.T) {
	sources(t, func(path string, _ *token.FileSet, file *ast.File) {
		if strings.HasPrefix(path, "cmd/") || strings.HasPrefix(path, "examples/") || path == "internal/leak/leak.go" || path == "internal/bubble/bubble.go" {
			return
		}
		for _, name := range mutableGlobals(file) {
			if !slices.Contains(seams, path+": "+name) {
				t.Errorf("%s: the package-level variable %s can hold state", path, name)
			}
		}
		for _, name := range processWideUses(file) {
			t.Errorf("%s: %s belongs to the whole process", path, name)
		}
		if strings.HasPrefix(path, "internal/") {
			return
		}
		for _, name := range foreignTypes(file) {
			t.Errorf("%s: %s, a dependency's, in something exported", path, name)
		}
	})
}

// TestTheseRulesBite: each finds what it is there for, and lets the rest pass.
func TestTheseRulesBite(t *testing.T) {
	const source = `package p
import (
	"errors"
	"log/slog"
	"net/http"
	"github.com/hashicorp/serf/serf"
	ml "github.com/hashicorp/memberlist"
)
var ErrFine = errors.New("fine")
var table, _ = map[string]int{"a": 1}, 2
var counter int
var cache = map[string]int{}
var ready = make(chan int)
type Open struct { Serf *serf.Config; hidden *ml.Config }
type Embeds struct { ml.Config }
type Faces interface { Conf() serf.Config }
type hidden struct { Serf *serf.Serf }
func Start(c func(*ml.Memberlist)) { slog.Info("x"); http.HandleFunc("/", nil); var s *serf.Serf; _ = s }
func (hidden) Method() *serf.Serf { slog.SetDefault(nil); return nil }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"globals":       {strings.Join(mutableGlobals(file), " "), "counter cache ready"},
		"process-wide":  {strings.Join(processWideUses(file), " "), "slog.Info http.HandleFunc slog.SetDefault"},
		"foreign types": {strings.Join(foreignTypes(file), " "), "serf.Config ml.Config serf.Config ml.Memberlist"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: found %q, want %q", what, pair[0], pair[1])
		}
	}
}
