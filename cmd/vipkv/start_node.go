package main

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/vipkv/vipkv/kv/node"
)

// runNode runs a node until ctx ends.
func runNode(ctx context.Context, c nodeConfig) error {
	cfg := node.Config{
		DataDir: c.Data, Keyfile: c.Keyfile, Listen: c.Listen, ListenPeer: c.ListenPeer, ListenHTTP: c.ListenHTTP,
		Advertise: c.Advertise, AdvertisePeer: c.AdvertisePeer, AdvertiseHTTP: c.AdvertiseHTTP, Join: c.Join,
		Locality: c.Locality, InsecurePlaintext: c.InsecurePlaintext, AdminCredentialOut: c.AdminCredentialOut,
		Version: version(), Logger: c.logger, Tunables: node.DefaultTunables(),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		if err := cfg.Tunables.Set(name, c.Set[name]); err != nil {
			return usagef("vipkv start --help lists the settings", "%w", err)
		}
	}
	err := node.Run(ctx, cfg)
	if errors.Is(err, node.ErrWrongKeyfile) {
		return failf(exitDirectory, "find the keyfile that the cluster was made with", "%w", err)
	}
	return err
}
