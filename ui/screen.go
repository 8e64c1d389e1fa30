package ui

import (
	"fmt"
	"strings"

	"logagent/agent"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// View is part of tea.Model: exactly as many lines as the terminal has.
func (a *app) View() (s string) {
	defer func() {
		if v := recover(); v != nil && a.ending == nil {
			// View has no way to end a program; the next message does.
			a.ending = panicked(v)
			s = ""
		}
	}()
	if a.size.width <= 0 || a.size.height <= 0 {
		return ""
	}
	return strings.Join(a.lines(), "\n") + a.copying
}

func (a *app) lines() []string {
	w, h := a.size.width, a.size.height
	if a.small() {
		out := make([]string, h)
		out[h/2] = a.theme.line().put(strong, termsafe.Head(fmt.Sprintf("at least %d×%d is needed, this window is %d×%d", minWidth, minHeight, w, h), w)).String()
		return out
	}
	f := a.top().Frame()
	lines := make([]string, 0, h)
	lines = append(lines, a.topLine(&f, w))
	lines = append(lines, a.top().View(w, a.body().height)...)
	if a.dialog != nil {
		lines = append(lines, a.dialog.box(a.env, w)...)
	}
	return append(lines, a.messageLine(&f, w), a.keyLine(&f, w))
}

// topLine says where we are, whether etcd and Kafka answer, and how old the numbers are.
func (a *app) topLine(f *frame, width int) string {
	o := &f.overview
	left := []piece{{strong, " logagent"}}
	for i, c := range f.crumbs {
		look := dim
		if i == len(f.crumbs)-1 {
			look = strong
		}
		left = append(left, piece{dim, " ▸ "}, piece{look, c})
	}
	etcd := a.link("etcd", o.Etcd, o.EtcdSeen)
	kafka := a.link("kafka", o.Kafka, o.KafkaSeen)
	rev := []piece{{dim, " rev "}, {text, fmt.Sprint(o.Revision)}}
	if o.Revision == 0 {
		rev = nil
	}
	mode := piece{good, "RW"}
	if a.readOnly() != "" {
		mode = piece{half, "RO"}
	}
	fleet := piece{}
	if a.opts.Fleet != "" {
		fleet = piece{text, " " + termsafe.Clean(a.opts.Fleet)}
	}
	age := piece{lost, "no status"}
	if f.age >= 0 {
		age = piece{dim, store.Ago(f.age)}
	}
	if f.stale {
		age = piece{half, "stale " + store.Ago(f.age)}
	}
	if !a.frozen.IsZero() {
		age = piece{half, "frozen " + store.Ago(a.clock.Sub(a.frozen))}
	}
	clock := piece{text, a.clock.Format("15:04:05") + " "}
	room := width - widthOf(left) - 1
	var right []piece
	for _, variant := range []func() []piece{
		func() []piece {
			return join(gap(3), append(etcd, rev...), kafka, []piece{mode, fleet}, []piece{age}, []piece{clock})
		},
		func() []piece {
			return join(gap(2), append(etcd, rev...), kafka, []piece{mode, fleet}, []piece{age}, []piece{clock})
		},
		func() []piece { return join(gap(2), etcd, kafka, []piece{mode, fleet}, []piece{age}, []piece{clock}) },
		func() []piece { return join(gap(2), etcd, kafka, []piece{mode}, []piece{age}, []piece{clock}) },
		func() []piece { return join(gap(2), etcd, kafka, []piece{mode}, []piece{clock}) },
	} {
		if right = variant(); widthOf(right) <= room {
			break
		}
	}
	return a.theme.spread(width, left, right)
}

func gap(n int) piece { return piece{text, spaces(n)} }

func join(between piece, groups ...[]piece) []piece {
	var out []piece
	for i, g := range groups {
		if i > 0 {
			out = append(out, between)
		}
		out = append(out, g...)
	}
	return out
}

// link is a connection in the top line: its state, and for how long it is away.
func (a *app) link(name string, l agent.LinkStatus, seen bool) []piece {
	switch {
	case l.Up:
		return []piece{{text, name + " "}, {good, "●"}}
	case !seen && l.Error == "":
		return []piece{{text, name + " "}, {lost, "○"}}
	}
	ps := []piece{{text, name + " "}, {bad, "✕"}}
	if !l.Since.IsZero() {
		ps = append(ps, piece{bad, " " + store.Ago(a.clock.Sub(l.Since))})
	}
	return ps
}

// messageLine is the dialog, or what a key did, or how a tuning stands, or what is wrong.
func (a *app) messageLine(f *frame, width int) string {
	if a.dialog != nil {
		return a.dialog.message(a.env, width)
	}
	if len(a.notice.pieces) > 0 && a.clock.Before(a.notice.until) {
		return a.theme.spread(width, a.notice.pieces, nil)
	}
	if ps := a.rates.message(width); ps != nil {
		return a.theme.spread(width, ps, nil)
	}
	ps := a.linkTrouble(f)
	if len(ps) > 0 && len(f.message) > 0 {
		ps = append(ps, piece{dim, "  ·"})
	}
	return a.theme.spread(width, append(ps, f.message...), nil)
}

// linkTrouble says why the console itself is cut off.
func (a *app) linkTrouble(f *frame) []piece {
	var ps []piece
	for _, l := range []struct {
		name, addr string
		link       agent.LinkStatus
		seen       bool
	}{{"etcd", a.opts.EtcdAddr, f.overview.Etcd, f.overview.EtcdSeen}, {"kafka", a.opts.KafkaAddr, f.overview.Kafka, f.overview.KafkaSeen}} {
		if l.link.Up || f.at.IsZero() {
			continue
		}
		why := termsafe.Line(l.link.Error)
		switch {
		case !l.seen && why == "":
			ps = append(ps, piece{lost, " waiting for " + l.name + " at " + orSomewhere(l.addr)})
		case !l.seen:
			ps = append(ps, piece{bad, " waiting for " + l.name + " at " + orSomewhere(l.addr) + ": " + why})
		default:
			ps = append(ps, piece{bad, " " + l.name + " away, what was last known stays: " + why})
		}
	}
	return ps
}

// keyLine is the footer: what can be pressed now, and where the cursor is.
func (a *app) keyLine(f *frame, width int) string {
	hints := a.top().Keys()
	position := f.position
	s := f.scope
	if a.dialog != nil {
		s, position = a.dialog.scope(), ""
	} else if a.top().Capturing() {
		s = inInput
	}
	if s != f.scope {
		hints = a.keys.hints(s, func(action) string { return "" })
	}
	room := width - termsafe.Width(position) - 3
	var all [][]piece
	total := 0
	for _, h := range hints {
		if h.short == "" || h.off != "" && (h.action == actBack || h.action.rate() && a.readOnly() != "") {
			continue
		}
		label := shown(h.keys[0])
		if h.pair != "" {
			label += "/" + a.keys.first(h.pair)
		}
		look, word := key, text
		if h.off != "" {
			look, word = dim, dim
		}
		g := []piece{{look, label}, {word, " " + h.short}}
		total += widthOf(g) + 3
		all = append(all, g)
	}
	// What does not fit goes from the end, but never help and quit, which stand there.
	between := 3
	for drop := len(all) - 3; drop > 0 && total > room+2; drop-- {
		if between > 2 {
			between = 2
			total -= len(all)
			drop++
			continue
		}
		total -= widthOf(all[drop]) + between
		all = append(all[:drop], all[drop+1:]...)
	}
	ps := append([]piece{{text, " "}}, join(gap(between), all...)...)
	return a.theme.spread(width, ps, []piece{{dim, position + " "}})
}
