package clients

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genai"
)

// outcome is what the library made of an answer.
type outcome struct {
	Chunks []string
	Finish genai.FinishReason
	Tokens int32
}

type place struct {
	client *genai.Client
}

// call is one of unary and stream.
type call func(place, context.Context, string, string) (outcome, error)

var ways = []struct {
	name string
	call call
}{{"unary", place.unary}, {"stream", place.stream}}

// The scenarios share a stack, as one relay serves its clients all day: each configures the
// emulator anew, runs directly at it first with one healthy key, and what the library made of that
// is what it must make of the relay's answer.
func TestGenai(t *testing.T) {
	s := startStack(t)
	direct, relay, stranger := connect(t, s.direct), connect(t, s.relay), connect(t, s.stranger)
	models := s.data.Models

	t.Run("an answer is the same", func(t *testing.T) {
		s.configure(t, "healthy")
		expected := must(t, direct, place.unary, models["healthy"], "[[echo]] one answer")
		if !strings.Contains(expected.Chunks[0], "one answer") {
			t.Fatalf("%+v", expected)
		}
		same(t, expected, must(t, relay, place.unary, models["healthy"], "[[echo]] one answer"))
	})

	t.Run("a stream is the same chunk by chunk", func(t *testing.T) {
		s.configure(t, "healthy")
		expected := must(t, direct, place.stream, models["healthy"], "[[chunks:7]] a stream")
		if len(expected.Chunks) < 7 {
			t.Fatalf("%+v", expected)
		}
		same(t, expected, must(t, relay, place.stream, models["healthy"], "[[chunks:7]] a stream"))
	})

	t.Run("many at once each get their own", func(t *testing.T) {
		s.configure(t, "healthy")
		same(t, many(t, s, direct, models["healthy"]), many(t, s, relay, models["healthy"]))
	})

	t.Run("who hangs up is seen upstream within a second", func(t *testing.T) {
		s.configure(t, "healthy")
		prompt := "[[chunks:50]] [[delay:200ms]] hang up "
		expected := direct.hangUp(t, models["healthy"], prompt+"directly")
		own, seen := s.cancelledWithin(t, "hang up directly", 8*hangUp)
		if !seen {
			t.Fatal("the library did not hang up on the emulator itself")
		}
		same(t, expected, relay.hangUp(t, models["healthy"], prompt+"through the relay"))
		if _, seen := s.cancelledWithin(t, "hang up through the relay", own+hangUp); !seen {
			t.Fatalf("upstream was not hung up on; directly it took %v", own)
		}
	})

	t.Run("a key running dry is not seen", func(t *testing.T) {
		s.configure(t, "dry")
		same(t, many(t, s, direct, models["dry"]), many(t, s, relay, models["dry"]))
		for _, key := range s.data.PoolKeys[:2] {
			if answered := s.answered(t, key); s.fresh && (answered[200] != 1 || answered[429] < 1) {
				t.Fatalf("%s: %v", key, answered)
			}
		}
	})

	t.Run("a dead key is not seen", func(t *testing.T) {
		s.configure(t, "dead")
		same(t, many(t, s, direct, models["dead"]), many(t, s, relay, models["dead"]))
		answered := s.answered(t, s.data.PoolKeys[len(s.data.PoolKeys)-1])
		// Each of those at once may have met it before the first answer came back; nobody later.
		if s.fresh && (answered[400] < 1 || answered[400] > s.data.Many.AtOnce || answered[200] > 0) {
			t.Fatal(answered)
		}
	})

	for _, how := range ways {
		t.Run("a client's own mistake is the library's own error/"+how.name, func(t *testing.T) {
			s.configure(t, "healthy")
			s.fault(t, `{"error":"invalid_argument"}`)
			expected := failure(t, direct, how.call, models["healthy"])
			if expected.Code != 400 {
				t.Fatal(expected)
			}
			same(t, expected, failure(t, relay, how.call, models["healthy"]))
			// It cost no key anything: all of them go on.
			s.clearFaults(t)
			same(t, many(t, s, direct, models["healthy"]), many(t, s, relay, models["healthy"]))
		})

		t.Run("a model that is not there is the library's own error/"+how.name, func(t *testing.T) {
			s.configure(t, "healthy")
			expected := failure(t, direct, how.call, models["missing"])
			if expected.Code != 404 {
				t.Fatal(expected)
			}
			same(t, expected, failure(t, relay, how.call, models["missing"]))
		})

		t.Run("a wrong token is the library's own error and costs no key/"+how.name, func(t *testing.T) {
			// Of a wrong key Google says 400, of what is no key at all 401, as the relay does of a wrong token.
			s.configure(t, "healthy")
			s.fault(t, `{"error":"expected_oauth"}`)
			expected := failure(t, direct, how.call, models["healthy"])
			s.configure(t, "healthy")
			refused := failure(t, stranger, how.call, models["healthy"])
			if expected.Code != 401 || refused.Code != 401 || expected.Status != refused.Status {
				t.Fatalf("%+v\n%+v", expected, refused)
			}
			if received := s.received(t, ""); len(received) > 0 {
				t.Fatalf("it went upstream: %+v", received)
			}
		})

		t.Run("a pool run dry is the library's own error/"+how.name, func(t *testing.T) {
			s.configure(t, "exhausted")
			expected, served := untilRefused(t, s, direct, how.call)
			refused, servedByRelay := untilRefused(t, s, relay, how.call)
			if expected.Code != 429 || refused.Code != 429 || expected.Status != refused.Status {
				t.Fatalf("%+v\n%+v", expected, refused)
			}
			if !strings.Contains(refused.Message, "Please retry in ") {
				t.Fatal(refused.Message)
			}
			for _, key := range s.data.PoolKeys {
				if strings.Contains(fmt.Sprint(refused), key) {
					t.Fatalf("the error holds %s", key)
				}
			}
			// Nobody is refused while a project has room: each served what it had. One key is dead.
			if s.fresh && how.name == "unary" && (served != 1 || servedByRelay != len(s.data.PoolKeys)-1) {
				t.Fatal(served, servedByRelay)
			}
		})
	}
}

func connect(t *testing.T, e endpoint) place {
	t.Helper()
	client, err := genai.NewClient(context.Background(), &genai.ClientConfig{
		APIKey:      e.credential,
		Backend:     genai.BackendGeminiAPI,
		HTTPOptions: genai.HTTPOptions{BaseURL: e.base},
	})
	if err != nil {
		t.Fatal(err)
	}
	return place{client}
}

func (p place) unary(ctx context.Context, model, prompt string) (outcome, error) {
	answer, err := p.client.Models.GenerateContent(ctx, model, genai.Text(prompt), nil)
	if err != nil {
		return outcome{}, err
	}
	return outcome{[]string{answer.Text()}, answer.Candidates[0].FinishReason, answer.UsageMetadata.TotalTokenCount}, nil
}

func (p place) stream(ctx context.Context, model, prompt string) (outcome, error) {
	var o outcome
	for answer, err := range p.client.Models.GenerateContentStream(ctx, model, genai.Text(prompt), nil) {
		if err != nil {
			return o, err
		}
		o.Chunks = append(o.Chunks, answer.Text())
		o.Finish = answer.Candidates[0].FinishReason
		o.Tokens = answer.UsageMetadata.TotalTokenCount
	}
	return o, nil
}

// hangUp reads the beginning of a stream and leaves.
func (p place) hangUp(t *testing.T, model, prompt string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for answer, err := range p.client.Models.GenerateContentStream(ctx, model, genai.Text(prompt), nil) {
		if err != nil {
			t.Fatal(err)
		}
		return answer.Text()
	}
	t.Fatal("an empty stream")
	return ""
}

// many sends twenty requests, every second one streaming, a few at once: what each of them got.
func many(t *testing.T, s *stack, p place, model string) []outcome {
	t.Helper()
	answers := make([]outcome, s.data.Many.Requests)
	slots := make(chan struct{}, s.data.Many.AtOnce)
	var all sync.WaitGroup
	for number := range answers {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			var err error
			prompt := fmt.Sprintf("[[echo]] number %d", number)
			if answers[number], err = ways[number%2].call(p, context.Background(), model, prompt); err != nil {
				t.Errorf("number %d: %v", number, err)
			}
		})
	}
	all.Wait()
	return answers
}

func must(t *testing.T, p place, how call, model, prompt string) outcome {
	t.Helper()
	o, err := how(p, context.Background(), model, prompt)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func failure(t *testing.T, p place, how call, model string) genai.APIError {
	t.Helper()
	_, err := how(p, context.Background(), model, "a request that fails")
	var own genai.APIError
	if !errors.As(err, &own) {
		t.Fatalf("not the library's own: %T %v", err, err)
	}
	return own
}

// untilRefused asks until an error comes, and tells how many answers came before it.
func untilRefused(t *testing.T, s *stack, p place, how call) (genai.APIError, int) {
	t.Helper()
	for served := range len(s.data.PoolKeys) + 2 {
		_, err := how(p, context.Background(), s.data.Models["exhausted"], "until none is left")
		var own genai.APIError
		if errors.As(err, &own) {
			return own, served
		}
		if err != nil {
			t.Fatalf("not the library's own: %T %v", err, err)
		}
	}
	t.Fatal("no answer was refused")
	return genai.APIError{}, 0
}

func same(t *testing.T, expected, got any) {
	t.Helper()
	if !reflect.DeepEqual(expected, got) {
		t.Fatalf("directly:          %+v\nthrough the relay: %+v", expected, got)
	}
}
