package main

import (
	"context"
	"maps"
	"slices"

	"github.com/vipkv/vipkv/kv/node"
)

// runNode runs a node until ctx ends (nil) or it can not go on.
func runNode(ctx context.Context, c nodeConfig) error {
	cfg := node.Config{
		DataDir: c.Data, Keyfile: c.Keyfile,
		Listen: c.Listen, ListenPeer: c.ListenPeer, ListenHTTP: c.ListenHTTP,
		Advertise: c.Advertise, AdvertisePeer: c.AdvertisePeer, AdvertiseHTTP: c.AdvertiseHTTP,
		Join: c.Join, Locality: c.Locality, InsecurePlaintext: c.InsecurePlaintext,
		AdminCredentialOut: c.AdminCredentialOut, Version: version(), Logger: c.logger,
		Tunables: node.DefaultTunables(),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		if err := cfg.Set(name, c.Set[name]); err != nil {
			return usagef("", "--set: %w", err)
		}
	}
	if err := injectFaults(&cfg); err != nil {
		return err
	}
	return node.Run(ctx, cfg)
}
