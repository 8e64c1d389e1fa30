package ui

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/agent"
	"logagent/ui/store"
)

// BenchmarkFrame is one View of Fleet over 10,000 hosts, without the pull.
func BenchmarkFrame(b *testing.B) {
	s := store.New(store.Options{Now: sampleStart})
	for i := range 10_000 {
		h := fmt.Sprintf("web-%05d.fra%d", i, i%3)
		s.SetDocument(h, agent.Document{Key: docKey(h), Revision: int64(i), Services: []agent.Service{{Service: "nginx", LogPath: "/var/log/nginx/access.log", SendRate: 5000}}})
		for q := range 60 {
			s.SetSummary(h, agent.Summary{StateID: h, Boot: 1, Seq: uint64(q + 1), AtMS: sampleStart().UnixMilli(), Running: int64(i), Files: 9,
				Behind: i % 7, In: 2000, Out: 1500, Limit: 5000, Lag: int64(i * q)}, time.Duration(600-10*q)*time.Second)
		}
	}
	for _, look := range []struct {
		name    string
		theme   Theme
		colours Colours
	}{{"mono", ThemeMono, ColoursNone}, {"dark", ThemeDark, Colours256}} {
		for _, size := range []struct{ width, height int }{{120, 36}, {80, 24}} {
			a, err := newApp(Options{Store: s, Theme: look.theme, Colours: look.colours, Now: sampleStart}, io.Discard, newWork(b.Context()))
			if err != nil {
				b.Fatal(err)
			}
			a.Update(tea.WindowSizeMsg{Width: size.width, Height: size.height})
			p := a.top().(*fleetPage)
			p.view = s.Fleet(p.query())
			p.take(p.view.Window, len(p.view.Rows))
			b.Run(fmt.Sprintf("%s-%dx%d", look.name, size.width, size.height), func(b *testing.B) {
				b.ReportAllocs()
				frame := ""
				for b.Loop() {
					frame = a.View()
				}
				if n := strings.Count(frame, "\n") + 1; n != size.height || !strings.Contains(frame, "web-") {
					b.Fatalf("a frame of %d lines, want %d and hosts in it", n, size.height)
				}
				b.ReportMetric(float64(len(frame)), "bytes")
			})
		}
	}
}
