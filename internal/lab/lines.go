package lab

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// scribe appends one event of a log, one line or more with their ends.
type scribe func(b []byte, now time.Time, r *rand.Rand) []byte

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

var (
	paths = []string{
		"/", "/search?q=running+shoes", "/product/18842", "/product/90313", "/cart", "/checkout", "/login",
		"/static/app.4f1d.js", "/static/style.9b2c.css", "/img/hero@2x.webp", "/api/v1/recommendations?limit=12",
		"/category/outdoor?page=3", "/favicon.ico", "/account/orders", "/healthz",
	}
	agents = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Gecko/20100101 Firefox/142.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 Safari/605.1.15",
		"Mozilla/5.0 (Linux; Android 15; Pixel 8) Chrome/140.0 Mobile Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1) Mobile/15E148",
		"curl/8.9.1", "Googlebot/2.1 (+http://www.google.com/bot.html)",
	}
	methods  = []string{"GET", "GET", "GET", "GET", "GET", "POST", "HEAD"}
	statuses = []int{200, 200, 200, 200, 200, 200, 200, 206, 301, 304, 304, 404, 499, 500, 502}
	users    = []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"}
	routes   = []string{"/orders", "/orders/{id}", "/orders/{id}/cancel", "/customers/{id}", "/stock/{sku}"}
	classes  = []string{"InvoiceService", "PaymentGateway", "LedgerWriter", "TaxCalculator", "DunningJob"}
)

func address(b []byte, r *rand.Rand) []byte {
	return fmt.Appendf(b, "%d.%d.%d.%d", 11+r.IntN(180), r.IntN(256), r.IntN(256), 1+r.IntN(254))
}

// accessLine is nginx's combined format with the request time.
func accessLine(b []byte, now time.Time, r *rand.Rand) []byte {
	b = address(b, r)
	b = append(b, " - - ["...)
	b = now.AppendFormat(b, "02/Jan/2006:15:04:05 -0700")
	return fmt.Appendf(b, "] \"%s %s HTTP/2.0\" %d %d \"https://shop.example.com/\" \"%s\" %.3f\n",
		pick(r, methods), pick(r, paths), pick(r, statuses), 120+r.IntN(48_000), pick(r, agents), r.ExpFloat64()*0.08)
}

// errorLine is nginx's error log.
func errorLine(b []byte, now time.Time, r *rand.Rand) []byte {
	b = now.AppendFormat(b, "2006/01/02 15:04:05")
	b = fmt.Appendf(b, " [error] %d#%d: *%d upstream timed out (110: Connection timed out) while reading response header from upstream, client: ",
		900+r.IntN(8), 900+r.IntN(8), r.IntN(9_000_000))
	b = address(b, r)
	return fmt.Appendf(b, ", server: shop.example.com, request: \"GET %s HTTP/2.0\"\n", pick(r, paths))
}

// jsonLine is the structured log of a service.
func jsonLine(b []byte, now time.Time, r *rand.Rand) []byte {
	level := "info"
	if r.IntN(40) == 0 {
		level = "warn"
	}
	b = append(b, `{"ts":"`...)
	b = now.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	return fmt.Appendf(b, `","level":"%s","msg":"request done","route":"%s","user":"%s","status":%d,"ms":%.1f,"trace":"%016x%016x"}`+"\n",
		level, pick(r, routes), pick(r, users), pick(r, statuses), 2+r.ExpFloat64()*30, r.Uint64(), r.Uint64())
}

// javaLine is a service that prints a stack trace now and then.
func javaLine(b []byte, now time.Time, r *rand.Rand) []byte {
	class := pick(r, classes)
	b = now.AppendFormat(b, "2006-01-02 15:04:05,000")
	if r.IntN(25) != 0 {
		return fmt.Appendf(b, " INFO  [worker-%d] com.example.billing.%s - invoice %d posted in %d ms\n",
			1+r.IntN(8), class, 4_000_000+r.IntN(1_000_000), 3+r.IntN(90))
	}
	b = fmt.Appendf(b, " ERROR [worker-%d] com.example.billing.%s - invoice %d not posted\njava.net.SocketTimeoutException: Read timed out\n",
		1+r.IntN(8), class, 4_000_000+r.IntN(1_000_000))
	for range 4 + r.IntN(8) {
		b = fmt.Appendf(b, "\tat com.example.billing.%s.apply(%s.java:%d)\n", class, class, 40+r.IntN(400))
		class = pick(r, classes)
	}
	return b
}

// auditLine is the kernel's audit log.
func auditLine(b []byte, now time.Time, r *rand.Rand) []byte {
	return fmt.Appendf(b, "type=SYSCALL msg=audit(%d.%03d:%d): arch=c000003e syscall=%d success=yes exit=%d pid=%d auid=%d uid=0 comm=\"psql\" exe=\"/usr/bin/psql\" key=\"data\"\n",
		now.Unix(), now.Nanosecond()/1_000_000, r.IntN(9_000_000), r.IntN(330), r.IntN(12), 300+r.IntN(30_000), 1000+r.IntN(20))
}

// authLine is what sshd leaves in auth.log.
func authLine(b []byte, now time.Time, r *rand.Rand) []byte {
	b = now.AppendFormat(b, time.Stamp)
	b = fmt.Appendf(b, " db-01 sshd[%d]: ", 800+r.IntN(30_000))
	if r.IntN(3) == 0 {
		b = append(b, "Failed password for invalid user admin from "...)
	} else {
		b = fmt.Appendf(b, "Accepted publickey for %s from ", pick(r, users))
	}
	b = address(b, r)
	return fmt.Appendf(b, " port %d ssh2\n", 1024+r.IntN(64_000))
}

// postgresLine is a database's log of slow statements.
func postgresLine(b []byte, now time.Time, r *rand.Rand) []byte {
	b = now.UTC().AppendFormat(b, "2006-01-02 15:04:05.000 UTC")
	return fmt.Appendf(b, " [%d] shop@orders LOG:  duration: %.3f ms  statement: SELECT * FROM orders WHERE customer_id = %d AND state = 'open' ORDER BY created_at DESC LIMIT 50\n",
		300+r.IntN(40), 20+r.ExpFloat64()*200, r.IntN(900_000))
}

// backupLine is a job that reports its progress.
func backupLine(b []byte, now time.Time, r *rand.Rand) []byte {
	b = now.AppendFormat(b, time.RFC3339)
	return fmt.Appendf(b, " backup: copied orders_%04d.dump, %d bytes\n", r.IntN(4000), 10_000+r.IntN(90_000_000))
}

// WriteAccessLog writes lines of a web server's access log, about 180 bytes each, the same
// for the same seed, and returns their size.
func WriteAccessLog(w io.Writer, seed uint64, lines int) (int64, error) {
	r := rand.New(rand.NewPCG(seed, 0))
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	out := bufio.NewWriterSize(w, 1<<20)
	var line []byte
	var size int64
	for range lines {
		now = now.Add(time.Millisecond)
		line = accessLine(line[:0], now, r)
		size += int64(len(line))
		if _, err := out.Write(line); err != nil {
			return size, fmt.Errorf("access log: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return size, fmt.Errorf("access log: %w", err)
	}
	return size, nil
}
