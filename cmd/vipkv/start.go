package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// nodeConfig is all that a node is told: flags over the file over defaults.
type nodeConfig struct {
	Data    string `yaml:"data"`    // directory
	Keyfile string `yaml:"keyfile"` // outside of Data

	Listen     string `yaml:"listen"`      // for clients; port 0: any
	ListenPeer string `yaml:"listen-peer"` // for nodes
	ListenHTTP string `yaml:"listen-http"` // /metrics, /healthz, /readyz

	// What others are told; empty: what is listened on.
	Advertise     string `yaml:"advertise"`
	AdvertisePeer string `yaml:"advertise-peer"`
	AdvertiseHTTP string `yaml:"advertise-http"`

	Join     []string          `yaml:"join"`     // peer addresses; empty on an empty directory: make a cluster
	Locality map[string]string `yaml:"locality"` // zone=a, rack=3, ...

	InsecurePlaintext  bool   `yaml:"insecure-plaintext"`
	AdminCredentialOut string `yaml:"admin-credential-out"` // file for a new cluster's admin credential, mode 0600
	LogLevel           string `yaml:"log-level"`            // debug, info, warn, error

	// Set are tunables of the node by name; an unknown one is an error.
	Set map[string]string `yaml:"set"`

	logger *slog.Logger
}

const startHelp = `Runs a node until SIGINT or SIGTERM; a second signal ends it at once.

On an empty --data directory without --join it makes a cluster, and writes its admin credential to
--admin-credential-out. With --join it joins the cluster of the nodes named. On a directory that it has used before it
goes on from there.

--config names a YAML file whose keys are the flags' names; --join is a list, --locality and --set are maps. Flags win.
An unknown key is an error. Connections are not encrypted in this version, so addresses off loopback need
--insecure-plaintext.`

func newStart(a *app) *cobra.Command {
	var file string
	var set []string
	flags := nodeConfig{Locality: map[string]string{}}
	c := &cobra.Command{
		Use: "start", Short: "Run a node", Long: startHelp, Args: argsBetween(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := defaultNodeConfig()
			if file != "" {
				b, err := os.ReadFile(file)
				if err != nil {
					return fmt.Errorf("read configuration: %w", err)
				}
				if err := decodeConfig(b, &cfg); err != nil {
					return usagef("vipkv start --help lists the keys", "configuration %s: %w", file, err)
				}
			}
			tunables, err := parsePairs("set", set)
			if err != nil {
				return err
			}
			flags.Set, flags.InsecurePlaintext = tunables, a.plaintext
			overrideConfig(&cfg, &flags, c.Flags().Changed)
			if err := cfg.validate(); err != nil {
				return err
			}
			level, err := parseLevel(cfg.LogLevel)
			if err != nil {
				return err
			}
			cfg.logger = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
			if off := cfg.offLoopback(); len(off) > 0 {
				fmt.Fprintf(a.err, "vipkv: WARNING: plaintext on %s: everybody on the network path can read "+
					"credentials and data\n", strings.Join(off, ", "))
			}
			return runNode(c.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringVar(&file, "config", "", "YAML file with these flags as keys")
	f.StringVar(&flags.Data, "data", "", "directory of the node's data")
	f.StringVar(&flags.Keyfile, "keyfile", "", "file with the cluster's root keys, outside of --data")
	f.StringVar(&flags.Listen, "listen", "", "address for clients (default "+defaultListen+")")
	f.StringVar(&flags.ListenPeer, "listen-peer", "", "address for nodes (default "+defaultListenPeer+")")
	f.StringVar(&flags.ListenHTTP, "listen-http", "", "address for /metrics and /healthz (default "+defaultListenHTTP+")")
	f.StringVar(&flags.Advertise, "advertise", "", "address that clients are told (default --listen)")
	f.StringVar(&flags.AdvertisePeer, "advertise-peer", "", "address that nodes are told (default --listen-peer)")
	f.StringVar(&flags.AdvertiseHTTP, "advertise-http", "", "address that people are told (default --listen-http)")
	f.StringSliceVar(&flags.Join, "join", nil, "peer addresses of nodes of the cluster to join")
	f.StringToStringVar(&flags.Locality, "locality", nil, "where the node is, as k=v,...; zone=a,rack=3")
	f.StringVar(&flags.AdminCredentialOut, "admin-credential-out", "",
		"file for the admin credential when this node makes a cluster")
	f.StringVar(&flags.LogLevel, "log-level", "", "debug, info, warn or error (default info)")
	f.StringArrayVar(&set, "set", nil, "a tunable of the node, KEY=VALUE; once each")
	return c
}

func defaultNodeConfig() nodeConfig {
	return nodeConfig{
		Listen: defaultListen, ListenPeer: defaultListenPeer, ListenHTTP: defaultListenHTTP, LogLevel: "info",
		Locality: map[string]string{}, Set: map[string]string{},
	}
}

// decodeConfig reads one YAML document into cfg; an unknown key is an error that names its line.
func decodeConfig(b []byte, cfg *nodeConfig) error {
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(cfg); err != nil && !errors.Is(err, io.EOF) { // EOF: an empty file
		return err
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

// overrideConfig puts the flags that were given over cfg.
func overrideConfig(cfg, flags *nodeConfig, given func(string) bool) {
	for name, to := range map[string][2]*string{
		"data": {&cfg.Data, &flags.Data}, "keyfile": {&cfg.Keyfile, &flags.Keyfile},
		"listen": {&cfg.Listen, &flags.Listen}, "listen-peer": {&cfg.ListenPeer, &flags.ListenPeer},
		"listen-http": {&cfg.ListenHTTP, &flags.ListenHTTP}, "advertise": {&cfg.Advertise, &flags.Advertise},
		"advertise-peer":       {&cfg.AdvertisePeer, &flags.AdvertisePeer},
		"advertise-http":       {&cfg.AdvertiseHTTP, &flags.AdvertiseHTTP},
		"admin-credential-out": {&cfg.AdminCredentialOut, &flags.AdminCredentialOut},
		"log-level":            {&cfg.LogLevel, &flags.LogLevel},
	} {
		if given(name) {
			*to[0] = *to[1]
		}
	}
	if given("join") {
		cfg.Join = flags.Join
	}
	if given("locality") {
		cfg.Locality = flags.Locality
	}
	if given("insecure-plaintext") {
		cfg.InsecurePlaintext = flags.InsecurePlaintext
	}
	if cfg.Set == nil {
		cfg.Set = map[string]string{}
	}
	for k, v := range flags.Set {
		cfg.Set[k] = v
	}
}

// validate checks what can be checked without touching the disk or the network.
func (c *nodeConfig) validate() error {
	if c.Data == "" {
		return usagef("vipkv start --data DIR --keyfile FILE", "--data is missing")
	}
	if c.Keyfile == "" {
		return usagef("vipkv keyfile create FILE makes one", "--keyfile is missing")
	}
	for _, addr := range c.addresses() {
		if _, _, err := net.SplitHostPort(addr.value); err != nil {
			return usagef("host:port", "--%s: %q is not an address", addr.flag, addr.value)
		}
	}
	for _, j := range c.Join {
		if _, _, err := net.SplitHostPort(j); err != nil {
			return usagef("host:port of a node's --listen-peer", "--join: %q is not an address", j)
		}
	}
	if off := c.offLoopback(); len(off) > 0 && !c.InsecurePlaintext {
		return usagef("use 127.0.0.1, or accept it with --insecure-plaintext",
			"%s is not a loopback address, and connections are not encrypted in this version", strings.Join(off, ", "))
	}
	return nil
}

type flagAddress struct{ flag, value string }

func (c *nodeConfig) addresses() []flagAddress {
	out := []flagAddress{
		{"listen", c.Listen}, {"listen-peer", c.ListenPeer}, {"listen-http", c.ListenHTTP},
	}
	for _, a := range []flagAddress{
		{"advertise", c.Advertise}, {"advertise-peer", c.AdvertisePeer}, {"advertise-http", c.AdvertiseHTTP},
	} {
		if a.value != "" {
			out = append(out, a)
		}
	}
	return out
}

// offLoopback lists the addresses that others than this machine could reach.
func (c *nodeConfig) offLoopback() []string {
	var off []string
	for _, a := range c.addresses() {
		host, _, err := net.SplitHostPort(a.value)
		if err != nil || host == "localhost" {
			continue
		}
		if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
			off = append(off, a.value)
		}
	}
	return off
}

func parseLevel(s string) (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s)); err != nil {
		return 0, usagef("debug, info, warn or error", "--log-level: unknown level %q", s)
	}
	return level, nil
}

// parsePairs turns KEY=VALUE arguments into a map.
func parsePairs(flag string, args []string) (map[string]string, error) {
	out := make(map[string]string, len(args))
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, usagef("KEY=VALUE", "--%s: %q is not KEY=VALUE", flag, a)
		}
		if _, twice := out[k]; twice {
			return nil, usagef("", "--%s: %s is given twice", flag, k)
		}
		out[k] = v
	}
	return out, nil
}
