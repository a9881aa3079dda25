package transport

import (
	"context"
	"encoding/json"
	"time"
)

const (
	// SubjectPing answers with what it was asked with.
	SubjectPing = "kith.ping"
	// SubjectInfo answers with an Info in JSON.
	SubjectInfo = "kith.info"
)

// Info is what a node tells about itself under kith.info.
type Info struct {
	Name        string         `json:"name"`
	Incarnation uint64         `json:"incarnation"`
	Version     string         `json:"version"`
	Uptime      time.Duration  `json:"uptime_ns"`
	Subjects    []SubjectStats `json:"subjects"`
}

// Info returns what this node tells about itself. It looks at every handler.
func (m *Messenger) Info() Info {
	self := m.Self()
	return Info{
		Name: self.Name, Incarnation: self.Incarnation, Version: m.version,
		Uptime: time.Since(m.started), Subjects: m.Stats().Subjects,
	}
}

// builtin adds the handlers that every node has.
func (m *Messenger) builtin() {
	ping := func(_ context.Context, r Message) (Message, error) { return Message{Body: r.Body}, nil }
	info := func(context.Context, Message) (Message, error) {
		body, err := json.Marshal(m.Info())
		return Message{Header: Header{ContentType: "application/json"}, Body: body}, err
	}
	for _, s := range []*service{
		{m: m, subject: SubjectPing, handler: ping, handleOptions: handleOptions{inline: true}},
		{m: m, subject: SubjectInfo, handler: info, handleOptions: handleOptions{limit: 4, queue: 1 << 10}},
	} {
		_ = m.services.add(s) // the first two: they are neither taken nor late
	}
}
