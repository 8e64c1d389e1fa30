package kafkaout

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
)

// scramClient is one SCRAM exchange (RFC 5802) without channel binding, which is all that
// Kafka knows. sarama asks for it one step at a time.
type scramClient struct {
	hash           func() hash.Hash
	user, password string
	first          string // client-first-message-bare
	nonce          string
	server         []byte // the signature that proves the server knows the password
	step           int
}

// scramHash is the hash of a mechanism; nil where it is not SCRAM.
func scramHash(mechanism string) func() hash.Hash {
	switch mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		return sha256.New
	case sarama.SASLTypeSCRAMSHA512:
		return sha512.New
	}
	return nil
}

// Begin prepares the exchange. Kafka takes user names and passwords as they are.
func (c *scramClient) Begin(user, password, _ string) error {
	c.user = strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	c.password = password
	c.nonce = rand.Text()
	c.first = "n=" + c.user + ",r=" + c.nonce
	c.step = 0
	return nil
}

// Step answers a challenge; the first one is empty.
func (c *scramClient) Step(challenge string) (string, error) {
	c.step++
	switch c.step {
	case 1:
		return "n,," + c.first, nil
	case 2:
		return c.proof(challenge)
	case 3:
		return "", c.verify(challenge)
	}
	return "", errors.New("SCRAM: the broker goes on after the last step")
}

// Done tells whether the exchange is over.
func (c *scramClient) Done() bool { return c.step >= 3 }

func (c *scramClient) proof(challenge string) (string, error) {
	var nonce, salt64 string
	var iterations int
	for field := range strings.SplitSeq(challenge, ",") {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "r":
			nonce = value
		case "s":
			salt64 = value
		case "i":
			iterations, _ = strconv.Atoi(value)
		}
	}
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if err != nil || !strings.HasPrefix(nonce, c.nonce) || iterations < 1 {
		return "", errors.New("SCRAM: the broker's challenge makes no sense")
	}
	salted, err := pbkdf2.Key(c.hash, c.password, salt, iterations, c.hash().Size())
	if err != nil {
		return "", fmt.Errorf("SCRAM: %w", err)
	}
	clientKey := c.mac(salted, "Client Key")
	stored := c.hash()
	stored.Write(clientKey)
	last := "c=biws,r=" + nonce
	message := c.first + "," + challenge + "," + last
	proof := make([]byte, len(clientKey))
	subtle.XORBytes(proof, clientKey, c.mac(stored.Sum(nil), message))
	c.server = c.mac(c.mac(salted, "Server Key"), message)
	return last + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

func (c *scramClient) verify(challenge string) error {
	value, ok := strings.CutPrefix(challenge, "v=")
	if !ok {
		return fmt.Errorf("SCRAM: the broker says %q", challenge)
	}
	signature, err := base64.StdEncoding.DecodeString(value)
	if err != nil || !hmac.Equal(signature, c.server) {
		return errors.New("SCRAM: the broker does not know the password")
	}
	return nil
}

func (c *scramClient) mac(key []byte, message string) []byte {
	m := hmac.New(c.hash, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}
