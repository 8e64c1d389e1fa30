package agent

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// gate waits for a descriptor to become readable, and hears nothing of it in between. The
// runtime's poller asks for edges for as long as a descriptor is open: an inotify instance
// whose events are left to gather would wake it with every single one, two thousand times
// a second. (A poll of its own in a thread of its own is no better: the scheduler's monitor has to
// take the processor away from it each time.) So the poller watches an epoll instance, and
// that one the descriptor, once for each time it is armed (EPOLLONESHOT).
type gate struct {
	fd   int      // what is waited for; the owner closes it
	file *os.File // the epoll instance; Close ends wait
	conn syscall.RawConn
}

func newGate(fd int) (*gate, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(fd)})
	if err == nil {
		err = unix.SetNonblock(epoll, true) // makes the runtime poll it
	}
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	g := &gate{fd: fd, file: os.NewFile(uintptr(epoll), "epoll")}
	if g.conn, err = g.file.SyscallConn(); err != nil {
		g.file.Close()
		return nil, err
	}
	return g, nil
}

// wait calls take until it says that there was something, and blocks where there was nothing
// until there may be. It returns an error once the gate is closed. One goroutine may wait.
func (g *gate) wait(take func(fd int) bool) error {
	var failed error
	err := g.conn.Read(func(epoll uintptr) bool {
		var told [1]unix.EpollEvent
		// Whatever it was armed for is over with this. EINTR leaves it armed: one wake-up more.
		_, _ = unix.EpollWait(int(epoll), told[:], 0)
		if take(g.fd) {
			return true
		}
		// Armed after taking: what comes from now on, or has come since, opens it.
		failed = unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, g.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(g.fd)})
		return failed != nil
	})
	if failed != nil {
		return failed
	}
	return err
}
