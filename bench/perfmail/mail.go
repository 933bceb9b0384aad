// The mails, and the client that sends them.

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const lorem = "The importer stops after the third retry when the remote tracker answers with a 503, even though the retry budget is not spent. "

func makeMsg(id string, rcpts []string, size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Date: %s\r\nFrom: \"Project Tracker (Jos\xc3\xa9)\" <noreply@tracker.example.org>\r\n", time.Now().Format(time.RFC1123Z))
	b.Reset()
	fmt.Fprintf(&b, "Date: %s\r\nFrom: =?utf-8?q?Project_Tracker_=28Jos=C3=A9=29?= <noreply@tracker.example.org>\r\n", time.Now().Format(time.RFC1123Z))
	fmt.Fprintf(&b, "To: %s\r\nReply-To: noreply@tracker.example.org\r\n", strings.Join(rcpts, ",\r\n "))
	fmt.Fprintf(&b, "Subject: [Acme Importer] #48213: Import stops after third retry =?utf-8?b?4oCTIFLDvGNrZnJhZ2U=?=\r\n")
	fmt.Fprintf(&b, "Message-ID: <071.%s@tracker.example.org>\r\nIn-Reply-To: <056.48213@tracker.example.org>\r\nReferences: <056.48213@tracker.example.org>\r\n", id)
	fmt.Fprintf(&b, "X-Mailer: Tracker 1.6, by Example\r\nX-Tracker-Version: 1.6\r\nX-Tracker-Project: Acme Importer\r\nX-Tracker-Ticket-ID: 48213\r\nX-Tracker-Ticket-URL: https://tracker.example.org/ticket/48213#comment:7\r\nX-Perf-Id: %s\r\n", id)
	fmt.Fprintf(&b, "Precedence: bulk\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"utf-8\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	b.WriteString("#48213: Import stops after third retry\r\n-----------------------+------------------------\r\n Reporter:  j.müller    |      Owner:  s.okafor\r\n     Type:  defect      |     Status:  reopened\r\n Priority:  critical    |  Milestone:  3.2\r\nComponent:  importer    |    Version:  3.1.4\r\n-----------------------+------------------------\r\nChanges (by s.okafor):\r\n\r\n * status:  closed => reopened\r\n * priority:  major => critical\r\n\r\nComment:\r\n\r\n")
	tail := "\r\n-- \r\nTicket URL: <https://tracker.example.org/ticket/48213#comment:7>\r\nAcme Importer – Übersicht <https://tracker.example.org/>\r\n"
	for b.Len()+len(tail) < size {
		rest := size - b.Len() - len(tail)
		l := lorem
		if rest < 72 {
			b.WriteString(" " + l[:rest-min(rest, 3)] + "\r\n")
			break
		}
		for len(l) > 70 {
			b.WriteString(" " + l[:70] + "\r\n")
			l = l[70:]
		}
		b.WriteString(" " + l + "\r\n")
	}
	b.WriteString(tail)
	return b.Bytes()
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// ---------------------------------------------------------------- load

type smtpc struct {
	c   net.Conn
	r   *bufio.Reader
	ext string
}

func (s *smtpc) reply() (int, string, error) {
	var all strings.Builder
	for {
		l, err := s.r.ReadString('\n')
		if err != nil {
			return 0, all.String(), err
		}
		all.WriteString(l)
		if len(l) < 4 {
			return 0, l, fmt.Errorf("short reply %q", l)
		}
		if l[3] != '-' {
			return int(l[0]-'0')*100 + int(l[1]-'0')*10 + int(l[2]-'0'), all.String(), nil
		}
	}
}

func (s *smtpc) cmd(want int, b string) (string, error) {
	if _, err := io.WriteString(s.c, b); err != nil {
		return "", err
	}
	code, txt, err := s.reply()
	if err != nil {
		return txt, err
	}
	if code/100 != want {
		return txt, fmt.Errorf("after %.20q: %.120q", b, txt)
	}
	return txt, nil
}

func dial(addr string) (*smtpc, error) {
	c, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return nil, err
	}
	s := &smtpc{c: c, r: bufio.NewReaderSize(c, 4096)}
	c.SetDeadline(time.Now().Add(120 * time.Second))
	if code, t, err := s.reply(); err != nil || code != 220 {
		c.Close()
		return nil, fmt.Errorf("greeting %.80q %v", t, err)
	}
	s.ext, err = s.cmd(2, "EHLO tracker.example.org\r\n")
	if err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

func (s *smtpc) send(id string, rcpts []string, size int, msg []byte) error {
	s.c.SetDeadline(time.Now().Add(120 * time.Second))
	body := ""
	if strings.Contains(s.ext, "8BITMIME") {
		body = " BODY=8BITMIME"
	}
	if _, err := s.cmd(2, "MAIL FROM:<noreply@tracker.example.org>"+body+"\r\n"); err != nil {
		return err
	}
	for _, r := range rcpts {
		if _, err := s.cmd(2, "RCPT TO:<"+r+">\r\n"); err != nil {
			return err
		}
	}
	if _, err := s.cmd(3, "DATA\r\n"); err != nil {
		return err
	}
	if msg == nil {
		msg = makeMsg(id, rcpts, size)
	}
	if _, err := s.c.Write(msg); err != nil {
		return err
	}
	_, err := s.cmd(2, ".\r\n")
	return err
}
