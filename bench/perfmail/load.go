// load: clients that send mails and measure how long each is blocked.

package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

func pct(a []float64, p float64) float64 {
	if len(a) == 0 {
		return 0
	}
	i := int(float64(len(a)) * p)
	if i >= len(a) {
		i = len(a) - 1
	}
	return a[i]
}

func load(args []string) {
	fs := flag.NewFlagSet("load", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:2525", "relay host:port")
	n := fs.Int("n", 1000, "messages")
	c := fs.Int("c", 1, "concurrent clients")
	perConn := fs.Int("per-conn", 90, "messages per connection in persist mode")
	mode := fs.String("mode", "new", "new (one connection per message) | persist")
	nr := fs.Int("rcpts", 1, "recipients per message")
	size := fs.Int("size", 2500, "message bytes")
	tag := fs.String("tag", fmt.Sprint(time.Now().UnixNano()), "id prefix")
	maxs := fs.Float64("max-seconds", 60, "stop starting new messages after this")
	rate := fs.Float64("rate", 0, "open-loop total messages/s (0: closed loop)")
	fs.Parse(args)
	rcpts := make([]string, *nr)
	for i := range rcpts {
		rcpts[i] = fmt.Sprintf("dev%d@users.example.net", i)
	}
	var next, ok, bad int64
	lats := make([][]float64, *c)
	errs := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	t0 := time.Now()
	stop := t0.Add(time.Duration(*maxs * float64(time.Second)))
	for w := 0; w < *c; w++ {
		wg.Add(1)
		go func(w int) {
			defer wg.Done()
			var s *smtpc
			used := 0
			for {
				i := int(atomic.AddInt64(&next, 1)) - 1
				if i >= *n || time.Now().After(stop) {
					break
				}
				if *rate > 0 {
					time.Sleep(time.Until(t0.Add(time.Duration(float64(i) / *rate * 1e9))))
				}
				id := fmt.Sprintf("%s.%d", *tag, i)
				msg := makeMsg(id, rcpts, *size)
				ts := time.Now()
				var err error
				if s == nil {
					s, err = dial(*addr)
				}
				if err == nil {
					err = s.send(id, rcpts, *size, msg)
				}
				if err == nil {
					atomic.AddInt64(&ok, 1)
				} else {
					atomic.AddInt64(&bad, 1)
					mu.Lock()
					e := err.Error()
					if len(e) > 140 {
						e = e[:140]
					}
					errs[e]++
					mu.Unlock()
				}
				used++
				if s != nil && (*mode == "new" || err != nil || used%*perConn == 0) {
					if err == nil {
						s.cmd(2, "QUIT\r\n")
					}
					s.c.Close()
					s = nil
				}
				if err == nil {
					lats[w] = append(lats[w], time.Since(ts).Seconds()*1000)
				} else {
					time.Sleep(5 * time.Millisecond)
				}
			}
			if s != nil {
				s.cmd(2, "QUIT\r\n")
				s.c.Close()
			}
		}(w)
	}
	wg.Wait()
	el := time.Since(t0).Seconds()
	var all []float64
	for _, l := range lats {
		all = append(all, l...)
	}
	sort.Float64s(all)
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"accepted": ok, "failed": bad, "seconds": el, "accept_per_s": float64(ok) / el, "start_ns": t0.UnixNano(),
		"p50_ms": pct(all, .5), "p90_ms": pct(all, .9), "p99_ms": pct(all, .99), "max_ms": pct(all, 1), "errors": errs, "cpu_s": cpuSeconds(), "tag": *tag})
}

// ---------------------------------------------------------------- sink

// quickConn acknowledges at once, so a relay whose client side leaves Nagle's algorithm on is not charged 40 ms delayed-ACK waits.
