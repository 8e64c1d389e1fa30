// Package etcdcfg keeps hosts in step with their documents in etcd: it reads the whole
// truth, watches from the next revision, and whenever it cannot be sure that it saw every
// change it reads the whole truth again. Nothing is skipped, and nothing here ever stops
// the caller: with etcd away an agent works from the last good document on its disk.
//
//	Client ── one connection, made on first use; Link tells how it is
//	          (handshake: why TLS fails; signIn: what the library leaves to do where a
//	          user's sign-in ends)
//	feed   ── read at revision R, watch from R+1 with require-leader; read again after a
//	          compaction, a closed watch, a lost connection, and now and then anyway
//	  Follow          the documents of one host and of its groups ── Apply(HostConfig), then
//	                  the cache on disk
//	  Report          ROOT.live/<host> (leased), ROOT.status/<host> (written rarely) and
//	                  ROOT.seen/<host> (leased for a week, left behind)
//	  FollowWatched   does a console look at this host     ◄─ HoldWatch
//	  ServeQuestions  ROOT.ask/<host>/<ulid>, answered in place ◄─ Ask
//	  ServeSeeks      ROOT.seek/<host>/<ulid>, carried out and answered in place ◄─ RequestSeek
//	  FollowTree      all hosts and groups, for consoles
//	Survey, Forget ── all hosts once; one that is gone taken out of etcd
//	Get, Save, SetRate, Edit ── writes that compare the key's revision; each with its record in
//	                            ROOT.history/<host or @group>/<ulid>, in one transaction
//	History, Version, Rollback ── what became of a document, and back to any of it
//	Documents, PlanEdits, PlanFleet ── what a change set would do: plain data
//	Start, Drive, Stop, Reverse ── a change set, ROOT.changes/<ulid>, by whoever drives it
//
// Revisions are compared for equality, never for order: an etcd may be restored from a
// backup and count from a lower number.
//
// Every method of Client may be called from any goroutine. Errors are in words for an
// operator and wrap the cause. The package writes to Options.Log alone.
package etcdcfg
