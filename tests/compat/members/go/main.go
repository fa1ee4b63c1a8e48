// Members of groups with franz-go and sarama. What they are asked and what they write is described
// in tests/compat/matrix/events.rs.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

type ask struct {
	Client    string  `json:"client"`
	Name      string  `json:"name"`
	Broker    string  `json:"broker"`
	Topic     string  `json:"topic"`
	Group     string  `json:"group"`
	Protocol  string  `json:"protocol"`
	Assignor  string  `json:"assignor"`
	Instance  *string `json:"instance"`
	Session   int     `json:"session_ms"`
	Heartbeat int     `json:"heartbeat_ms"`
	Poll      int     `json:"poll_ms"`
}

func milliseconds(count int) time.Duration {
	return time.Duration(count) * time.Millisecond
}

func main() {
	var asked ask
	if err := json.Unmarshal([]byte(os.Args[1]), &asked); err != nil {
		fail(err)
	}
	told := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(told)
	}()
	switch asked.Client {
	case "franz-go":
		franz(asked, told)
	case "sarama":
		saramas(asked, told)
	default:
		fail(fmt.Errorf("no client %q", asked.Client))
	}
	say("left", nil)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

var mouth sync.Mutex

type fields map[string]any

func say(event string, more fields) {
	line := fields{"event": event}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err != nil {
		fail(err)
	}
	mouth.Lock()
	defer mouth.Unlock()
	fmt.Println(string(text))
}

func sayPartitions(event string, partitions []int32) {
	sorted := append([]int32{}, partitions...)
	slices.Sort(sorted)
	say(event, fields{"partitions": sorted})
}

// Tells of offsets in order as ranges without holes.
func sayRead(partition int32, offsets []int64, generation int32) {
	for at := 0; at < len(offsets); {
		first := offsets[at]
		end := first
		for at < len(offsets) && offsets[at] == end {
			at++
			end++
		}
		say("read", fields{"partition": partition, "first": first, "end": end, "generation": generation})
	}
}

func sayCommit(partition int32, offset int64, err error) {
	var told any
	if err != nil {
		told = err.Error()
	}
	say("commit", fields{"partition": partition, "offset": offset, "error": told})
}
