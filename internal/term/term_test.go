package term

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func shell(t *testing.T, script string) (context.Context, *Terminal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	term, err := Start(exec.Command("/bin/sh", "-c", script), 40, 6)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := term.Close(); err != nil {
			t.Error(err)
		}
	})
	return ctx, term
}

func TestScreenShowsTextWithItsColours(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `printf '\033[2;3H\033[1;31mred\033[0m \033[7mback\033[0m \033[38;2;1;2;3m●\033[0m 漢x'; sleep 60`)
	if err := term.WaitText(ctx, "red back ● 漢x"); err != nil {
		t.Fatal(err)
	}
	s := term.Screen()
	if want, got := "\n  red back ● 漢x\n\n\n\n\n", s.Text(); got != want {
		t.Errorf("the screen is %q, want %q", got, want)
	}
	row := s.Cells[1]
	if c := row[2]; !c.Bold || c.Fg != ansi.BasicColor(1) || c.Reverse {
		t.Errorf("the r of red is %+v", c)
	}
	if c := row[6]; !c.Reverse || c.Bold || c.Fg != nil {
		t.Errorf("the b of back is %+v", c)
	}
	if r, g, b, _ := row[11].Fg.RGBA(); r>>8 != 1 || g>>8 != 2 || b>>8 != 3 {
		t.Errorf("the dot has the colour %v", row[11].Fg)
	}
	if row[13].Width != 2 || row[14].Width != 0 || row[15].Text != "x" {
		t.Errorf("a wide character takes %+v", row[13:16])
	}
}

func TestTypedKeysReachTheProgram(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `read line; echo "<$line>"; stty -icanon; echo ready; head -c 4 | od -An -c`)
	if err := term.Type("hello", "space", "you", "enter"); err != nil {
		t.Fatal(err)
	}
	if err := term.WaitText(ctx, "<hello you>"); err != nil {
		t.Fatal(err)
	}
	if err := term.WaitText(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	if err := term.Type("down", "x"); err != nil {
		t.Fatal(err)
	}
	if err := term.WaitText(ctx, "033   [   B   x"); err != nil {
		t.Fatal(err)
	}
	if err := term.WaitExit(ctx); err != nil {
		t.Error(err)
	}
}

func TestResizeIsToldToTheProgram(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `trap 'stty size' WINCH; stty size; while :; do sleep 0.02; done`)
	if err := term.WaitText(ctx, "6 40"); err != nil {
		t.Fatal(err)
	}
	if err := term.Resize(80, 24); err != nil {
		t.Fatal(err)
	}
	if err := term.WaitText(ctx, "24 80"); err != nil {
		t.Fatal(err)
	}
	if s := term.Screen(); s.Cols != 80 || s.Rows != 24 || len(s.Cells) != 24 || len(s.Cells[0]) != 80 {
		t.Errorf("the screen is %d×%d", s.Cols, s.Rows)
	}
}

func TestQueriesAreAnswered(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `stty -icanon -echo; printf '\033[3;5H\033[6n'; head -c 6 | od -An -c`)
	if err := term.WaitText(ctx, "033   [   3   ;   5   R"); err != nil {
		t.Error(err)
	}
}

func TestExitCodeIsReported(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `echo bye; exit 3`)
	var exit *exec.ExitError
	if err := term.WaitExit(ctx); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("the program ended with %v, want exit code 3", err)
	}
	if err := term.WaitText(ctx, "bye"); err != nil {
		t.Errorf("its last words: %v", err)
	}
	// No need to wait for the deadline: nothing more can come.
	err := term.WaitText(ctx, "never")
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "bye") {
		t.Errorf("waiting for more gives %v, want an error with the screen", err)
	}
}

func TestAHeldTerminalTakesNothingUntilReleased(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `echo go; n=0; while :; do n=$((n+1)); echo "line $n"; done`)
	if err := term.WaitText(ctx, "line 2"); err != nil {
		t.Fatal(err)
	}
	release := term.Hold()
	before := len(term.Output())
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
	}
	if after := len(term.Output()); after != before {
		t.Errorf("%d bytes were taken while held", after-before)
	}
	release()
	err := term.Wait(ctx, "more output", func(Screen) bool { return len(term.Output()) > before })
	if err != nil {
		t.Error(err)
	}
}

func TestCloseEndsAProgramThatIgnoresIt(t *testing.T) {
	t.Parallel()
	ctx, term := shell(t, `trap '' HUP TERM INT; echo ready; while :; do sleep 1; done`)
	if err := term.WaitText(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	term.Hold() // even while nobody reads
	if err := term.Close(); err != nil {
		t.Error(err)
	}
	if err := term.WaitExit(ctx); err == nil {
		t.Error("a killed program reports success")
	}
}
