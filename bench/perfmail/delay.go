// delay: a proxy that makes a round trip longer.

package main

import (
	"flag"
	"net"
	"time"
)

func pump(dst, src net.Conn, d time.Duration) {
	type chunk struct {
		b  []byte
		at time.Time
	}
	ch := make(chan chunk, 4096)
	go func() {
		for {
			b := make([]byte, 16384)
			n, err := src.Read(b)
			if n > 0 {
				ch <- chunk{b[:n], time.Now().Add(d)}
			}
			if err != nil {
				close(ch)
				return
			}
		}
	}()
	for k := range ch {
		time.Sleep(time.Until(k.at))
		if _, err := dst.Write(k.b); err != nil {
			src.Close()
		}
	}
	time.Sleep(d)
	if t, ok := dst.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}

func delay(args []string) {
	fs := flag.NewFlagSet("delay", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:2610", "listen")
	to := fs.String("to", "127.0.0.1:2600", "target")
	rtt := fs.Float64("rtt-ms", 100, "round-trip time to add (half each way; connect costs one rtt)")
	fs.Parse(args)
	l := listen(*addr)
	half := time.Duration(*rtt / 2 * float64(time.Millisecond))
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go func() {
			time.Sleep(2 * half) // stands for the TCP handshake
			s, err := net.Dial("tcp", *to)
			if err != nil {
				c.Close()
				return
			}
			go pump(s, c, half)
			pump(c, s, half)
			c.Close()
			s.Close()
		}()
	}
}
