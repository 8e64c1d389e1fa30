package etcdcfg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// editRate changes the send_rate of one entry in a valid document and no other byte of it.
// Where the entry has none, one is added behind its last field, spaced as that one is.
func editRate(raw []byte, logPath string, rate int64) ([]byte, error) {
	number := strconv.FormatInt(rate, 10)
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil { // the array's bracket
		return nil, err
	}
	for d.More() {
		e, err := readEntry(d, raw)
		if err != nil {
			return nil, err
		}
		if e.logPath != logPath {
			continue
		}
		if e.rateFrom > 0 {
			return splice(raw, e.rateFrom, e.rateTo, number), nil
		}
		return splice(raw, e.end, e.end, ","+e.space+`"send_rate"`+e.colon+number), nil
	}
	return nil, fmt.Errorf("no entry with log_path %s", strconv.Quote(logPath))
}

// entrySpan is where things stand in one entry.
type entrySpan struct {
	logPath          string
	rateFrom, rateTo int    // of the rate's number; 0: there is none
	end              int    // behind the last field's value
	space, colon     string // before the last field's name; between it and its value
}

// readEntry reads the next entry.
func readEntry(d *json.Decoder, raw []byte) (entrySpan, error) {
	var e entrySpan
	if _, err := d.Token(); err != nil { // the opening brace
		return e, err
	}
	e.end = int(d.InputOffset())
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return e, err
		}
		behindName := int(d.InputOffset())
		var field json.RawMessage
		if err := d.Decode(&field); err != nil {
			return e, err
		}
		to := int(d.InputOffset())
		from := to - len(field)
		// Between the end of the last field and the name's first quote stand white space
		// and a comma.
		space, _, _ := bytes.Cut(raw[e.end:behindName], []byte(`"`))
		e.space = string(bytes.Replace(space, []byte(","), nil, 1))
		e.colon = string(raw[behindName:from])
		e.end = to
		switch name {
		case "log_path":
			if err := json.Unmarshal(field, &e.logPath); err != nil {
				return e, err
			}
		case "send_rate":
			e.rateFrom, e.rateTo = from, to
		}
	}
	_, err := d.Token() // the closing brace
	return e, err
}

func splice(raw []byte, from, to int, with string) []byte {
	out := make([]byte, 0, len(raw)+len(with))
	out = append(out, raw[:from]...)
	out = append(out, with...)
	return append(out, raw[to:]...)
}
