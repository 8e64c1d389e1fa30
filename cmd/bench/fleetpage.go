package main

import (
	"bytes"
	_ "embed" // for the section
	"fmt"
	"os"
	"strconv"
	"text/template"
	"time"
)

//go:embed fleet.md.tmpl
var fleetText string

// fleetSection is what the page's section about a fleet is made of.
type fleetSection struct {
	Machine machine
	Date    string
	Options fleetOptions
	Hosts   string // with its thousands apart
	Rows    []result
}

// writePage writes the section, where a file was named for it.
func (f *fleet) writePage(rows []result) error {
	if f.o.page == "" {
		return nil
	}
	s := fleetSection{Date: time.Now().UTC().Format("2 January 2006"), Options: f.o, Hosts: thousands(f.o.Hosts), Rows: rows}
	var err error
	if s.Machine, err = thisMachine(); err != nil {
		return err
	}
	text, err := s.text()
	if err != nil {
		return err
	}
	return os.WriteFile(f.o.page, text, 0o644)
}

func (s *fleetSection) text() ([]byte, error) {
	t, err := template.New("fleet").Funcs(pageWords).Parse(fleetText)
	if err != nil {
		return nil, fmt.Errorf("the template of the fleet: %w", err)
	}
	var out bytes.Buffer
	err = t.Execute(&out, s)
	return out.Bytes(), err
}

// thousands writes a number as people read it.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
