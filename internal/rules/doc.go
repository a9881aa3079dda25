// Package rules holds no code, only the tests that keep the house rules: who may
// import whom, what the library must never do, and that everything exported is
// documented. ARCHITECTURE.md explains the layers.
package rules
