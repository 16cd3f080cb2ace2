package main

// examplePlan is what vipkv chaos plan init writes. It is a whole plan: a test reads and completes it.
const examplePlan = `# A plan of vipkv chaos run. All but the driver may be left out.
# Durations are like 1m30s, shares like 1%.

# What is not said below: smoke (2 minutes), failover (each fault three times at a leader), soak (an
# hour), all (all workloads, each fault at each of its targets).
suite: smoke

# How nodes are reached. A fault is injected by the first driver that can; those that need no host
# (transfer-leader, ping-pong, split, disconnect, hot-key) always can. vipkv chaos faults lists all.
driver:
  # Signals to processes of nodes on this host, found by the addresses that the cluster names: kill,
  # restart, pause.
  processes: {}
  # Who starts a node again that has ended? Nobody has to be named when somebody does it unasked
  # (vipkv demo, systemd with Restart=always); otherwise:
  #   start: {default: "systemctl start vipkv@{{.ID}}"}

  # Your own commands, by the shell on this host; undo must be harmless when there is nothing to
  # undo. Where this machine may be cut off from the nodes, let do end the fault by itself, too:
  # (sleep {{.Seconds}}; ...) &
  # exec:
  #   faults:
  #     kill:
  #       do: docker kill vipkv-{{.ID}}
  #       undo: docker start vipkv-{{.ID}}
  #     isolate:
  #       do: docker network disconnect vipkv vipkv-{{.ID}}
  #       undo: docker network connect vipkv vipkv-{{.ID}} || true
  #       check: "! docker network inspect vipkv | grep -q vipkv-{{.ID}}"

  # The same commands, by ssh on the nodes' hosts.
  # ssh:
  #   command: [ssh, -oBatchMode=yes, "root@{{.Host}}"]
  #   faults:
  #     pause:
  #       do: pkill -STOP -x vipkv
  #       undo: pkill -CONT -x vipkv || true

# Variables of single nodes, for commands: {{.Vars.unit}}.
# nodes: {1: {unit: vipkv-a}, 2: {unit: vipkv-b}}

# What clients do, and how much: operations a second of all clients together. Beside them probes
# write 20 times a second to each of so many ranges of the run's own; gaps are measured on them.
workloads: [register, set, counter, streams]
rate: 100
ranges: 4

# A tenant is made for the run. One that is there must be empty:
# tenant: {name: chaos, credential: "vk_..."}

# Drawn from the seed (0: a new one, which is shown) ...
seed: 0
warm-up: 5s
duration: 100s
faults:
  swarm:
    every: 12s
    hold: 4s
    targets: [one, leader, placement]
    # allow: [kill, pause]
  # ... and to the minute. Targets: one, minority, leader, leader:KEY, placement, all, node:ID.
  # script:
  #   - {at: 10s, fault: kill, target: leader, hold: 5s}

# What must hold, besides that nothing is lost and nothing is stale.
budgets:
  gap.max: 10s            # longest time without an acknowledged write, on the worst range
  # gap.kill.max: 3s      # the same, while or soon after a kill
  errors.max: 5%          # of the probes' writes
  recovery.max: 60s       # from an undo until the cluster says that it is healthy

# When to stop early: so many of the probes' writes were not acknowledged over so long.
stop-if: {errors: 90%, for: 30s}

# Faults that would take the majority of any range away are skipped, unless:
allow-quorum-loss: false
`
