package check

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/kith-go/kith/internal/outcome"
)

// maxSteps bounds the search in one part of a history, to a second or so and a few
// hundred megabytes. Two thousand operations on ten keys that are all tied
// together, one in ten without an answer, take a fifth of it.
const maxSteps = 1 << 19

// Violation is a promise broken, or one that could not be checked.
type Violation struct {
	// Rule is the checker that found it, as in "linearizable".
	Rule string
	// Text says what is wrong, with the operations involved.
	Text    string
	picture func(io.Writer) error // writes a page of HTML; may be nil
}

// Error returns rule and text.
func (v *Violation) Error() string { return v.Rule + ": " + v.Text }

// Linearizable reports, as a *Violation, that no order of the operations explains all
// their answers, or that the search for one grew too large. It is to be called with
// the operations of one [Record].
func Linearizable(ops []Operation) error {
	for _, p := range parts(ops) {
		j := newJudge(p.keys)
		switch j.verdict(p.ops) {
		case porcupine.Unknown:
			return &Violation{Rule: "linearizable", Text: fmt.Sprintf(
				"history too large: no verdict after %d steps about the %d operations on %s; record fewer, or fewer of unknown outcome",
				maxSteps, len(p.ops), names(p.keys))}
		case porcupine.Illegal:
			return j.violation(p.ops)
		}
	}
	return nil
}

// judge searches within the operations of one part.
type judge struct {
	compiler *compiler
	model    porcupine.Model
	steps    int // of the latest search
}

func newJudge(keys []string) *judge {
	c := newCompiler(keys)
	return &judge{compiler: c, model: model(c)}
}

// verdict is Ok, Illegal or, when the search was given up, Unknown.
func (j *judge) verdict(ops []*Operation) (verdict porcupine.CheckResult) {
	verdict, j.steps = search(j.model, j.history(ops))
	return verdict
}

// search looks for an order of the operations that the model explains. It is given up, as
// Unknown, after maxSteps.
func search(model porcupine.Model, history []porcupine.Operation) (verdict porcupine.CheckResult, steps int) {
	bounded := model
	bounded.Step = func(s, input, output any) (bool, any) {
		if steps++; steps > maxSteps {
			return false, nil
		}
		return model.Step(s, input, output)
	}
	switch {
	case porcupine.CheckOperations(bounded, history):
		return porcupine.Ok, steps
	case steps > maxSteps:
		return porcupine.Unknown, steps
	}
	return porcupine.Illegal, steps
}

// history returns the operations in porcupine's form. What has no return gets one
// after all others, and a row of its own in pictures.
func (j *judge) history(ops []*Operation) []porcupine.Operation {
	last, row := int64(0), 0
	for _, o := range ops {
		last = max(last, o.called.seq)
		row = max(row, o.Client)
		if o.done() {
			last = max(last, o.returned.seq)
		}
	}
	var history []porcupine.Operation
	for _, o := range ops {
		p := porcupine.Operation{ClientId: o.Client, Input: j.compiler.program(o), Call: o.called.seq, Return: o.returned.seq}
		if !o.done() {
			row++
			p.ClientId, p.Return = row, last+1
		}
		history = append(history, p)
	}
	return history
}

// violation describes the shortest beginning of the operations that has no
// explanation, which ends with the return of the one that breaks it.
func (j *judge) violation(ops []*Operation) *Violation {
	var returns []*Operation
	for _, o := range ops {
		if o.done() {
			returns = append(returns, o)
		}
	}
	slices.SortFunc(returns, func(a, b *Operation) int { return cmp.Compare(a.returned.seq, b.returned.seq) })
	// A beginning of an explained history is explained, so that halving finds the
	// place. A search given up counts as explained: the result is then merely longer.
	low, high := 0, len(returns)-1
	for low < high {
		mid := (low + high) / 2
		if j.verdict(until(ops, returns[mid].returned)) == porcupine.Illegal {
			high = mid
		} else {
			low = mid + 1
		}
	}
	culprit := returns[low]
	shortest := until(ops, culprit.returned)
	text := fmt.Sprintf("nothing explains the answer to\n  %v\nof the %d operations on %s until then, the last are\n%s",
		culprit, len(shortest), names(j.compiler.keys), tail(shortest, 30))
	return &Violation{Rule: "linearizable", Text: text, picture: func(w io.Writer) error {
		_, info := porcupine.CheckOperationsVerbose(j.model, j.history(shortest), 0)
		return porcupine.Visualize(j.model, info, w)
	}}
}

// until returns the operations as they were recorded at the moment end.
func until(ops []*Operation, end moment) []*Operation {
	var then []*Operation
	for _, o := range ops {
		switch {
		case o.called.seq > end.seq:
		case o.done() && o.returned.seq > end.seq:
			if o.Op.writes() {
				open := *o
				open.Result, open.returned = Result{Outcome: outcome.Unknown}, never
				then = append(then, &open)
			}
		default:
			then = append(then, o)
		}
	}
	return then
}

// names lists the keys, or the first few.
func names(keys []string) string {
	const most = 8
	if len(keys) > most {
		return fmt.Sprintf("%q and %d other keys", keys[:most], len(keys)-most)
	}
	return fmt.Sprintf("%q", keys)
}

// tail lists the last n operations, one on a line.
func tail(ops []*Operation, n int) string {
	var b strings.Builder
	for _, o := range ops[max(0, len(ops)-n):] {
		fmt.Fprintf(&b, "  %v\n", o)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
