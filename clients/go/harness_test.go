// Package clients drives google.golang.org/genai at a running relay.
//
// This file is what a scenario runs against: the Go side of python/harness.py, which says why it
// is so.
package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// How soon an upstream request must end after its client hung up.
	hangUp      = time.Second
	startWithin = 20 * time.Second
)

var listening = regexp.MustCompile(`listening on (http://[0-9.:]+)`)

type scenarioData struct {
	DirectKey string            `json:"direct_key"`
	PoolKeys  []string          `json:"pool_keys"`
	Token     string            `json:"token"`
	Models    map[string]string `json:"models"`
	Many      struct {
		Requests int `json:"requests"`
		AtOnce   int `json:"at_once"`
	} `json:"many"`
	Configs map[string]json.RawMessage `json:"configs"`
}

// An endpoint is a place to send requests to: the emulator itself, or the relay.
type endpoint struct{ base, credential string }

type stack struct {
	data scenarioData
	// The stranger shows the relay a wrong token.
	direct, relay, stranger endpoint
	// A relay of our own begins with a pool of which nothing is known.
	fresh bool
}

type received struct {
	Body        string `json:"body"`
	Status      int    `json:"status"`
	Outcome     string `json:"outcome"`
	Credentials []struct {
		Value string `json:"value"`
	} `json:"credentials"`
}

// startStack starts an emulator and a relay on ports that the system chose, or takes the ones that
// the environment names.
func startStack(t *testing.T) *stack {
	t.Helper()
	// What a shell may hold must not decide a run.
	for _, name := range []string{"GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "")
	}
	s := &stack{}
	text, err := os.ReadFile("../scenarios.json")
	if err == nil {
		err = json.Unmarshal(text, &s.data)
	}
	if err != nil {
		t.Fatal(err)
	}
	emulator, relay := os.Getenv("EMULATOR_URL"), os.Getenv("RELAY_URL")
	if s.fresh = relay == ""; s.fresh {
		if os.Getenv("CLIENTS_EMULATOR_BIN") == "" || os.Getenv("CLIENTS_RELAY_BIN") == "" {
			t.Fatal("CLIENTS_EMULATOR_BIN and CLIENTS_RELAY_BIN name no programs: see clients/README.md")
		}
		emulator = s.spawn(t, "CLIENTS_EMULATOR_BIN", nil)
		relay = s.spawn(t, "CLIENTS_RELAY_BIN", []string{
			"GEMINI_API_KEYS=" + strings.Join(s.data.PoolKeys, ","),
			"GEMINI_RELAY_TOKENS=clients=" + s.data.Token,
		}, "--upstream", emulator)
	}
	s.direct = endpoint{strings.TrimSuffix(emulator, "/"), s.data.DirectKey}
	s.relay = endpoint{strings.TrimSuffix(relay, "/"), s.data.Token}
	s.stranger = endpoint{s.relay.base, "not-the-token"}
	return s
}

// spawn starts a program in an empty folder, waits for the line that says where it listens, and
// ends it with the test. What it wrote must hold no pool key, if it is the relay.
func (s *stack) spawn(t *testing.T, variable string, env []string, args ...string) string {
	t.Helper()
	folder := t.TempDir()
	log := filepath.Join(folder, "log")
	output, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	child := exec.Command(os.Getenv(variable), append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	child.Dir, child.Stdout, child.Stderr = folder, output, output
	child.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	if err := child.Start(); err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	gone := make(chan struct{})
	go func() { _ = child.Wait(); close(gone) }()
	t.Cleanup(func() {
		_ = child.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			_ = child.Process.Kill()
			<-gone
		}
		text, _ := os.ReadFile(log)
		for _, key := range s.data.PoolKeys {
			if variable == "CLIENTS_RELAY_BIN" && bytes.Contains(text, []byte(key)) {
				t.Errorf("the relay's log holds %s", key)
			}
		}
	})
	for deadline := time.Now().Add(startWithin); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(log)
		if found := listening.FindSubmatch(text); found != nil {
			return string(found[1])
		}
	}
	text, _ := os.ReadFile(log)
	t.Fatalf("%s did not start:\n%s", variable, text)
	return ""
}

// configure begins a scenario: its projects, no faults, nothing received yet.
func (s *stack) configure(t *testing.T, name string) {
	t.Helper()
	s.call(t, http.MethodDelete, "/_emulator/faults", nil)
	s.call(t, http.MethodPut, "/_emulator/config", s.data.Configs[name])
	s.call(t, http.MethodDelete, "/_emulator/requests", nil)
}

func (s *stack) fault(t *testing.T, fault string) {
	t.Helper()
	s.call(t, http.MethodPost, "/_emulator/faults", fmt.Appendf(nil, `{"match":{},"count":1000,"fault":%s}`, fault))
}

func (s *stack) clearFaults(t *testing.T) {
	t.Helper()
	s.call(t, http.MethodDelete, "/_emulator/faults", nil)
}

// received is what the emulator received whose body holds the marker, oldest first.
func (s *stack) received(t *testing.T, marker string) []received {
	t.Helper()
	var all struct {
		Requests []received `json:"requests"`
	}
	if err := json.Unmarshal(s.call(t, http.MethodGet, "/_emulator/requests", nil), &all); err != nil {
		t.Fatal(err)
	}
	var found []received
	for _, r := range all.Requests {
		if strings.Contains(r.Body, marker) {
			found = append(found, r)
		}
	}
	return found
}

// answered is how often the emulator answered each status to a key since the scenario began.
func (s *stack) answered(t *testing.T, key string) map[int]int {
	t.Helper()
	counts := map[int]int{}
	for _, r := range s.received(t, "") {
		for _, c := range r.Credentials {
			if c.Value == key {
				counts[r.Status]++
			}
		}
	}
	return counts
}

// cancelledWithin tells how long from now until the emulator sees that request's client gone.
func (s *stack) cancelledWithin(t *testing.T, marker string, limit time.Duration) (time.Duration, bool) {
	t.Helper()
	begun := time.Now()
	for time.Since(begun) < limit {
		found := s.received(t, marker)
		gone := 0
		for _, r := range found {
			if r.Outcome == "cancelled" {
				gone++
			}
		}
		if len(found) > 0 && gone == len(found) {
			return time.Since(begun), true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return limit, false
}

func (s *stack) call(t *testing.T, method, path string, body []byte) []byte {
	t.Helper()
	request, err := http.NewRequest(method, s.direct.base+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s %v", method, path, answer.StatusCode, text, err)
	}
	return text
}
