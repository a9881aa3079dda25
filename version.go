package kith

// Version is the release of this library.
const Version = "0.2.0"
