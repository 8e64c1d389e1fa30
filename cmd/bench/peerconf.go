package main

import (
	_ "embed" // for the configs
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// The configs of the collectors, as templates of a peerWork.
var (
	//go:embed peers/rsyslog.conf
	rsyslogConf string
	//go:embed peers/syslog-ng.conf
	syslogNGConf string
)

// peerWork is what a config has to name.
type peerWork struct {
	Log         string // the file to send
	Broker      string // host:port
	Topic       string
	Compression string // none gzip snappy lz4 zstd
	Dir         string // for what the collector remembers
}

// fillConf writes a config for one run.
func fillConf(conf string, w peerWork) (string, error) {
	t, err := template.New("config").Parse(conf)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	if err := t.Execute(&out, w); err != nil {
		return "", err
	}
	return out.String(), nil
}

// writeConf fills a config and puts it into the run's folder.
func writeConf(conf string, w peerWork) (path string, err error) {
	text, err := fillConf(conf, w)
	if err != nil {
		return "", fmt.Errorf("the config's template: %w", err)
	}
	path = filepath.Join(w.Dir, "peer.conf")
	return path, os.WriteFile(path, []byte(text), 0o644)
}
