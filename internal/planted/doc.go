// Package planted holds deliberate bugs, each of which one of the checkers must
// catch: a checker that never found anything proves nothing. They exist only in
// builds with the tag "planted", where $KITH_PLANTED names those in force, divided
// by commas; in all others [Bug] is constantly false and costs nothing.
package planted

// Kind names a deliberate bug, as $KITH_PLANTED does.
type Kind string

const (
	// SkipSync acknowledges what was not fsynced.
	SkipSync Kind = "skip-sync"
	// ReadLocally answers linearizable reads without asking for a read index.
	ReadLocally Kind = "read-locally"
	// LeaseRead answers reads on the belief to be still the leader.
	LeaseRead Kind = "lease-read"
	// ApplyTwice applies a repeated proposal again.
	ApplyTwice Kind = "apply-twice"
	// ForgetVote loses the vote at a restart.
	ForgetVote Kind = "forget-vote"
	// ReuseReadContext uses the context of a read round for another one.
	ReuseReadContext Kind = "reuse-read-context"
	// DropChange loses every 64th change from the history that watches read.
	DropChange Kind = "drop-change"
	// RenewAlone acknowledges a renewal without a round of the majority.
	RenewAlone Kind = "renew-alone"
	// GrantEarly ends a silent session before its holder has to let go of it.
	GrantEarly Kind = "grant-early"
	// ExpireDeposed lets a leader's word on time and sessions count in another's term.
	ExpireDeposed Kind = "expire-deposed"
	// TokenReused gives whoever enters an empty queue the token 1.
	TokenReused Kind = "token-reused"
	// WaiterForgotten loses some of the wake-ups of those whose turn it is.
	WaiterForgotten Kind = "waiter-forgotten"
)
