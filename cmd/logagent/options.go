package main

import (
	"log/slog"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/kafkaout"
)

// What the settings mean to each package.

func (s *settings) etcdOptions(log *slog.Logger) etcdcfg.Options {
	return etcdcfg.Options{
		Addrs: s.EtcdAddrs, Timeout: s.EtcdTimeout, Pattern: s.EtcdWatchKey, Log: log,
		TLS: s.EtcdTLS, User: s.EtcdUser, Password: string(s.EtcdPassword),
		History: etcdcfg.Limits{Keep: s.HistoryKeep, MaxAge: time.Duration(s.HistoryDays) * 24 * time.Hour},
	}
}

func (s *settings) kafkaOptions(host string, log *slog.Logger) kafkaout.Options {
	o := kafkaout.Options{
		Addrs: s.KafkaAddrs, ClientID: "logagent", Host: host, Headers: s.Headers,
		Connections: s.ThreadNum, Compression: s.KafkaCompression, MaxLineBytes: s.MaxLineBytes,
		Log: log, TLS: s.KafkaTLS,
	}
	if s.KafkaMechanism != "" {
		o.SASL = &kafkaout.SASL{Mechanism: s.KafkaMechanism, User: s.KafkaUser, Password: string(s.KafkaPassword)}
	}
	return o
}

func (s *settings) agentOptions(host string, sink agent.Sink, etcd func() agent.LinkStatus, log *slog.Logger) agent.Options {
	return agent.Options{
		Host: host, StateDir: s.StateDir, Version: thisBuild().Version, Sink: sink, Log: log,
		PollInterval: s.PollInterval, RotateWait: s.RotateWait, SaveEvery: time.Second, DrainTimeout: s.DrainTimeout,
		MaxLineBytes: s.MaxLineBytes, InFlightBytes: s.InFlightBytes,
		DeletedMaxBytes: s.DeletedMaxBytes, DeletedMinFree: s.DeletedMinFree,
		Allow: s.AllowPaths, Refuse: []string{s.Log}, EtcdLink: etcd,
	}
}
