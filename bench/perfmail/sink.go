// sink: a next hop that counts.

package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

type quickConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (q quickConn) Read(b []byte) (int, error) {
	n, err := q.TCPConn.Read(b)
	q.raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) })
	return n, err
}

func quick(c net.Conn) net.Conn {
	t := c.(*net.TCPConn)
	r, err := t.SyscallConn()
	if err != nil {
		return c
	}
	return quickConn{t, r}
}

type sinkStats struct {
	tag                                          string
	mu                                           sync.Mutex
	seen                                         map[string]int
	Msgs, Unique, Dups, Rcpts, Bytes             int64
	Sessions, TLS, Resumed, Auths, Open, MaxOpen int64
	FirstNS, LastNS                              int64
}

func selfSigned(caOut string) tls.Certificate {
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	t := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		DNSNames: []string{"localhost", "mail.example.net"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &k.PublicKey, k)
	if err != nil {
		die("cert: %v", err)
	}
	if caOut != "" {
		os.WriteFile(caOut, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

func sink(args []string) {
	fs := flag.NewFlagSet("sink", flag.ExitOnError)
	addr := fs.String("addr", "127.0.0.1:2600", "listen")
	ctl := fs.String("ctl", "127.0.0.1:2601", "HTTP control: GET /stats, /reset")
	useTLS := fs.Bool("tls", false, "offer STARTTLS and require it plus AUTH PLAIN user:secret")
	ca := fs.String("ca-out", "", "write the self-signed certificate here")
	maxPer := fs.Int("max-per-conn", 0, "421 and close after this many messages (0: never)")
	fs.Parse(args)
	st := &sinkStats{seen: map[string]int{}}
	var cfg *tls.Config
	if *useTLS {
		cfg = &tls.Config{Certificates: []tls.Certificate{selfSigned(*ca)}, MinVersion: tls.VersionTLS12}
	}
	http.HandleFunc("/stats", func(w http.ResponseWriter, r *http.Request) {
		st.mu.Lock()
		defer st.mu.Unlock()
		json.NewEncoder(w).Encode(map[string]interface{}{"msgs": st.Msgs, "unique": st.Unique, "dups": st.Dups, "rcpts": st.Rcpts, "bytes": st.Bytes, "sessions": st.Sessions, "tls": st.TLS, "resumed": st.Resumed, "auths": st.Auths, "open": st.Open, "max_open": st.MaxOpen, "first_ns": st.FirstNS, "last_ns": st.LastNS, "cpu_s": cpuSeconds()})
	})
	http.HandleFunc("/reset", func(w http.ResponseWriter, r *http.Request) {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.seen = map[string]int{}
		st.tag = r.URL.Query().Get("tag") // only ids with this prefix count
		st.Msgs, st.Unique, st.Dups, st.Rcpts, st.Bytes, st.Sessions, st.TLS, st.Resumed, st.Auths, st.FirstNS, st.LastNS = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
		st.MaxOpen = st.Open
		fmt.Fprintln(w, "ok")
	})
	go http.Serve(listen(*ctl), nil)
	l := listen(*addr)
	for {
		c, err := l.Accept()
		if err != nil {
			continue
		}
		go serve(quick(c), cfg, st, *maxPer)
	}
}

func serve(c net.Conn, cfg *tls.Config, st *sinkStats, maxPer int) {
	defer func() { c.Close(); st.mu.Lock(); st.Open--; st.mu.Unlock() }()
	st.mu.Lock()
	st.Sessions++
	st.Open++
	if st.Open > st.MaxOpen {
		st.MaxOpen = st.Open
	}
	st.mu.Unlock()
	r := bufio.NewReaderSize(c, 16384)
	w := bufio.NewWriterSize(c, 4096)
	secure, authed := false, cfg == nil
	rcpts, count := 0, 0
	say := func(s string) { w.WriteString(s) }
	say("220 sink.example.net ESMTP\r\n")
	for {
		if r.Buffered() == 0 {
			if w.Flush() != nil {
				return
			}
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		up := strings.ToUpper(strings.TrimRight(string(line), "\r\n"))
		switch {
		case strings.HasPrefix(up, "EHLO"):
			say("250-sink.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n")
			if cfg != nil && !secure {
				say("250-STARTTLS\r\n")
			}
			if cfg != nil && secure {
				say("250-AUTH PLAIN LOGIN\r\n")
			}
			say("250 ENHANCEDSTATUSCODES\r\n")
		case strings.HasPrefix(up, "HELO"):
			say("250 sink.example.net\r\n")
		case up == "STARTTLS" && cfg != nil && !secure:
			say("220 2.0.0 go\r\n")
			w.Flush()
			t := tls.Server(c, cfg)
			if t.Handshake() != nil {
				return
			}
			st.mu.Lock()
			st.TLS++
			if t.ConnectionState().DidResume {
				st.Resumed++
			}
			st.mu.Unlock()
			c = t
			r, w = bufio.NewReaderSize(t, 16384), bufio.NewWriterSize(t, 4096)
			secure = true
		case strings.HasPrefix(up, "AUTH PLAIN"), strings.HasPrefix(up, "AUTH LOGIN"):
			get := func(prompt string) string {
				say("334 " + prompt + "\r\n")
				w.Flush()
				x, _ := r.ReadString('\n')
				d, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(x))
				return string(d)
			}
			arg := strings.Fields(string(line))
			good := false
			if up[5:10] == "PLAIN" {
				var d string
				if len(arg) > 2 {
					b, _ := base64.StdEncoding.DecodeString(arg[2])
					d = string(b)
				} else {
					d = get("")
				}
				good = strings.HasSuffix(d, "\x00user\x00secret")
			} else {
				u := get("VXNlcm5hbWU6")
				p := get("UGFzc3dvcmQ6")
				good = u == "user" && p == "secret"
			}
			if good && (cfg == nil || secure) {
				authed = true
				st.mu.Lock()
				st.Auths++
				st.mu.Unlock()
				say("235 2.7.0 ok\r\n")
			} else {
				say("535 5.7.8 bad\r\n")
			}
		case strings.HasPrefix(up, "MAIL FROM"):
			if !authed {
				say("530 5.7.0 authentication required\r\n")
			} else {
				rcpts = 0
				say("250 2.1.0 ok\r\n")
			}
		case strings.HasPrefix(up, "RCPT TO"):
			rcpts++
			say("250 2.1.5 ok\r\n")
		case up == "DATA":
			if rcpts == 0 {
				say("503 5.5.1 no rcpt\r\n")
				continue
			}
			say("354 go\r\n")
			w.Flush()
			id, nbytes, hdr, bol := "", int64(0), true, true
			for {
				l, err := r.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if bol && len(l) == 3 && l[0] == '.' {
					break
				}
				nbytes += int64(len(l))
				if bol && hdr {
					if len(l) <= 2 {
						hdr = false
					} else if id == "" && len(l) > 11 && l[0]|32 == 'x' && bytes.EqualFold(l[:10], []byte("X-Perf-Id:")) {
						id = strings.TrimSpace(string(l[10:]))
					}
				}
				bol = err == nil
			}
			now := time.Now().UnixNano()
			st.mu.Lock()
			if strings.HasPrefix(id, st.tag) {
				st.Msgs++
				st.Rcpts += int64(rcpts)
				st.Bytes += nbytes
				if st.FirstNS == 0 {
					st.FirstNS = now
				}
				st.LastNS = now
				st.seen[id]++
				if st.seen[id] == 1 {
					st.Unique++
				} else {
					st.Dups++
				}
			}
			st.mu.Unlock()
			rcpts = 0
			count++
			say("250 2.0.0 queued\r\n")
			if maxPer > 0 && count >= maxPer {
				say("421 4.7.0 enough\r\n")
				w.Flush()
				return
			}
		case up == "RSET", up == "NOOP":
			rcpts = 0
			say("250 2.0.0 ok\r\n")
		case up == "QUIT":
			say("221 2.0.0 bye\r\n")
			w.Flush()
			return
		default:
			say("502 5.5.2 what\r\n")
		}
	}
}

// ---------------------------------------------------------------- delay proxy
