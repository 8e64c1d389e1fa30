// Package ui is the console: an operator sees within two seconds which host falls behind
// and why, changes a rate and watches it act, sees who changed what, and goes back. It reads
// a store.Store and a History, writes through a Writer and does nothing else: it knows no
// etcd, no Kafka and no agent's inside.
//
//	watchers ─▶ store.Store ◀─ pull (a command, one at a time) ─▶ page ─▶ View ─▶ terminal
//	keys ─▶ keymap ─▶ page ─▶ rates ─▶ Writer (a command) ─▶ saving, saved, applied
//	                   │                 └─▶ somebody was first ─▶ mine or theirs
//	                   └─▶ history ◀─ History (a command) ─▶ rollback ─▶ Writer
//
// Update never blocks and does no I/O; a command does, and its answer comes back as a
// message. Nothing outside calls Program.Send, so a stalled terminal stalls nobody.
// Several consoles may run in one process: there is no package-level state, and styles
// come from each one's own renderer.
package ui
