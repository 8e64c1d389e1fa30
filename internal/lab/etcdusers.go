package lab

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// rootUser is the one who may do everything.
const rootUser = "root"

// turnUsersOn turns authentication on and replaces the client by one that is signed in:
// one that has no token but a TLS certificate counts as the user of the certificate's name.
// What was done before is left as it is.
func turnUsersOn(ctx context.Context, client **clientv3.Client, o EtcdOptions, addrs ...string) error {
	c := *client
	for _, step := range []struct {
		done error
		do   func() error
	}{
		{rpctypes.ErrRoleAlreadyExist, func() error { _, err := c.RoleAdd(ctx, rootUser); return err }},
		{rpctypes.ErrUserAlreadyExist, func() error { _, err := c.UserAdd(ctx, rootUser, o.Password); return err }},
		{nil, func() error { _, err := c.UserGrantRole(ctx, rootUser, rootUser); return err }},
		{nil, func() error { _, err := c.AuthEnable(ctx); return err }},
	} {
		if err := step.do(); err != nil && !errors.Is(err, step.done) {
			return fmt.Errorf("turn authentication on: %w", err)
		}
	}
	signed, err := dialEtcd(ctx, o, addrs...)
	if err != nil {
		return err
	}
	*client = signed
	return c.Close()
}

// AddEtcdUser makes a user who may read and write the keys that begin with the prefixes,
// through a role of the same name.
func AddEtcdUser(ctx context.Context, c *clientv3.Client, user, password string, prefixes ...string) error {
	if _, err := c.UserAdd(ctx, user, password); err != nil {
		return fmt.Errorf("add user %s: %w", user, err)
	}
	if _, err := c.RoleAdd(ctx, user); err != nil {
		return fmt.Errorf("add role %s: %w", user, err)
	}
	for _, p := range prefixes {
		_, err := c.RoleGrantPermission(ctx, user, p, clientv3.GetPrefixRangeEnd(p), clientv3.PermissionType(clientv3.PermReadWrite))
		if err != nil {
			return fmt.Errorf("allow %s to %s: %w", p, user, err)
		}
	}
	if _, err := c.UserGrantRole(ctx, user, user); err != nil {
		return fmt.Errorf("give role %s: %w", user, err)
	}
	return nil
}

// SetEtcdPassword gives a user a password. All his tokens are worthless from then on, also
// where it is the one he had: what he meets next is what he would meet after they expired.
func SetEtcdPassword(ctx context.Context, c *clientv3.Client, user, password string) error {
	if _, err := c.UserChangePassword(ctx, user, password); err != nil {
		return fmt.Errorf("set the password of %s: %w", user, err)
	}
	return nil
}
