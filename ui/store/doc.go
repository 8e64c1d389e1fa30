// Package store holds what the console knows about the fleet: what every host is asked to
// do (etcd), who runs there (live keys), and how it does (status topic, status keys, the
// own agent's socket). Watchers write into it; a page pulls a View of the rows it shows.
// Nothing here waits for a terminal, so a stalled one never stalls a watcher.
//
//	etcd tree ──── SetDocument SetLive SetCoarse SetRevision ─┐
//	status topic ─ SetSummary SetDetail ──────────────────────┼─▶ Store ─▶ Fleet(query), Host(query)
//	links ──────── SetEtcd SetKafka ──────────────────────────┘
//
// Between two statuses of one host the newer wins by (state id, boot, sequence), never by
// clocks; every age is counted on the store's own clock. It knows no bubbletea.
package store
