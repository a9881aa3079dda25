// Package transporttest tells whether an engine keeps the contract of package
// transport: it drives messengers over it, on good days and, as far as the engine's test
// can produce them, on bad ones.
package transporttest
