package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Environment variables that hold a password. They win over the file.
const (
	envEtcdPassword  = "LOGAGENT_ETCD_PASSWORD"
	envKafkaPassword = "LOGAGENT_KAFKA_SASL_PASSWORD"
)

// systemCA in place of a file means the certificates this machine trusts.
const systemCA = "system"

// readSecrets fills the passwords that do not stand in the file itself.
func (s *settings) readSecrets(getenv func(string) string) error {
	var problems []problem
	for _, p := range []struct {
		env, file, key string
		into           *secret
	}{
		{envEtcdPassword, s.passwordFiles[0], "etcd_password_file", &s.EtcdPassword},
		{envKafkaPassword, s.passwordFiles[1], "kafka_sasl_password_file", &s.KafkaPassword},
	} {
		if v := getenv(p.env); v != "" {
			*p.into = secret(v)
			continue
		}
		if p.file == "" {
			continue
		}
		data, err := os.ReadFile(p.file)
		if err != nil {
			problems = append(problems, problem{s.lineOf(p.key), fmt.Sprintf("%s: %v", p.key, err)})
			continue
		}
		*p.into = secret(strings.TrimRight(string(data), "\r\n"))
	}
	if s.EtcdUser != "" && s.EtcdPassword == "" {
		problems = append(problems, problem{s.lineOf("etcd_user"), "etcd_user needs a password: etcd_password_file, etcd_password or the variable " + envEtcdPassword})
	}
	if s.EtcdUser == "" && s.EtcdPassword != "" {
		problems = append(problems, problem{s.lineOf("etcd_user"), "etcd_user: a password for etcd is given, but no user"})
	}
	if s.KafkaMechanism != "" && s.KafkaPassword == "" {
		problems = append(problems, problem{s.lineOf("kafka_sasl_user"), "kafka_sasl_user needs a password: kafka_sasl_password_file, kafka_sasl_password or the variable " + envKafkaPassword})
	}
	return joined(inFile(s.path, problems))
}

// load makes a TLS configuration of the files: nil where none is named. With an error it
// names the key (ca, cert or key) to change.
func (p pemFiles) load() (c *tls.Config, at string, err error) {
	if p == (pemFiles{}) {
		return nil, "", nil
	}
	c = &tls.Config{MinVersion: tls.VersionTLS12}
	if p.ca != "" && p.ca != systemCA {
		data, err := os.ReadFile(p.ca)
		if err != nil {
			return nil, "ca", err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, "ca", fmt.Errorf("%s holds no certificate in PEM form", p.ca)
		}
	}
	switch {
	case p.cert != "" && p.key == "":
		return nil, "cert", errors.New("needs the private key beside it")
	case p.cert == "" && p.key != "":
		return nil, "key", errors.New("needs the certificate beside it")
	case p.cert != "":
		pair, err := tls.LoadX509KeyPair(p.cert, p.key)
		if err != nil {
			return nil, "cert", err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, "", nil
}
