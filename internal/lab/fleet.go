package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"logagent/agent"
)

// Host is a machine of the demo: the entries an agent on it would follow, and the
// services that write those logs.
type Host struct {
	ID       string
	Services []agent.Service // in the order of the host's document

	logs []source
}

// source is one log and who writes it.
type source struct {
	path  string
	write scribe
	wave  wave
	keep  int // rotated files kept; 0 means keptFiles
	seed  [2]uint64
}

// Sizes that keep an hour of demo small.
const (
	logBytes  = 4 << 20
	keptFiles = 3
)

// Hosts returns three hosts whose logs live in a folder each under dir, which must be
// absolute. The same seed gives the same lines but for their times. Nothing is written
// before Create and Run.
//
// The access log of web-01 gets half as much again as its entry may send, so its lag
// grows until the rate is raised above some 1100 lines per second.
func Hosts(dir string, seed uint64) []*Host {
	web := &Host{ID: "web-01"}
	web.add(dir, "nginx/access.log", agent.Service{Service: "nginx", Topic: "nginx-access", SendRate: 600},
		source{write: accessLine, wave: wave{mean: 900, tide: 0.12, swell: 0.08}, keep: 20})
	web.add(dir, "nginx/error.log", agent.Service{Service: "nginx-error", Topic: "nginx-error"},
		source{write: errorLine, wave: wave{mean: 4, swell: 0.5, surge: 4}})
	web.add(dir, "shop/*.log", agent.Service{Service: "shop", Topic: "shop", SendRate: 2000, Partition: agent.PartitionFile},
		source{path: "shop/worker-1.log", write: jsonLine, wave: wave{mean: 130, tide: 0.3, swell: 0.2}},
		source{path: "shop/worker-2.log", write: jsonLine, wave: wave{mean: 110, tide: 0.3, swell: 0.2, offset: time.Minute}})

	api := &Host{ID: "api-01"}
	api.add(dir, "gateway/access.log", agent.Service{Service: "gateway", Topic: "gateway-access", SendRate: 500},
		source{write: accessLine, wave: wave{mean: 360, tide: 0.1, swell: 0.15, surge: 0.8, offset: 3 * time.Minute}})
	api.add(dir, "orders/orders.json", agent.Service{Service: "orders", Topic: "orders", SendRate: 1000},
		source{write: jsonLine, wave: wave{mean: 320, tide: 0.3, swell: 0.1, offset: 2 * time.Minute}})
	api.add(dir, "billing/billing.log", agent.Service{Service: "billing", Topic: "billing"},
		source{write: javaLine, wave: wave{mean: 45, tide: 0.2, swell: 0.4, surge: 3}})

	db := &Host{ID: "db-01"}
	db.add(dir, "postgres/postgres.log", agent.Service{Service: "postgres", Topic: "postgres"},
		source{write: postgresLine, wave: wave{mean: 40, tide: 0.4, swell: 0.3, surge: 2, offset: 40 * time.Second}})
	db.add(dir, "audit/audit.log", agent.Service{Service: "audit", Topic: "audit", SendRate: 200, Partition: agent.PartitionHost},
		source{write: auditLine, wave: wave{mean: 25, swell: 0.2}})
	db.add(dir, "auth/auth.log", agent.Service{Service: "auth", Topic: "audit", SendRate: 100},
		source{write: authLine, wave: wave{mean: 6, swell: 0.6}})
	db.add(dir, "backup/backup.log", agent.Service{Service: "backup", Topic: "backup"},
		source{write: backupLine, wave: wave{mean: 2, swell: 0.3}})

	hosts := []*Host{web, api, db}
	for h, host := range hosts {
		for i := range host.logs {
			host.logs[i].seed = [2]uint64{seed, uint64(h)<<32 | uint64(i)}
		}
	}
	return hosts
}

// add adds an entry and its logs; a source without path writes the entry's own.
func (h *Host) add(dir, logPath string, s agent.Service, logs ...source) {
	s.LogPath = filepath.Join(dir, h.ID, logPath)
	s.StartAt = agent.StartBeginning
	h.Services = append(h.Services, s)
	for _, log := range logs {
		if log.path == "" {
			log.path = logPath
		}
		log.path = filepath.Join(dir, h.ID, log.path)
		if log.keep == 0 {
			log.keep = keptFiles
		}
		h.logs = append(h.logs, log)
	}
}

// Document returns the entries as they stand in etcd.
func (h *Host) Document() []byte {
	b, err := json.MarshalIndent(h.Services, "", "  ")
	if err != nil { // plain numbers and strings cannot fail
		panic(fmt.Sprintf("document of %s: %v", h.ID, err))
	}
	return append(b, '\n')
}

// Create makes the logs that do not exist yet, empty: an agent that starts before Run finds
// them all.
func (h *Host) Create() error {
	for i := range h.logs {
		file, err := openRotating(h.logs[i].path, logBytes, h.logs[i].keep)
		if err == nil {
			err = file.Close()
		}
		if err != nil {
			return fmt.Errorf("host %s: %w", h.ID, err)
		}
	}
	return nil
}

// Run writes the host's logs until ctx ends, then returns nil. A log that can't be
// written ends the others too.
func (h *Host) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(h.logs))
	for i, log := range h.logs {
		wg.Go(func() {
			if errs[i] = log.run(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *source) run(ctx context.Context) error {
	file, err := openRotating(s.path, logBytes, s.keep)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(s.seed[0], s.seed[1]))
	var buf []byte
	err = paced(ctx, s.wave.at, func(now time.Time, n int) error {
		buf = buf[:0]
		for range n {
			buf = s.write(buf, now, random)
		}
		_, err := file.Write(buf)
		return err
	})
	return errors.Join(err, file.Close())
}
