package main

import "context"

// backlogRow lets the agent send the log with some settings changed.
func backlogRow(name, what string, rate, cpu *aim, change func(*settings)) row {
	return row{name: name, what: what, again: true, run: func(ctx context.Context, b *bench) (outcome, error) {
		c := b.with(change)
		f, err := c.once(ctx, c.runAgent)
		if err != nil {
			return outcome{}, err
		}
		return outcome{machine: f.machine, figures: []figure{
			measured("rate", linesPerSec, f.linesPerSec, rate),
			measured("CPU", cpuPerM, f.cpuPerM, cpu),
			peakFigure(f.peakRSS),
			measured("cores used", cores, f.machine.percent(0)/100, nil),
			measured("broker stand-in", cores, f.machine.percent(1)/100, nil),
			measured("records in a batch", lineCount, f.perBatch, nil),
		}}, nil
	}}
}

// with is the same bench under other settings. etcd must have been started.
func (b *bench) with(change func(*settings)) *bench {
	c := *b
	change(&c.set)
	return &c
}

// provesCompressed sends the log once more to a broker that unpacks what it gets: while it
// is measured, the stand-in believes the number of records in a compressed batch's header.
func provesCompressed(codec string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		c := b.with(func(s *settings) { s.compression, s.unpack = codec, true })
		_, err := c.once(ctx, c.runAgent)
		return err
	}
}
