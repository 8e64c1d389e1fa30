package etcdcfg

import (
	"encoding/json"
	"strconv"

	"logagent/etcdcfg/change"
)

// editRate changes the send_rate of one entry in a valid document and no other byte of it.
func editRate(raw []byte, logPath string, rate int64) ([]byte, error) {
	return change.Apply("", raw, []change.Edit{{
		Op: change.OpSet, LogPath: logPath,
		Fields: map[string]json.RawMessage{"send_rate": json.RawMessage(strconv.FormatInt(rate, 10))},
	}})
}
