package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/vipkv/vipkv/kv/client"
	"github.com/vipkv/vipkv/proto/rpcerr"
	vipkvpb "github.com/vipkv/vipkv/proto/vipkv/v1"
)

func newTenant(a *app) *cobra.Command {
	return newGroup("tenant", "Make and list tenants (needs the admin credential)",
		newTenantCreate(a), newTenantList(a), newTenantShow(a), newTenantCredential(a))
}

func newTenantCreate(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "create NAME", Short: "Make a tenant and its first credential, shown this once", Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			t, credential, err := cl.Admin().CreateTenant(c.Context(), args[0])
			if err != nil {
				return fmt.Errorf("tenant %q: %w", args[0], err)
			}
			if a.json {
				o := tenantJSON(t)
				o["credential"] = credential
				return a.printJSON(o)
			}
			return a.printf("tenant %s made, id %d\ncredential, shown this once: %s\n", t.Name, t.Id, credential)
		},
	}
}

func newTenantList(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all tenants", Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			tenants, err := cl.Admin().ListTenants(c.Context())
			if err != nil {
				return err
			}
			return a.printTenants(tenants)
		},
	}
}

func newTenantShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one tenant", Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			t, err := cl.Admin().GetTenant(c.Context(), args[0])
			if err != nil {
				return fmt.Errorf("tenant %q: %w", args[0], err)
			}
			if a.json {
				return a.printJSON(tenantJSON(t))
			}
			return a.printTenants([]*vipkvpb.Tenant{t})
		},
	}
}

func newTenantCredential(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "credential NAME", Short: "Make one more credential for a tenant, shown this once",
		Args: argsBetween(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.open(c.Context())
			if err != nil {
				return err
			}
			defer cl.Close()
			credential, err := cl.Admin().CreateCredential(c.Context(), args[0])
			if err != nil {
				return fmt.Errorf("tenant %q: %w", args[0], err)
			}
			if a.json {
				return a.printJSON(object{"tenant": args[0], "credential": credential})
			}
			return a.printf("%s\n", credential)
		},
	}
}

func tenantJSON(t *vipkvpb.Tenant) object {
	return object{
		"id": t.Id, "name": t.Name, "state": t.State, "created_ms": t.CreatedMs, "credentials": t.Credentials,
	}
}

func (a *app) printTenants(tenants []*vipkvpb.Tenant) error {
	if a.json {
		out := make([]object, len(tenants))
		for i, t := range tenants {
			out[i] = tenantJSON(t)
		}
		return a.printJSON(object{"tenants": out})
	}
	rows := [][]string{{"ID", "NAME", "STATE", "CREDENTIALS", "CREATED"}}
	for _, t := range tenants {
		rows = append(rows, []string{
			strconv.Itoa(int(t.Id)), t.Name, t.State, strconv.Itoa(int(t.Credentials)),
			time.UnixMilli(t.CreatedMs).UTC().Format(time.DateTime),
		})
	}
	return a.table(rows)
}

// ensureTenant returns a credential of a tenant that it makes when it is not there. known is what is at hand; it is
// kept when the tenant is there.
func ensureTenant(ctx context.Context, admin *client.Admin, name, known string) (credential string, err error) {
	_, err = admin.GetTenant(ctx, name)
	if err == nil && known != "" {
		return known, nil
	}
	if status.Code(err) == codes.NotFound {
		_, credential, err = admin.CreateTenant(ctx, name)
		var ambiguous *rpcerr.AmbiguousError
		switch {
		case err == nil:
			return credential, nil
		case errors.As(err, &ambiguous):
			_, err = admin.GetTenant(ctx, name) // is it there?
		case status.Code(err) == codes.AlreadyExists:
			err = nil // somebody else made it meanwhile
		}
	}
	if err == nil {
		credential, err = admin.CreateCredential(ctx, name)
	}
	if err != nil {
		return "", fmt.Errorf("tenant %q: %w", name, err)
	}
	return credential, nil
}
