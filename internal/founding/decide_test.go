package founding

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestVoters(t *testing.T) {
	for n, want := range []int{0, 1, 1, 3, 3, 5, 5, 5, 5} {
		list := peersOf(phonetic[:n]...)
		slices.Reverse(list)
		got := Voters(list)
		if len(got) != want || !slices.Equal(got, peersOf(phonetic[:want]...)) {
			t.Errorf("%d peers: %v", n, got)
		}
		if n > 1 && list[0].Name != phonetic[n-1] {
			t.Error("the list was changed")
		}
	}
}

func TestPlanChecks(t *testing.T) {
	five := peersOf(phonetic[:6]...)
	for name, tc := range map[string]struct {
		list     []Peer
		override []string
		want     error
		text     string
	}{
		"good":             {list: five},
		"not listed":       {list: five[1:], want: ErrNotListed},
		"twice":            {list: append(five[:5:5], Peer{9, "bravo"}), text: "bravo twice"},
		"override":         {list: five, override: []string{"echo", "alpha", "charlie"}},
		"override, few":    {list: five, override: []string{"echo", "alpha"}, want: ErrOverride},
		"override, twice":  {list: five, override: []string{"echo", "echo", "alpha"}, want: ErrOverride},
		"override, others": {list: five, override: []string{"alpha", "bravo", "foxtrot"}, want: ErrOverride},
	} {
		err := newPlan(tc.list, tc.override).check("alpha")
		if good := tc.want == nil && tc.text == ""; good != (err == nil) || tc.want != nil && !errors.Is(err, tc.want) ||
			err != nil && !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func directoryOf(name string) string { return fmt.Sprintf("%032x", name) }

// told is a table's view of a round: how alpha, bravo, charlie and delta stand.
// delta is a learner.
type told struct {
	me      string // alpha if empty
	promise *Record
	moved   string // whose directory is another one than in records
	unknown bool   // and was not known before this round
	other   []string
	says    map[string]func(*report)
	silent  []string
}

func (c told) round() round {
	list := peersOf(phonetic[:4]...)
	p := newPlan(list, c.other)
	me := c.me
	if me == "" {
		me = "alpha"
	}
	r := round{plan: p, reports: map[string]report{}, faults: map[string]error{}, known: map[string]string{}}
	for _, peer := range list {
		directory := directoryOf(peer.Name)
		if peer.Name == c.moved {
			directory = directoryOf("new" + peer.Name[:1])
		}
		if !c.unknown || peer.Name != c.moved {
			r.known[peer.Name] = directory
		}
		rep := report{Name: peer.Name, Directory: directory, Plan: p}
		if edit := c.says[peer.Name]; edit != nil {
			edit(&rep)
		}
		switch {
		case peer.Name == me:
			r.id = Identity{Name: me, Directory: directory, Promise: c.promise}
		case slices.Contains(c.silent, peer.Name):
			r.faults[peer.Name] = errRefused
		default:
			r.reports[peer.Name] = rep
		}
	}
	return r
}

func recordOf(override []string, list ...string) *Record {
	p := newPlan(peersOf(list...), override)
	directories := map[string]string{}
	for _, m := range p.founders() {
		directories[m.Name] = directoryOf(m.Name)
	}
	return mint(p, directories)
}

func promised(rec *Record) func(*report) { return func(r *report) { r.Promise = rec } }
func bornIn(rec *Record) func(*report)   { return func(r *report) { r.Record = rec } }

func TestDecide(t *testing.T) {
	rec := recordOf(nil, phonetic[:4]...)
	without := recordOf([]string{"alpha", "bravo"}, phonetic[:4]...)
	foreign := recordOf(nil, "bravo", "xray", "zulu")
	type says = map[string]func(*report)
	for name, tc := range map[string]struct {
		told
		do      action
		missing string
		phase   Phase
		err     error
		wait    string // all reasons
	}{
		"all fresh":           {do: found, phase: Waiting},
		"a learner is silent": {told: told{silent: []string{"delta"}}, do: found, phase: Waiting},
		"a founder is silent": {told: told{silent: []string{"charlie"}}, phase: Waiting, wait: "charlie: not answering: connection refused"},
		"not the coordinator": {told: told{me: "bravo"}, phase: Waiting, wait: "alpha: is to found the cluster"},
		"a learner waits":     {told: told{me: "delta", silent: []string{"bravo"}}, phase: Waiting, wait: "bravo: not answering"},
		"another list": {told: told{says: says{"bravo": func(r *report) { r.Plan = newPlan(peersOf(phonetic[:3]...), nil) }}},
			phase: Waiting, wait: "bravo: lists other peers: its learners are none, ours delta (pid 4)"},
		"other PIDs": {told: told{says: says{"bravo": func(r *report) { r.Plan = newPlan(peersOf("bravo", "alpha", "charlie", "delta"), nil) }}},
			phase: Waiting, wait: "bravo: lists other peers: its voters are bravo (pid 1), alpha (pid 2)"},
		"another override": {told: told{says: says{"charlie": func(r *report) { r.Plan.Override = []string{"alpha", "charlie"} }}},
			phase: Waiting, wait: "its override is alpha, charlie, ours none"},
		"a broken founder": {told: told{says: says{"charlie": func(r *report) { r.Out = true }}}, phase: Waiting, wait: "charlie: its disk failed"},
		"an override":      {told: told{other: []string{"alpha", "bravo"}, silent: []string{"charlie"}}, do: found, phase: Waiting},

		"a founder is bound elsewhere": {told: told{says: says{"bravo": promised(foreign)}}, phase: Waiting, wait: "bravo: has promised to found cluster " + foreign.ClusterID},
		"a founder is born elsewhere":  {told: told{says: says{"bravo": bornIn(foreign)}}, phase: NotMember, err: ErrNotMember},
		"a learner is born elsewhere":  {told: told{says: says{"delta": bornIn(foreign)}}, phase: NotMember, err: ErrNotMember},
		"two clusters": {told: told{says: says{"bravo": bornIn(foreign), "charlie": bornIn(rec)}}, phase: Waiting, err: ErrConflict,
			wait: "bravo: belongs to cluster " + foreign.ClusterID + "; charlie: belongs to cluster " + rec.ClusterID},
		"two records": {told: told{says: says{"bravo": promised(without), "charlie": promised(rec)}}, phase: Waiting, err: ErrConflict, wait: "bravo: has promised"},

		"late, a learner":            {told: told{me: "delta", says: says{"bravo": bornIn(rec)}}, do: enter, phase: Joining},
		"late, founded without":      {told: told{me: "charlie", says: says{"bravo": bornIn(without)}}, do: enter, phase: Joining},
		"late, a founder":            {told: told{me: "charlie", says: says{"bravo": bornIn(rec)}}, do: giveUp, phase: Lost, err: ErrStateLost},
		"late, a founder, moved":     {told: told{moved: "alpha", says: says{"bravo": bornIn(rec)}}, do: giveUp, phase: Lost, err: ErrStateLost},
		"bound, and it is committed": {told: told{me: "charlie", promise: rec, says: says{"bravo": bornIn(rec)}}, do: installRecord},

		"bound, completing":          {told: told{promise: rec, says: says{"bravo": promised(rec)}}, do: complete, missing: "charlie", phase: Promised},
		"bound, all have promised":   {told: told{promise: rec, says: says{"bravo": promised(rec), "charlie": promised(rec)}}, do: complete, phase: Promised},
		"bound, one is silent":       {told: told{promise: rec, says: says{"bravo": promised(rec)}, silent: []string{"charlie"}}, phase: Promised, wait: "charlie: not answering"},
		"bound, one is bound else":   {told: told{promise: rec, says: says{"bravo": promised(without)}}, phase: Promised, wait: "bravo: has promised"},
		"bound, one is born else":    {told: told{promise: rec, says: says{"bravo": bornIn(without)}}, phase: Promised, wait: "bravo: belongs to cluster"},
		"bound, one is broken":       {told: told{promise: rec, says: says{"bravo": func(r *report) { r.Out = true }}}, phase: Promised, wait: "bravo: its disk failed"},
		"bound, not completing":      {told: told{me: "bravo", promise: rec, says: says{"alpha": promised(rec)}}, phase: Promised, wait: "alpha: is about to complete"},
		"bound, overridden":          {told: told{promise: rec, other: []string{"alpha", "charlie"}, silent: []string{"bravo"}}, do: complete, missing: "charlie", phase: Promised},
		"bound, another overrides":   {told: told{me: "bravo", promise: rec, other: []string{"bravo", "charlie"}, silent: []string{"alpha"}}, do: complete, missing: "charlie", phase: Promised},
		"bound, override of absent":  {told: told{promise: without, other: []string{"alpha", "charlie"}, silent: []string{"bravo"}}, phase: Promised, wait: "bravo: not answering"},
		"bound, list without it":     {told: told{promise: foreign, me: "bravo"}, phase: Promised, wait: "xray: not asked yet; zulu: not asked yet"},
		"bound, one has a new disk":  {told: told{promise: rec, moved: "charlie"}, do: complete, missing: "bravo charlie", phase: Promised},
		"new disk, seen just now":    {told: told{promise: rec, moved: "charlie", unknown: true}, phase: Promised, wait: "charlie: came back with another state directory"},
		"new disk, one is silent":    {told: told{promise: rec, other: []string{"alpha", "charlie"}, moved: "charlie", silent: []string{"bravo"}}, phase: Promised, wait: "bravo: not answering"},
		"own disk new, adopting":     {told: told{moved: "alpha", says: says{"bravo": promised(rec)}}, do: adopt, missing: "charlie", phase: Waiting},
		"own disk new, one silent":   {told: told{moved: "alpha", other: []string{"alpha", "bravo"}, says: says{"bravo": promised(rec)}, silent: []string{"charlie"}}, phase: Waiting, wait: "charlie: not answering"},
		"not the one to adopt":       {told: told{me: "charlie", says: says{"bravo": promised(rec)}}, phase: Waiting, wait: "alpha: is about to complete"},
		"a learner is bound to ours": {told: told{says: says{"delta": promised(rec)}}, do: found, phase: Waiting},
	} {
		t.Run(name, func(t *testing.T) {
			d := tc.round().decide()
			var waits, missing []string
			for _, w := range d.state.Waiting {
				waits = append(waits, w.Name+": "+w.Why)
			}
			for _, m := range d.missing {
				missing = append(missing, m.Name)
			}
			if d.do != tc.do {
				t.Errorf("does %d, want %d", d.do, tc.do)
			}
			if got := strings.Join(waits, "; "); !strings.Contains(got, tc.wait) || (tc.wait == "") != (got == "") {
				t.Errorf("waits for %q, want %q", got, tc.wait)
			}
			if d.do != installRecord && d.state.Phase != tc.phase || !errors.Is(d.state.Err, tc.err) {
				t.Errorf("state %q, %v; want %q, %v", d.state.Phase, d.state.Err, tc.phase, tc.err)
			}
			for _, m := range strings.Fields(tc.missing) {
				if !slices.Contains(missing, m) {
					t.Errorf("asks %v for promises, want %v", missing, tc.missing)
				}
			}
		})
	}
}

// TestMostLost: when most founders have lost what they knew of a record, it may
// have lived and been lost: nobody revives it, and the bound ones are told what to do.
func TestMostLost(t *testing.T) {
	rec := recordOf(nil, phonetic[:4]...)
	c := told{moved: "charlie", says: map[string]func(*report){"bravo": promised(rec)}}
	r := c.round()
	r.id.Directory = directoryOf("newalpha")
	d := r.decide()
	if d.do != wait || len(d.state.Waiting) != 1 || !strings.Contains(d.state.Waiting[0].Why, "remove its state directory") {
		t.Errorf("%d, %v", d.do, d.state)
	}
	// The bound one may be the one that decides.
	c = told{promise: rec, moved: "charlie"}
	r = c.round()
	bravo := r.reports["bravo"]
	bravo.Directory = directoryOf("newb")
	r.reports["bravo"], r.known["bravo"] = bravo, bravo.Directory
	d = r.decide()
	if d.do != wait || len(d.state.Waiting) != 1 || d.state.Waiting[0].Name != "alpha" {
		t.Errorf("%d, %v", d.do, d.state)
	}
}
