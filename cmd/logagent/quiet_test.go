package main

import (
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/nxadm/tail/util"
	"google.golang.org/grpc/grpclog"
)

// Not parallel: it takes the process's stderr and the libraries' global loggers.
func TestLibrariesWriteToTheLogAlone(t *testing.T) {
	out := &buffer{}
	before := os.Stderr
	end, err := quietLibraries(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "straight to stderr")
	fmt.Fprint(os.Stderr, "without a line end")
	log.Print("by the standard log")
	slog.Info("by the default slog")
	util.LOGGER.Printf("by nxadm")
	for range 3 {
		sarama.Logger.Println("by sarama")
		grpclog.Warningf("by %s", "grpc")
	}
	grpclog.Info("chatter")
	end()
	if os.Stderr != before {
		t.Error("stderr was not given back")
	}
	got := out.String()
	for _, words := range []string{
		`level=WARN msg="straight to stderr" from=stderr`, `level=WARN msg="without a line end" from=stderr`,
		`msg="by the standard log" from=log`, "by the default slog", `msg="by nxadm" from=tail`,
		`level=DEBUG msg="by sarama" from=sarama`, `level=DEBUG msg="by grpc" from=grpc`,
	} {
		if strings.Count(got, words) != 1 {
			t.Errorf("want once %s in\n%s", words, got)
		}
	}
	if strings.Contains(got, "chatter") {
		t.Errorf("gRPC's infos are left out, got\n%s", got)
	}
}

func TestRepeatsAreRememberedWithinBounds(t *testing.T) {
	t.Parallel()
	out := &buffer{}
	f := &fewRepeats{to: out}
	for i := range 3 * mostSaid {
		fmt.Fprintf(f, "text %d\n", i)
		fmt.Fprintf(f, "text %d\n", i)
	}
	if got := strings.Count(out.String(), "\n"); got != 3*mostSaid || len(f.said) > mostSaid {
		t.Errorf("want each of %d texts once, got %d; %d remembered", 3*mostSaid, got, len(f.said))
	}
}
