package main

import (
	"regexp"
	"time"

	"logagent/internal/term"
)

// The size of the pictures, and of the one that shows a small window.
const (
	pictureCols, pictureRows = 120, 36
	smallCols, smallRows     = 80, 24
)

// stepTimeout is how long a step waits for its texts. The longest wait is for a lag to
// drain.
const stepTimeout = 3 * time.Minute

// step is one line of a script: type keys, wait for what the screen must then show, wait
// some more, take a picture.
type step struct {
	what       string
	cols, rows int // new size of the terminal first; 0: as it is
	keys       []string
	want       []string // regular expressions; a line of the screen matches each
	settle     time.Duration
	film       bool   // its waiting and settling are part of the film
	picture    string // file name without extension; "": none
}

// shown tells whether the screen shows all that the step wants.
func (s *step) shown(screen term.Screen) bool {
	for _, expr := range s.want {
		if !regexp.MustCompile("(?m:" + expr + ")").MatchString(screen.Text()) {
			return false
		}
	}
	return true
}

// script walks an operator through the main job: see which host falls behind, open it,
// raise the rate of the limited log, watch the lag go.
func script(settle time.Duration) []step {
	return []step{
		{what: "the demo starts", want: []string{"fleet", "web-01", "api-01", "db-01"}, settle: settle},
		{what: "the fleet, worst host first", keys: []string{"g"}, want: []string{"▌◐ web-01"}, picture: "fleet"},
		{what: "open the worst host", keys: []string{"enter"}, want: []string{"access.log", "limited by send_rate"}, settle: 3 * time.Second, picture: "host", film: true},
		{what: "raise the rate", keys: []string{"]", "]", "]", "]", "]", "]"}, want: []string{`rev \d+  applied`}, picture: "rate", film: true},
		{what: "the lag is cured", want: []string{`access\.log +nginx .* caught up`}, settle: 5 * time.Second, picture: "cured", film: true},
		{what: "help", keys: []string{"?"}, want: []string{"help"}, settle: time.Second, picture: "help"},
		{what: "close help", keys: []string{"esc"}, want: []string{"access.log"}},
		{what: "back to the fleet", keys: []string{"esc"}, want: []string{"db-01"}},
		{what: "a small window", cols: smallCols, rows: smallRows, want: []string{"db-01"}, settle: 2 * time.Second, picture: "fleet-80x24"},
	}
}
