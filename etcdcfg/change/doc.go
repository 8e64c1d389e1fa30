// Package change is what a change of documents is, without any etcd: edits of entries that
// leave every other byte alone, the difference of two documents by entry, three-way merge, the
// effect of a change in words and numbers, the record of the history, and the file of a whole
// fleet. Everything here is plain data and pure functions: any goroutine may call them.
//
// A document belongs to a host, or to a group of hosts; where a name stands for either, a
// group's begins with @: "web-01", "@web".
package change
