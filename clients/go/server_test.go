package rookery

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A hang, not a slow machine, should meet it.
const patience = time.Minute

// server is a real one, of the binary that ROOKERY_BIN names, with a directory of its own.
type server struct {
	t      *testing.T
	binary string
	data   string
	port   int
	trust  *tls.Config
}

func start(t *testing.T) *server {
	t.Helper()
	binary := os.Getenv("ROOKERY_BIN")
	if binary == "" {
		t.Fatal("ROOKERY_BIN names no server")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &server{t: t, binary: binary, data: t.TempDir(), port: free.Addr().(*net.TCPAddr).Port}
	must(t, free.Close())
	listen := fmt.Sprintf("127.0.0.1:%d", s.port)
	process := exec.Command(binary, "serve", "--data", s.data, "--listen", listen, "--shards", "2")
	// Nobody waits for clients that a failed test has left.
	process.Env = append(os.Environ(), "ROOKERY_DRAIN_WINDOW_MS=0")
	// It goes with the tests, however they end.
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &bytes.Buffer{}
	process.Stderr = said
	lines, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() {
		must(t, process.Process.Signal(syscall.SIGTERM))
		if err := process.Wait(); err != nil {
			t.Errorf("the server ended with %v: %s", err, said)
		}
	})
	for scanner := bufio.NewScanner(lines); ; {
		if !scanner.Scan() {
			t.Fatalf("the server ended before it was ready: %s", said)
		}
		if scanner.Text() == "ready" {
			break
		}
	}
	certificate, err := os.ReadFile(filepath.Join(s.data, "tls", "certificate.pem"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	s.trust = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	return s
}

func (s *server) login(ctx context.Context, user, device int, have map[uint64]uint64) *Client {
	s.t.Helper()
	options := []string{"token", "--user", fmt.Sprint(user), "--device", fmt.Sprint(device), "--data", s.data}
	token, err := exec.Command(s.binary, options...).Output()
	must(s.t, err)
	url := fmt.Sprintf("wss://localhost:%d/", s.port)
	client, err := Dial(ctx, url, strings.TrimSpace(string(token)), Options{TLS: s.trust, HaveSeq: have})
	must(s.t, err)
	return client
}
