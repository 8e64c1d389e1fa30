package ui

import (
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"logagent/agent"
)

// role is what a piece of text is for; a theme gives it its look.
type role int

const (
	text role = iota
	dim
	strong
	good
	half // behind or throttled
	bad
	lost // unknown or stale
	key  // a key in the footer and the help
	head // column titles
	spark
	sparkDim
	graphIn
	graphOut
	graphLimit
	cursorMark
	prompt
	roles
)

// style is a look cut once into what stands before a text and after it: rendering a cell
// is three appends.
type style struct {
	before, after string
}

// theme holds the looks of one session; current is the row under the cursor.
type theme struct {
	normal, current [roles]style
}

// environ lets termenv read a session's environment instead of the process's.
type environ []string

func (e environ) Environ() []string { return e }

func (e environ) Getenv(name string) string {
	for i := len(e) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(e[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// renderer makes the session's own renderer. It asks the terminal nothing.
func renderer(o *Options, out io.Writer) *lipgloss.Renderer {
	env := environ(o.Environ)
	if o.Environ == nil {
		env = os.Environ()
	}
	profile := map[Colours]termenv.Profile{
		ColoursNone: termenv.Ascii, Colours16: termenv.ANSI, Colours256: termenv.ANSI256, ColoursTrue: termenv.TrueColor,
	}[o.Colours]
	if o.Colours == ColoursAuto {
		probe := termenv.NewOutput(out, termenv.WithEnvironment(env), termenv.WithTTY(true))
		profile = probe.EnvColorProfile()
		if profile == termenv.Ascii && env.Getenv("TERM") != "dumb" {
			profile = termenv.ANSI // for bold and faint; the theme is mono then
			o.Theme = ThemeMono
		}
	}
	r := lipgloss.NewRenderer(out, termenv.WithProfile(profile), termenv.WithTTY(true), termenv.WithEnvironment(env))
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(o.Theme != ThemeLight)
	return r
}

// look is a role's colours, as 256-colour numbers, and attributes.
type look struct {
	dark, light string
	bold, faint bool
}

func looks() [roles]look {
	return [roles]look{
		text:       {},
		dim:        {dark: "245", light: "243", faint: true},
		strong:     {bold: true},
		good:       {dark: "78", light: "28"},
		half:       {dark: "221", light: "130", bold: true},
		bad:        {dark: "203", light: "160", bold: true},
		lost:       {dark: "245", light: "243", faint: true},
		key:        {dark: "117", light: "25", bold: true},
		head:       {dark: "110", light: "24", bold: true},
		spark:      {dark: "109", light: "31"},
		sparkDim:   {dark: "240", light: "249", faint: true},
		graphIn:    {dark: "117", light: "25"},
		graphOut:   {dark: "78", light: "28", bold: true},
		graphLimit: {dark: "221", light: "130", faint: true},
		cursorMark: {dark: "117", light: "25", bold: true},
		prompt:     {dark: "221", light: "130", bold: true},
	}
}

func newTheme(r *lipgloss.Renderer, t Theme) *theme {
	th := &theme{}
	for i, l := range looks() {
		s := r.NewStyle().Bold(l.bold)
		switch t {
		case ThemeMono:
			s = s.Faint(l.faint)
		case ThemeLight:
			s = s.Foreground(colour(l.light))
		default:
			s = s.Foreground(colour(l.dark))
		}
		th.normal[i] = cut(s)
		switch t {
		case ThemeMono:
			s = s.Faint(false).Bold(true)
		case ThemeLight:
			s = s.Background(lipgloss.Color("254"))
		default:
			s = s.Background(lipgloss.Color("236"))
		}
		th.current[i] = cut(s)
	}
	return th
}

func colour(c string) lipgloss.TerminalColor {
	if c == "" {
		return lipgloss.NoColor{}
	}
	return lipgloss.Color(c)
}

// cut renders a marker and keeps what the renderer put around it.
func cut(s lipgloss.Style) style {
	before, after, _ := strings.Cut(s.Render("#"), "#")
	return style{before, after}
}

// shape is a state's mark and look: readable without colour.
func shape(s agent.State) (string, role) {
	switch s {
	case agent.StateOK:
		return "●", good
	case agent.StateBehind, agent.StatePaused:
		return "◐", half
	case agent.StateFailing:
		return "✕", bad
	}
	return "○", lost
}
