package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// sources parses every Go file of the module but tests and generated ones.
func sources(t *testing.T, visit func(path string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	everything(t, func(path string, fset *token.FileSet, file *ast.File) {
		if !strings.HasSuffix(path, "_test.go") {
			visit(path, fset, file)
		}
	})
}

// everything parses every Go file of the module but generated ones.
func everything(t *testing.T, visit func(path string, fset *token.FileSet, file *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root || name == "testdata" || strings.HasPrefix(name, ".") && path != root {
				return fs.SkipDir // another module, or none of ours
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		visit(filepath.ToSlash(rel), fset, file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEverythingExportedIsDocumented: names, methods of exported types, and
// packages.
func TestEverythingExportedIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	sources(t, func(path string, fset *token.FileSet, file *ast.File) {
		dir := filepath.Dir(path)
		documented[dir] = documented[dir] || file.Doc != nil
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) && d.Doc == nil && file.Name.Name != "main" {
					t.Errorf("%s: %s has no comment", fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkSpecs(t, fset, file, d)
			}
		}
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", dir)
		}
	}
}

// exportedReceiver reports whether d is a function, or a method that a user of
// the package can see.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported()
}

func checkSpecs(t *testing.T, fset *token.FileSet, file *ast.File, d *ast.GenDecl) {
	if file.Name.Name == "main" {
		return
	}
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
				t.Errorf("%s: type %s has no comment", fset.Position(s.Pos()), s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					t.Errorf("%s: %s has no comment", fset.Position(s.Pos()), name.Name)
				}
			}
		}
	}
}

// environment lists who may read the process's environment.
var environment = map[string]bool{
	"peers/path.go": true, // $PEERS_PATH, as the seed prescribes
	"peers/sync.go": true, // $PEERS_SYNC_URL, $PEERS_SYNC_APIKEY, likewise
	"config.go":     true, // $KITH_KEY_FILE, $STATE_DIRECTORY, $XDG_STATE_HOME

	"internal/planted/planted_on.go": true, // $KITH_PLANTED, in builds with deliberate bugs only
}

// TestNoHiddenInputsOrExits: the library reads the environment in the few places
// that Config and peers document, and never ends the process.
func TestNoHiddenInputsOrExits(t *testing.T) {
	sources(t, func(path string, fset *token.FileSet, file *ast.File) {
		if strings.HasPrefix(path, "cmd/") || strings.HasPrefix(path, "examples/") || path == "internal/leak/leak.go" {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := call.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch pkg.Name + "." + call.Sel.Name {
			case "os.Getenv", "os.LookupEnv", "os.Environ":
				if !environment[path] {
					t.Errorf("%s: reads the environment", fset.Position(call.Pos()))
				}
			case "os.Exit", "log.Fatal", "log.Fatalf", "log.Println", "log.Printf", "fmt.Println", "fmt.Printf":
				t.Errorf("%s: %s.%s in the library", fset.Position(call.Pos()), pkg.Name, call.Sel.Name)
			}
			return true
		})
	})
}

// TestVirtualTimeSurvivesTheRaceDetector: all bubbles are made where its bug is worked around.
func TestVirtualTimeSurvivesTheRaceDetector(t *testing.T) {
	everything(t, func(path string, fset *token.FileSet, file *ast.File) {
		if strings.HasPrefix(path, "internal/bubble/") {
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "synctest" && call.Sel.Name == "Test" {
				t.Errorf("%s: synctest.Test; use bubble.Test, see internal/bubble", fset.Position(call.Pos()))
			}
			return true
		})
	})
}
